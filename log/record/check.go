package record

import (
	"errors"
	"fmt"
	"math"
)

// ErrTimestamp means that records were refused for their timestamps: INVALID_TIMESTAMP. Everything
// else that [Check] finds in single records is ErrInvalid: INVALID_RECORD.
var ErrTimestamp = errors.New("invalid timestamp")

// CheckOptions is what a topic demands of a batch.
type CheckOptions struct {
	// KeyRequired refuses records without a key: the topic is compacted.
	KeyRequired bool
	// LogAppendTime is the topic's message.timestamp.type. Timestamps are then the broker's, and a producer
	// that set the bit itself is refused, as Kafka does.
	LogAppendTime bool
	// Now is the broker's time, BeforeMax and AfterMax how far a record's timestamp may be from it (KIP-937);
	// all in milliseconds. Math.MaxInt64 means any.
	Now, BeforeMax, AfterMax int64
}

// Checked is what [Check] learned about a batch.
type Checked struct {
	// Attributes and MaxTimestamp are what a CreateTime topic stores, whatever the
	// producer claimed: [Batch.Stamp] makes it so.
	Attributes   Attributes
	MaxTimestamp int64
}

// RecordError is what is wrong with one record. A visit function passed to [Check] may return it
// (as *RecordError, unwrapped) to refuse a record; the walk then goes on, to find all that are wrong.
type RecordError struct {
	Index  int32
	Reason string
}

func (e *RecordError) Error() string { return fmt.Sprintf("record %d: %s", e.Index, e.Reason) }

// RecordErrors refuses a batch for some of its records.
type RecordErrors struct {
	// Err is ErrTimestamp if any record was refused for that, else ErrInvalid.
	Err error
	// Records holds the first MaxRecordErrors of them, by index.
	Records []RecordError
	// Count is how many there are in all.
	Count int
}

// MaxRecordErrors bounds what a batch of millions of bad records costs.
const MaxRecordErrors = 1000

func (e *RecordErrors) Error() string {
	if e.Count == 1 {
		return fmt.Sprintf("%v: %v", e.Err, &e.Records[0])
	}
	return fmt.Sprintf("%v: %d records refused, the first: %v", e.Err, e.Count, &e.Records[0])
}

func (e *RecordErrors) Unwrap() error { return e.Err }

func (e *RecordErrors) add(r RecordError) {
	e.Count++
	if len(e.Records) < MaxRecordErrors {
		e.Records = append(e.Records, r)
	}
}

// Check judges a producer's batch as Kafka's LogValidator does, and a little more strictly where no
// client depends on it: checksum, header, every record's structure, offsets that count up from
// zero, timestamps, keys. Visit, if not nil, sees every record in the same pass; see [RecordError].
// d is as for [Batch.Walk].
//
// Errors wrap ErrCRC, ErrCodec, ErrTooLarge, ErrTimestamp or ErrInvalid; those about single
// records are *RecordErrors. Any other error of visit ends the walk and is returned as it is.
func Check(b Batch, o CheckOptions, d *Decompressor, visit func(*View) error) (Checked, error) {
	if err := b.CheckCRC(); err != nil {
		return Checked{}, err
	}
	if err := b.checkHeader(); err != nil {
		return Checked{}, err
	}
	if d == nil {
		d = GetDecompressor()
		defer d.Release()
	}
	c := checker{o: o, visit: visit, maxTimestamp: -1}
	c.earliest, c.latest = o.bounds()
	c.fixed = o.LogAppendTime && b.Attributes().Has(LogAppendTime)
	err := b.Walk(d, c.record)
	if err == nil && c.errs != nil {
		err = c.errs
	}
	if err != nil {
		return Checked{}, err
	}
	return Checked{Attributes: b.Attributes() &^ LogAppendTime, MaxTimestamp: c.maxTimestamp}, nil
}

// checkHeader is Kafka's validateBatch for a client, and our own bits.
func (b Batch) checkHeader() error {
	a := b.Attributes()
	switch {
	case b[magicPos] != Magic:
		return errMagic(b)
	case a.Codec() > Zstd:
		return fmt.Errorf("%w %d", ErrCodec, a.Codec())
	case a.Has(Control):
		return fmt.Errorf("%w: clients may not write control records", ErrInvalid)
	case a&^KnownFromClients != 0:
		return fmt.Errorf("%w: unknown attributes %#x", ErrInvalid, uint16(a&^KnownFromClients))
	case b.BaseOffset() != 0:
		return fmt.Errorf("%w: base offset is %d, must be 0", ErrInvalid, b.BaseOffset())
	case b.Count() <= 0:
		return fmt.Errorf("%w: record count is %d", ErrInvalid, b.Count())
	case int64(b.LastOffsetDelta()) != int64(b.Count())-1:
		return fmt.Errorf("%w: last offset delta is %d with %d records", ErrInvalid, b.LastOffsetDelta(), b.Count())
	case b.ProducerID() < NoProducerID:
		return fmt.Errorf("%w: producer id is %d", ErrInvalid, b.ProducerID())
	case b.ProducerID() >= 0 && b.BaseSequence() < 0:
		return fmt.Errorf("%w: base sequence is %d with producer id %d", ErrInvalid, b.BaseSequence(), b.ProducerID())
	case a.Has(Transactional) && b.ProducerID() < 0:
		return fmt.Errorf("%w: transactional without a producer id", ErrInvalid)
	}
	return nil
}

// bounds are the first and last timestamps allowed.
func (o CheckOptions) bounds() (earliest, latest int64) {
	earliest, latest = math.MinInt64, math.MaxInt64
	if o.LogAppendTime {
		return earliest, latest
	}
	if o.BeforeMax != math.MaxInt64 {
		earliest = o.Now - o.BeforeMax
	}
	if o.AfterMax < math.MaxInt64-o.Now {
		latest = o.Now + o.AfterMax
	}
	return earliest, latest
}

// checker is the state of one Check.
type checker struct {
	o                CheckOptions
	visit            func(*View) error
	earliest, latest int64
	fixed            bool
	maxTimestamp     int64
	errs             *RecordErrors
}

func (c *checker) record(v *View) error {
	if v.OffsetDelta != v.Index {
		return malformed(v.Index, fmt.Errorf("offset delta is %d", v.OffsetDelta))
	}
	ts := v.CreateTime()
	c.maxTimestamp = max(c.maxTimestamp, ts)
	switch {
	case c.o.KeyRequired && v.Key == nil:
		c.refuse(ErrInvalid, v.Index, "compacted topic cannot accept a record without a key")
		return nil
	case c.fixed:
		c.refuse(ErrTimestamp, v.Index, "producers may not set the timestamp type LogAppendTime")
		return nil
	case (ts < c.earliest || ts > c.latest) && ts != -1:
		c.refuse(ErrTimestamp, v.Index, fmt.Sprintf("timestamp %d is not within [%d, %d]", ts, c.earliest, c.latest))
		return nil
	}
	if c.visit == nil {
		return nil
	}
	err := c.visit(v)
	if r, ok := errors.AsType[*RecordError](err); ok {
		c.refuse(ErrInvalid, r.Index, r.Reason)
		return nil
	}
	return err
}

// refuse remembers a bad record. As in Kafka, a bad timestamp decides the error of the whole batch.
func (c *checker) refuse(err error, index int32, reason string) {
	if c.errs == nil {
		c.errs = &RecordErrors{Err: err}
	}
	if errors.Is(err, ErrTimestamp) {
		c.errs.Err = err
	}
	c.errs.add(RecordError{Index: index, Reason: reason})
}
