package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// scratchMax bounds what one measurement leaves on the disk until it has ended. It stays well below
// what Linux lets lie in the page cache before it makes writers wait (a fifth of the memory).
const scratchMax = 2 << 30

// scratch is a file that is only appended to. Appends come from one goroutine; syncs may run at the same time.
type scratch struct {
	vfs.File
	pos int64
}

// newScratch makes a file of its own name in dir.
func newScratch(dir string) (*scratch, error) {
	f, err := vfs.OS{}.Create(vfs.Join(dir, fmt.Sprintf("morrow-bench-%x", rand.Uint64())))
	if err != nil {
		return nil, err
	}
	return &scratch{File: f}, nil
}

func (s *scratch) append(b []byte) error {
	_, err := s.WriteAt(b, s.pos)
	s.pos += int64(len(b))
	return err
}

// full reports that enough was appended.
func (s *scratch) full() bool { return s.pos >= scratchMax }

// remove closes and removes the file.
func (s *scratch) remove() error {
	return errors.Join(s.Close(), vfs.OS{}.Remove(s.Name()))
}

// osFile is the file for system calls.
func (s *scratch) osFile() *os.File {
	f, _ := s.File.(interface{ OSFile() *os.File })
	return f.OSFile()
}

// WarmPageCache writes and removes size bytes in dir. The first touch of memory is slow in a
// virtual machine, by a factor of two and more, and what lies free for some seconds may go back to
// the host, so that its next touch is a first one again.
func WarmPageCache(dir string, size int64) (err error) {
	s, err := newScratch(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	b := make([]byte, 1<<20)
	for s.pos < size {
		if err := s.append(b); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until the disk has done what it was asked before, discards of removed files above
// all, so that the next measurement does not pay for it.
func settle(dir string) (err error) {
	s, err := newScratch(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.append(make([]byte, 4<<10)), s.Sync(), s.remove())
}

// AppendSync appends size bytes at a time to a new file in dir, each made durable by an fdatasync
// before the next, for d.
func AppendSync(dir string, size int, d time.Duration) (b Bare, err error) {
	s, err := newScratch(dir)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	buf := make([]byte, size)
	var h Histogram
	start := time.Now()
	for s.pos == 0 || time.Since(start) < d && !s.full() {
		began := time.Now()
		if err := errors.Join(s.append(buf), s.Sync()); err != nil {
			return b, err
		}
		h.Observe(time.Since(began))
	}
	return newBare(&h, s.pos, time.Since(start)), nil
}
