package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/bench"
)

// benchAgainst runs one bench command against a broker that is not ours and returns its report.
func benchAgainst(t *testing.T, addr string, args ...string) bench.Report {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"bench", args[0], "-b", addr, "--records", "100", "--warmup", "0s", "-o", "json"}, args[1:]...)
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("morrow %s: exit code %d: %s", strings.Join(args, " "), code, &stderr)
	}
	if n := strings.Count(stdout.String(), "\n"); n != 1 {
		t.Errorf("morrow %s printed %d lines", strings.Join(args, " "), n)
	}
	var r bench.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBenchDeletesOnlyTheTopicItCreated(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	addr := c.ListenAddrs()[0]
	for _, args := range [][]string{
		{"produce"},
		{"produce", "--raw", "--topic", "orders", "--codec", "zstd"},
		{"produce", "--raw", "--topic", "kept", "--keep", "--sync", "never"},
		{"consume", "--fill-bytes", "100000"},
		{"consume", "--raw", "--topic", "orders"},
		{"e2e", "--rate", "10000"},
	} {
		if r := benchAgainst(t, addr, args...); r.Records < 100 || r.Load != args[0] {
			t.Errorf("%v: %+v", args, r)
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(topics.Names(), " "); got != "kept orders" {
		t.Errorf("topics afterwards: %s", got)
	}
}

func TestBenchTellsPeopleWhatItMeasured(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv(bootstrapEnv, c.ListenAddrs()[0])
	for args, want := range map[string][]string{
		"produce --records 100 --warmup 0s": {"records:  ", "rate:     ", "latency:  p50 "},
		"delay --records 10 --delay 1m":     {"inserted:        10 in ", "delivered:       10 in ", "lost:            0\n", "early:           10\n"},
	} {
		code, stdout, stderr := execute(t, append([]string{"bench"}, strings.Fields(args)...)...)
		if code != 0 || stderr != "" {
			t.Errorf("morrow bench %s: exit code %d: %s", args, code, stderr)
		}
		for _, w := range want {
			if !strings.Contains(stdout, w) {
				t.Errorf("morrow bench %s: no %q in\n%s", args, w, stdout)
			}
		}
	}
}

func TestBenchSaysThatThereIsNoBroker(t *testing.T) {
	for _, args := range []string{"produce", "consume", "e2e", "delay"} {
		code, stdout, stderr := execute(t, "bench", args, "-b", "127.0.0.1:1")
		if want := "morrow: no broker at 127.0.0.1:1: connection refused\n"; code != 1 || stdout != "" || stderr != want {
			t.Errorf("morrow bench %s: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
}

func TestBenchRefusesBadFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"produce --acks 3", `invalid value "3" for --acks: must be all, 1 or 0`},
		{"produce --codec rar", `invalid value "rar" for --codec: must be none, gzip, snappy, lz4 or zstd`},
		{"consume --sync often", `invalid value "often" for --sync: must be always, never or default`},
		{"e2e --record-size 3", `invalid record size 3: must be between 16 and 1073741824`},
		{"produce --delay 1s", `--delay needs --raw; morrow bench delay sends delayed records through a client`},
		{"produce --raw --delay -1s", `invalid delay -1s or spread 0s: must not be negative`},
		{"produce --set x", `invalid config "x": must be key=value`},
		{"compare one=127.0.0.1:1 two", `invalid broker "two": must be NAME=HOST:PORT or NAME=HOST:PORT,PID`},
		{"compare one=127.0.0.1:1 two=127.0.0.1:2,me", `invalid process id "me" of two: must be a positive number`},
		{"baseline -o xml", `invalid value "xml" for --output: must be text or json`},
		{"suite -o xml", `invalid value "xml" for --output: must be text or json`},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), append([]string{"bench"}, strings.Fields(c.args)...), &stdout, &stderr); code != 1 {
			t.Errorf("morrow bench %s: exit code %d", c.args, code)
		}
		if got := strings.TrimSpace(stderr.String()); got != "morrow: "+c.want || stdout.Len() > 0 {
			t.Errorf("morrow bench %s: %q, %q", c.args, got, stdout.String())
		}
	}
}
