// Package producer keeps what a partition remembers of the producers that wrote
// to it: the sequence numbers that make retries idempotent (KIP-98), the open
// transactions that bound the last stable offset, and the snapshots that spare a
// restart from reading the whole log.
//
// The state is a function of the log: [State.Apply] is fed every batch in offset order, by
// the leader's append and by replay alike. A [State] does no I/O, reads no clock and has no
// lock; its owner serializes access.
package producer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/morrowmq/morrow/log/record"
)

// maxRanges is how many batches of a producer are remembered for duplicate
// detection. Kafka's clients have at most five requests in flight.
const maxRanges = 5

// None is the absence of an offset, epoch or sequence.
const None = -1

// Original is a batch as its producer sent it, before it was split into a group.
type Original struct {
	ProducerID    int64
	Epoch         int16
	FirstSequence int32
	LastSequence  int32 // inclusive; lower than FirstSequence if the numbers wrapped
}

// Range is where an original batch was stored: the offsets [Base, End()).
type Range struct {
	FirstSequence, LastSequence int32
	Base                        int64
	Timestamp                   int64 // max timestamp of the batch, ms
}

// End is the offset after the batch. Sequences count up from 0 again after 2^31-1.
func (r Range) End() int64 {
	return r.Base + int64((r.LastSequence-r.FirstSequence)&0x7fffffff) + 1
}

// FencedError says that a producer wrote with an epoch that was superseded.
type FencedError struct {
	ProducerID     int64
	Epoch, Current int16
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("producer %d: epoch %d was superseded by %d", e.ProducerID, e.Epoch, e.Current)
}

// OutOfOrderError says that a batch does not continue its producer's sequence.
type OutOfOrderError struct {
	ProducerID int64
	Epoch      int16
	Sequence   int32 // first sequence of the refused batch
	Expected   int32
}

func (e *OutOfOrderError) Error() string {
	return fmt.Sprintf("producer %d epoch %d: sequence %d where %d was expected", e.ProducerID, e.Epoch, e.Sequence, e.Expected)
}

// CoordinatorFencedError says that a marker came from a transaction coordinator that was superseded.
type CoordinatorFencedError struct {
	ProducerID     int64
	Epoch, Current int32
}

func (e *CoordinatorFencedError) Error() string {
	return fmt.Sprintf("producer %d: coordinator epoch %d was superseded by %d", e.ProducerID, e.Epoch, e.Current)
}

// entry is what is remembered of one producer.
type entry struct {
	id               int64
	epoch            int16
	coordinatorEpoch int32
	lastSeen         int64 // ms: append or max timestamp, whichever is later
	n                int
	ranges           [maxRanges]Range // the last n originals of this epoch, oldest first
	txnFirst         int64            // first offset of the open transaction, or None
}

// txn is a transaction that keeps the last stable offset down: open, or
// completed by a marker that is not below the high watermark yet.
type txn struct {
	producerID int64
	first      int64
	visible    int64 // end of the last visible batch below first
	marker     int64 // offset of the marker, None while open
}

// Completed is a transaction that a marker ended.
type Completed struct {
	ProducerID int64
	First      int64 // first offset
	Last       int64 // offset of the marker
	LastStable int64 // last stable offset once the marker is stored
	Aborted    bool
}

// State is the producers of one partition.
type State struct {
	entries map[int64]*entry
	txns    []txn // by first offset
	end     int64 // offset after the last batch applied
	visible int64 // end of the last visible batch applied, None if there was none

	// The group being applied: pieces so far, whose last one was continued.
	group   Range
	inGroup bool
}

// New is the state of a log that begins at start.
func New(start int64) *State {
	return &State{end: start, visible: None}
}

// End is the offset after the last batch applied.
func (s *State) End() int64 { return s.end }

// Skip makes the state that of a log whose next batch is at end: nothing lies in between.
func (s *State) Skip(end int64) { s.end = max(s.end, end) }

// VisibleEnd is the end of the last visible batch applied, None if there was none.
func (s *State) VisibleEnd() int64 { return s.visible }

// Empty reports whether there is nothing to remember.
func (s *State) Empty() bool { return len(s.entries) == 0 && len(s.txns) == 0 }

// Check judges a batch that is about to be appended: a duplicate of one of the
// last five of its producer (where that was stored is returned), a continuation (nil error), a
// *FencedError or an *OutOfOrderError. A producer not known may start anywhere (KIP-360). Without
// sequences only the epoch counts.
func (s *State) Check(o Original) (stored Range, duplicate bool, err error) {
	e := s.entries[o.ProducerID]
	switch {
	case e == nil:
		return Range{}, false, nil
	case o.Epoch < e.epoch:
		return Range{}, false, &FencedError{ProducerID: o.ProducerID, Epoch: o.Epoch, Current: e.epoch}
	case o.FirstSequence < 0: // a coordinator's batch in the name of a producer
		return Range{}, false, nil
	case o.Epoch > e.epoch:
		return Range{}, false, outOfOrder(o, 0)
	}
	for _, r := range e.ranges[:e.n] {
		if r.FirstSequence == o.FirstSequence && r.LastSequence == o.LastSequence {
			return r, true, nil
		}
	}
	return Range{}, false, outOfOrder(o, e.nextSequence())
}

func outOfOrder(o Original, expected int32) error {
	if o.FirstSequence == expected {
		return nil
	}
	return &OutOfOrderError{ProducerID: o.ProducerID, Epoch: o.Epoch, Sequence: o.FirstSequence, Expected: expected}
}

func (e *entry) nextSequence() int32 {
	if e.n == 0 {
		return 0
	}
	return record.AddSequence(e.ranges[e.n-1].LastSequence, 1)
}

// CheckMarker judges a transaction marker that is about to be appended. newEpoch says that its
// epoch is newer than that of the transaction it ends (KIP-890): the open transaction of that very
// epoch is the next one already, and the marker comes late.
func (s *State) CheckMarker(m Marker, newEpoch bool) error {
	e := s.entries[m.ProducerID]
	if e == nil {
		return nil
	}
	if m.Epoch < e.epoch || newEpoch && m.Epoch == e.epoch && e.txnFirst != None {
		return &FencedError{ProducerID: m.ProducerID, Epoch: m.Epoch, Current: e.epoch}
	}
	if m.CoordinatorEpoch < e.coordinatorEpoch {
		return &CoordinatorFencedError{ProducerID: m.ProducerID, Epoch: m.CoordinatorEpoch, Current: e.coordinatorEpoch}
	}
	return nil
}

// Apply takes in the next batch of the log. now is the wall clock in ms: the
// time of the append, or of the replay, so that a producer rebuilt from the log is remembered
// for longer than it would have been, never for less. If the batch is a marker that ends a
// transaction, that is returned. The only error is a control batch that cannot be read.
func (s *State) Apply(b record.Batch, now int64) (done Completed, ended bool, err error) {
	if b.Control() && b.ProducerID() >= 0 {
		done, ended, err = s.applyMarker(b, now)
	} else {
		s.applyData(b, now)
	}
	if err != nil {
		return Completed{}, false, err
	}
	s.end = b.EndOffset()
	if !b.Hidden() {
		s.visible = s.end
	}
	return done, ended, nil
}

func (s *State) applyData(b record.Batch, now int64) {
	if b.ProducerID() < 0 {
		return
	}
	e := s.entry(b.ProducerID(), b.ProducerEpoch())
	e.lastSeen = max(e.lastSeen, b.MaxTimestamp(), now)
	if b.Transactional() && e.txnFirst == None {
		e.txnFirst = b.BaseOffset()
		s.txns = append(s.txns, txn{producerID: e.id, first: e.txnFirst, visible: s.visible, marker: None})
	}
	if b.BaseSequence() < 0 {
		return
	}
	if !s.inGroup {
		s.group = Range{FirstSequence: b.BaseSequence(), Base: b.BaseOffset(), Timestamp: b.MaxTimestamp()}
	}
	s.group.LastSequence = b.LastSequence()
	s.group.Timestamp = max(s.group.Timestamp, b.MaxTimestamp())
	if s.inGroup = b.Continued(); !s.inGroup {
		e.remember(s.group)
	}
}

// entry finds or makes the entry of a producer and moves it to epoch.
func (s *State) entry(id int64, epoch int16) *entry {
	e := s.entries[id]
	if e == nil {
		if s.entries == nil {
			s.entries = make(map[int64]*entry)
		}
		e = &entry{id: id, epoch: epoch, coordinatorEpoch: None, txnFirst: None, lastSeen: None}
		s.entries[id] = e
	}
	if epoch != e.epoch {
		e.epoch, e.n = epoch, 0
	}
	return e
}

func (e *entry) remember(r Range) {
	if e.n == maxRanges {
		copy(e.ranges[:], e.ranges[1:])
		e.n--
	}
	e.ranges[e.n] = r
	e.n++
}

func (s *State) applyMarker(b record.Batch, now int64) (Completed, bool, error) {
	m, err := ParseMarker(b)
	if err != nil {
		return Completed{}, false, err
	}
	e := s.entry(m.ProducerID, m.Epoch)
	e.lastSeen = max(e.lastSeen, b.MaxTimestamp(), now)
	e.coordinatorEpoch = m.CoordinatorEpoch
	if e.txnFirst == None {
		return Completed{}, false, nil
	}
	done := Completed{ProducerID: e.id, First: e.txnFirst, Last: b.LastOffset(), Aborted: !m.Commit}
	e.txnFirst = None
	done.LastStable = done.Last + 1
	for i := range s.txns {
		t := &s.txns[i]
		if t.first == done.First {
			t.marker = done.Last
		} else if t.marker == None {
			done.LastStable = min(done.LastStable, t.first)
		}
	}
	return done, true, nil
}

// AdvanceHighWatermark forgets the completed transactions whose markers are below hw.
// It reports whether the first unstable offset may have moved.
func (s *State) AdvanceHighWatermark(hw int64) bool {
	before := len(s.txns)
	s.txns = slices.DeleteFunc(s.txns, func(t txn) bool { return t.marker != None && t.marker < hw })
	return len(s.txns) != before
}

// FirstUnstable is the first offset of the earliest transaction that is not decided below
// the high watermark, and the end of the last visible batch before it (None if there was none).
func (s *State) FirstUnstable() (offset, visibleEnd int64, ok bool) {
	if len(s.txns) == 0 {
		return 0, 0, false
	}
	return s.txns[0].first, s.txns[0].visible, true
}

// OpenTransaction is the first offset of a producer's open transaction.
func (s *State) OpenTransaction(producerID int64) (first int64, open bool) {
	if e := s.entries[producerID]; e != nil && e.txnFirst != None {
		return e.txnFirst, true
	}
	return 0, false
}

// InTransaction reports whether a producer's transaction of an epoch is open. Since KIP-890 every
// transaction has an epoch of its own: one of an earlier epoch that is open has been ended, and its
// marker is on its way.
func (s *State) InTransaction(producerID int64, epoch int16) bool {
	e := s.entries[producerID]
	return e != nil && e.txnFirst != None && e.epoch == epoch
}

// Needs reports whether the state, made from the log again, would be another without a batch: it
// holds one of the ranges remembered, or it is the marker that is all there is of its producer's
// epoch.
func (s *State) Needs(b record.Batch) bool {
	e := s.entries[b.ProducerID()]
	switch {
	case e == nil:
		return false
	case b.Control():
		return e.n == 0 && e.epoch == b.ProducerEpoch()
	}
	return slices.ContainsFunc(e.ranges[:e.n], func(r Range) bool { return r.Base <= b.BaseOffset() && b.BaseOffset() < r.End() })
}

// Known reports whether anything is remembered of a producer.
func (s *State) Known(producerID int64) bool { return s.entries[producerID] != nil }

// Expire forgets producers without open transaction that were last seen before
// the given time (ms), and returns how many they were.
func (s *State) Expire(before int64) int {
	expired := 0
	for id, e := range s.entries {
		if e.lastSeen < before && e.txnFirst == None {
			delete(s.entries, id)
			expired++
		}
	}
	return expired
}

// Info describes a producer (DescribeProducers).
type Info struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // None after a marker that raised the epoch
	LastTimestamp    int64 // of its last batch, ms; None if there is none in this epoch
	CoordinatorEpoch int32
	TxnStart         int64 // first offset of its open transaction, None
}

// Producers lists what is remembered, by producer id.
func (s *State) Producers() []Info {
	infos := make([]Info, 0, len(s.entries))
	for _, e := range s.sorted() {
		i := Info{ProducerID: e.id, Epoch: e.epoch, LastSequence: None, LastTimestamp: None, CoordinatorEpoch: e.coordinatorEpoch, TxnStart: e.txnFirst}
		if e.n > 0 {
			i.LastSequence, i.LastTimestamp = e.ranges[e.n-1].LastSequence, e.ranges[e.n-1].Timestamp
		}
		infos = append(infos, i)
	}
	return infos
}

func (s *State) sorted() []*entry {
	es := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		es = append(es, e)
	}
	slices.SortFunc(es, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
	return es
}
