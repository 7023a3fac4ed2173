package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// salvage runs the command on a broker that is stopped.
func salvage(ctx context.Context, t *testing.T, b *testnet.Broker, args ...string) (out string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(ctx, bin, append([]string{"log", "salvage", "--data-dir", b.DataDir()}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // nothing that names a config
	b2, err := cmd.CombinedOutput()
	return string(b2), err == nil
}

// spoil changes a byte of the batch that holds a value, in the logs of a broker, or of a batch that follows it.
func spoil(t *testing.T, b *testnet.Broker, value string, behind int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.DataDir(), "logs", "*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, []byte(value)); i >= 0 {
			data[batchEnd(data, i, behind)-1] ^= 1
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%q is in no log", value)
}

// batchEnd is where the batch ends that holds the byte at i, or one of those behind it.
func batchEnd(data []byte, i, behind int) (end int) {
	for end <= i || behind > 0 {
		if end > i {
			behind--
		}
		end += 12 + int(binary.BigEndian.Uint32(data[end+8:]))
	}
	return end
}

// TestSalvageAfterDamage: a broker whose disk has changed bytes of two records, in the middle of a
// log, serves everything else once they are given up. One of them was delayed; the other delayed
// records are delivered, once each, and the producer goes on.
func TestSalvageAfterDamage(t *testing.T) {
	t.Parallel()
	b := start(t)
	createTopic(t, b, "orders", 1, map[string]string{"segment.bytes": "16384"})
	ctx := deadline(t, 3*time.Minute)
	cl := client(t, b, kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	due := time.Now().Add(25 * time.Second)
	at := []kgo.RecordHeader{{Key: "morrow-deliver-at", Value: fmt.Append(nil, due.UnixMilli())}}
	var want []string
	produce := func(value string, headers ...kgo.RecordHeader) int64 {
		r := &kgo.Record{Value: []byte(value + strings.Repeat(".", 400)), Headers: headers}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return r.Offset
	}
	lost := map[string]int64{}
	for i := range 100 {
		value := fmt.Sprintf("value-%d-", i)
		var offset int64
		if delayed := i%10 == 5; delayed {
			value = fmt.Sprintf("later-%d-", i)
			offset = produce(value, at...)
		} else {
			offset = produce(value)
		}
		if i == 42 || i == 65 {
			lost[value] = offset
		} else {
			want = append(want, value)
		}
	}
	b.Stop()
	for value := range lost {
		spoil(t, b, value, 0)
	}

	out, ok := salvage(ctx, t, b)
	if ok || strings.Count(out, "lost: offsets") != len(lost) || !strings.Contains(out, "Nothing was changed") {
		t.Fatalf("a look says %t:\n%s", ok, out)
	}
	for value, offset := range lost {
		if !strings.Contains(out, fmt.Sprintf("[%d, %d)", offset, offset+1)) {
			t.Errorf("%s at offset %d is not said to be lost:\n%s", value, offset, out)
		}
	}
	if out, ok = salvage(ctx, t, b, "--accept-loss", "orders-0"); !ok || !strings.Contains(out, "salvaged: ") {
		t.Fatalf("it was not salvaged:\n%s", out)
	}
	if out, ok = salvage(ctx, t, b); !ok {
		t.Fatalf("there is damage left:\n%s", out)
	}
	kept, err := filepath.Glob(filepath.Join(b.DataDir(), "salvaged", "*", "*", "damaged-*.log"))
	if err != nil || len(kept) == 0 {
		t.Errorf("the damaged files are not there any more: %v", err)
	}

	b.Restart()
	produce("value-after-")
	want = append(want, "value-after-")
	got := map[string]int{}
	each(t, b, "orders", len(want), func(r *kgo.Record) {
		value, _, _ := strings.Cut(string(r.Value), ".")
		got[value]++
		if strings.HasPrefix(value, "later") && time.Now().Before(due) {
			t.Errorf("%s came before it was due", value)
		}
	})
	for _, value := range want {
		if got[value] != 1 {
			t.Errorf("%s came %d times", value, got[value])
		}
	}
	b.Stop()
	if out, err := exec.CommandContext(ctx, bin, "log", "check", b.DataDir()).CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
}

// TestSalvageKeepsTransactionsApart: the marker of an aborted transaction is among what is lost,
// and the next transaction of the producer is committed. That must not commit the aborted one.
func TestSalvageKeepsTransactionsApart(t *testing.T) {
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, 3*time.Minute)
	cl := transactional(t, b, "tx", "orders", kgo.ProducerBatchCompression(kgo.NoCompression()))
	for _, x := range []struct {
		values []string
		end    kgo.TransactionEndTry
	}{{[]string{"first"}, kgo.TryCommit}, {[]string{"aborted"}, kgo.TryAbort}, {[]string{"last", "end"}, kgo.TryCommit}} {
		var rs []*kgo.Record
		for _, v := range x.values {
			rs = append(rs, kgo.StringRecord(v))
		}
		if err := produceIn(ctx, cl, x.end, rs...); err != nil {
			t.Fatal(err)
		}
	}
	if got := committed(t, b, "orders", 1); !slices.Equal(got, []string{"first", "last"}) {
		t.Fatalf("before: %q", got)
	}
	b.Stop()
	spoil(t, b, "aborted", 1)
	if out, ok := salvage(ctx, t, b, "--accept-loss"); !ok || !strings.Contains(out, "salvaged: ") {
		t.Fatalf("it was not salvaged:\n%s", out)
	}
	b.Restart()
	if got := committed(t, b, "orders", 1); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("after: %q", got)
	}
}

// TestSalvageReadsFromTheBucketWhatIsConfirmed: damage in a segment whose copy in the bucket is
// confirmed costs nothing.
func TestSalvageReadsFromTheBucketWhatIsConfirmed(t *testing.T) {
	b := start(t, "--set", "tier.url=file://"+filepath.Join(t.TempDir(), "bucket"))
	createTopic(t, b, "orders", 1, map[string]string{"remote.storage.enable": "true", "segment.bytes": "16384", "segment.ms": "1000"})
	ctx := deadline(t, 3*time.Minute)
	cl := client(t, b, kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	const records = 100
	value := func(i int) string { return fmt.Sprintf("value-%d-%s", i, strings.Repeat(".", 600)) }
	for i := range records {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(value(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	awaitConfirmed(ctx, t, b, "orders")
	b.Stop()
	spoil(t, b, "value-30-", 0)
	if out, ok := salvage(ctx, t, b); ok || !strings.Contains(out, "in the bucket: offsets [30, 31)") || strings.Contains(out, "lost:") {
		t.Fatalf("a look says %t:\n%s", ok, out)
	}
	if out, ok := salvage(ctx, t, b, "--accept-loss"); !ok || !strings.Contains(out, "salvaged: ") {
		t.Fatalf("it was not salvaged:\n%s", out)
	}
	b.Restart()
	got := consume(t, b, "orders", records)
	for i, r := range got {
		if r.Offset != int64(i) || string(r.Value) != value(i) {
			t.Fatalf("at %d: offset %d, %.20s", i, r.Offset, r.Value)
		}
	}
}

// TestSalvageRefuses: what it must not do, and what it cannot do now. It changes nothing then.
func TestSalvageRefuses(t *testing.T) {
	ctx := deadline(t, 2*time.Minute)
	b, cl := startWithRun(ctx, t, 50)
	topics, err := kadm.NewClient(cl).ListTopicsWithInternal(ctx, "__schedule.orders")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(why string, args ...string) {
		t.Helper()
		if out, ok := salvage(ctx, t, b, append(args, "--accept-loss")...); ok || !strings.Contains(out, why) {
			t.Errorf("%q: %t, wanted %q:\n%s", args, ok, why, out)
		}
	}
	refused("in use by a broker")
	b.Stop()
	refused("no such partition", "unknown-0")
	refused("invalid value \"perhaps\" for --undecided", "--undecided=perhaps")

	files, err := filepath.Glob(filepath.Join(b.DataDir(), "logs", fmt.Sprintf("%x-0", [16]byte(topics["__schedule.orders"].ID)), "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log of the schedule: %v", err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[100] ^= 1
	if err := os.WriteFile(files[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	refused("it is the schedule of a topic")
	if after, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(after, data) {
		t.Errorf("the log was changed (%v)", err)
	}
}
