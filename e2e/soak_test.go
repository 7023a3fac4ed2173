package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/morrowmq/morrow/e2e/history"
	"github.com/morrowmq/morrow/internal/testnet"
)

var soakRounds = flag.Int("soak.rounds", 4, "how often the soak test disturbs the broker and its store")

// soakConfig makes everything happen often.
const soakConfig = `
log.retention.check.interval.ms: 200
log.segment.delete.delay.ms: 500
log.cleaner.backoff.ms: 200
delay.spill.distance.bytes: 1048576
delay.replay.bytes: 1048576
delay.index.memory: 1048576
journal.max.bytes: 8388608
journal.segment.bytes: 1048576
offsets.topic.num.partitions: 3
offsets.topic.segment.bytes: 32768
transaction.state.log.num.partitions: 3
transaction.state.log.segment.bytes: 32768
group.initial.rebalance.delay.ms: 0
group.share.max.delivery.count.limit: 30
group.share.min.record.lock.duration.ms: 1000
tier.copy.spread.ms: 0
tier.cache.bytes: 1048576
tier.scrub.interval.ms: 2000
tier.scrub.bytes.per.second: 10000000
tier.sweep.interval.ms: 1000
`

// tieredConfigs are those of topics of which nearly nothing stays on the disk.
func tieredConfigs(more ...string) map[string]string {
	configs := map[string]string{"remote.storage.enable": "true", "segment.bytes": "65536", "segment.ms": "1000", "local.retention.ms": "500", "retention.ms": "-1"}
	for i := 0; i < len(more); i += 2 {
		configs[more[i]] = more[i+1]
	}
	return configs
}

// TestEverythingAtOnce runs on one broker, at the same time, what other tests run alone: producers
// of all kinds, delayed records near and far, cancels, moves, transactions, compaction, groups and
// share groups with dead letters, topics that come and go, grow and change their configs. It is
// killed, paused, filled up, finds its caches damaged, and its store is away, slow, or loses
// answers. In the end nothing that was acknowledged is lost, twice, early or back from the dead,
// what metrics say is there, nothing else is, and the bucket alone gives the same again.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d, %d rounds", *seed, *soakRounds)
	s := startSoak(t)
	rng := rand.New(rand.NewPCG(uint64(*seed), 6))
	h := s.history.record(func() {
		working, stop := context.WithCancel(t.Context())
		defer stop()
		var work sync.WaitGroup
		for _, role := range s.roles() {
			work.Go(func() { role(working) })
		}
		for round := range *soakRounds {
			time.Sleep(time.Duration(500+rng.IntN(2500)) * time.Millisecond)
			t.Logf("round %d: %s", round+1, s.disturb(rng))
		}
		s.store.Heal()
		time.Sleep(time.Second)
		stop()
		work.Wait()
	})
	report(t, h)
	found := history.Check(h)
	for _, v := range found[:min(len(found), 30)] {
		t.Error(v)
	}
	for _, c := range s.crowds {
		if c.topic == farTopic {
			continue
		}
		c.ledger.await(t, s.b, c.topic)
		t.Logf("%s: %v", c.topic, c.ledger.verify(t))
	}
	s.toggled.verify()
	s.jobs.verify()
	s.verifyFar("at the end")
	s.settle()
	s.verifyMetrics()
	s.verifyDisk()
	before := s.contents()
	s.verifyFiles()
	s.restore()
	s.compare(before)
	s.verifyFar("after the restore")
	s.deliverFar()
}

const (
	randomTopic    = "random"    // tiered; what was consumed is deleted
	compactedTopic = "compacted" // not tiered, compacted
	retieredTopic  = "retiered"  // tiered and not, in turn
	farTopic       = "far"       // tiered, with retention of seconds; nothing is due before the end
)

// soak is one run.
type soak struct {
	t       *testing.T
	b       *testnet.Broker
	store   *store
	adm     *kadm.Client
	history *historian
	crowds  []*crowd
	toggled *toggled
	jobs    *jobs

	mu     sync.Mutex
	errors map[string]int // guarded by mu: what roles were told, how often
}

// crowd is a topic of delayed records, and those who work on it.
type crowd struct {
	topic  string
	ledger *ledger
	people []*steerer
}

func startSoak(t *testing.T) *soak {
	t.Helper()
	st := startStore(t)
	config := writeFile(t, "morrow.yaml", soakConfig+"tier.url: "+st.url()+"\n")
	b := start(t, "--config", config)
	s := &soak{t: t, b: b, store: st, history: newHistorian(t, b), errors: map[string]int{}}
	s.adm = kadm.NewClient(client(t, b))
	t.Cleanup(s.told)
	createTopic(t, b, historyTopic, historyPartitions, tieredConfigs())
	s.crowd(randomTopic, 2, tieredConfigs())
	s.crowd(compactedTopic, 2, map[string]string{
		"segment.bytes": "65536", "segment.ms": "1000", "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "1000",
	})
	s.crowd(retieredTopic, 1, tieredConfigs())
	s.crowd(farTopic, 2, tieredConfigs("retention.ms", "2000"))
	s.toggled = newToggled(s)
	s.jobs = newJobs(s)
	return s
}

// crowd creates a topic with one steerer for each partition.
func (s *soak) crowd(topic string, partitions int32, configs map[string]string) {
	s.t.Helper()
	createTopic(s.t, s.b, topic, partitions, configs)
	c := &crowd{topic: topic, ledger: newLedger()}
	for p := range partitions {
		one := newSteerer(s.t, s.b, c.ledger, topic, len(s.crowds)*10+int(p), p)
		one.pace = 5 * time.Millisecond
		if topic == farTopic {
			one.pace, one.level = 50*time.Millisecond, false
			one.delay = func(rng *rand.Rand) int64 { return int64(time.Hour/time.Millisecond) + rng.Int64N(3_600_000) }
		}
		c.people = append(c.people, one)
	}
	c.ledger.consume(s.t, s.b, topic)
	s.crowds = append(s.crowds, c)
}

// roles are what goes on until working ends.
func (s *soak) roles() (roles []func(working context.Context)) {
	ctx := s.t.Context()
	for _, c := range s.crowds {
		for _, one := range c.people {
			roles = append(roles, func(working context.Context) { one.run(ctx, working) })
		}
	}
	for i := range 3 {
		roles = append(roles, func(working context.Context) { s.churn(working, i) })
	}
	return append(roles,
		func(working context.Context) { trim(working, s.adm, s.ledgerOf(randomTopic), randomTopic) },
		func(working context.Context) { s.grow(working) },
		func(working context.Context) { s.reconfigure(working) },
		func(working context.Context) { s.retier(working) },
		func(working context.Context) { s.toggled.produce(working) },
		func(working context.Context) { s.toggled.toggle(working) },
		func(working context.Context) { s.jobs.produce(working) },
	)
}

func (s *soak) ledgerOf(topic string) *ledger {
	for _, c := range s.crowds {
		if c.topic == topic {
			return c.ledger
		}
	}
	s.t.Fatalf("no ledger of %s", topic)
	return nil
}

// note remembers an error that a disturbance may have caused.
func (s *soak) note(what string, err error) {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errors[fmt.Sprintf("%s: %.120v", what, err)]++
	}
}

// told reports what was noted.
func (s *soak) told() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(s.errors)) {
		s.t.Logf("%d times %s", s.errors[what], what)
	}
}

// morrow runs a command of the binary.
func (s *soak) morrow(args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(deadline(s.t, 3*time.Minute), bin, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "MORROW_") })
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("morrow %s: %v\n%.4000s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
