package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// Suffixes of a segment that takes the place of others. While it is written it is a draft, which
// means nothing. Then it is named after the range of offsets it is to replace, and from that moment
// on it counts: whoever finds it finishes the replacement ([FinishSwaps]).
//
//	<base>.draft
//	<base>.<end>.swap
const (
	draftSuffix = ".draft"
	swapSuffix  = ".swap"
)

// Draft is a segment that is being written, to take the place of one or several neighbours. It is
// for one goroutine at a time.
//
// Replacing is: Finish, Commit, Retire of each of the old ones, Install. Up to Commit it can be discarded.
type Draft struct {
	s       *Segment
	batches []record.Batch // in buf, to be written
	buf     []byte
}

// draftBuffer is about how much of a draft is written at once.
const draftBuffer = 256 << 10

// CreateDraft begins a segment that holds what was first appended at created, ms. A draft that was
// left behind under its name is removed.
func CreateDraft(o Options, base, created int64) (*Draft, error) {
	s := newSegment(o, base)
	s.log.suffix = draftSuffix
	s.state.created = created
	if err := o.FS.Remove(s.log.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := s.log.create()
	if err != nil {
		return nil, err
	}
	s.writer = f // released once it is synced
	return &Draft{s: s}, nil
}

// Append adds a copy of a batch. Offsets must ascend, but need not join.
func (d *Draft) Append(b record.Batch) error {
	if len(d.buf)+len(b) > cap(d.buf) {
		if err := d.flush(); err != nil {
			return err
		}
		if cap(d.buf) < len(b) {
			d.buf = make([]byte, 0, max(len(b), draftBuffer))
		}
	}
	from := len(d.buf)
	d.buf = append(d.buf, b...)
	d.batches = append(d.batches, record.Batch(d.buf[from:len(d.buf):len(d.buf)]))
	return nil
}

func (d *Draft) flush() error {
	if len(d.batches) == 0 {
		return nil
	}
	_, err := d.s.Append(d.batches, d.s.state.created)
	d.batches, d.buf = d.batches[:0], d.buf[:0]
	return err
}

// AddAborted is as for a [Segment].
func (d *Draft) AddAborted(a AbortedTxn) { d.s.AddAborted(a) }

// Size is the bytes appended.
func (d *Draft) Size() int64 { return d.s.Size() + int64(len(d.buf)) }

// Room reports whether bytes more fit, the last batch of them ending at end, as in [Segment.Room].
func (d *Draft) Room(bytes, end int64, indexBytes int) bool {
	return d.s.Room(int64(len(d.buf))+bytes, end, indexBytes)
}

// Finish makes everything that was appended durable: only the name is missing. Until it is opened
// anew, what the draft has become counts as written when the last of it was first: at written, ms.
func (d *Draft) Finish(written int64) error {
	if err := d.flush(); err != nil {
		return err
	}
	d.s.Seal()
	d.s.written = written
	return d.s.Sync()
}

// Discard removes the draft.
func (d *Draft) Discard() error {
	err := d.s.log.remove()
	d.s.Close()
	return err
}

// Commit names a finished draft as the one to replace the segments in [base, end). A *WriteError
// that is undone leaves the draft as it was; after any other error it is not known whether it will
// take their place.
func (d *Draft) Commit(end int64) error {
	if err := d.s.log.rename(fmt.Sprintf(".%020d%s", end, swapSuffix)); err != nil {
		return &WriteError{Err: err, Undone: true}
	}
	return d.s.o.FS.SyncDir(d.s.o.Dir)
}

// Segment is what the draft has become. It can be read from Commit on.
func (d *Draft) Segment() *Segment { return d.s }

// Install gives a committed draft its proper name, once the segments it replaces were retired, and
// stores its caches.
func (d *Draft) Install() error {
	fsys, dir := d.s.o.FS, d.s.o.Dir
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	if err := d.s.log.rename(LogSuffix); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// Retire takes a segment out of use that a draft with the given base replaces: its files go, but
// for the log file that the draft will be renamed over. Readers that hold the segment go on.
func (s *Segment) Retire(base int64) error {
	if s.base != base {
		return s.Remove()
	}
	s.Close()
	return removeFiles(s.o, base, suffixes[1:])
}

// rename gives the file another suffix, open or not.
func (h *handle) rename(suffix string) error {
	c := h.of.o.Handles
	c.mu.Lock()
	defer c.mu.Unlock()
	to := vfs.Join(h.of.o.Dir, FileName(h.of.base, suffix))
	if err := c.fsys.Rename(h.name(), to); err != nil {
		return err
	}
	h.suffix = suffix
	return nil
}

// IsSwap reports whether a file is a segment that is to take the place of others.
func IsSwap(name string) bool { return strings.HasSuffix(name, swapSuffix) }

// FinishSwaps finishes the replacements that a crash interrupted in a directory, and removes
// drafts. No segment of it may be open.
func FinishSwaps(o Options) error {
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		base, suffix, ok := ParseName(name)
		switch {
		case !ok:
		case suffix == draftSuffix:
			if err := o.FS.Remove(vfs.Join(o.Dir, name)); err != nil {
				return err
			}
		case IsSwap(suffix):
			end, err := strconv.ParseInt(strings.Trim(strings.TrimSuffix(suffix, swapSuffix), "."), 10, 64)
			if err != nil {
				return fmt.Errorf("name of %s: %w", vfs.Join(o.Dir, name), err)
			}
			if err := finishSwap(o, names, base, end, name); err != nil {
				return fmt.Errorf("finish %s: %w", vfs.Join(o.Dir, name), err)
			}
		}
	}
	return nil
}

func finishSwap(o Options, names []string, base, end int64, swap string) error {
	for _, name := range names {
		if b, suffix, ok := ParseName(name); ok && suffix == LogSuffix && base < b && b < end {
			if err := Remove(o, b); err != nil {
				return err
			}
		}
	}
	if err := removeFiles(o, base, suffixes[1:]); err != nil {
		return err
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return err
	}
	if err := o.FS.Rename(vfs.Join(o.Dir, swap), vfs.Join(o.Dir, FileName(base, LogSuffix))); err != nil {
		return err
	}
	return o.FS.SyncDir(o.Dir)
}
