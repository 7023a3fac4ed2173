package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// writeSegment writes batches as the segment of base offset 0 and returns its path and their positions.
func writeSegment(t *testing.T, batches ...record.Batch) (path string, positions []int) {
	t.Helper()
	var b []byte
	for _, batch := range batches {
		positions = append(positions, len(b))
		b = append(b, batch...)
	}
	path = filepath.Join(t.TempDir(), segment.FileName(0, segment.LogSuffix))
	if err := os.WriteFile(path, b, 0o400); err != nil {
		t.Fatal(err)
	}
	return path, positions
}

// buildBatch builds a batch of two records at an offset, which are as odd as they can be.
func buildBatch(t *testing.T, a record.Attributes, offset int64) record.Batch {
	t.Helper()
	var w record.Builder
	w.Reset(a, 1_700_000_000_000)
	w.SetProducer(7, 1, 10)
	w.Add(0, 1_700_000_000_000, []byte("key"), []byte("a \"value\"\n"), record.Header{Key: "plain", Value: []byte("text")}, record.Header{Key: "no name", Value: nil})
	w.Add(1, 1_700_000_000_005, nil, []byte{0xff, 0x00}, record.Header{Key: "bytes", Value: []byte{0x80}})
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(3)
	return b
}

func TestLogDump(t *testing.T) {
	hidden := buildBatch(t, record.LogAppendTime, 2)
	hidden.Stamp(record.Hidden|record.LogAppendTime, 1_700_000_001_000)
	path, _ := writeSegment(t, buildBatch(t, record.Attributes(0).WithCodec(record.Zstd), 0), hidden)
	code, got, stderr := execute(t, "log", "dump", "--records", path)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	got = regexp.MustCompile(`position [1-9]\d*|\d+ bytes`).ReplaceAllStringFunc(got, func(s string) string {
		return regexp.MustCompile(`\d+`).ReplaceAllString(s, "N")
	})
	equalText(t, got, `
offsets 0-1  position 0  N bytes  2 records  zstd  epoch 3  2023-11-14T22:13:20.000Z to 2023-11-14T22:13:20.005Z  producer 7 epoch 1 sequences 10-11
  0  2023-11-14T22:13:20.000Z  key "key"  value "a \"value\"\n"  plain="text"  "no name"=null
  1  2023-11-14T22:13:20.005Z  key null  value 0xff00  bytes=0x80
offsets 2-3  position N  N bytes  2 records  none  epoch 3  2023-11-14T22:13:20.000Z to 2023-11-14T22:13:21.000Z  producer 7 epoch 1 sequences 10-11  log-append-time hidden
  2  2023-11-14T22:13:20.000Z  key "key"  value "a \"value\"\n"  plain="text"  "no name"=null
  3  2023-11-14T22:13:20.005Z  key null  value 0xff00  bytes=0x80`)

	_, got, _ = execute(t, "log", "dump", "--records", "--offsets", "1:3", path)
	if n := strings.Count(got, "\n"); n != 4 || !strings.Contains(got, "\n  1 ") || !strings.Contains(got, "\n  2 ") {
		t.Errorf("offsets 1:3:\n%s", got)
	}
	_, got, _ = execute(t, "log", "dump", "--records", "--offsets", "3:", "-o", "json", path)
	lines := strings.Split(strings.TrimSpace(got), "\n")
	want := `{"kind":"record","offset":3,"timestamp":1700000000005,"key":null,"value":{"hex":"ff00"},"headers":[{"key":"bytes","value":{"hex":"80"}}]}`
	if len(lines) != 2 || lines[1] != want {
		t.Fatalf("offsets 3: as JSON:\n%s", got)
	}
	var b dumpedBatch
	if err := json.Unmarshal([]byte(lines[0]), &b); err != nil {
		t.Fatal(err)
	}
	if b.Kind != "batch" || b.BaseOffset != 2 || b.LastOffset != 3 || b.Records != 2 || b.Codec != "none" || strings.Join(b.Attributes, " ") != "log-append-time hidden" || b.ProducerID != 7 || b.Size != len(hidden) {
		t.Errorf("batch %+v", b)
	}
}

func TestLogDumpAndCheckOfDamage(t *testing.T) {
	first, second := buildBatch(t, 0, 0), buildBatch(t, 0, 2)
	first[len(first)-1] ^= 1
	path, positions := writeSegment(t, first, second)
	code, got, stderr := execute(t, "log", "dump", path)
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if code != 1 || stderr != "morrow: damaged: "+path+"\n" || len(lines) != 2 || !strings.HasPrefix(lines[0], "damaged  position 0  ") || !strings.HasPrefix(lines[1], "offsets 2-3  ") {
		t.Errorf("dump: exit code %d: %s%s", code, got, stderr)
	}
	code, got, stderr = execute(t, "log", "check", path)
	lines = strings.Split(strings.TrimSpace(got), "\n")
	if code != 1 || stderr != "" || len(lines) != 2 || !strings.HasPrefix(lines[0], "damaged: "+path+": position 0: batch checksum does not match") || !strings.HasSuffix(lines[1], ": 1 problem") {
		t.Errorf("check: exit code %d: %s%s", code, got, stderr)
	}
	code, got, _ = execute(t, "log", "check", "-o", "json", path)
	var r checkReport
	if err := json.Unmarshal([]byte(got), &r); code != 1 || err != nil || len(r.Problems) != 1 || r.Problems[0].File != path || r.Problems[0].Position != int64(positions[0]) || r.Total.Batches != 1 {
		t.Errorf("check: exit code %d: %v: %+v", code, err, r)
	}
	// A copy under another name is checked as well as it can be.
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(copied, second, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, got, _ := execute(t, "log", "check", copied); code != 0 || !strings.HasPrefix(got, "checked 1 log, 1 segment, 1 batch, 2 records, ") {
		t.Errorf("check of a copy: exit code %d: %s", code, got)
	}
}

func TestLogCommandsRefuse(t *testing.T) {
	empty := t.TempDir()
	path, _ := writeSegment(t, buildBatch(t, 0, 0))
	side := strings.TrimSuffix(path, segment.LogSuffix)
	for _, test := range []struct {
		want string
		args []string
	}{
		{"morrow: nope: no such file or directory", []string{"check", "nope"}},
		{"morrow: " + empty + ": there are no log files in it", []string{"check", empty}},
		{"morrow: " + empty + ": is a directory", []string{"dump", empty}},
		{"morrow: " + side + ".index: no such file or directory", []string{"dump", side + ".index"}},
		{"morrow: " + side + ".summary: files ending in .summary cannot be shown", []string{"dump", side + ".summary"}},
		{`morrow: invalid value "5" for --offsets: must be FROM:TO, such as 100:200, 100: or :200`, []string{"dump", path, "--offsets", "5"}},
		{`morrow: invalid value "9:5" for --offsets: must be FROM:TO, such as 100:200, 100: or :200`, []string{"dump", path, "--offsets", "9:5"}},
		{"morrow: argument missing; usage: morrow log check PATH...", []string{"check"}},
	} {
		if code, stdout, stderr := execute(t, append([]string{"log"}, test.args...)...); code != 1 || stderr != test.want+"\n" || stdout != "" {
			t.Errorf("morrow log %s: exit code %d: %s%s\nwant %s", strings.Join(test.args, " "), code, stdout, stderr, test.want)
		}
	}
}

// TestLogCheckWhileTheBrokerRuns checks a data directory that is written to all the time.
func TestLogCheckWhileTheBrokerRuns(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders", "-p", "3", "--set", "segment.bytes=20000")
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	done := make(chan error)
	go func() {
		for i := range 300 {
			r := &kgo.Record{Value: make([]byte, 1000)}
			if i%3 == 0 {
				r.Headers = []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("1ms")}}
			}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		if code, stdout, stderr := execute(t, "log", "check", b.dataDir); code != 0 {
			t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
		}
	}
	b.stop(t)
	code, stdout, _ := execute(t, "log", "check", b.dataDir, "-o", "json")
	var r checkReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 {
		t.Fatalf("exit code %d: %v: %s", code, err, stdout)
	}
	if r.Total.Records < 400 || r.Total.Hidden < 100 || r.Total.Segments < 10 || r.Total.Tail != 0 {
		t.Errorf("checked %+v", r.Total)
	}
	// What an index leads to is shown too.
	indexes, err := filepath.Glob(filepath.Join(b.dataDir, "logs", "*", "*"+segment.TimeSuffix))
	if err != nil || len(indexes) == 0 {
		t.Fatalf("indexes %v, %v", indexes, err)
	}
	if code, stdout, stderr := execute(t, "log", "dump", indexes[0]); code != 0 || !strings.HasPrefix(stdout, "offset ") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}
