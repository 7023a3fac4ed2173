package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

var delayRounds = flag.Int("delay.rounds", 40, "how often the random test of delayed delivery kills the broker")

// TestDelayedRecordsSurviveRandomKill9 kills the broker at random moments while producers send
// batches of delayed and other records, cancel and move some, by ticket and by key, over the
// protocol and over the API, and while DeleteRecords and retention remove what has been consumed,
// the cleaner what has a later record of its key, and the schedules are spilled into runs.
// Summaries of segments, which are caches, are cut between.
func TestDelayedRecordsSurviveRandomKill9(t *testing.T) {
	t.Parallel()
	const partitions, workers = 2, 4
	t.Logf("seed %d, %d rounds", *seed, *delayRounds)
	rng := rand.New(rand.NewPCG(uint64(*seed), 1))
	config := writeFile(t, "morrow.yaml", "log.retention.check.interval.ms: 200\nlog.cleaner.backoff.ms: 200\ndelay.spill.distance.bytes: 1048576\ndelay.replay.bytes: 1048576\n")
	b := start(t, "--config", config)
	createTopic(t, b, "random", partitions, map[string]string{
		"segment.bytes": "65536", "retention.ms": "12000", "segment.ms": "2000", "cleanup.policy": "compact,delete", "min.cleanable.dirty.ratio": "0.01",
	})
	ctx := deadline(t, time.Minute+time.Duration(*delayRounds)*10*time.Second)
	l := newLedger()
	l.consume(t, b, "random")

	working, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	for w := range workers {
		steerer := newSteerer(t, b, l, "random", w, int32(w%partitions))
		group.Go(func() { steerer.run(ctx, working) })
	}
	adm := kadm.NewClient(client(t, b))
	group.Go(func() { trim(working, adm, l, "random") })

	cleaned := false
	for range *delayRounds {
		time.Sleep(time.Duration(300+rng.IntN(900)) * time.Millisecond)
		cleaned = cleaned || slices.ContainsFunc(scrape(ctx, t, b), func(line string) bool {
			count, ok := strings.CutPrefix(line, "morrow_log_compactions_total ")
			return ok && count != "0"
		})
		b.Kill9()
		if rng.IntN(2) == 0 {
			time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
		}
		damage(t, rng, b.DataDir())
		b.Restart()
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	group.Wait()
	spilled := summary(ctx, b, "random")
	l.await(t, b, "random")
	counts := l.verify(t)
	t.Logf("%d delivered, %d cancelled or moved away, %d replaced or with a lost answer; %d runs at the end", counts[pending], counts[cancelled], counts[unknown], spilled.Runs)
	if counts[pending] < 20**delayRounds || counts[cancelled] == 0 || !cleaned {
		t.Errorf("the test is void: %v, compacted: %t", counts, cleaned)
	}
}

// trim deletes records that were consumed, so that the log's start moves and what is pending is in the way.
func trim(ctx context.Context, adm *kadm.Client, l *ledger, topic string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(700 * time.Millisecond):
		}
		offsets := kadm.Offsets{}
		l.mu.Lock()
		for p, next := range l.next {
			offsets.AddOffset(topic, p, next*3/4, -1)
		}
		l.mu.Unlock()
		_, _ = adm.DeleteRecords(ctx, offsets) // the broker may be down
	}
}

// damage cuts or removes some summaries of segments.
func damage(t *testing.T, rng *rand.Rand, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "logs", "*", "*.summary"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		switch rng.IntN(4) {
		case 0:
			err = os.Truncate(name, rng.Int64N(info.Size()+1))
		case 1:
			err = os.Remove(name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// steerer produces delayed records, and cancels and moves some of them. It is used by one goroutine.
type steerer struct {
	b         *testnet.Broker
	l         *ledger
	rng       *rand.Rand
	topic     string
	name      int
	partition int32
	produce   *kgo.Client
	// cancels go through a producer of their own: a refused one fails its batch.
	cancel *kgo.Client
	made   int
	live   []live
	// delay is how long, in milliseconds, a record is to wait; pace is between two steps.
	delay func(*rand.Rand) int64
	level bool // whether some ask for the first of delay.levels, a second
	pace  time.Duration
}

// live is a record that may still be pending.
type live struct {
	id  string
	key string
	r   *kgo.Record
}

func newSteerer(t *testing.T, b *testnet.Broker, l *ledger, topic string, name int, partition int32) *steerer {
	options := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(3 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.ProducerBatchCompression([]kgo.CompressionCodec{kgo.NoCompression(), kgo.ZstdCompression(), kgo.Lz4Compression()}[name%3]),
	}
	return &steerer{
		b: b, l: l, topic: topic, name: name, partition: partition, rng: rand.New(rand.NewPCG(uint64(*seed), uint64(100+name))),
		delay:   func(rng *rand.Rand) int64 { return 100 + rng.Int64N(4000) },
		level:   true,
		produce: client(t, b, options...), cancel: client(t, b, options...),
	}
}

// run works until working ends; what was begun is carried to its end.
func (s *steerer) run(ctx, working context.Context) {
	for ; working.Err() == nil; time.Sleep(s.pace) {
		switch n := s.rng.IntN(10); {
		case n < 6 || len(s.live) == 0:
			s.send(ctx)
		case n < 8:
			s.cancelOne(ctx)
		case n < 9:
			s.moveOne(ctx)
		default:
			s.steerOne(ctx)
		}
	}
}

// send produces a batch in which some records are delayed.
func (s *steerer) send(ctx context.Context) {
	var records []*kgo.Record
	var sent []live
	for range 1 + s.rng.IntN(20) {
		if s.rng.IntN(4) == 0 {
			key := fmt.Appendf(nil, "other %d", s.rng.IntN(10))
			records = append(records, &kgo.Record{Topic: s.topic, Partition: s.partition, Key: key, Value: make([]byte, s.rng.IntN(2000))})
			continue
		}
		next := s.next()
		if s.rng.IntN(3) == 0 {
			next.key = "key/" + next.id
			next.r.Headers = append(next.r.Headers, kgo.RecordHeader{Key: "morrow-key", Value: []byte(next.key)})
		}
		records, sent = append(records, next.r), append(sent, next)
	}
	err := s.produce.ProduceSync(ctx, records...).FirstErr()
	if err != nil && !lost(err) {
		s.l.complain("produce: %v", err)
		return
	}
	for _, one := range sent {
		s.l.promise(one.id, one.r, 0)
		if err != nil {
			s.l.settle(one.id, unknown, -1, 0)
		}
	}
	if err != nil {
		return
	}
	s.live = append(s.live, sent...)
	s.live = s.live[max(0, len(s.live)-200):]
}

// next makes a record that is due soon after the broker gets it: a due time that passes while the
// broker is down would make it an ordinary record.
func (s *steerer) next() live {
	s.made++
	id := fmt.Sprintf("w%d-%05d", s.name, s.made)
	r := s.l.record(s.topic, id, s.partition, 0)
	r.Headers[1] = kgo.RecordHeader{Key: "morrow-delay", Value: strconv.AppendInt(nil, s.delay(s.rng), 10)}
	if s.level && s.rng.IntN(8) == 0 {
		r.Headers[1] = kgo.RecordHeader{Key: "morrow-delay-level", Value: []byte("1")}
	}
	return live{id: id, r: r}
}

// take picks a record and does not pick it again.
func (s *steerer) take() live {
	i := s.rng.IntN(len(s.live))
	one := s.live[i]
	s.live = append(s.live[:i], s.live[i+1:]...)
	return one
}

func (s *steerer) cancelOne(ctx context.Context) {
	one := s.take()
	c := cancelOf(one.r)
	if one.key != "" {
		c.Headers = []kgo.RecordHeader{{Key: "morrow-cancel", Value: []byte("key")}, {Key: "morrow-key", Value: []byte(one.key)}}
	}
	switch err := s.cancel.ProduceSync(ctx, c).FirstErr(); {
	case err == nil:
		s.l.settle(one.id, cancelled, one.r.Offset, 0)
	case lost(err):
		s.l.settle(one.id, unknown, one.r.Offset, 0)
	case !errors.Is(err, kerr.InvalidRecord):
		s.l.complain("cancel %s: %v", one.id, err)
	}
}

// moveOne cancels a record and produces another instead, in one batch.
func (s *steerer) moveOne(ctx context.Context) {
	one, instead := s.take(), s.next()
	if one.key != "" {
		s.replace(ctx, one, instead)
		return
	}
	switch err := s.cancel.ProduceSync(ctx, cancelOf(one.r), instead.r).FirstErr(); {
	case err == nil:
		s.l.settle(one.id, cancelled, one.r.Offset, 0)
		s.l.promise(instead.id, instead.r, 0)
		s.live = append(s.live, instead)
	case lost(err):
		s.l.settle(one.id, unknown, one.r.Offset, 0)
		s.l.promise(instead.id, instead.r, 0)
		s.l.settle(instead.id, unknown, -1, 0)
	case !errors.Is(err, kerr.InvalidRecord):
		s.l.complain("move %s: %v", one.id, err)
	}
}

// replace produces a record under the key of another. If that is still pending it is never
// delivered; nobody says whether it was.
func (s *steerer) replace(ctx context.Context, one, instead live) {
	instead.key = one.key
	instead.r.Headers = append(instead.r.Headers, kgo.RecordHeader{Key: "morrow-key", Value: []byte(one.key)})
	err := s.produce.ProduceSync(ctx, instead.r).FirstErr()
	if err != nil && !lost(err) {
		s.l.complain("replace %s: %v", one.id, err)
		return
	}
	s.l.settle(one.id, unknown, one.r.Offset, 0)
	s.l.promise(instead.id, instead.r, 0)
	if err != nil {
		s.l.settle(instead.id, unknown, -1, 0)
		return
	}
	s.live = append(s.live, instead)
}

// lost reports whether the client gave up on an answer: a broker that dies right after it has
// accepted a connection looks to it like one that wants something else spoken, and it does not try
// again.
func lost(err error) bool {
	_, eof := errors.AsType[*kgo.ErrFirstReadEOF](err)
	return eof
}

// steerOne cancels or moves a record over the API.
func (s *steerer) steerOne(ctx context.Context) {
	one := s.take()
	path := "/" + s.topic + "/" + strconv.Itoa(int(s.partition)) + "/" + strconv.FormatInt(one.r.Offset, 10)
	var moved struct {
		Ticket int64
		Due    int64 `json:"due_ms"`
	}
	f, ticket, due := cancelled, one.r.Offset, int64(0)
	var err error
	if s.rng.IntN(2) == 0 {
		err = api(ctx, s.b, http.MethodDelete, path, nil, nil)
	} else {
		err = api(ctx, s.b, http.MethodPost, path+"/move", map[string]int64{"delay_ms": s.delay(s.rng)}, &moved)
		f, ticket, due = pending, moved.Ticket, moved.Due
	}
	switch {
	case err == nil:
		s.l.settle(one.id, f, ticket, due)
	case !errors.Is(err, errRefused):
		s.l.settle(one.id, unknown, -1, 0) // the broker was killed
	}
}
