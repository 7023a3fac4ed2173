package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// liveBroker is a broker that "morrow serve" runs in this process.
type liveBroker struct {
	addr, http, dataDir string

	cancel context.CancelFunc
	exit   chan int
	stderr *logBuffer
}

// startBroker runs "morrow serve" on free ports and returns when it is ready. It is stopped when the test ends.
func startBroker(t *testing.T, args ...string) *liveBroker {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &liveBroker{dataDir: filepath.Join(t.TempDir(), "data"), cancel: cancel, exit: make(chan int, 1), stderr: newLogBuffer()}
	args = append([]string{
		"serve", "--data-dir", b.dataDir, "--listen", "PLAINTEXT://127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json",
		"--set", "offsets.topic.num.partitions=1", "--set", "group.initial.rebalance.delay.ms=0",
	}, args...)
	go func() { b.exit <- run(ctx, args, new(bytes.Buffer), b.stderr) }()
	t.Cleanup(func() { b.stop(t) })
	select {
	case <-b.stderr.ready:
	case code := <-b.exit:
		b.exit <- code
		t.Fatalf("morrow serve ended with exit code %d:\n%s", code, b.stderr)
	}
	b.addr, b.http = b.stderr.addresses(t)
	return b
}

// stop ends the broker as SIGTERM does.
func (b *liveBroker) stop(t *testing.T) {
	t.Helper()
	b.cancel()
	code := <-b.exit
	b.exit <- code
	if code != 0 {
		t.Errorf("morrow serve ended with exit code %d:\n%s", code, b.stderr)
	}
}

// morrow runs a command against the broker and returns its standard output. Standard error must be empty.
func (b *liveBroker) morrow(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := b.try(t, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("morrow %s: exit code %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// refused runs a command that must fail with the given lines on standard error.
func (b *liveBroker) refused(t *testing.T, want string, args ...string) {
	t.Helper()
	if code, _, stderr := b.try(t, args...); code != 1 || stderr != want+"\n" {
		t.Errorf("morrow %s: exit code %d: %s\nwant %s", strings.Join(args, " "), code, stderr, want)
	}
}

func (b *liveBroker) try(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv(bootstrapEnv, b.addr)
	return execute(t, args...)
}

// execute runs a command.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// decode runs a command with -o json and decodes what it prints.
func decode[T any](t *testing.T, b *liveBroker, args ...string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(b.morrow(t, append(args, "-o", "json")...)))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("morrow %s: %v", strings.Join(args, " "), err)
	}
	return v
}

// produce sends values to partition 0 of a topic, one batch each.
func (b *liveBroker) produce(t *testing.T, topic string, values ...string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i, v := range values {
		r := &kgo.Record{Topic: topic, Key: fmt.Append(nil, "key", i), Value: []byte(v)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// logBuffer collects the log of a broker and looks for the line that says it is ready.
type logBuffer struct {
	ready chan struct{} // closed then

	mu   sync.Mutex
	text bytes.Buffer
}

func newLogBuffer() *logBuffer { return &logBuffer{ready: make(chan struct{})} }

const readyMessage = "broker is ready"

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes.Contains(p, []byte(readyMessage)) {
		close(b.ready)
	}
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// addresses finds where the broker listens.
func (b *logBuffer) addresses(t *testing.T) (kafka, http string) {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		var l struct {
			Msg       string
			Listeners []string
			HTTP      string
		}
		if err := json.Unmarshal([]byte(line), &l); err == nil && l.Msg == readyMessage {
			return strings.TrimPrefix(l.Listeners[0], "PLAINTEXT://"), l.HTTP
		}
	}
	t.Fatalf("no addresses in the log:\n%s", b)
	return "", ""
}

func TestServeEndsWhenItIsTold(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders")
	b.produce(t, "orders", "one")
	resp, err := http.Get("http://" + b.http + "/readyz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	b.stop(t)
	code, _, stderr := execute(t, "topic", "list", "-b", b.addr, "--timeout", "5s")
	if want := "morrow: no broker at " + b.addr + ": connection refused\n"; code != 1 || stderr != want {
		t.Errorf("exit code %d: %s, want %s", code, stderr, want)
	}
	if code, stdout, _ := execute(t, "log", "check", b.dataDir); code != 0 {
		t.Errorf("log check: exit code %d: %s", code, stdout)
	}
}

// equalText compares what a command printed, but for spaces at the ends of lines and where line
// breaks are at the ends.
func equalText(t *testing.T, got, want string) {
	t.Helper()
	trim := func(s string) string {
		var lines []string
		for line := range strings.Lines(strings.Trim(s, "\n")) {
			lines = append(lines, strings.TrimRight(line, " \n"))
		}
		return strings.Join(lines, "\n")
	}
	if trim(got) != trim(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// eventually polls until a condition holds, for what happens behind the back of the commands.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
