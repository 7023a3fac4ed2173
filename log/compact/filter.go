package compact

import (
	"math"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// Rules are what decides which records of a log remain.
type Rules struct {
	// Keys tell the last record of every key of the dirty part, below End. Records at and above End
	// are not touched.
	Keys *Keys
	End  int64
	// Now is the wall clock, and DeleteRetentionMs how long tombstones and the markers of empty
	// transactions stay (delete.retention.ms), both in ms. It begins when they are cleaned for the
	// first time, and is noted in the batch (KIP-534).
	Now, DeleteRetentionMs int64
	// Gate bounds what may go of delayed records: hidden batches and deliveries that end above it
	// stay as they are.
	Gate int64
	// LastVisible is the end of the last visible batch below End, if there is none above, else
	// segment.None. It stays, because what clients take for the end of the log must not go back.
	LastVisible int64
	// Aborted are the aborted transactions with records below End.
	Aborted []segment.AbortedTxn
	// Needed reports whether a batch tells something of its producer that must be remembered: that
	// it was there, and which sequences and epoch it had. Such a batch loses its records, but not
	// its header.
	Needed func(record.Batch) bool
}

// filter decides what remains of each batch. It is fed every batch of a log, in order.
type filter struct {
	Rules
	aborted aborted
	// remains is, by producer, the offset of the first batch that remains of its open transaction.
	remains  map[int64]int64
	received int64 // max timestamp of the last hidden batch that remains
	// pinned is the offset of the first delivery that stays because of the gate, though a later
	// record of its key may supersede it; segment.None if there is none.
	//
	// Invariant: no tombstone above it goes, or begins to count its time: what it has deleted may
	// still be there.
	pinned  int64
	builder record.Builder
	d       *record.Decompressor
}

func newFilter(r Rules) *filter {
	return &filter{Rules: r, aborted: newAborted(r.Aborted), remains: make(map[int64]int64), received: segment.None, pinned: segment.None, d: record.GetDecompressor()}
}

func (f *filter) close() { f.d.Release() }

// outcome is what remains of a batch.
type outcome struct {
	// batch is the batch itself, what remains of it, or nil. It is valid until the next one is judged.
	batch record.Batch
	// changed says that it is not the batch itself.
	changed bool
	// aborted is the transaction that the batch ends, if some of its records remain.
	aborted *segment.AbortedTxn
}

// apply judges a batch. room is how many bytes it may grow by.
func (f *filter) apply(b record.Batch, room int64) (o outcome, err error) {
	switch {
	case b.Control() && b.ProducerID() >= 0:
		o, err = f.marker(b, room)
	case b.BaseOffset() >= f.End:
		o.batch = b
	case b.Hidden():
		o = f.hidden(b)
	case b.Control():
		o.batch = b
	default:
		o, err = f.visible(b, room)
	}
	if err != nil || o.batch == nil {
		return o, err
	}
	if o.batch.Continued() && b.BaseOffset() < f.End && !f.Needed(b) {
		// What is left of a group need not stay together, and the rest of it may go.
		o.batch, o.changed = f.loosen(o.batch, o.changed), true
	}
	f.note(o.batch)
	return o, nil
}

// note remembers what later batches are judged by.
func (f *filter) note(b record.Batch) {
	if b.Hidden() {
		f.received = max(f.received, b.MaxTimestamp())
	}
	if id := b.ProducerID(); b.Transactional() && !b.Control() {
		if _, ok := f.remains[id]; !ok {
			f.remains[id] = b.BaseOffset()
		}
	}
}

// loosen is a batch that no later one belongs to.
func (f *filter) loosen(b record.Batch, own bool) record.Batch {
	if !own {
		b = f.builder.Copy(b)
	}
	b.Stamp(b.Attributes()&^record.Continued, b.MaxTimestamp())
	return b
}

// hidden judges delayed records, cancels, and what remains of batches without records.
func (f *filter) hidden(b record.Batch) outcome {
	switch {
	case b.Count() > 0 && b.EndOffset() > f.Gate:
		return outcome{batch: b}
	case !f.Needed(b):
		return outcome{}
	case b.Count() == 0:
		return outcome{batch: b}
	}
	return f.empty(b, b.MaxTimestamp())
}

// empty is what remains of a batch whose records have gone, if its producer is to be remembered.
func (f *filter) empty(b record.Batch, maxTimestamp int64) outcome {
	if !f.Needed(b) {
		return outcome{}
	}
	return outcome{batch: f.builder.Empty(b, b.Attributes()&record.Continued, maxTimestamp), changed: true}
}

// marker judges the end of a transaction. It stays while any record of the transaction does, and
// then for as long as a tombstone.
func (f *filter) marker(b record.Batch, room int64) (o outcome, err error) {
	first, remains := f.remains[b.ProducerID()]
	delete(f.remains, b.ProducerID())
	if t, ok := f.aborted.of(b); ok && remains && t.LastOffset == b.LastOffset() {
		t.FirstOffset = first
		o.aborted = &t
	}
	switch {
	case b.BaseOffset() >= f.End, remains:
		o.batch = b
	case !b.Attributes().Has(record.DeleteHorizon):
		return f.thin(b, room, func(*record.View) bool { return true })
	case f.expired(b) && b.EndOffset() != f.LastVisible && !f.Needed(b):
	default:
		o.batch = b
	}
	return o, nil
}

// expired reports whether the tombstones of a batch, or the marker in it, have stayed for long
// enough. The time is in the place of the base timestamp.
func (f *filter) expired(b record.Batch) bool {
	return b.Attributes().Has(record.DeleteHorizon) && f.Now >= b.BaseTimestamp()
}

// thin is the batch with the records that keep wants, and with the time until which its tombstones
// stay, if there is room for that.
func (f *filter) thin(b record.Batch, room int64, keep func(*record.View) bool) (outcome, error) {
	a, base := b.Attributes()|record.DeleteHorizon, f.Now+min(f.DeleteRetentionMs, math.MaxInt64-f.Now)
	t, err := f.builder.Thin(b, a, base, keep, f.d)
	if err != nil {
		return outcome{}, err
	}
	if int64(len(t)) > int64(len(b))+room {
		t, err = f.builder.Thin(b, b.Attributes(), b.BaseTimestamp(), keep, f.d)
	}
	return outcome{batch: t, changed: true}, err
}

// visible judges a batch of records.
func (f *filter) visible(b record.Batch, room int64) (outcome, error) {
	if b.Delivery() && b.EndOffset() > f.Gate {
		if f.pinned == segment.None {
			f.pinned = b.BaseOffset()
		}
		return outcome{batch: b}, nil
	}
	settled := b.EndOffset() <= f.End && f.pinned == segment.None
	c := census{f: f, base: b.BaseOffset(), expired: settled && f.expired(b), forced: segment.None}
	_, c.aborted = f.aborted.of(b)
	if err := b.Walk(f.d, c.count); err != nil {
		return outcome{}, err
	}
	if c.kept == 0 && b.EndOffset() == f.LastVisible && c.records > 0 {
		c.forced, c.kept = c.last, 1
		c.tombstones = 0 // it has had its time
	}
	stamp := c.tombstones > 0 && settled && !b.Attributes().Has(record.DeleteHorizon)
	switch {
	case c.kept == 0:
		return f.empty(b, f.received), nil
	case stamp:
		return f.thin(b, room, c.keeps)
	case c.kept == c.records:
		return outcome{batch: b}, nil
	}
	t, err := f.builder.Thin(b, b.Attributes(), b.BaseTimestamp(), c.keeps, f.d)
	return outcome{batch: t, changed: true}, err
}

// census is the records of a batch: how many there are and how many stay.
type census struct {
	f       *filter
	base    int64 // offset of the batch
	expired bool  // its tombstones have stayed for long enough
	aborted bool

	records, kept, tombstones int
	last                      int64 // offset of the last record
	forced                    int64 // offset of a record that stays whatever it is; segment.None
}

func (c *census) count(v *record.View) error {
	c.records++
	c.last = c.base + int64(v.OffsetDelta)
	if c.keeps(v) {
		c.kept++
		if v.Value == nil {
			c.tombstones++
		}
	}
	return nil
}

// keeps reports whether a record stays. One without a key supersedes nothing and is superseded by nothing.
func (c *census) keeps(v *record.View) bool {
	offset := c.base + int64(v.OffsetDelta)
	switch {
	case offset >= c.f.End, offset == c.forced:
		return true
	case c.aborted:
		return false
	case v.Key == nil:
		return true
	case v.Value == nil && c.expired:
		return false
	}
	last, ok := c.f.Keys.Last(v.Key)
	return !ok || offset >= last
}
