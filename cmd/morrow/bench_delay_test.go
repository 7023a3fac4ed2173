package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/morrowmq/morrow/internal/bench"
)

func TestBenchDelaySaysThatABrokerWithoutDelaysIsEarly(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, shape := range []string{"--spread 1s", "--burst"} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"bench", "delay", "-b", c.ListenAddrs()[0], "--records", "500", "--delay", "1m", "-p", "2", "-o", "json"}, strings.Fields(shape)...)
		if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
		var r bench.DelayReport
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Inserted != 500 || r.Delivered != 500 || r.Early != 500 || r.Lost != 0 || r.Twice != 0 {
			t.Errorf("%s: %+v", shape, r)
		}
	}
}

func TestBenchDelayRefusesBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--records 0": "invalid records 0: must be between 1 and 1073741824",
		"--acks 0":    "invalid acks 0: what is not acknowledged cannot be lost",
		"--delay -1s": "invalid delay -1s, spread 5s or patience 30s: must not be negative",
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"bench", "delay"}, strings.Fields(args)...), &stdout, &stderr); code != 1 {
			t.Errorf("%s: exit code %d", args, code)
		}
		if got := strings.TrimSpace(stderr.String()); got != "morrow: "+want {
			t.Errorf("%s: %q", args, got)
		}
	}
}
