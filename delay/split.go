package delay

import (
	"bytes"
	"fmt"

	"github.com/morrowmq/morrow/log/record"
)

// maxKeyLen is the longest HeaderKey accepted, in bytes.
const maxKeyLen = 1024

// item is what the split has to know about one record that will be hidden.
type item struct {
	// value is a delay if relative, else a due time; of a cancel, the ticket or -1.
	value int64
	index int32
	size  int32
	kind  itemKind
	// rewrite: the record's headers must be replaced before it is stored.
	rewrite  bool
	relative bool
	strict   bool
	// done: another record of the same batch cancels or replaces this one, or it is a cancel that
	// came too late and need not be strict. It is stored, and means nothing.
	done bool
	// name is the position in Splitter.names plus one, 0 without a key.
	name int32
	// target is the position in Plan.targets plus one, 0 if the record finishes nothing.
	target int32
}

type itemKind uint8

const (
	itemDelayed itemKind = iota
	itemCancel
)

// Splitter reads the delay headers of one producer's batch during the pass that [record.Check]
// makes over it, and plans how the batch is stored. It is not safe for concurrent use.
type Splitter struct {
	rules *Rules
	// Of the batch:
	batch         record.Batch
	now           int64
	transactional bool
	compressed    bool
	items         []item
	names         [][]byte
	// Of the record being visited:
	found found

	plan    Plan
	builder record.Builder
	visit   func(*record.View) error
}

// found are the headers of one record.
type found struct {
	timing              timing
	timed               bool
	timingName          []byte
	key, cancel, strict []byte
	hasKey, hasCancel   bool
	hasStrict           bool
	reserved            []byte
	err                 error
}

func newSplitter(r *Rules) *Splitter {
	s := &Splitter{rules: r}
	s.visit = s.visitRecord
	s.plan.splitter = s
	return s
}

// Splitter begins with a batch that a producer sent. Now is the partition's time in
// milliseconds, against which past and too distant due times are told. Release must be called at the end.
func (r *Rules) Splitter(b record.Batch, now int64) *Splitter {
	s := r.splitters.Get().(*Splitter)
	s.batch, s.now = b, now
	s.transactional = b.Transactional()
	s.compressed = b.Attributes().Codec() != record.None
	return s
}

// Release gives s and everything that came from it back.
func (s *Splitter) Release() {
	s.batch = nil
	s.items = s.items[:0]
	clear(s.names)
	s.names = s.names[:0]
	s.found = found{}
	s.plan.reset()
	s.rules.splitters.Put(s)
}

// Visit is the function to pass to [record.Check]: nil if the topic does not read delay headers. It refuses
// records with a *[record.RecordError] that names header, value and expectation.
func (s *Splitter) Visit() func(*record.View) error {
	if !s.rules.enabled {
		return nil
	}
	return s.visit
}

func (s *Splitter) visitRecord(v *record.View) error {
	if v.HeaderCount == 0 {
		if s.rules.defaultMs == 0 {
			return nil
		}
		return s.plainOrDefault(v)
	}
	any := false
	for key, value := range v.Headers {
		if m := s.rules.headers.meaning(key); m != noMeaning {
			if !any {
				s.found, any = found{}, true
			}
			s.found.add(s.rules, m, key, value)
		}
	}
	if !any {
		return s.plainOrDefault(v)
	}
	return s.refuse(v, s.judge(v))
}

func (s *Splitter) refuse(v *record.View, err error) error {
	if err == nil {
		return nil
	}
	return &record.RecordError{Index: v.Index, Reason: err.Error()}
}

// add notes one header.
func (f *found) add(r *Rules, m meaning, key, value []byte) {
	var err error
	switch {
	case m.schedules():
		if f.timed {
			err = fmt.Errorf("headers %s and %s contradict each other, expected one of them", f.timingName, key)
			break
		}
		f.timed, f.timingName = true, key
		f.timing, err = r.read(m, key, value)
	case m == meansKey:
		if len(value) == 0 || len(value) > maxKeyLen || f.hasKey {
			err = fmt.Errorf("header %s has %d bytes, expected one such header with 1 to %d bytes", key, len(value), maxKeyLen)
		}
		f.hasKey, f.key = true, value
	case m == meansCancel:
		if f.hasCancel {
			err = fmt.Errorf("header %s occurs twice, expected one", key)
		}
		f.hasCancel, f.cancel = true, value
	case m == meansStrict:
		f.hasStrict, f.strict = true, value
	case m == meansReserved:
		f.reserved = key
	}
	if f.err == nil {
		f.err = err
	}
}

// judge decides what becomes of a record with some delay header.
func (s *Splitter) judge(v *record.View) error {
	f := &s.found
	switch {
	case f.hasCancel:
		return s.cancel(v)
	case f.timed:
		if f.err != nil {
			return f.err
		}
		return s.delayed(v, f.timing)
	default:
		return s.plainOrDefault(v)
	}
}

// plainOrDefault handles a record that says nothing about when it is due.
func (s *Splitter) plainOrDefault(v *record.View) error {
	if s.rules.defaultMs == 0 {
		return nil
	}
	if v.HeaderCount == 0 {
		s.found = found{}
	}
	if s.found.err != nil {
		return s.refuse(v, s.found.err)
	}
	return s.refuse(v, s.delayed(v, timing{relative: true, value: s.rules.defaultMs, rewrite: true}))
}

// delayed handles a record with a timing.
func (s *Splitter) delayed(v *record.View, t timing) error {
	f := &s.found
	if s.isPast(t) {
		// With a key it still replaces what is pending under that name, so it takes the way of
		// the delayed, and is due at once.
		if !f.hasKey {
			return nil
		}
		if t.none {
			t.value = 0
		}
	}
	if err := s.checkDelayed(v, t); err != nil {
		return err
	}
	it := item{value: t.value, index: v.Index, size: int32(len(v.Raw)), kind: itemDelayed, rewrite: t.rewrite, relative: t.relative}
	if f.hasKey {
		it.name = s.name(f.key)
	}
	s.items = append(s.items, it)
	return nil
}

func (s *Splitter) isPast(t timing) bool {
	return t.none || t.relative && t.value <= 0 || !t.relative && t.value <= s.now
}

func (s *Splitter) checkDelayed(v *record.View, t timing) error {
	f, r := &s.found, s.rules
	distance := t.value
	if !t.relative {
		distance = t.value - s.now
	}
	switch {
	case distance > r.maxMs:
		return fmt.Errorf("header %s is %d ms away, expected at most delay.max.ms, which is %d", f.timingName, distance, r.maxMs)
	case t.value > LastDue || t.relative && t.value > LastDue-s.now:
		return fmt.Errorf("header %s points beyond the year 9999, expected an earlier time", f.timingName)
	case f.reserved != nil:
		return fmt.Errorf("header %s is reserved, expected a delayed record without it", f.reserved)
	case f.hasKey && s.transactional:
		return fmt.Errorf("header %s within a transaction, expected a producer without transactions", HeaderKey)
	}
	// What is delivered must fit as well. A compressed record is delivered compressed.
	size := record.HeaderLen + len(v.Raw)
	if s.compressed {
		size = min(size, len(s.batch))
	}
	if size+addedLen > r.maxMessageBytes {
		return fmt.Errorf("record of %d bytes would be delivered with up to %d more in headers, expected at most max.message.bytes, which is %d", size, addedLen, r.maxMessageBytes)
	}
	return nil
}

// cancel handles a record that cancels.
func (s *Splitter) cancel(v *record.View) error {
	f := &s.found
	it := item{value: -1, index: v.Index, size: int32(len(v.Raw)), kind: itemCancel, strict: true}
	byKey := string(f.cancel) == "key"
	ticket, isTicket := parseInt(f.cancel)
	switch {
	case f.err != nil:
		return f.err
	case f.timed:
		return fmt.Errorf("headers %s and %s contradict each other, expected one of them", HeaderCancel, f.timingName)
	case f.reserved != nil:
		return fmt.Errorf("header %s is reserved, expected a cancel without it", f.reserved)
	case s.transactional:
		return fmt.Errorf("header %s within a transaction, expected a producer without transactions", HeaderCancel)
	case byKey && !f.hasKey:
		return fmt.Errorf("header %s is \"key\", expected a header %s with the key to cancel", HeaderCancel, HeaderKey)
	case byKey:
		it.name = s.name(f.key)
	case !isTicket || ticket < 0:
		return expect(false, []byte(HeaderCancel), f.cancel, "the offset of a delayed record, or \"key\"")
	default:
		it.value = ticket
	}
	if f.hasStrict {
		switch string(f.strict) {
		case "true":
		case "false":
			it.strict = false
		default:
			return expect(false, []byte(HeaderCancelStrict), f.strict, "true or false")
		}
	}
	s.items = append(s.items, it)
	return nil
}

// name keeps a copy of a key, and returns its position plus one.
func (s *Splitter) name(key []byte) int32 {
	s.names = append(s.names, bytes.Clone(key))
	return int32(len(s.names))
}
