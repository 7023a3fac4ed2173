package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"golang.org/x/sys/unix"

	"github.com/morrowmq/morrow/e2e/history"
	"github.com/morrowmq/morrow/internal/testnet"
)

var historyRounds = flag.Int("history-rounds", 12, "how often the history test disturbs the broker")

// TestClientsSeeNothingThatCannotBe kills, pauses and fills up the broker while producers of every
// kind, transactions, delayed records, consumers and groups go on, and has everything they were
// told checked.
func TestClientsSeeNothingThatCannotBe(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d, %d rounds", *seed, *historyRounds)
	rng := rand.New(rand.NewPCG(uint64(*seed), 5))
	h := record(t, bin, func(b *testnet.Broker) {
		for round := range *historyRounds {
			time.Sleep(time.Duration(300+rng.IntN(1500)) * time.Millisecond)
			t.Logf("round %d: %s", round+1, disturb(t, b, rng))
		}
		time.Sleep(time.Second)
	})
	report(t, h)
	found := history.Check(h)
	for i, v := range found {
		if i == 30 {
			t.Errorf("and %d more", len(found)-i)
			break
		}
		t.Error(v)
	}
}

// disturb does one thing to a broker that it has to bear.
func disturb(t *testing.T, b *testnet.Broker, rng *rand.Rand) string {
	t.Helper()
	switch rng.IntN(4) {
	case 0:
		d := time.Duration(50+rng.IntN(3000)) * time.Millisecond
		pause(t, b.PID(), d)
		return fmt.Sprintf("paused for %s", d)
	case 1:
		b.Kill9()
		b.Restart("--set", fmt.Sprintf("disk.reserve.bytes=%d", free(t, b.DataDir())+1<<40))
		time.Sleep(time.Duration(500+rng.IntN(1500)) * time.Millisecond)
		b.Kill9()
		b.Restart()
		return "killed, full, and killed again"
	case 2:
		b.Restart()
		return "restarted"
	}
	b.Kill9()
	time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
	b.Restart()
	return "killed"
}

// free is the space left on a file system.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// record writes down what clients see of a broker while something is done to it.
func record(t *testing.T, binary string, during func(*testnet.Broker)) *history.History {
	t.Helper()
	b := testnet.Start(t, binary, "--set", "group.initial.rebalance.delay.ms=0")
	createTopic(t, b, historyTopic, historyPartitions, map[string]string{"segment.bytes": "1048576"})
	return newHistorian(t, b).record(func() { during(b) })
}

// record writes down what clients see of the topic while something is done to the broker.
func (h *historian) record(during func()) *history.History {
	t := h.t
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	topics, err := kadm.NewClient(h.client()).ListTopics(ctx, historyTopic)
	if err != nil || topics[historyTopic].Err != nil {
		t.Fatalf("%v, %v", err, topics)
	}
	h.topic = topics[historyTopic].ID

	var work, watch sync.WaitGroup
	work.Go(func() { h.produce(ctx, working, "i0", history.Idempotent, 0) })
	work.Go(func() { h.produce(ctx, working, "i1", history.Idempotent, 1) })
	work.Go(func() { h.produce(ctx, working, "plain", history.AtLeastOnce, 2) })
	work.Go(func() { h.delay(ctx, working, "delayed", 3) })
	work.Go(func() { h.transact(ctx, working, "t0", 4) })
	work.Go(func() { h.transact(ctx, working, "t1", 5) })
	watch.Go(func() { h.watch(watching, "read_committed", true) })
	watch.Go(func() { h.watch(watching, "read_uncommitted", false) })
	watch.Go(func() { h.join(ctx, watching, "m0", 6) })
	watch.Go(func() { h.join(ctx, watching, "m1", 7) })
	watch.Go(func() { h.ask(watching, "group", "of-t0", "of-t1") })

	during()
	for end := time.Now().Add(patience * time.Minute); !h.rec.Enough() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	stopWorking()
	stuck := time.AfterFunc(patience*2*time.Minute, cancel)
	work.Wait()
	if !stuck.Stop() {
		t.Error("the producers got no answers within minutes of the last disturbance")
	}
	awaitQuiet(t, h.b)
	quiet := deadline(t, 2*time.Minute)
	log, visible := h.everything(quiet, false), h.everything(quiet, true)
	stopWatching()
	watch.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(h.errors)) {
		t.Logf("%d times %s", h.errors[text], text)
	}
	return h.rec.History(log, visible)
}

// awaitQuiet waits until nothing is pending.
func awaitQuiet(t *testing.T, b *testnet.Broker) {
	t.Helper()
	ctx := deadline(t, 2*time.Minute)
	for {
		s := summary(ctx, b, historyTopic)
		if s.Pending == 0 && s.Loading == 0 && s.Partitions > 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still pending: %+v", s)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// report says how much a history holds, and that it is enough.
func report(t *testing.T, h *history.History) {
	t.Helper()
	sends, txns, reads := map[history.Outcome]int{}, map[history.Outcome]int{}, 0
	for i := range h.Sends {
		sends[h.Sends[i].Outcome]++
	}
	for i := range h.Txns {
		if h.Txns[i].Commit {
			txns[h.Txns[i].Outcome]++
		}
	}
	for i := range h.Sessions {
		reads += len(h.Sessions[i].Reads)
	}
	t.Logf("sends %v, commits of transactions %v, %d cancels, %d reads in %d sessions, %d commits, %d positions",
		sends, txns, len(h.Cancels), reads, len(h.Sessions), len(h.Commits), len(h.Positions))
	if !h.Enough() {
		t.Error("the test is void")
	}
}

// TestHistoryCheckerFindsPlantedBugs runs a broker that has bugs, and expects the checker to say so.
func TestHistoryCheckerFindsPlantedBugs(t *testing.T) {
	planted := filepath.Join(t.TempDir(), "morrow")
	if out, err := exec.Command("go", "build", "-tags", "planted", "-o", planted, "../cmd/morrow").CombinedOutput(); err != nil {
		t.Fatalf("build the broker with bugs: %v\n%s", err, out)
	}
	for bug, rule := range map[string]history.Rule{
		"":           "",
		"lost-ack":   history.Lost,
		"duplicate":  history.Duplicate,
		"dirty-read": history.Dirty,
	} {
		t.Run("bug="+bug, func(t *testing.T) {
			t.Setenv("PLANTED_BUG", bug)
			h := record(t, planted, func(*testnet.Broker) { time.Sleep(4 * time.Second) })
			report(t, h)
			found := history.Check(h)
			for i := range min(len(found), 5) {
				t.Logf("found %d, among them %v", len(found), found[i])
			}
			if bug == "" && len(found) > 0 {
				t.Error("violations without a bug")
			}
			if bug != "" && !slices.ContainsFunc(found, func(v history.Violation) bool { return v.Rule == rule }) {
				t.Errorf("none is %q", rule)
			}
		})
	}
}
