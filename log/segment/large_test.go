package segment

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/record/recordtest"
)

// largeFS keeps of segments only how large they are: they read as copies of one batch.
type largeFS struct {
	vfs.FS
	copies *recordtest.Copies
}

func (l largeFS) Create(name string) (vfs.File, error) { return l.large(l.FS.Create(name)) }
func (l largeFS) Open(name string) (vfs.File, error)   { return l.large(l.FS.Open(name)) }

func (l largeFS) large(f vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(f.Name(), LogSuffix) {
		return f, err
	}
	return largeFile{f, l.copies}, nil
}

func (l largeFS) Stat(name string) (vfs.Info, error) {
	f, err := l.Open(name)
	if err != nil {
		return vfs.Info{}, err
	}
	size, err := f.Size()
	return vfs.Info{Size: size}, errors.Join(err, f.Close())
}

// largeFile notes its size in the first bytes of the file it stands for.
type largeFile struct {
	vfs.File
	copies *recordtest.Copies
}

func (f largeFile) Size() (int64, error) {
	var b [8]byte
	if _, err := f.File.ReadAt(b[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return 0, err
	}
	size := int64(0)
	for _, x := range b {
		size = size<<8 | int64(x)
	}
	return size, nil
}

func (f largeFile) WriteAt(b []byte, pos int64) (int, error) {
	if err := f.Truncate(pos + int64(len(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f largeFile) Truncate(size int64) error {
	var b [8]byte
	for i := range b {
		b[i] = byte(size >> (56 - 8*i))
	}
	_, err := f.File.WriteAt(b[:], 0)
	return err
}

func (f largeFile) ReadAt(b []byte, pos int64) (int, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	return io.NewSectionReader(f.copies, 0, size).ReadAt(b, pos)
}

// TestLargestSegment fills a segment to the last position an index can name, in memory that holds
// one batch of it. What lies beyond the first GiB is found, by offset and by position, also when
// the indexes are made anew. (Scenario 18)
func TestLargestSegment(t *testing.T) {
	const base = math.MaxUint32 + 1000
	b := valued(base, 5000, 0, 1, 4<<20)
	n := MaxBytes / int64(len(b))
	copies := recordtest.NewCopies(b, n)
	fsys := vfs.NewMem()
	o := options(t, largeFS{fsys, copies})
	s, err := Create(o, base, 0)
	ok(t, err)
	for i := range n {
		if !s.Room(int64(len(b)), base+i+1, math.MaxInt32) {
			t.Fatalf("no room for batch %d of %d", i, n)
		}
		b.SetBaseOffset(base + i)
		if _, err := s.Append([]record.Batch{b}, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.SetBaseOffset(base)
	if s.Room(int64(len(b)), s.End()+1, math.MaxInt32) {
		t.Error("room for more than an index can name")
	}
	ok(t, s.Sync())
	c, err := s.Checkpoint()
	ok(t, err)
	ok(t, c.Store())
	check := func() {
		t.Helper()
		if s.Size() != n*int64(len(b)) || s.Size() <= MaxBytes-int64(len(b)) || s.End() != base+n {
			t.Fatalf("%d bytes up to offset %d", s.Size(), s.End())
		}
		for _, i := range []int64{0, n / 2, n - 2, n - 1} {
			got, err := s.BatchAt(base+i, nil)
			if err != nil || got.BaseOffset() != base+i || got.CheckCRC() != nil {
				t.Fatalf("batch %d: %v", i, err)
			}
			pos, first, err := s.FloorGroup(base + i)
			if err != nil || pos != i*int64(len(b)) || first != base+i {
				t.Fatalf("batch %d is at %d: %v", i, pos, err)
			}
			f, err := s.log.acquire()
			ok(t, err)
			ranges, bytes, _, err := s.Slice(nil, f, Query{Offset: base + i, End: s.End(), MaxBytes: math.MaxInt32, MinOne: true})
			ok(t, err)
			s.log.release()
			if len(ranges) != 1 || ranges[0].Pos != pos || bytes != s.Size()-pos {
				t.Fatalf("from batch %d: %d bytes in %+v", i, bytes, ranges)
			}
		}
	}
	check()
	for _, damage := range []string{"", IndexSuffix, SummarySuffix} {
		s.Close()
		if damage != "" {
			ok(t, fsys.Remove("log/"+FileName(base, damage)))
		}
		var tail Tail
		s, tail, err = Open(o, base, math.MaxInt64)
		ok(t, err)
		if tail.Damage != nil {
			t.Fatal(tail.Damage)
		}
		check()
	}
	s.Close()
}
