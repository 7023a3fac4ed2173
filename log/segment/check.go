package segment

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// Problem is something wrong in a file of a segment.
type Problem struct {
	File string
	Pos  int64 // of the batch or entry
	Err  error
	// Offset is, for damage in the log file, where the log was at: the end of the batch before.
	Offset int64
	// Cache means that only a side file is damaged: it is made again from the log when it is
	// needed, and no record is lost.
	Cache bool
}

func (p Problem) Error() string { return fmt.Sprintf("%s: position %d: %v", p.File, p.Pos, p.Err) }
func (p Problem) Unwrap() error { return p.Err }

// CheckOptions say which segment to check.
type CheckOptions struct {
	FS vfs.FS
	// Name is the path of the log file. The side files beside it are checked as well if it is a segment's name.
	Name string
	// Foreign says that the segment is not of a log of ours: nobody vouches for its side files, so
	// they are compared as a whole. Those of ours count as far as their summary says, and not at
	// all without one.
	Foreign bool
	// Report is called for everything that is wrong.
	Report func(Problem)
}

// Checked is what a segment adds up to.
type Checked struct {
	Base, End int64 // offsets
	Size      int64 // bytes of the log file
	Batches   int64
	Records   int64
	Hidden    int64 // records in hidden batches
	Unused    int64 // bytes at the end that were allocated and are zero

	// Tail is what follows the last whole group. It is not reported: it may be an append that a
	// crash cut short or that is under way, for the caller to judge.
	Tail Tail
}

// Check reads every byte of a segment and of its side files, and changes nothing: framing,
// checksums, offsets, record counts, groups and marks of every batch, and whether the indexes lead
// to them. It may run while the segment is appended to.
//
// What is wrong is reported; the error is only one of reading. After damage the check goes on with
// the next batch that is whole.
func Check(o CheckOptions) (Checked, error) {
	f, err := o.FS.Open(o.Name)
	if err != nil {
		return Checked{}, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	size, err := f.Size()
	if err != nil {
		return Checked{}, err
	}
	c := newChecker(o)
	if err := c.side.load(o); err != nil {
		return Checked{}, err
	}
	if size, err = growth(f, size); err != nil {
		return Checked{}, err
	}
	if err := Dump(f, c.log.base, size, c.piece); err != nil {
		return Checked{}, err
	}
	c.sum.Size = size
	return c.finish()
}

// growth is the size of a file that had the given one a moment ago. Side files were read since, and
// may tell of what was appended.
func growth(f vfs.File, before int64) (int64, error) {
	after, err := f.Size()
	return max(before, after), err
}

// checker is a Check at work.
type checker struct {
	o    CheckOptions
	sum  Checked
	log  *Segment // takes the batches in, in memory
	side sideFiles

	named   bool // the base offset is known from the name
	damaged bool // some bytes were no batch
	started bool // a batch was seen
	last    lastBatch
	good    mark // where the last whole group ended
}

// lastBatch is what the next batch is compared with.
type lastBatch struct {
	header    record.Batch // its header, a copy
	continued bool
	received  int64 // max timestamp of the last hidden batch
	epoch     int32
}

func newChecker(o CheckOptions) *checker {
	base, suffix, ok := ParseName(filepath.Base(o.Name))
	c := &checker{o: o, named: ok && suffix == LogSuffix}
	if !c.named {
		base = 0
	}
	// Indexes are compared as the batches come; none is built.
	c.log = newSegment(Options{FS: o.FS, Dir: vfs.Dir(o.Name), IndexIntervalBytes: math.MaxInt}, base)
	c.last = lastBatch{received: None, epoch: None}
	c.good = c.log.mark()
	c.side = newSideFiles(c)
	return c
}

// problem reports damage in the log file.
func (c *checker) problem(pos int64, err error) {
	c.o.Report(Problem{File: c.o.Name, Pos: pos, Offset: c.log.state.end, Err: err})
}

func (c *checker) piece(p Piece) error {
	if p.Err == nil {
		c.batch(p.Batch, p.Pos)
		return nil
	}
	if errors.Is(p.Err, ErrUnused) {
		c.sum.Unused = p.EndPos - p.Pos
		return nil
	}
	c.damaged = true
	if p.Next == None {
		c.sum.Tail.Damage, c.sum.Tail.DamagePos = p.Err, p.Pos
		return nil
	}
	c.problem(p.Pos, fmt.Errorf("%w; the next whole batch is at position %d and begins at offset %d, where offset %d was expected", p.Err, p.EndPos, p.Next, c.log.state.end))
	c.log.state.size = p.EndPos
	c.last.continued, c.log.state.inGroup = false, false
	return nil
}

// batch judges a batch that is whole.
func (c *checker) batch(b record.Batch, pos int64) {
	if !c.started && !c.named {
		c.log.base, c.log.state.end = b.BaseOffset(), b.BaseOffset()
	}
	c.started = true
	if err := c.log.plausible(b); err != nil {
		c.problem(pos, err)
		c.log.state.size = pos + int64(len(b))
		return
	}
	for _, err := range []error{checkMarks(b), c.follows(b), checkRecords(b)} {
		if err != nil {
			c.problem(pos, fmt.Errorf("batch of offsets [%d, %d): %w", b.BaseOffset(), b.EndOffset(), err))
		}
	}
	c.side.batch(b, pos)
	c.log.observeLocked(b)
	c.side.reached()
	c.count(b)
	c.last.header = append(c.last.header[:0], b[:record.HeaderLen]...)
	c.last.continued, c.last.epoch = b.Continued(), max(c.last.epoch, b.LeaderEpoch())
	if b.Hidden() {
		c.last.received = b.MaxTimestamp()
	}
	if !c.log.state.inGroup {
		c.good = c.log.mark()
	}
}

func (c *checker) count(b record.Batch) {
	c.sum.Batches++
	c.sum.Records += int64(b.Count())
	if b.Hidden() {
		c.sum.Hidden += int64(b.Count())
	}
}

// What batches may not say.
var (
	errMarks    = errors.New("attributes contradict each other")
	errUnknown  = errors.New("unknown attributes")
	errProducer = errors.New("transactional without a producer id")
	errEpoch    = errors.New("leader epoch goes back")
	errReceived = errors.New("time it was received goes back")
	errBroken   = errors.New("batch does not continue the group before it")
	errDeltas   = errors.New("offsets of records do not ascend within the batch")
	errMaxTime  = errors.New("max timestamp is not that of its records")
	errRecords  = errors.New("more records than offsets")
)

// checkMarks looks at the header alone.
func checkMarks(b record.Batch) error {
	a := b.Attributes()
	const known = record.KnownFromClients | record.DeleteHorizon | record.Own
	switch {
	case a&^known != 0:
		return fmt.Errorf("%w %#x", errUnknown, uint16(a&^known))
	case a.Codec() > record.Zstd:
		return fmt.Errorf("%w: %s", record.ErrCodec, a.Codec())
	case b.Hidden() && !a.Has(record.LogAppendTime):
		return fmt.Errorf("%w: hidden, but not stamped with the time it was received", errMarks)
	case b.Hidden() && (b.Delivery() || b.Control()):
		return fmt.Errorf("%w: hidden batches are neither deliveries nor control batches", errMarks)
	case b.Transactional() && b.ProducerID() < 0:
		return errProducer
	case b.Count() < 0 || int64(b.Count()) > int64(b.LastOffsetDelta())+1:
		return fmt.Errorf("%w: %d records in %d", errRecords, b.Count(), int64(b.LastOffsetDelta())+1)
	}
	return nil
}

// follows compares a batch with those before it.
func (c *checker) follows(b record.Batch) error {
	switch {
	case b.LeaderEpoch() < c.last.epoch:
		return fmt.Errorf("%w, from %d to %d", errEpoch, c.last.epoch, b.LeaderEpoch())
	case b.Hidden() && b.MaxTimestamp() < c.last.received:
		return fmt.Errorf("%w, from %d to %d", errReceived, c.last.received, b.MaxTimestamp())
	case !c.last.continued:
		return nil
	}
	last := c.last.header
	switch {
	case b.BaseOffset() != last.EndOffset():
		return fmt.Errorf("%w: which goes on at offset %d", errBroken, last.EndOffset())
	case b.ProducerID() != last.ProducerID() || b.ProducerEpoch() != last.ProducerEpoch():
		return fmt.Errorf("%w: of producer %d in epoch %d", errBroken, last.ProducerID(), last.ProducerEpoch())
	case last.LastSequence() >= 0 && b.BaseSequence() != record.AddSequence(last.LastSequence(), 1):
		return fmt.Errorf("%w: whose last sequence is %d, not one before %d", errBroken, last.LastSequence(), b.BaseSequence())
	}
	return nil
}

// checkRecords decodes the records. Compaction takes some out of a batch and leaves the offsets of the others.
func checkRecords(b record.Batch) error {
	last, newest := int32(-1), int64(math.MinInt64)
	err := b.Walk(nil, func(v *record.View) error {
		if v.OffsetDelta <= last || v.OffsetDelta > b.LastOffsetDelta() {
			return fmt.Errorf("record %d: %w", v.Index, errDeltas)
		}
		last, newest = v.OffsetDelta, max(newest, v.CreateTime())
		return nil
	})
	if err != nil {
		return err
	}
	if b.Count() > 0 && !b.Attributes().Has(record.LogAppendTime) && newest != b.MaxTimestamp() {
		return fmt.Errorf("%w: %d instead of %d", errMaxTime, b.MaxTimestamp(), newest)
	}
	return nil
}

// finish judges what shows only at the end.
func (c *checker) finish() (Checked, error) {
	end := c.log.state.end
	if t := &c.sum.Tail; c.log.state.inGroup && t.Damage == nil {
		t.Damage, t.DamagePos = errGroup, c.log.state.size
	}
	c.log.rewind(c.good)
	st := &c.log.state
	c.sum.Base, c.sum.End = c.log.base, st.end
	c.sum.Tail.Pos, c.sum.Tail.Offset = st.size, st.end
	return c.sum, c.side.finish(end)
}
