package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/segment"
)

// CheckOptions say which log to check.
type CheckOptions struct {
	FS  vfs.FS
	Dir string // of one partition: Morrow's, or Kafka's
	// Only are the base offsets of the segments to check; nil means all. What concerns the log as a
	// whole is then left out.
	Only []int64
	// Report is called for everything that is wrong.
	Report func(segment.Problem)
}

// Checked is what the log in a directory adds up to.
type Checked struct {
	Segments   int
	Start, End int64 // offsets of what is in the directory
	Bytes      int64
	Batches    int64
	Records    int64
	Hidden     int64 // records in hidden batches
	// Tail is bytes at the end that are no whole group and were never acknowledged: an append that
	// is under way, or that a crash cut short. The next start cuts them.
	Tail int64
}

// Check reads everything there is of a log, and changes nothing: every segment with its side files
// (see [segment.Check]), whether the segments join, the facts, and the producer snapshots. It may
// run while a broker uses the log. The error is only one of reading; what is wrong is reported.
//
// What was acknowledged must be whole. Damage above the synced end of a log of ours is a tail, as
// for recovery; in a log without facts, which is Kafka's, all damage is reported.
func Check(o CheckOptions) (Checked, error) {
	c := checker{o: o}
	if err := c.loadFacts(); err != nil {
		return Checked{}, err
	}
	bases := o.Only
	if bases == nil {
		var err error
		if bases, err = c.list(); err != nil {
			return Checked{}, err
		}
	}
	for _, base := range bases {
		if err := c.segment(base); err != nil {
			return Checked{}, err
		}
	}
	if o.Only != nil {
		return c.sum, nil
	}
	c.end()
	return c.sum, c.snapshots()
}

// checker is a Check at work.
type checker struct {
	o   CheckOptions
	sum Checked
	// ours: there are facts. Until they are known to be otherwise, everything counts as durable.
	ours    bool
	durable int64 // everything below was, before anything else was read
	before  facts // as of then
	last    segment.Checked
	skipped bool  // a segment behind the last one was removed meanwhile
	cut     bool  // recovery would cut what follows
	cutPos  int64 // from which position of the segment on, if it begins there; -1
}

// loadFacts finds out what was durable. One damaged slot costs nothing, unless the other one is damaged too.
func (c *checker) loadFacts() error {
	c.durable = forever
	f, err := c.readFacts()
	if err != nil || !c.ours {
		return err
	}
	if f != nil {
		c.before, c.durable = *f, max(f.synced, f.highWatermark)
	}
	return nil
}

// readFacts returns the newest facts, nil if there are none.
func (c *checker) readFacts() (*facts, error) {
	w := factsFile{fsys: c.o.FS, dir: c.o.Dir}
	damaged := ""
	for slot := range slotNames {
		b, err := vfs.ReadFile(w.fsys, w.name(slot))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.ours = true
		if _, _, err := decodeFacts(b); err != nil && len(b) > 0 {
			damaged = w.name(slot)
		}
	}
	if !c.ours {
		return nil, nil
	}
	f, err := w.load()
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		c.problem(corrupt.File, corrupt.Pos, corrupt.Err)
		return nil, nil
	case err != nil:
		return nil, err
	case damaged != "":
		c.slot(damaged)
	}
	return &f, nil
}

// slot reports a damaged slot, unless it was only being written.
func (c *checker) slot(name string) {
	b, err := vfs.ReadFile(c.o.FS, name)
	if err == nil {
		_, _, err = decodeFacts(b)
	}
	if err != nil {
		c.o.Report(segment.Problem{File: name, Err: err, Cache: true})
	}
}

func (c *checker) problem(file string, pos int64, err error) {
	c.o.Report(segment.Problem{File: file, Pos: pos, Err: err})
}

func (c *checker) path(base int64) string {
	return vfs.Join(c.o.Dir, segment.FileName(base, segment.LogSuffix))
}

// list returns the bases of the segments of the log: leftovers of a removal that a crash interrupted are none.
func (c *checker) list() ([]int64, error) {
	names, err := c.o.FS.List(c.o.Dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, name := range names {
		if base, suffix, ok := segment.ParseName(name); ok && suffix == segment.LogSuffix {
			bases = append(bases, base)
		}
	}
	if !c.ours || c.durable == forever {
		return bases, nil
	}
	// Read after the list, so that segments which retention has removed since are below the local start.
	f, err := (&factsFile{fsys: c.o.FS, dir: c.o.Dir}).load()
	if err != nil {
		return nil, err
	}
	for len(bases) > 1 && bases[1] <= f.localStart {
		bases = bases[1:]
	}
	if len(bases) == 0 || bases[0] > f.localStart {
		c.problem(c.path(f.localStart), 0, errNoFile)
	}
	return bases, nil
}

// segment checks one segment and whether it joins the one before. One that is removed meanwhile is left out.
func (c *checker) segment(base int64) error {
	c.cutPos = -1
	s, err := segment.Check(segment.CheckOptions{FS: c.o.FS, Name: c.path(base), Foreign: !c.ours, Report: c.report})
	if errors.Is(err, fs.ErrNotExist) && c.o.Only == nil {
		c.skipped = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", c.path(base), err)
	}
	if c.sum.Segments == 0 {
		c.sum.Start = s.Base
	} else if c.o.Only == nil {
		if err := c.joins(base); err != nil {
			return err
		}
	}
	if t := s.Tail; t.Damage != nil {
		c.report(segment.Problem{File: c.path(base), Pos: t.DamagePos, Offset: t.Offset, Err: t.Damage})
	}
	c.add(s)
	return nil
}

// joins judges where a segment begins.
func (c *checker) joins(base int64) error {
	end, skipped := c.last.End, c.skipped
	c.skipped = false
	switch {
	case base < end:
		c.report(segment.Problem{File: c.path(base), Offset: end, Err: fmt.Errorf("%w, at offset %d", errOverlap, end)})
	case base == end || skipped || c.last.Tail.Damage != nil || !c.ours || c.durable == forever || c.before.knowsHole(end, base):
	default:
		// The broker may have made the hole meanwhile.
		f, err := (&factsFile{fsys: c.o.FS, dir: c.o.Dir}).load()
		if err != nil {
			return err
		}
		if !f.knowsHole(end, base) {
			c.report(segment.Problem{File: c.path(end), Offset: end, Err: fmt.Errorf("%w: nothing has offsets [%d, %d)", errLost, end, base)})
		}
	}
	return nil
}

// report passes a problem on, unless recovery would cut it off: it lies above everything durable.
// So does then what follows.
func (c *checker) report(p segment.Problem) {
	switch {
	case p.Cache || p.Offset < c.durable:
		c.o.Report(p)
	case !c.cut:
		c.cut, c.cutPos = true, p.Pos
	}
}

func (c *checker) add(s segment.Checked) {
	c.last = s
	c.sum.Segments++
	c.sum.End = max(c.sum.End, s.End)
	c.sum.Bytes += s.Size
	c.sum.Batches += s.Batches
	c.sum.Records += s.Records
	c.sum.Hidden += s.Hidden
	switch {
	case c.cutPos >= 0:
		c.sum.Tail += s.Size - c.cutPos
	case c.cut:
		c.sum.Tail += s.Size
	}
}

// end judges where the log ends.
func (c *checker) end() {
	if c.sum.Segments == 0 || c.durable == forever || c.sum.End >= c.durable || c.last.Tail.Damage != nil {
		return
	}
	err := fmt.Errorf("%w: at offset %d, durable were %d", errShort, c.sum.End, c.durable)
	if journal, _ := vfs.Exists(c.o.FS, vfs.Join(vfs.Dir(c.o.Dir), journalDir)); journal {
		err = fmt.Errorf("%w; if the machine crashed, the commit journal has the rest: start the broker, and check again", err)
	}
	c.problem(c.path(c.last.Base), c.last.Tail.Pos, err)
}

// snapshots checks the producer snapshots of a log of ours. They are caches, but for the one the
// log begins with, which tells of what is not in the log any more. Whether it told of anything is
// not known if it is damaged.
func (c *checker) snapshots() error {
	if !c.ours {
		return nil
	}
	names, err := c.o.FS.List(c.o.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		offset, suffix, ok := segment.ParseName(name)
		if !ok || suffix != snapshotSuffix {
			continue
		}
		err := c.snapshot(name, offset)
		if errors.Is(err, producer.ErrSnapshot) {
			err = c.snapshot(name, offset) // perhaps it was only being written
		}
		if err != nil && !errors.Is(err, producer.ErrSnapshot) {
			return err
		}
		if err != nil && offset <= c.sum.Start {
			err = fmt.Errorf("%w, and with it what was known of producers before offset %d, if they were idempotent", err, offset)
		}
		if err != nil {
			c.o.Report(segment.Problem{File: vfs.Join(c.o.Dir, name), Err: err, Cache: true})
		}
	}
	return nil
}

// snapshot returns an error that wraps producer.ErrSnapshot if a snapshot is damaged. An empty one is none yet.
func (c *checker) snapshot(name string, offset int64) error {
	b, err := vfs.ReadFile(c.o.FS, vfs.Join(c.o.Dir, name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = decodeSnapshot(b, offset)
	return err
}
