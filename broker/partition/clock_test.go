package partition

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// steppedClock is a wall clock that is set forwards and backwards while time goes on.
type steppedClock struct {
	mu     sync.Mutex
	offset time.Duration // guarded by mu
	// latest is what it has shown at most: nothing that is due later may have been delivered.
	latest time.Time // guarded by mu
}

func (c *steppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Add(c.offset)
	if now.After(c.latest) {
		c.latest = now
	}
	return now
}

func (c *steppedClock) step(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += by
}

func (c *steppedClock) max() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// stepped is a history of one partition whose clock is set while the broker crashes.
type stepped struct {
	*world
	rng   *rand.Rand
	clock *steppedClock
	// promised are the due times of what was acknowledged, earliest and latest, by value.
	promised map[string][2]int64
}

// TestClockIsSetWhileTheBrokerCrashes: what was acknowledged is delivered once, never before the
// wall clock has shown its due time, and, once the clock shows it and stands, at once. Runs are
// spilled and the clock is set in all phases, also while the broker is down.
func TestClockIsSetWhileTheBrokerCrashes(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := &steppedClock{}
				mem := vfs.NewMem()
				w := &world{
					TB: t, fsys: mem, mem: mem, store: newMemStore("delay.spill.distance.bytes", "1048576"), clock: clock.now, lines: &syncBuffer{},
				}
				s := &stepped{world: w, rng: rand.New(rand.NewPCG(seed, 1)), clock: clock, promised: map[string][2]int64{}}
				w.open()
				w.create("orders", 1, "segment.bytes", "1048576")
				for range 12 {
					s.live()
				}
				s.finish()
			})
		})
	}
}

// live is the broker from a start to a crash.
func (s *stepped) live() {
	stop := s.start()
	s.awaitLoaded("orders")
	for range 1 + s.rng.IntN(6) {
		switch s.rng.IntN(5) {
		case 0, 1:
			s.produce()
		case 2:
			s.set()
		case 3:
			time.Sleep(time.Duration(s.rng.IntN(20_000)) * time.Millisecond)
		case 4:
			s.settle()
		}
	}
	left := s.mem.CrashProcess()
	if s.rng.IntN(2) == 0 {
		left = s.mem.Crash(s.rng)
	}
	stop()
	if s.rng.IntN(2) == 0 {
		s.set()
	}
	s.reopen(left)
}

// set sets the clock, by less than the alarm notices up to hours.
func (s *stepped) set() {
	by := time.Duration(s.rng.Int64N(int64([]time.Duration{time.Second / 10, time.Minute, 3 * time.Hour}[s.rng.IntN(3)])))
	if s.rng.IntN(2) == 0 {
		by = -by
	}
	s.clock.step(by)
}

func (s *stepped) produce() {
	s.Helper()
	p := s.partition("orders")
	sent := s.clock.now()
	dues, rs := map[string][2]int64{}, []rec(nil)
	for range 1 + s.rng.IntN(20) {
		id := fmt.Sprintf("%d;", len(s.promised)+len(dues))
		by := time.Duration(s.rng.IntN(120_000)+1) * time.Millisecond
		r := delayed(id+strings.Repeat("x", s.rng.IntN(30_000)), strconv.FormatInt(by.Milliseconds(), 10))
		dues[id] = [2]int64{sent.Add(by).UnixMilli(), s.clock.max().Add(by).UnixMilli()}
		if s.rng.IntN(3) == 0 {
			due := sent.Add(by).UnixMilli()
			r.headers = []string{delay.HeaderDeliverAt, strconv.FormatInt(due, 10)}
			dues[id] = [2]int64{due, due}
		}
		rs = append(rs, r)
	}
	pending, err := p.Append(context.Background(), batch(sent, rs...), nil, sent)
	if err != nil {
		s.Fatal(err)
	}
	if err := pending.Wait(context.Background()); err != nil {
		s.Fatal(err)
	}
	for id, due := range dues {
		s.promised[id] = due
	}
}

// settle waits until the clock has stood for a while: what is due was delivered by then.
func (s *stepped) settle() {
	s.Helper()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	if st := s.stats(s.partition("orders")); st.Overdue > 0 {
		s.Errorf("%d records are overdue though the clock has stood for seconds", st.Overdue)
	}
}

// finish lets everything fall due and looks at what became of it.
func (s *stepped) finish() {
	s.Helper()
	stop := s.start()
	s.awaitLoaded("orders")
	time.Sleep(time.Minute) // nothing is noticed at a start
	before := strings.Count(s.lines.String(), "the wall clock jumped")
	s.produce()
	synctest.Wait() // the clock is watched while something is pending
	s.clock.step(24 * time.Hour)
	s.settle()
	if n := strings.Count(s.lines.String(), "the wall clock jumped"); n != before+1 {
		s.Errorf("a step of a day was told %d times", n-before)
	}
	p, seen := s.partition("orders"), map[string]int{}
	if st := s.stats(p); st.Pending > 0 {
		s.Errorf("%d records are pending after all", st.Pending)
	}
	o := p.log.Offsets()
	err := p.log.Scan(o.RealStart, o.LogEnd, func(b record.Batch) error {
		if !b.Delivery() {
			return nil
		}
		rs, err := b.Decode()
		for _, r := range rs {
			s.judge(r, seen)
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	for id := range s.promised {
		if seen[id] != 1 {
			s.Errorf("%s was delivered %d times", id, seen[id])
		}
	}
	stop()
}

// judge looks at one delivery.
func (s *stepped) judge(r record.Record, seen map[string]int) {
	s.Helper()
	id, _, _ := strings.Cut(string(r.Value), ";")
	id += ";"
	seen[id]++
	i := slices.IndexFunc(r.Headers, func(h record.Header) bool { return h.Key == "morrow-due" })
	due, err := strconv.ParseInt(string(r.Headers[i].Value), 10, 64)
	promised := s.promised[id]
	switch {
	case err != nil:
		s.Error(err)
	case due < promised[0] || due > promised[1]:
		s.Errorf("%s is due at %d, between %d and %d was promised", id, due, promised[0], promised[1])
	case r.Timestamp < due:
		s.Errorf("%s was due at %d, and appended at %d", id, due, r.Timestamp)
	case r.Timestamp > s.clock.max().UnixMilli():
		s.Errorf("%s was appended at %d, which the clock has not shown", id, r.Timestamp)
	}
}
