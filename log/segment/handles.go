package segment

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/morrowmq/morrow/internal/vfs"
)

// ErrGone is returned for a segment that was removed.
var ErrGone = errors.New("segment was removed")

// Handles keeps the files of many segments open while they are used, and a bounded
// number of them for a while longer. It is safe for concurrent use.
type Handles struct {
	fsys vfs.FS
	max  int

	mu   sync.Mutex // guards what follows and the fields of every handle
	open int
	idle handle // ring of open handles that nobody uses, longest idle first
}

// NewHandles returns a cache that keeps at most maxIdle unused files open.
func NewHandles(fsys vfs.FS, maxIdle int) *Handles {
	h := &Handles{fsys: fsys, max: maxIdle}
	h.idle.prev, h.idle.next = &h.idle, &h.idle
	return h
}

// Close closes the files nobody uses. Files in use are closed when they are released.
func (h *Handles) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.max = 0
	return h.evictLocked()
}

func (h *Handles) evictLocked() error {
	var errs []error
	for h.open > h.max && h.idle.next != &h.idle {
		errs = append(errs, h.idle.next.closeLocked())
	}
	return errors.Join(errs...)
}

// handle is one file of a segment, opened when it is needed.
type handle struct {
	of     *Segment
	suffix string

	// Guarded by Handles.mu.
	f          vfs.File
	refs       int
	gone       bool
	prev, next *handle // in the ring of idle handles
}

func (h *handle) name() string {
	return vfs.Join(h.of.o.Dir, FileName(h.of.base, h.suffix))
}

// acquire opens the file, or finds it open. Every acquire needs one release.
func (h *handle) acquire() (vfs.File, error) {
	c := h.of.o.Handles
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.gone {
		return nil, ErrGone
	}
	if h.f == nil {
		f, err := c.fsys.Open(h.name())
		if err != nil {
			return nil, err
		}
		h.f = f
		c.open++
		_ = c.evictLocked()
	} else if h.refs == 0 {
		h.unlink()
	}
	h.refs++
	return h.f, nil
}

// create makes the file and leaves it acquired.
func (h *handle) create() (vfs.File, error) {
	c := h.of.o.Handles
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.fsys.Create(h.name())
	if err != nil {
		return nil, err
	}
	h.f, h.refs = f, 1
	c.open++
	_ = c.evictLocked()
	return f, nil
}

// ensure acquires the file, making it if it does not exist.
func (h *handle) ensure() (vfs.File, error) {
	f, err := h.acquire()
	if errors.Is(err, fs.ErrNotExist) {
		return h.create()
	}
	return f, err
}

func (h *handle) release() {
	c := h.of.o.Handles
	c.mu.Lock()
	defer c.mu.Unlock()
	h.refs--
	if h.refs > 0 {
		return
	}
	last := c.idle.prev
	h.prev, h.next = last, &c.idle
	last.next, c.idle.prev = h, h
	if h.gone {
		_ = h.closeLocked()
	} else {
		_ = c.evictLocked()
	}
}

// remove unlinks the file. Whoever has it acquired keeps reading it.
func (h *handle) remove() error {
	c := h.of.o.Handles
	c.mu.Lock()
	defer c.mu.Unlock()
	h.gone = true
	if h.f != nil && h.refs == 0 {
		_ = h.closeLocked()
	}
	err := c.fsys.Remove(h.name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// forget closes the file if nobody uses it, and makes later acquires fail.
func (h *handle) forget() {
	c := h.of.o.Handles
	c.mu.Lock()
	defer c.mu.Unlock()
	h.gone = true
	if h.f != nil && h.refs == 0 {
		_ = h.closeLocked()
	}
}

// closeLocked closes an idle handle. What was written through it has been synced or is a cache.
func (h *handle) closeLocked() error {
	h.unlink()
	f := h.f
	h.f = nil
	h.of.o.Handles.open--
	return f.Close()
}

func (h *handle) unlink() {
	h.prev.next, h.next.prev = h.next, h.prev
	h.prev, h.next = nil, nil
}
