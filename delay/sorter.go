package delay

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/morrowmq/morrow/internal/vfs"
)

// sorter sorts more than fits into memory, by key: chunks are sorted and written to temporary files, and merged
// when they are read. The files hold, per item, the lengths of key and value as uvarints, then both.
type sorter struct {
	fs vfs.FS
	// dir is the directory of the temporary files, name the beginning of theirs.
	dir, name string
	// maxBytes is how much is sorted in memory.
	maxBytes int

	count int // of all items
	arena []byte
	items []sorted
	files []vfs.File
}

// sorted is where an item lies in the arena. Its prefix, the beginning of the key, decides most
// comparisons without a look there.
type sorted struct {
	prefix         uint64
	from, key, end int
}

// prefixOf is the beginning of a key as a number that compares like it.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var padded [8]byte
	copy(padded[:], key)
	return binary.BigEndian.Uint64(padded[:])
}

// add copies an item.
func (s *sorter) add(key, value []byte) error {
	if len(s.items) > 0 && len(s.arena)+len(key)+len(value)+32*len(s.items) > s.maxBytes {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.count++
	from := len(s.arena)
	s.arena = append(s.arena, key...)
	s.arena = append(s.arena, value...)
	s.items = append(s.items, sorted{prefixOf(key), from, from + len(key), len(s.arena)})
	return nil
}

func (s *sorter) sortChunk() {
	slices.SortFunc(s.items, func(a, b sorted) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return bytes.Compare(s.arena[a.from:a.key], s.arena[b.from:b.key])
	})
}

// flush writes the chunk in memory to a file.
func (s *sorter) flush() error {
	s.sortChunk()
	name := path.Join(s.dir, fmt.Sprintf("%s-%d.tmp", s.name, len(s.files)))
	f, err := s.fs.Create(name)
	if err != nil {
		return err
	}
	s.files = append(s.files, f)
	w := bufio.NewWriterSize(io.NewOffsetWriter(f, 0), 1<<20)
	for _, it := range s.items {
		var lengths [2 * binary.MaxVarintLen64]byte
		n := binary.PutUvarint(lengths[:], uint64(it.key-it.from))
		n += binary.PutUvarint(lengths[n:], uint64(it.end-it.key))
		_, _ = w.Write(lengths[:n]) // the writer keeps its first error for Flush
		_, _ = w.Write(s.arena[it.from:it.end])
	}
	s.arena, s.items = s.arena[:0], s.items[:0]
	return w.Flush()
}

// each calls yield for every item in the order of keys. Both slices are valid during the call.
func (s *sorter) each(yield func(key, value []byte) error) error {
	s.sortChunk()
	var m merger
	for _, f := range s.files {
		if err := m.add(&chunk{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), 256<<10)}); err != nil {
			return err
		}
	}
	if err := m.add(&chunk{memory: s}); err != nil {
		return err
	}
	for len(m) > 0 {
		c := m[0]
		if err := yield(c.key, c.value); err != nil {
			return err
		}
		if err := c.next(); errors.Is(err, io.EOF) {
			heap.Pop(&m)
		} else if err != nil {
			return err
		} else {
			heap.Fix(&m, 0)
		}
	}
	return nil
}

// close removes the temporary files.
func (s *sorter) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close(), s.fs.Remove(f.Name()))
	}
	s.files = nil
	return errors.Join(errs...)
}

// chunk is a sorted sequence of items being read.
type chunk struct {
	r *bufio.Reader
	// memory is the sorter whose unwritten items are read, if not nil.
	memory     *sorter
	at         int
	buf        []byte
	key, value []byte
	prefix     uint64 // of key
}

func (c *chunk) next() error {
	if s := c.memory; s != nil {
		if c.at == len(s.items) {
			return io.EOF
		}
		it := s.items[c.at]
		c.at++
		c.key, c.value, c.prefix = s.arena[it.from:it.key], s.arena[it.key:it.end], it.prefix
		return nil
	}
	keyLen, err := binary.ReadUvarint(c.r)
	if err != nil {
		return err
	}
	valueLen, err := binary.ReadUvarint(c.r)
	if err != nil {
		return unexpected(err)
	}
	c.buf = slices.Grow(c.buf[:0], int(keyLen+valueLen))[:keyLen+valueLen]
	if _, err := io.ReadFull(c.r, c.buf); err != nil {
		return unexpected(err)
	}
	c.key, c.value = c.buf[:keyLen], c.buf[keyLen:]
	c.prefix = prefixOf(c.key)
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// merger is a heap of chunks by their current key.
type merger []*chunk

// add begins to read a chunk; an empty one is left out.
func (m *merger) add(c *chunk) error {
	err := c.next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		heap.Push(m, c)
	}
	return err
}

func (m merger) Len() int { return len(m) }
func (m merger) Less(i, j int) bool {
	if m[i].prefix != m[j].prefix {
		return m[i].prefix < m[j].prefix
	}
	return bytes.Compare(m[i].key, m[j].key) < 0
}
func (m merger) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *merger) Push(x any)   { *m = append(*m, x.(*chunk)) }
func (m *merger) Pop() any {
	last := len(*m) - 1
	c := (*m)[last]
	*m = (*m)[:last]
	return c
}
