package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

var (
	rounds = flag.Int("rounds", 40, "how often the crash test kills the broker")
	seed   = flag.Int64("seed", 0, "seed of random tests; 0 takes one from the clock and prints it")

	bin string

	cleanups []func() // when all tests are over
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := run(m)
	for _, f := range cleanups {
		f()
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	if *seed == 0 {
		*seed = time.Now().UnixNano()
	}
	for key, value := range storeKeys {
		if err := os.Setenv(key, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if bin = os.Getenv("MORROW_BIN"); bin == "" {
		dir, err := os.MkdirTemp("", "morrow-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = filepath.Join(dir, "morrow")
		build := exec.Command("go", "build", "-o", bin, "../cmd/morrow")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the broker:", err)
			return 1
		}
	}
	return m.Run()
}

// start runs a broker for one test.
func start(t *testing.T, args ...string) *testnet.Broker {
	t.Helper()
	return testnet.Start(t, bin, args...)
}

// client connects to a broker; it is closed when the test ends.
func client(t *testing.T, b *testnet.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.Addr()), kgo.Dialer(testnet.Dial), kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, b *testnet.Broker, name string, partitions int32, configs map[string]string) {
	t.Helper()
	set := make(map[string]*string, len(configs))
	for k, v := range configs {
		set[k] = &v
	}
	if _, err := kadm.NewClient(client(t, b)).CreateTopic(deadline(t, 20*time.Second), partitions, 1, set, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
}

// patience is how many times as long as it should a slow machine may take.
const patience = 3

// deadline is a context that ends with the test, or after d, or several d on a slow machine, at the latest.
func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience*d)
	t.Cleanup(cancel)
	return ctx
}

// ahead has something done before a time comes, which is in lead, and returns that time. Where this
// machine is too slow for that, it is all done anew, whatever became of it, with twice the lead.
func ahead(t *testing.T, lead time.Duration, do func(due time.Time) error) time.Time {
	t.Helper()
	for ; ; lead *= 2 {
		due := time.Now().Add(lead)
		err := do(due)
		late := time.Since(due)
		if late < 0 && err == nil {
			return due
		}
		if late < 0 || lead > 2*time.Minute {
			t.Fatalf("not done %v after a lead of %v: %v", late, lead, err)
		}
		t.Logf("not done within %v, but %v later (%v): once more", lead, late, err)
	}
}

// consume reads n records from the beginning of a topic.
func consume(t *testing.T, b *testnet.Broker, topic string, n int) []*kgo.Record {
	t.Helper()
	var got []*kgo.Record
	each(t, b, topic, n, func(r *kgo.Record) { got = append(got, r) })
	return got
}

// each calls fn for n records or a few more from the beginning of a topic.
func each(t *testing.T, b *testnet.Broker, topic string, n int, fn func(*kgo.Record)) {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	defer cl.Close()
	ctx := deadline(t, time.Minute+time.Duration(n)*20*time.Microsecond)
	for got := 0; got < n; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("consumed %d of %d records of %s: %v", got, n, topic, err)
		}
		fs.EachError(func(_ string, p int32, err error) { t.Fatalf("fetch %s-%d: %v", topic, p, err) })
		fs.EachRecord(func(r *kgo.Record) {
			got++
			fn(r)
		})
	}
}

// writeFile makes a file for one test and returns its name.
func writeFile(t *testing.T, name, contents string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
