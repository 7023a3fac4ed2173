package segment

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// What side files may not say.
var (
	errMissing   = errors.New("file is missing")
	errOdd       = errors.New("file ends within an entry")
	errShortSide = errors.New("file is shorter than its summary says")
	errSum       = errors.New("checksum differs from the one in the summary")
	errAscend    = errors.New("entries do not ascend")
	errNoBatch   = errors.New("entry leads to no batch")
	errInGroup   = errors.New("entry leads into a group of batches")
	errOffset    = errors.New("entry has another offset than the batch it leads to")
	errNewer     = errors.New("a batch before the one the entry leads to is newer")
	errTime      = errors.New("entry has another timestamp than the batch it leads to")
	errMarker    = errors.New("entry leads to no abort marker")
	errSpan      = errors.New("transaction ends before it begins")
)

// sideFiles compares the files beside a log file with its batches, as these come. What it finds is
// reported at the end, unless the broker has written the files anew meanwhile.
type sideFiles struct {
	of      *checker
	summary []byte   // as it was read; nil if there is none
	claims  *Segment // what the summary says; nil if nothing that can be believed
	met     bool     // the batches came to the position of the summary

	offsets, times, txns sideTable
	found                []Problem
}

// sideTable is the entries of a side file that count, and how many were compared.
type sideTable struct {
	suffix  string
	width   int
	entries []byte
	next    int
}

func newSideFiles(of *checker) sideFiles {
	return sideFiles{
		of:      of,
		offsets: sideTable{suffix: IndexSuffix, width: offsetWidth},
		times:   sideTable{suffix: TimeSuffix, width: timeWidth},
		txns:    sideTable{suffix: TxnSuffix, width: abortedWidth},
	}
}

// load reads the side files.
func (s *sideFiles) load(o CheckOptions) error {
	if !s.of.named {
		return nil
	}
	log := s.of.log
	summary, err := readIfThere(o.FS, s.name(SummarySuffix))
	if err != nil {
		return err
	}
	if s.summary = summary; summary != nil {
		claims := newSegment(log.o, log.base)
		if err := claims.decode(summary); err != nil {
			s.problem(SummarySuffix, 0, err)
		} else {
			s.claims = claims
		}
	}
	for _, t := range []struct {
		*sideTable
		claim func(*Segment) *table
	}{
		{&s.offsets, func(c *Segment) *table { return &c.offsets }},
		{&s.times, func(c *Segment) *table { return &c.times }},
		{&s.txns, func(c *Segment) *table { return &c.txns }},
	} {
		b, err := readIfThere(o.FS, s.name(t.suffix))
		if err != nil {
			return err
		}
		switch {
		case s.claims != nil:
			t.entries = s.vouched(t.suffix, b, t.width, t.claim(s.claims))
		case o.Foreign:
			t.entries = s.foreign(t.suffix, b, t.width)
		}
	}
	return nil
}

func (s *sideFiles) name(suffix string) string {
	return vfs.Join(s.of.log.o.Dir, FileName(s.of.log.base, suffix))
}

func (s *sideFiles) problem(suffix string, pos int64, err error) {
	s.found = append(s.found, Problem{File: s.name(suffix), Pos: pos, Err: err, Cache: true})
}

// readIfThere reads a side file. One that is empty is none yet: it is about to be written.
func readIfThere(fsys vfs.FS, name string) ([]byte, error) {
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return nil, nil
	}
	return b, err
}

// vouched returns the entries that the summary says count.
func (s *sideFiles) vouched(suffix string, b []byte, width int, claim *table) []byte {
	n := claim.flushed * width
	switch {
	case b == nil && n > 0:
		s.problem(suffix, 0, errMissing)
		return nil
	case len(b) < n:
		s.problem(suffix, int64(len(b)), fmt.Errorf("%w: %d bytes of %d", errShortSide, len(b), n))
		return b[:len(b)/width*width]
	case crc32.Checksum(b[:n], castagnoli) != claim.sum:
		s.problem(suffix, 0, fmt.Errorf("%w, for the first %d bytes", errSum, n))
	}
	return b[:n]
}

// foreign returns the entries of a file that may end in space that was allocated beforehand.
func (s *sideFiles) foreign(suffix string, b []byte, width int) []byte {
	used := len(bytes.TrimRight(b, "\x00"))
	n := (used + width - 1) / width * width
	if n > len(b) {
		s.problem(suffix, int64(n-width), errOdd)
		n -= width
	}
	return b[:n]
}

// batch compares the entries that lead to b, which the checker is about to take in.
func (s *sideFiles) batch(b record.Batch, pos int64) {
	s.offsets.each(func(e []byte, at int64) bool {
		rel, p := offsetEntry(e)
		if int64(p) > pos {
			return false
		}
		if err := s.offset(b, pos, rel, p, at); err != nil && !(errors.Is(err, errNoBatch) && s.of.damaged) {
			s.problem(IndexSuffix, at, err)
		}
		return true
	})
	s.times.each(func(e []byte, at int64) bool {
		ts, rel := timeEntry(e)
		if s.of.log.base+int64(rel) > b.LastOffset() {
			return false
		}
		if err := s.time(b, ts, rel, at); err != nil && !s.of.damaged {
			s.problem(TimeSuffix, at, err)
		}
		return true
	})
	s.txns.each(func(e []byte, at int64) bool {
		a, err := parseAborted(e)
		if err == nil {
			if a.LastOffset > b.LastOffset() {
				return false
			}
			err = s.aborted(b, a, at)
		}
		if err != nil && !s.of.damaged {
			s.problem(TxnSuffix, at, err)
		}
		return true
	})
}

// each calls f for the entries not compared yet, until it returns false.
func (t *sideTable) each(f func(entry []byte, at int64) bool) {
	for ; (t.next+1)*t.width <= len(t.entries); t.next++ {
		at := t.next * t.width
		if !f(t.entries[at:at+t.width], int64(at)) {
			return
		}
	}
}

// before is the entry before the one at a position, or nil.
func (t *sideTable) before(at int64) []byte {
	if at == 0 {
		return nil
	}
	return t.entries[at-int64(t.width) : at]
}

// offset judges an entry of the offset index that leads to or before the position of b. An entry of
// Kafka's may name the last of several batches that were appended together, and lead to the first.
func (s *sideFiles) offset(b record.Batch, pos int64, rel, p uint32, at int64) error {
	if last := s.offsets.before(at); last != nil {
		if r, q := offsetEntry(last); rel <= r || p <= q {
			return errAscend
		}
	}
	offset := s.of.log.base + int64(rel)
	switch {
	case int64(p) < pos:
		return fmt.Errorf("%w: no batch begins at position %d", errNoBatch, p)
	case offset < b.BaseOffset(), s.claims != nil && offset != b.LastOffset():
		return fmt.Errorf("%w: %d, for the batch of offsets [%d, %d) at position %d", errOffset, offset, b.BaseOffset(), b.EndOffset(), pos)
	case s.of.log.state.inGroup:
		return fmt.Errorf("%w, at position %d", errInGroup, pos)
	}
	return nil
}

// time judges an entry of the time index whose offset is in b or before it.
func (s *sideFiles) time(b record.Batch, ts int64, rel uint32, at int64) error {
	if last := s.times.before(at); last != nil {
		if t, r := timeEntry(last); ts <= t || rel < r {
			return errAscend
		}
	}
	offset := s.of.log.base + int64(rel)
	switch newest := s.of.log.state.maxTimestamp; {
	case offset < b.BaseOffset():
		return fmt.Errorf("%w: none has offset %d", errNoBatch, offset)
	case newest > ts:
		return fmt.Errorf("%w: %d instead of %d", errNewer, newest, ts)
	case b.Hidden() || b.MaxTimestamp() != ts:
		return fmt.Errorf("%w: %d, for the batch of offsets [%d, %d)", errTime, ts, b.BaseOffset(), b.EndOffset())
	}
	return nil
}

// aborted judges an aborted transaction whose marker is b or lies before it. A marker may have been
// compacted away.
func (s *sideFiles) aborted(b record.Batch, a AbortedTxn, at int64) error {
	if last := s.txns.before(at); last != nil {
		if l, err := parseAborted(last); err == nil && a.LastOffset <= l.LastOffset {
			return errAscend
		}
	}
	switch {
	case a.FirstOffset > a.LastOffset:
		return fmt.Errorf("%w: [%d, %d]", errSpan, a.FirstOffset, a.LastOffset)
	case a.LastOffset < s.of.log.base:
		return fmt.Errorf("%w: offset %d", errMarker, a.LastOffset)
	case a.LastOffset >= b.BaseOffset() && (!b.Control() || b.ProducerID() != a.ProducerID):
		return fmt.Errorf("%w of producer %d at offset %d", errMarker, a.ProducerID, a.LastOffset)
	}
	return nil
}

// reached compares the summary once the checker has taken in all it tells of.
func (s *sideFiles) reached() {
	if s.claims == nil || s.met || s.of.log.state.size != s.claims.state.size {
		return
	}
	s.met = true
	if s.of.damaged {
		return
	}
	have, claim := s.of.log, s.claims
	for _, d := range []struct {
		what        string
		have, claim any
	}{
		{"end offset", have.state.end, claim.state.end},
		{"max timestamp", have.state.maxTimestamp, claim.state.maxTimestamp},
		{"offset of the max timestamp", have.state.maxTimestampOffset, claim.state.maxTimestampOffset},
		{"time last received", have.state.maxReceived, claim.state.maxReceived},
		{"end of the last visible batch", have.state.lastVisible, claim.state.lastVisible},
		{"hidden bytes", have.state.hiddenBytes, claim.state.hiddenBytes},
		{"first timestamp", have.state.firstTimestamp, claim.state.firstTimestamp},
		{"generation", have.state.generation, claim.state.generation},
	} {
		if d.have != d.claim {
			s.problem(SummarySuffix, 0, fmt.Errorf("%w: it says %v for the %s, which is %v", errSummary, d.claim, d.what, d.have))
		}
	}
	if !slices.Equal(have.epochs, claim.epochs) {
		s.problem(SummarySuffix, 0, fmt.Errorf("%w: leader epochs differ", errSummary))
	}
	if !slices.Equal(have.spans, claim.spans) {
		s.problem(SummarySuffix, 0, fmt.Errorf("%w: ranges of visible batches differ", errSummary))
	}
}

// finish judges what no batch was found for, and reports.
func (s *sideFiles) finish(end int64) error {
	if s.claims != nil && !s.met && !s.of.damaged && s.claims.state.size > 0 {
		s.problem(SummarySuffix, 0, fmt.Errorf("%w: no batch ends at position %d", errSummary, s.claims.state.size))
	}
	for _, t := range []*sideTable{&s.offsets, &s.times, &s.txns} {
		if left := t.next * t.width; left < len(t.entries) && s.of.sum.Tail.Damage == nil {
			s.problem(t.suffix, int64(left), fmt.Errorf("%w: the log ends at offset %d", errNoBatch, end))
		}
	}
	if len(s.found) == 0 {
		return nil
	}
	if now, err := readIfThere(s.of.o.FS, s.name(SummarySuffix)); err != nil || !bytes.Equal(now, s.summary) {
		return err
	}
	for _, p := range s.found {
		s.of.o.Report(p)
	}
	return nil
}
