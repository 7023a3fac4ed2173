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
	h.max = 0
	idle := h.evictLocked()
	h.mu.Unlock()
	return idle.close()
}

// files are to be closed once Handles.mu is given back: the last close of a file that was removed
// frees its space, which may take long.
type files []vfs.File

func (fs files) close() error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// evictLocked returns the files that are one too many, and unused.
func (h *Handles) evictLocked() (idle files) {
	for h.open > h.max && h.idle.next != &h.idle {
		idle = append(idle, h.idle.next.detachLocked())
	}
	return idle
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
	f, idle, err := h.acquireLocked(c.fsys.Open)
	c.mu.Unlock()
	_ = idle.close() // see detachLocked
	return f, err
}

func (h *handle) acquireLocked(open func(name string) (vfs.File, error)) (f vfs.File, idle files, err error) {
	switch {
	case h.gone:
		return nil, nil, ErrGone
	case h.f == nil:
		if h.f, err = open(h.name()); err != nil {
			h.f = nil
			return nil, nil, err
		}
		h.of.o.Handles.open++
		idle = h.of.o.Handles.evictLocked()
	case h.refs == 0:
		h.unlink()
	}
	h.refs++
	return h.f, idle, nil
}

// create makes the file and leaves it acquired.
func (h *handle) create() (vfs.File, error) {
	c := h.of.o.Handles
	c.mu.Lock()
	f, idle, err := h.acquireLocked(c.fsys.Create)
	c.mu.Unlock()
	_ = idle.close() // see detachLocked
	return f, err
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
	var idle files
	if h.refs--; h.refs == 0 {
		last := c.idle.prev
		h.prev, h.next = last, &c.idle
		last.next, c.idle.prev = h, h
		if h.gone {
			idle = files{h.detachLocked()}
		} else {
			idle = c.evictLocked()
		}
	}
	c.mu.Unlock()
	_ = idle.close() // see detachLocked
}

// remove unlinks the file. Whoever has it acquired keeps reading it.
func (h *handle) remove() error {
	h.forget()
	err := h.of.o.FS.Remove(h.name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// forget closes the file if nobody uses it, and makes later acquires fail.
func (h *handle) forget() {
	c := h.of.o.Handles
	c.mu.Lock()
	h.gone = true
	var idle files
	if h.f != nil && h.refs == 0 {
		idle = files{h.detachLocked()}
	}
	c.mu.Unlock()
	_ = idle.close() // see detachLocked
}

// detachLocked takes the file of an idle handle away, to be closed. What was written through it has
// been synced or is a cache, so an error of that tells nothing.
func (h *handle) detachLocked() vfs.File {
	h.unlink()
	f := h.f
	h.f = nil
	h.of.o.Handles.open--
	return f
}

func (h *handle) unlink() {
	h.prev.next, h.next.prev = h.next, h.prev
	h.prev, h.next = nil, nil
}
