package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// Problem is something wrong with a file.
type Problem struct {
	File string
	Pos  int64 // of the batch or entry
	Err  error
	// Tail means that nothing whole follows, as after a crash: the next start cuts it, if it is in the last segment and was not
	// acknowledged.
	Tail bool
	// Cache means that the file will be made anew from the log.
	Cache bool
}

func (p Problem) String() string {
	kind := "corrupt"
	switch {
	case p.Cache:
		kind = "damaged cache"
	case p.Tail:
		kind = "torn tail"
	}
	return fmt.Sprintf("%s: position %d: %s: %v", p.File, p.Pos, kind, p.Err)
}

// Checked is what a check went through.
type Checked struct {
	Segments, Batches, Records int64
	Bytes                      int64
	Hidden                     int64 // batches
	Start, End                 int64 // offsets
}

var (
	errJoin       = errors.New("segment begins below the end of the one before")
	errIndexEntry = errors.New("index entry is not that of a batch")
	errTimeEntry  = errors.New("time index entry is not the largest timestamp up to its offset")
)

// Check reads a segment, or all segments in a directory, from front to back: every checksum, every record, the offsets, and that the
// offset and time index say the same as the log. What is wrong goes to report, in the order of the files. It changes nothing. The error
// is one of reading.
func Check(fsys vfs.FS, name string, report func(Problem)) (Checked, error) {
	names, err := logFiles(fsys, name)
	if err != nil {
		return Checked{}, err
	}
	c := &checker{fsys: fsys, report: report}
	for _, name := range names {
		if err := c.segment(name); err != nil {
			return c.total, err
		}
	}
	return c.total, nil
}

// logFiles lists the .log files that a name stands for.
func logFiles(fsys vfs.FS, name string) ([]string, error) {
	st, err := fsys.Stat(name)
	if err != nil || !st.Dir {
		return []string{name}, err
	}
	names, err := fsys.List(name)
	if err != nil {
		return nil, err
	}
	var logs []string
	for _, n := range names {
		if _, suffix, ok := ParseName(n); ok && suffix == LogSuffix {
			logs = append(logs, vfs.Join(name, n))
		}
	}
	return logs, nil
}

type checker struct {
	fsys   vfs.FS
	report func(Problem)
	total  Checked
}

func (c *checker) segment(name string) error {
	f, err := c.fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	base, _, named := ParseName(path.Base(name))
	if c.total.Segments++; c.total.Segments == 1 {
		c.total.Start, c.total.End = base, base
	}
	if named && base < c.total.End {
		c.report(Problem{File: name, Err: errJoin})
	}
	sc := NewScanner(f, 0, size)
	defer sc.Close()
	side, err := c.openSide(name, base, named)
	if err != nil {
		return err
	}
	for {
		b, pos, err := sc.Next()
		switch {
		case err == io.EOF:
			c.total.Bytes += size
			side.rest()
			return nil
		case err == nil:
			if err := c.batch(b); err != nil {
				c.report(Problem{File: name, Pos: pos, Err: err})
			}
			side.batch(b, pos)
		case damaged(err) && sc.Skip():
			c.report(Problem{File: name, Pos: pos, Err: err})
		case damaged(err):
			c.report(Problem{File: name, Pos: pos, Err: err, Tail: true})
			c.total.Bytes += pos
			return nil
		default:
			return err
		}
	}
}

func (c *checker) batch(b record.Batch) error {
	c.total.Batches++
	if b.Hidden() {
		c.total.Hidden++
	}
	if b.BaseOffset() < c.total.End && c.total.Batches > 1 || b.LastOffsetDelta() < 0 {
		return fmt.Errorf("%w: batch of offset %d, the one before ends at %d", errOffsets, b.BaseOffset(), c.total.End)
	}
	c.total.End = b.EndOffset()
	return b.Walk(nil, func(*record.View) error {
		c.total.Records++
		return nil
	})
}

// side compares the indexes beside a log file with its batches, as they come.
type side struct {
	report          func(Problem)
	base            int64
	index, times    string // names
	offsets, stamps []byte // entries not come to yet
	done            [2]int64
	max             int64
}

func (c *checker) openSide(log string, base int64, named bool) (*side, error) {
	s := &side{report: c.report, base: base, max: None}
	if !named {
		return s, nil
	}
	stem := log[:len(log)-len(LogSuffix)]
	s.index, s.times = stem+IndexSuffix, stem+TimeSuffix
	var err error
	if s.offsets, err = c.entries(s.index, offsetWidth); err == nil {
		s.stamps, err = c.entries(s.times, timeWidth)
	}
	return s, err
}

func (c *checker) entries(name string, width int) ([]byte, error) {
	b, err := vfs.ReadFile(c.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && len(b)%width != 0 {
		c.report(Problem{File: name, Pos: int64(len(b)), Err: io.ErrUnexpectedEOF, Cache: true})
		b = b[:len(b)-len(b)%width]
	}
	return b, err
}

// batch compares the entries that are this batch's.
func (s *side) batch(b record.Batch, pos int64) {
	if !b.Hidden() {
		s.max = max(s.max, b.MaxTimestamp())
	}
	if len(s.offsets) > 0 {
		if rel, at := offsetEntry(s.offsets); int64(at) <= pos {
			if int64(at) != pos || s.base+int64(rel) != b.LastOffset() {
				s.report(Problem{File: s.index, Pos: s.done[0], Err: errIndexEntry, Cache: true})
			}
			s.offsets = s.offsets[offsetWidth:]
			s.done[0] += offsetWidth
		}
	}
	for len(s.stamps) > 0 {
		ts, rel := timeEntry(s.stamps)
		if s.base+int64(rel) > b.LastOffset() {
			return
		}
		if ts != s.max {
			s.report(Problem{File: s.times, Pos: s.done[1], Err: errTimeEntry, Cache: true})
		}
		s.stamps = s.stamps[timeWidth:]
		s.done[1] += timeWidth
	}
}

// rest reports entries that no batch was found for.
func (s *side) rest() {
	if len(s.offsets) > 0 {
		s.report(Problem{File: s.index, Pos: s.done[0], Err: errIndexEntry, Cache: true})
	}
	if len(s.stamps) > 0 {
		s.report(Problem{File: s.times, Pos: s.done[1], Err: errTimeEntry, Cache: true})
	}
}
