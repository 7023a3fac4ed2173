package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What goes on in the soak test beside the clients of the history test and the steerers of delayed records.

// until repeats something until it works or working ends, and reports whether it did.
func (s *soak) until(working context.Context, what string, do func(ctx context.Context) error) bool {
	for working.Err() == nil {
		ctx, cancel := context.WithTimeout(working, 10*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return true
		}
		s.note(what, err)
		rest(working, 100*time.Millisecond)
	}
	return false
}

// rest sleeps until working ends.
func rest(working context.Context, d time.Duration) {
	select {
	case <-working.Done():
	case <-time.After(d):
	}
}

// alter sets configs of a topic: names and values in turn.
func (s *soak) alter(working context.Context, topic string, configs ...string) {
	s.until(working, "alter "+topic, func(ctx context.Context) error {
		var set []kadm.AlterConfig
		for i := 0; i < len(configs); i += 2 {
			set = append(set, kadm.AlterConfig{Op: kadm.SetConfig, Name: configs[i], Value: &configs[i+1]})
		}
		done, err := s.adm.AlterTopicConfigs(ctx, set, topic)
		if err != nil {
			return err
		}
		if errors.Is(done[0].Err, kerr.InvalidConfig) {
			s.t.Errorf("alter %s: %s", topic, done[0].ErrMessage)
			return nil
		}
		return done[0].Err
	})
}

// grow adds partitions to the history topic, and their producers use them.
func (s *soak) grow(working context.Context) {
	for n := historyPartitions + 1; n <= historyPartitions+2; n++ {
		rest(working, 6*time.Second)
		if s.until(working, "grow", func(ctx context.Context) error {
			_, err := s.adm.UpdatePartitions(ctx, n, historyTopic)
			details, listErr := s.adm.ListTopics(ctx, historyTopic)
			if listErr == nil && len(details[historyTopic].Partitions) == n {
				return nil
			}
			return errors.Join(err, listErr, errors.New("not seen yet"))
		}) {
			s.history.partitions.Store(int32(n))
		}
	}
}

// reconfigure changes configs of topics that are in use.
func (s *soak) reconfigure(working context.Context) {
	rng := rand.New(rand.NewPCG(uint64(*seed), 7))
	usual := []string{"remote.log.copy.disable", "false", "local.retention.ms", "500", "local.retention.bytes", "-2", "segment.bytes", "65536"}
	topics := []string{historyTopic, randomTopic, farTopic}
	for ; working.Err() == nil; rest(working, 700*time.Millisecond) {
		topic := topics[rng.IntN(len(topics))]
		switch rng.IntN(5) {
		case 0: // nothing more goes up, and nothing of what is local goes
			s.alter(working, topic, "remote.log.copy.disable", "true", "local.retention.ms", "-2", "local.retention.bytes", "-2")
		case 1:
			s.alter(working, topic, append(usual[:6:6], "segment.bytes", []string{"16384", "262144"}[rng.IntN(2)])...)
		case 2:
			s.alter(working, topic, append(usual[:2:2], "local.retention.ms", []string{"0", "1500"}[rng.IntN(2)])...)
		case 3:
			s.alter(working, topic, append(usual[:4:4], "local.retention.bytes", []string{"0", "100000"}[rng.IntN(2)])...)
		default:
			s.alter(working, topic, usual...)
		}
	}
	for _, topic := range topics {
		s.alter(s.t.Context(), topic, usual...)
	}
}

// retier takes a topic out of the tier, with everything it has there, and puts it back. What is
// taken has been consumed; what is pending there has not.
func (s *soak) retier(working context.Context) {
	l := s.ledgerOf(retieredTopic)
	on := []string{"remote.log.delete.on.disable", "false", "remote.storage.enable", "true", "local.retention.ms", "500"}
	defer func() { s.alter(s.t.Context(), retieredTopic, on...) }()
	for working.Err() == nil {
		rest(working, 3*time.Second)
		s.alter(working, retieredTopic, "local.retention.ms", "3600000")
		rest(working, time.Second)
		ok := s.until(working, "await consumption of "+retieredTopic, func(ctx context.Context) error {
			locals, err := s.adm.ListLocalLogStartOffsets(ctx, retieredTopic)
			if err == nil && (len(locals) == 0 || !l.reached(locals)) {
				err = errors.New("not consumed")
			}
			return err
		})
		if !ok {
			return
		}
		s.alter(working, retieredTopic, "remote.log.delete.on.disable", "true", "remote.storage.enable", "false")
		rest(working, 2*time.Second)
		s.alter(working, retieredTopic, on...)
	}
}

// churn creates and deletes a topic of one name again and again. What one was sent is never seen in another.
func (s *soak) churn(working context.Context, n int) {
	name, rng := fmt.Sprintf("churn-%d", n), rand.New(rand.NewPCG(uint64(*seed), uint64(20+n)))
	kinds := []map[string]*string{nil, {"remote.storage.enable": kadm.StringPtr("true"), "segment.ms": kadm.StringPtr("300"), "local.retention.ms": kadm.StringPtr("100")}, {"cleanup.policy": kadm.StringPtr("compact")}}
	for life := 0; working.Err() == nil; life++ {
		partitions := 1 + rng.Int32N(3)
		s.until(s.t.Context(), "create "+name, func(ctx context.Context) error {
			_, err := s.adm.CreateTopic(ctx, partitions, 1, kinds[rng.IntN(len(kinds))], name)
			if errors.Is(err, kerr.TopicAlreadyExists) {
				return nil // an answer was lost
			}
			return err
		})
		s.live(working, name, life, rng)
		s.until(s.t.Context(), "delete "+name, func(ctx context.Context) error {
			_, err := s.adm.DeleteTopic(ctx, name)
			if errors.Is(err, kerr.UnknownTopicOrPartition) {
				return nil
			}
			return err
		})
	}
}

// live is the life of one topic that is deleted afterwards.
func (s *soak) live(working context.Context, name string, life int, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(working, time.Duration(500+rng.IntN(4000))*time.Millisecond)
	defer cancel()
	prefix := fmt.Sprintf("%s of life %d", name, life)
	cl := client(s.t, s.b, kgo.DefaultProduceTopic(name), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	defer cl.CloseAllowingRebalance()
	for i := range 200 {
		r := &kgo.Record{Key: fmt.Appendf(nil, "%d", i%20), Value: fmt.Appendf(nil, "%s: %d", prefix, i)}
		if i%2 == 0 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "morrow-delay", Value: strconv.AppendInt(nil, rng.Int64N(6000), 10)})
		}
		cl.Produce(ctx, r, nil) // whether it comes through does not matter
	}
	for ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if !strings.HasPrefix(string(r.Value), prefix+":") {
				s.t.Errorf("topic %s in life %d has %q", name, life, r.Value)
			}
		})
	}
}

// toggled is a topic in which delay headers count and do not count, in turn. Its producer does not
// know which, and finds every record once.
type toggled struct {
	s  *soak
	cl *kgo.Client

	mu    sync.Mutex
	acked map[string]int64 // guarded by mu: the offset told
}

const toggledTopic = "toggled"

func newToggled(s *soak) *toggled {
	createTopic(s.t, s.b, toggledTopic, 1, tieredConfigs())
	return &toggled{s: s, cl: client(s.t, s.b, kgo.DefaultProduceTopic(toggledTopic)), acked: map[string]int64{}}
}

func (g *toggled) produce(working context.Context) {
	ctx := g.s.t.Context()
	for i := 0; working.Err() == nil; i++ {
		id := fmt.Sprintf("toggled-%d", i)
		r := &kgo.Record{Key: []byte(id), Value: valueOf(id), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: strconv.AppendInt(nil, int64(100+i%17*100), 10)}}}
		g.cl.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				g.s.note("produce to "+toggledTopic, err)
				return
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			g.acked[id] = r.Offset
		})
		rest(working, 10*time.Millisecond)
	}
	g.s.note("flush of "+toggledTopic, g.cl.Flush(ctx))
}

func (g *toggled) toggle(working context.Context) {
	for on := false; working.Err() == nil; on = !on {
		g.s.alter(working, toggledTopic, "delay.enable", strconv.FormatBool(on))
		rest(working, 900*time.Millisecond)
	}
}

// verify waits until nothing is pending, and looks for every record.
func (g *toggled) verify() {
	g.s.awaitPending(toggledTopic, 0)
	ordinary, delivered := 0, 0
	seen := map[string]bool{}
	for _, r := range g.s.read(toggledTopic) {
		id := string(r.Key)
		if seen[id] {
			g.s.t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		told, ok := g.acked[id]
		ticket := header(r, "morrow-ticket")
		switch {
		case !bytes.Equal(r.Value, valueOf(id)):
			g.s.t.Errorf("%s has value %.40q", id, r.Value)
		case ticket == "" && (header(r, "morrow-delay") == "" || ok && told != r.Offset):
			g.s.t.Errorf("%s was acknowledged at %d, is at %d with %v", id, told, r.Offset, r.Headers)
		case ticket == "":
			ordinary++
		case ok && ticket != strconv.FormatInt(told, 10) || header(r, "morrow-delay") != "":
			g.s.t.Errorf("%s was acknowledged at %d, delivered as %v", id, told, r.Headers)
		default:
			delivered++
		}
	}
	for id := range g.acked {
		if !seen[id] {
			g.s.t.Errorf("%s was acknowledged at %d and is not there", id, g.acked[id])
		}
	}
	g.s.t.Logf("toggled: %d ordinary records, %d delivered", ordinary, delivered)
}

// jobs is a topic that a share group works on. Every seventh record is rejected, every fifth given
// back once; some are delayed.
type jobs struct {
	s  *soak
	cl *kgo.Client

	mu       sync.Mutex
	acked    map[string]bool // guarded by mu
	accepted map[string]int  // guarded by mu: how often, or whose answer was lost
}

const (
	jobsTopic = "jobs"
	deadTopic = "jobs.dead"
	jobsGroup = "workers"
)

func newJobs(s *soak) *jobs {
	createTopic(s.t, s.b, jobsTopic, 2, tieredConfigs())
	createTopic(s.t, s.b, deadTopic, 1, tieredConfigs())
	configureGroup(s.t, s.b, jobsGroup, "share.auto.offset.reset", "earliest", "share.retry.delay.ms", "100", "share.delivery.count.limit", "30",
		"errors.deadletterqueue.topic.name", deadTopic, "share.record.lock.duration.ms", "5000")
	j := &jobs{s: s, cl: client(s.t, s.b, kgo.DefaultProduceTopic(jobsTopic)), acked: map[string]bool{}, accepted: map[string]int{}}
	for range 2 {
		j.work()
	}
	return j
}

func (j *jobs) produce(working context.Context) {
	ctx := j.s.t.Context()
	for i := 0; working.Err() == nil; i++ {
		r := &kgo.Record{Key: strconv.AppendInt(nil, int64(i), 10), Value: strconv.AppendInt(nil, int64(i), 10)}
		if i%3 == 0 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "morrow-delay", Value: strconv.AppendInt(nil, int64(i%2000), 10)})
		}
		j.cl.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				j.s.note("produce to "+jobsTopic, err)
				return
			}
			j.mu.Lock()
			defer j.mu.Unlock()
			j.acked[string(r.Value)] = true
		})
		rest(working, 15*time.Millisecond)
	}
	j.s.note("flush of "+jobsTopic, j.cl.Flush(ctx))
}

// rejected reports whether a record is not to be accepted.
func rejected(n int) bool { return n%7 == 3 }

// work begins to consume, until the test ends.
func (j *jobs) work() {
	cl := shareConsumer(j.s.t, j.s.b, jobsGroup, jobsTopic, kgo.ShareMaxRecords(20))
	ctx, cancel := context.WithCancel(j.s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var mine []string
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				switch n, _ := strconv.Atoi(string(r.Value)); {
				case rejected(n):
					r.Ack(kgo.AckReject)
				case n%5 == 0 && r.DeliveryCount() < 2:
					r.Ack(kgo.AckRelease)
				default:
					r.Ack(kgo.AckAccept)
					mine = append(mine, string(r.Value))
				}
			})
			flush, stop := context.WithTimeout(ctx, 10*time.Second)
			j.s.note("acknowledge", cl.FlushAcks(flush)) // an acknowledgement that got lost may have been taken
			stop()
			j.mu.Lock()
			for _, id := range mine {
				j.accepted[id]++
			}
			j.mu.Unlock()
		}
	}()
	j.s.t.Cleanup(func() { cancel(); <-done })
}

// verify waits until the group is through, and looks for every record with it or among the dead letters.
func (j *jobs) verify() {
	t := j.s.t
	j.s.awaitPending(jobsTopic, 0)
	awaitShareLag(t, j.s.b, jobsGroup, jobsTopic, 2, 0)
	dead := map[string]int{}
	for _, r := range j.s.read(deadTopic) {
		id := string(r.Value)
		dead[id]++
		if n, err := strconv.Atoi(id); err != nil || !rejected(n) {
			t.Errorf("dead letter of %q: %s", id, header(r, "__dlq.errors.message"))
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for id := range j.acked {
		n, _ := strconv.Atoi(id)
		switch {
		case rejected(n) && dead[id] == 0:
			t.Errorf("job %s was rejected and is no dead letter", id)
		case !rejected(n) && j.accepted[id] == 0:
			t.Errorf("job %s was acknowledged and never accepted", id)
		}
	}
	t.Logf("jobs: %d, %d accepted, %d dead letters", len(j.acked), len(j.accepted), len(dead))
}
