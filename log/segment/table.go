package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"sync/atomic"

	"github.com/morrowmq/morrow/internal/vfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTable says that a side file is not what its summary says.
var errTable = errors.New("side file is damaged")

// table is a file of entries of one width, in order: offset index, time index,
// aborted transactions. New entries collect in a tail in memory and move to the file at a checkpoint.
//
// Guarded by Segment.mu, except that a view may be searched without it.
type table struct {
	handle
	width   int
	flushed int    // entries in the file that count; the file may have stale ones after them
	sum     uint32 // CRC-32C of those
	tail    []byte // entries after those; never written to twice, so that views stay valid
	checked *atomic.Bool
}

func (t *table) init(s *Segment, suffix string, width int) {
	t.handle = handle{of: s, suffix: suffix}
	t.width = width
	t.checked = new(atomic.Bool)
	t.checked.Store(true)
}

func (t *table) len() int { return t.flushed + len(t.tail)/t.width }

// reset empties the table. The file is overwritten by the next flush.
func (t *table) reset() {
	t.flushed, t.sum, t.tail = 0, 0, nil
	t.checked = new(atomic.Bool)
	t.checked.Store(true)
}

// restore believes in what a summary says, until the first use checks it.
func (t *table) restore(entries int, sum uint32) {
	t.flushed, t.sum, t.tail = entries, sum, nil
	t.checked = new(atomic.Bool)
	t.checked.Store(entries == 0)
}

// flush moves the tail to the file, unsynced.
func (t *table) flush() error {
	if len(t.tail) == 0 {
		return nil
	}
	f, err := t.ensure()
	if err != nil {
		return err
	}
	defer t.release()
	if _, err := f.WriteAt(t.tail, int64(t.flushed*t.width)); err != nil {
		return err
	}
	t.sum = crc32.Update(t.sum, castagnoli, t.tail)
	t.flushed += len(t.tail) / t.width
	t.tail = nil
	return nil
}

// trim cuts stale entries off the file, so that other tools read it right.
func (t *table) trim() error {
	if t.flushed == 0 {
		return nil
	}
	f, err := t.acquire()
	if err != nil {
		return err
	}
	defer t.release()
	want := int64(t.flushed * t.width)
	if size, err := f.Size(); err != nil || size == want {
		return err
	}
	return f.Truncate(want)
}

// view is a table as it was at one moment.
type view struct {
	t       *table
	flushed int
	sum     uint32
	tail    []byte
	checked *atomic.Bool
}

func (t *table) view() view {
	return view{t: t, flushed: t.flushed, sum: t.sum, tail: t.tail, checked: t.checked}
}

// search returns the first index for which f is true, as sort.Search does.
// f sees one entry and must not keep it.
func (v *view) search(f func(entry []byte) bool) (int, error) {
	w := v.t.width
	inTail := func() int {
		return v.flushed + sort.Search(len(v.tail)/w, func(i int) bool { return f(v.tail[i*w : (i+1)*w]) })
	}
	if v.flushed == 0 || len(v.tail) > 0 && !f(v.tail[:w]) {
		return inTail(), nil
	}
	file, err := v.open()
	if err != nil {
		return 0, err
	}
	defer v.t.release()
	var entry [64]byte
	i := sort.Search(v.flushed, func(i int) bool {
		if err != nil {
			return true
		}
		if err = readFull(file, entry[:w], int64(i*w)); err != nil {
			return true
		}
		return f(entry[:w])
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errTable, err)
	}
	return i, nil
}

// entry copies the i-th entry into buf.
func (v *view) entry(i int, buf []byte) error {
	w := v.t.width
	if i >= v.flushed {
		copy(buf[:w], v.tail[(i-v.flushed)*w:])
		return nil
	}
	file, err := v.open()
	if err != nil {
		return err
	}
	defer v.t.release()
	if err := readFull(file, buf[:w], int64(i*w)); err != nil {
		return fmt.Errorf("%w: %w", errTable, err)
	}
	return nil
}

// bytes is the whole table.
func (v *view) bytes() ([]byte, error) {
	n := v.flushed * v.t.width
	b := make([]byte, n+len(v.tail))
	copy(b[n:], v.tail)
	if n == 0 {
		return b, nil
	}
	file, err := v.open()
	if err != nil {
		return nil, err
	}
	defer v.t.release()
	if err := readFull(file, b[:n], 0); err != nil {
		return nil, fmt.Errorf("%w: %w", errTable, err)
	}
	return b, nil
}

// open acquires the file and, the first time since the segment was opened, compares its checksum.
func (v *view) open() (vfs.File, error) {
	file, err := v.t.acquire()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTable, err)
	}
	if v.checked.Load() {
		return file, nil
	}
	if err := v.check(file); err != nil {
		v.t.release()
		return nil, err
	}
	v.checked.Store(true)
	return file, nil
}

func (v *view) check(file vfs.File) error {
	sum := uint32(0)
	buf := make([]byte, min(64<<10, v.flushed*v.t.width))
	for pos, end := int64(0), int64(v.flushed*v.t.width); pos < end; {
		chunk := buf[:min(int64(len(buf)), end-pos)]
		if err := readFull(file, chunk, pos); err != nil {
			return fmt.Errorf("%w: %w", errTable, err)
		}
		sum = crc32.Update(sum, castagnoli, chunk)
		pos += int64(len(chunk))
	}
	if sum != v.sum {
		return fmt.Errorf("%w: checksum does not match", errTable)
	}
	return nil
}

// readFull reads len(b) bytes at pos; fewer are io.ErrUnexpectedEOF.
func readFull(f io.ReaderAt, b []byte, pos int64) error {
	n, err := f.ReadAt(b, pos)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
