package share

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/broker/coord"
)

// modelRecord is what a record's history amounts to.
type modelRecord struct {
	holder   string
	count    int16 // deliveries begun and not taken back
	written  int16 // of them, what the journal says
	finished bool
	dying    bool
	notUntil time.Time // its retry
	lock     time.Time // end of the holder's
}

// model is a log with holes, and what became of its records, by offset.
type model struct {
	end     int64
	batches []Span
	records map[int64]modelRecord
}

func (m *model) clone() *model {
	return &model{m.end, slices.Clone(m.batches), maps.Clone(m.records)}
}

// grow appends a batch of n records after a hole.
func (m *model) grow(hole, n int64) {
	m.batches = append(m.batches, Span{m.end + hole, m.end + hole + n})
	for o := m.end + hole; o < m.end+hole+n; o++ {
		m.records[o] = modelRecord{}
	}
	m.end += hole + n
}

// sim runs a machine beside its model.
type sim struct {
	*rapid.T
	w     *world
	m     *model
	saved map[int]*model // by length of the journal
}

// TestMembersAgreeWithTheModel has random members acquire, acknowledge, forget and leave while time
// passes, the journal fails and is trimmed, and the broker crashes, losing what was not committed.
// No record is held by two, none is lost, none comes too early or too often, and deliveries are
// counted right.
func TestMembersAgreeWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &sim{T: t, w: newWorld(), m: &model{records: map[int64]modelRecord{}}, saved: map[int]*model{}}
		s.w.cfg = Config{
			LockDuration: 10 * time.Second, DeliveryLimit: int16(rapid.IntRange(1, 4).Draw(t, "limit")), MaxLocks: int64(rapid.IntRange(3, 30).Draw(t, "locks")),
			RetryDelay: time.Duration(rapid.IntRange(0, 3).Draw(t, "delay")) * time.Second, RetryMaxDelay: 5 * time.Second,
			DeadLetters: rapid.SampledFrom([]string{"", "dead"}).Draw(t, "dead letters"),
		}
		s.w.do(func(m *machine, tx *coord.Tx) {
			if err := m.open(tx, testKey, 0); err != nil {
				t.Fatal(err)
			}
		})
		s.save()
		t.Repeat(map[string]func(*rapid.T){
			"produce": func(t *rapid.T) {
				s.m.grow(rapid.Int64Range(0, 2).Draw(t, "hole"), rapid.Int64Range(1, 5).Draw(t, "records"))
			},
			"acquire": func(t *rapid.T) {
				s.acquire(member(t), rapid.Int64Range(1, 8).Draw(t, "max"), rapid.Bool().Draw(t, "exactly"))
			},
			"ack":        func(t *rapid.T) { s.ack(t, member(t)) },
			"leave":      func(t *rapid.T) { s.leave(member(t)) },
			"time":       func(t *rapid.T) { s.pass(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second) },
			"bury":       func(*rapid.T) { s.bury() },
			"checkpoint": func(*rapid.T) { s.checkpoint() },
			"crash":      func(t *rapid.T) { s.crash(rapid.IntRange(0, 3).Draw(t, "lost")) },
			"journal":    func(t *rapid.T) { s.w.journal.Refuse = rapid.SampledFrom([]error{nil, errFull}).Draw(t, "journal") },
			"":           func(*rapid.T) { s.check() },
		})
		s.drain()
	})
}

func member(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "member") }

// save remembers what the journal amounts to at its present length.
func (s *sim) save() { s.saved[len(s.w.journal.Records)] = s.m.clone() }

func (s *sim) part() *partition { return s.w.machine.parts[testKey] }

func (s *sim) check() {
	if err := s.part().check(); err != nil {
		s.Fatalf("%v\n%s", err, s.w.machine.dump(s.w.now))
	}
	for _, x := range s.part().list {
		for o := x.first; o < x.end; o++ {
			if r, ok := s.m.records[o]; ok && (r.finished != (x.state == done) || r.holder != x.member || r.dying != x.state.dying()) {
				s.Fatalf("offset %d is %+v\n%s", o, r, s.w.machine.dump(s.w.now))
			}
		}
	}
	for o, r := range s.m.records {
		if o < s.part().start && !r.finished {
			s.Fatalf("offset %d is lost: %+v\n%s", o, r, s.w.machine.dump(s.w.now))
		}
	}
}

// acquire reads as a broker does: from where next says, the batches from there on.
func (s *sim) acquire(who string, most int64, exactly bool) []Acquired {
	from, until, ok := s.part().next(s.w.cfg, s.w.now.UnixMilli())
	if !ok {
		return nil
	}
	f := Find{Member: who, From: from, Max: most, Exactly: exactly}
	for _, b := range s.m.batches {
		if b.End > from && b.First < until {
			f.Spans = append(f.Spans, b)
		}
	}
	if f.To = until; until == math.MaxInt64 {
		f.To = s.m.end
	}
	var got []Acquired
	s.w.do(func(m *machine, tx *coord.Tx) { got, _ = m.acquire(tx, testKey, f) })
	n := int64(0)
	for _, a := range got {
		for o := a.First; o < a.End; o++ {
			r, ok := s.m.records[o]
			switch {
			case !ok || r.finished || r.dying || r.holder != "":
				s.Fatalf("offset %d is given to %s: %+v", o, who, r)
			case s.w.now.Before(r.notUntil):
				s.Fatalf("offset %d comes %v too early", o, r.notUntil.Sub(s.w.now))
			case a.Count != r.count+1:
				s.Fatalf("offset %d counts as delivered %d times, want %d", o, a.Count, r.count+1)
			}
			r.holder, r.count, r.lock = who, a.Count, s.w.now.Add(s.w.cfg.LockDuration)
			s.m.records[o] = r
			n++
		}
	}
	if exactly && n > most {
		s.Fatalf("%d records, want at most %d", n, most)
	}
	return got
}

// held lists what a member holds, in order.
func (s *sim) held(who string) []int64 {
	var offsets []int64
	for o, r := range s.m.records {
		if r.holder == who {
			offsets = append(offsets, o)
		}
	}
	slices.Sort(offsets)
	return offsets
}

// ack acknowledges some of what a member holds and, now and then, what it does not, which must change nothing.
func (s *sim) ack(t *rapid.T, who string) {
	var acks []Ack
	wrong := rapid.IntRange(0, 9).Draw(t, "wrong") == 0
	for o := range s.m.end {
		if r := s.m.records[o]; r.holder != who && !wrong {
			continue
		}
		if way := int8(rapid.IntRange(-1, 4).Draw(t, fmt.Sprint("way of ", o))); way >= 0 {
			acks = append(acks, Ack{o, o + 1, []int8{way}})
		}
	}
	var err error
	s.w.do(func(m *machine, tx *coord.Tx) { err = m.acknowledge(tx, testKey, who, acks) })
	if err != nil {
		return
	}
	for _, a := range acks {
		r, ok := s.m.records[a.First]
		if !ok || a.First < s.part().start && r.finished {
			continue
		}
		if r.holder != who {
			s.Fatalf("%s acknowledges offset %d, which is not its: %+v", who, a.First, r)
		}
		s.m.records[a.First] = s.after(r, a.Types[0])
	}
	s.save()
}

// after is what an acknowledgement makes of a record.
func (s *sim) after(r modelRecord, way int8) modelRecord {
	switch way {
	case AckRenew:
		r.lock = s.w.now.Add(s.w.cfg.LockDuration)
		return r
	case AckRelease:
		return s.back(r)
	case AckReject:
		return s.over(r)
	}
	return modelRecord{finished: true}
}

// back is a record whose holder failed with it.
func (s *sim) back(r modelRecord) modelRecord {
	if r.count >= s.w.cfg.DeliveryLimit {
		return s.over(r)
	}
	d := s.w.cfg.RetryDelay
	for range r.count - 1 {
		d *= 2
	}
	retry := s.w.now.Add(min(d, max(s.w.cfg.RetryMaxDelay, s.w.cfg.RetryDelay)))
	return modelRecord{count: r.count, written: r.count, notUntil: retry}
}

// over is a record that is given up.
func (s *sim) over(r modelRecord) modelRecord {
	if s.w.cfg.DeadLetters == "" {
		return modelRecord{finished: true}
	}
	return modelRecord{dying: true, count: r.count, written: r.count}
}

func (s *sim) leave(who string) {
	var err error
	s.w.do(func(m *machine, tx *coord.Tx) { err = m.leave(tx, testKey, who) })
	if err != nil {
		return
	}
	for _, o := range s.held(who) {
		count := s.m.records[o].count - 1
		s.m.records[o] = modelRecord{count: count, written: count}
	}
	s.save()
}

// pass lets time pass, second by second, so that the model sees locks end when the machine does.
func (s *sim) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		before := len(s.w.journal.Records)
		s.w.pass(time.Second)
		for o, r := range s.m.records {
			if r.holder != "" && !s.w.now.Before(r.lock) && s.w.journal.Refuse == nil && s.part().within(o, o+1) == nil {
				r = modelRecord{finished: true}
				s.m.records[o] = r
			}
		}
		s.endLocks()
		if len(s.w.journal.Records) > before {
			s.save()
		}
	}
}

// endLocks takes over which locks the machine has ended: those that are over, unless the journal refuses.
func (s *sim) endLocks() {
	for o, r := range s.m.records {
		if r.holder == "" || s.w.now.Before(r.lock) {
			continue
		}
		if x := s.part().within(o, o+1); len(x) == 1 && x[0].state == acquired {
			if s.w.journal.Refuse == nil && s.w.now.Sub(r.lock) > 2*retryExpire {
				s.Fatalf("the lock of offset %d ended %v ago", o, s.w.now.Sub(r.lock))
			}
			continue
		}
		next := s.back(r)
		if x := s.part().within(o, o+1); len(x) == 1 && x[0].state == waiting {
			next.notUntil = time.UnixMilli(x[0].at).UTC() // when exactly, depends on when the journal worked again
		}
		s.m.records[o] = next
	}
}

// bury writes what is given up to the dead-letter topic.
func (s *sim) bury() {
	for _, b := range s.w.machine.burials() {
		for _, d := range b.dead {
			if r := s.m.records[d.Offset]; !r.dying || r.count != d.Count {
				s.Fatalf("offset %d is buried with count %d: %+v", d.Offset, d.Count, r)
			}
		}
		var err error
		s.w.do(func(m *machine, tx *coord.Tx) { err = m.buried(tx, b) })
		if err != nil {
			return
		}
		for _, d := range b.dead {
			s.m.records[d.Offset] = modelRecord{finished: true}
		}
	}
	s.save()
}

// checkpoint writes all anew and trims the journal.
func (s *sim) checkpoint() {
	if s.w.journal.Refuse != nil {
		return
	}
	mark := len(s.w.journal.Records)
	s.w.machine.checkpoint = checkpoint{running: true, left: slices.Collect(maps.Keys(s.w.machine.parts))}
	s.w.do(func(m *machine, tx *coord.Tx) { m.stepCheckpoint(tx) })
	s.w.trimmed = mark
	for o, r := range s.m.records {
		r.written = r.count
		s.m.records[o] = r
	}
	s.save()
}

// crash loads the journal without what was appended last. Every length of it that is a command's
// end has a saved model.
func (s *sim) crash(lost int) {
	s.w.journal.Refuse = nil
	lost = min(lost, len(s.w.journal.Records)-s.w.trimmed-1)
	for s.saved[len(s.w.journal.Records)-lost] == nil {
		lost--
	}
	grown := s.m
	s.m = s.saved[len(s.w.journal.Records)-lost].clone()
	for o := range grown.records { // what was produced stays
		if _, ok := s.m.records[o]; !ok {
			s.m.records[o] = modelRecord{}
		}
	}
	s.m.end, s.m.batches = grown.end, grown.batches
	for o, r := range s.m.records {
		r.holder, r.lock, r.count = "", time.Time{}, r.written
		s.m.records[o] = r
	}
	if err := s.w.reload(lost); err != nil {
		s.Fatal(err)
	}
	s.save()
}

// drain has one member accept everything that is left, and all must be finished then.
func (s *sim) drain() {
	s.w.journal.Refuse = nil
	for range 200 {
		s.pass(2 * time.Second)
		s.bury()
		if s.acquire("z", 100, false) != nil {
			acks := []Ack{}
			for _, o := range s.held("z") {
				acks = append(acks, Ack{o, o + 1, []int8{AckAccept}})
				s.m.records[o] = modelRecord{finished: true}
			}
			s.w.do(func(m *machine, tx *coord.Tx) {
				if err := m.acknowledge(tx, testKey, "z", acks); err != nil {
					s.Fatal(err)
				}
			})
		}
		s.check()
	}
	for o, r := range s.m.records {
		if !r.finished {
			s.Fatalf("offset %d was never finished: %+v\n%s", o, r, s.w.machine.dump(s.w.now))
		}
	}
	if p := s.part(); len(p.list) > 0 && p.live() > 0 {
		s.Fatalf("left:\n%s", s.w.machine.dump(s.w.now))
	}
}
