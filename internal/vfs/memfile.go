package vfs

import (
	"io"
	"os"
	"syscall"
	"time"
)

const (
	pageSize = 4096
	// sectorSize is what a disk writes as a whole or not at all.
	sectorSize = 512
)

type page [pageSize]byte

// content is what a file holds, and what of it is durable.
type content struct {
	size  int64
	pages []*page // nil: zeros, no space used

	durableSize int64
	// durable holds the pages as of the last sync. A page that pages holds too is copied before it is written.
	durable []*page
	// writes are what happened since the last sync, oldest first.
	writes []write
}

// write is a change of a file's bytes: data at pos or, for a truncation, zeros up to end.
type write struct {
	pos, end int64
	data     []byte // nil: zeros
	size     int64  // of the file, afterwards
}

func (c *content) allocated() (bytes int64) {
	for _, p := range c.pages {
		if p != nil {
			bytes += pageSize
		}
	}
	return bytes
}

func (c *content) readAt(b []byte, pos int64) (n int) {
	for n < len(b) && pos < c.size {
		limit := min(int64(len(b)-n), pageSize-pos%pageSize, c.size-pos)
		dst := b[n : n+int(limit)]
		if p := c.pageAt(pos); p != nil {
			copy(dst, p[pos%pageSize:])
		} else {
			clear(dst)
		}
		n += int(limit)
		pos += limit
	}
	return n
}

func (c *content) pageAt(pos int64) *page {
	if i := pos / pageSize; i < int64(len(c.pages)) {
		return c.pages[i]
	}
	return nil
}

// put stores bytes, within one page, as they are on the page; src nil means zeros.
func (c *content) put(pos, end int64, src []byte) (grew int64) {
	i := int(pos / pageSize)
	for i >= len(c.pages) {
		c.pages = append(c.pages, nil)
	}
	switch p := c.pages[i]; {
	case p == nil && src == nil:
		return 0
	case p == nil:
		c.pages[i] = new(page)
		grew = pageSize
	case i < len(c.durable) && c.durable[i] == p:
		copied := *p
		c.pages[i] = &copied
	}
	dst := c.pages[i][pos%pageSize:][:end-pos]
	if src == nil {
		clear(dst)
	} else {
		copy(dst, src)
	}
	return grew
}

// resize sets the size; bytes that are cut off read as zeros if the file grows again.
func (c *content) resize(size int64) {
	if pageEnd := (size/pageSize + 1) * pageSize; size < c.size && c.pageAt(size) != nil {
		c.put(size, pageEnd, nil)
	}
	c.writes = append(c.writes, write{pos: size, end: max(c.size, size), size: size})
	c.size = size
	if keep := (size + pageSize - 1) / pageSize; keep < int64(len(c.pages)) {
		clear(c.pages[keep:])
		c.pages = c.pages[:keep]
	}
}

// sync makes everything durable that was written since the last sync, or since forget.
func (c *content) sync() {
	for _, w := range c.writes {
		for i := w.pos / pageSize; i*pageSize < w.end; i++ {
			for i >= int64(len(c.durable)) {
				c.durable = append(c.durable, nil)
			}
			c.durable[i] = nil
			if i < int64(len(c.pages)) {
				c.durable[i] = c.pages[i]
			}
		}
	}
	if len(c.writes) > 0 {
		c.durableSize = c.size
	}
	c.writes = nil
}

// forget is what Linux does when a sync fails: what was to be written counts as clean, so that the next
// sync succeeds without having written it.
func (c *content) forget() { c.writes = nil }

// memFile is a handle.
type memFile struct {
	m    *Mem
	name string
	n    *node // nil once closed
}

func (m *Mem) handleLocked(name string, n *node) *memFile {
	n.handles++
	return &memFile{m: m, name: name, n: n}
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.n == nil {
		return pathError("close", f.name, os.ErrClosed)
	}
	f.n.handles--
	f.m.reclaimLocked(f.n)
	f.n = nil
	return nil
}

func (f *memFile) ReadAt(b []byte, pos int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.checkLocked("read", pos); err != nil {
		return 0, err
	}
	n := f.n.content.readAt(b, pos)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, pos int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.checkLocked("write", pos); err != nil {
		return 0, err
	}
	if len(b) == 0 {
		return 0, nil
	}
	n := f.writeLocked(b, pos)
	if n > 0 {
		c := &f.n.content
		end := pos + int64(n)
		c.size = max(c.size, end)
		c.writes = append(c.writes, write{pos, end, append([]byte(nil), b[:n]...), c.size})
		f.n.modTime = time.Now()
	}
	if n < len(b) {
		return n, pathError("write", f.name, syscall.ENOSPC)
	}
	return n, nil
}

// writeLocked stores as much of b as there is space for.
func (f *memFile) writeLocked(b []byte, pos int64) (n int) {
	for n < len(b) {
		limit := min(int64(len(b)-n), pageSize-pos%pageSize)
		if f.m.capacity > 0 && f.n.content.pageAt(pos) == nil && f.m.used+pageSize > f.m.capacity {
			return n
		}
		f.m.used += f.n.content.put(pos, pos+limit, b[n:n+int(limit)])
		n += int(limit)
		pos += limit
	}
	return n
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.checkLocked("stat", 0); err != nil {
		return 0, err
	}
	return f.n.content.size, nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.checkLocked("truncate", size); err != nil {
		return err
	}
	before := f.n.content.allocated()
	f.n.content.resize(size)
	f.m.used += f.n.content.allocated() - before
	f.n.modTime = time.Now()
	return nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.checkLocked("sync", 0); err != nil {
		return err
	}
	f.n.content.sync()
	return nil
}

// forget makes the file behave as after a failed sync; see [Fault].
func (f *memFile) forget() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.n != nil {
		f.n.content.forget()
	}
}

func (f *memFile) checkLocked(op string, pos int64) error {
	if f.n == nil {
		return pathError(op, f.name, os.ErrClosed)
	}
	if pos < 0 {
		return pathError(op, f.name, syscall.EINVAL)
	}
	return nil
}
