package batches

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/morrowmq/morrow/log/record"
)

// batch is one with a single value of so many bytes.
func batch(offset int64, bytes int) record.Batch {
	var w record.Builder
	w.Reset(0, 1000)
	w.Add(0, 1000, nil, make([]byte, bytes))
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	b.SetBaseOffset(offset)
	return b
}

// mixed are batches of every size: many in one read, and larger than a read.
func mixed() (all []record.Batch) {
	for i, n := range []int{0, 1, 3000, 5000, readAhead - 100, readAhead, 10, 2*readAhead + 17, MostHeaders, 20, 30, FewHeaders} {
		all = append(all, batch(int64(len(all)), n))
		for range 20 * (i % 3) {
			all = append(all, batch(int64(len(all)), n%500))
		}
	}
	return all
}

// watched is a file that notes what is read of it.
type watched struct {
	io.ReaderAt
	reads [][2]int64 // from, to
}

func (w *watched) ReadAt(b []byte, pos int64) (int, error) {
	w.reads = append(w.reads, [2]int64{pos, pos + int64(len(b))})
	return w.ReaderAt.ReadAt(b, pos)
}

func TestScannerReadsEveryByteOnceInOrder(t *testing.T) {
	all := mixed()
	first := int64(len(all[0]))
	file := slices.Concat(slices.Concat(all...), []byte("not a batch"))
	end := int64(len(file) - len("not a batch"))
	w := &watched{ReaderAt: bytes.NewReader(file)}
	s := NewScanner(w, first, end)
	defer s.Close()
	at := first
	for i, want := range all[1:] {
		got, pos, err := s.Next()
		if err != nil || pos != at || !bytes.Equal(got, want) {
			t.Fatalf("batch %d at %d: %d bytes at %d, %v", i, at, len(got), pos, err)
		}
		at += int64(len(got))
		if last := w.reads[len(w.reads)-1]; s.Unread() != last[1] {
			t.Fatalf("unread from %d on, though %d was read", s.Unread(), last)
		}
	}
	if _, _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	for i, r := range w.reads {
		if r[0] != first {
			t.Errorf("read %d is of %d, after %d", i, r, first)
		}
		first = r[1]
	}
	if first != end {
		t.Errorf("read up to %d of %d", first, end)
	}
}

// errDisk is what a broken disk says.
var errDisk = errors.New("disk")

// broken is a file that cannot be read from a position on.
type broken struct {
	io.ReaderAt
	from int64
}

func (r broken) ReadAt(b []byte, pos int64) (int, error) {
	if pos+int64(len(b)) > r.from {
		return 0, errDisk
	}
	return r.ReaderAt.ReadAt(b, pos)
}

func TestDamageIsToldFromWhatCannotBeRead(t *testing.T) {
	one, two := batch(0, 100), batch(1, 100)
	good := slices.Concat(one, two)
	at := int64(len(one))
	flip := func(i int64) []byte {
		b := bytes.Clone(good)
		b[i] ^= 0x10
		return b
	}
	tests := map[string]struct {
		r       io.ReaderAt
		end     int64
		want    error
		whole   bool // the header is
		damaged bool
	}{
		"value changed":        {r: bytes.NewReader(flip(at + 100)), want: record.ErrCRC, whole: true, damaged: true},
		"no magic":             {r: bytes.NewReader(flip(at + 16)), want: record.ErrMagic, whole: true, damaged: true},
		"longer than the file": {r: bytes.NewReader(flip(at + 10)), want: record.ErrTorn, damaged: true},
		"negative length":      {r: bytes.NewReader(slices.Concat(one, []byte("12345678\xff2345678\x02"), two)), want: record.ErrInvalid, damaged: true},
		"ends too early":       {r: bytes.NewReader(good), end: int64(len(good)) - 1, want: record.ErrTorn, damaged: true},
		"ends in the length":   {r: bytes.NewReader(good), end: at + 10, want: record.ErrTorn, damaged: true},
		"file is shorter":      {r: bytes.NewReader(good[:at+70]), want: record.ErrTorn, damaged: true},
		"cannot be read":       {r: broken{bytes.NewReader(good), at}, want: errDisk},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			end := tt.end
			if end == 0 {
				end = int64(len(good))
			}
			s := NewScanner(tt.r, at, end)
			defer s.Close()
			if _, pos, err := s.Next(); pos != at || !errors.Is(err, tt.want) || Damaged(err) != tt.damaged {
				t.Errorf("scanner: %v at %d, damaged: %v", err, pos, Damaged(err))
			}
			h := NewHeaders(tt.r, end, MostHeaders)
			defer h.Close()
			if _, _, err := h.At(at); tt.whole != (err == nil) || !tt.whole && (!errors.Is(err, tt.want) || Damaged(err) != tt.damaged) {
				t.Errorf("headers: %v, damaged: %v", err, Damaged(err))
			}
		})
	}
}

func TestReadOfOneBatch(t *testing.T) {
	one, two := batch(0, 100), batch(1, 100)
	file := slices.Concat(one, two)
	at, end := int64(len(one)), int64(len(file))
	flipped := bytes.Clone(file)
	flipped[at+100] ^= 0x10
	small := make([]byte, 1)
	if b, err := Read(bytes.NewReader(file), at, end, small); err != nil || !bytes.Equal(b, two) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for want, r := range map[error]io.ReaderAt{
		record.ErrCRC:  bytes.NewReader(flipped),
		record.ErrTorn: bytes.NewReader(file[:end-1]),
		errDisk:        broken{bytes.NewReader(file), at},
	} {
		if _, err := Read(r, at, end, nil); !errors.Is(err, want) || Damaged(err) == errors.Is(want, errDisk) {
			t.Errorf("%v instead of %v", err, want)
		}
	}
}

func TestHeadersAtAnyPlace(t *testing.T) {
	all := mixed()
	file := slices.Concat(all...)
	pos := make([]int64, len(all)+1)
	for i, b := range all {
		pos[i+1] = pos[i] + int64(len(b))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int{FewHeaders, MostHeaders} {
		w := &watched{ReaderAt: bytes.NewReader(file)}
		h := NewHeaders(w, int64(len(file)), most)
		for range 500 {
			i := rng.IntN(len(all))
			for range rng.IntN(20) { // and some after it
				got, end, err := h.At(pos[i])
				if err != nil || end != pos[i+1] || !bytes.Equal(got, all[i][:record.HeaderLen]) {
					t.Fatalf("batch %d: ends at %d, not %d: %v", i, end, pos[i+1], err)
				}
				if i++; i == len(all) {
					break
				}
			}
		}
		h.Close()
		for _, r := range w.reads {
			if r[1]-r[0] > int64(most) || r[1] > int64(len(file)) {
				t.Errorf("read %d, at most %d at a time", r, most)
			}
		}
	}
}

func TestHeadersReadMoreAtATimeThroughSmallBatches(t *testing.T) {
	var file []byte
	for i := range int64(10_000) {
		file = append(file, batch(i, 10)...)
	}
	w := &watched{ReaderAt: bytes.NewReader(file)}
	h := NewHeaders(w, int64(len(file)), MostHeaders)
	defer h.Close()
	for pos := int64(0); pos < h.End(); {
		_, end, err := h.At(pos)
		if err != nil {
			t.Fatal(err)
		}
		pos = end
	}
	if n := len(file) / MostHeaders; len(w.reads) > n+8 {
		t.Errorf("%d reads of %d bytes, of which each might be %d", len(w.reads), len(file), MostHeaders)
	}
	if first := w.reads[0]; first[1]-first[0] != FewHeaders {
		t.Errorf("the first read is of %d bytes", first[1]-first[0])
	}
}

// large reads as zeros, without end, behind what there is.
type large []byte

func (l large) ReadAt(b []byte, pos int64) (int, error) {
	clear(b)
	if pos < int64(len(l)) {
		copy(b, l[pos:])
	}
	return len(b), nil
}

func TestADamagedLengthIsNotBelieved(t *testing.T) {
	tests := map[string]struct {
		length int32
		magic  byte
		want   error
	}{
		"longer than any batch":       {math.MaxInt32 - 1000, record.Magic, record.ErrInvalid},
		"what follows is not a batch": {record.MaxLen - 1000, 0x77, record.ErrMagic},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			damaged := batch(0, 100)
			binary.BigEndian.PutUint32(damaged[8:], uint32(tt.length))
			damaged[16] = tt.magic
			w := &watched{ReaderAt: large(damaged)}
			s := NewScanner(w, 0, 1<<31)
			defer s.Close()
			if _, _, err := s.Next(); !errors.Is(err, tt.want) {
				t.Errorf("%v", err)
			}
			for _, r := range w.reads {
				if r[1]-r[0] > readAhead {
					t.Errorf("%d bytes were read for it", r[1]-r[0])
				}
			}
		})
	}
}

// FuzzScanner holds a scanner to what can be split off the same bytes in memory.
func FuzzScanner(f *testing.F) {
	f.Add([]byte(slices.Concat(batch(0, 10), batch(1, 20))))
	f.Fuzz(func(t *testing.T, file []byte) {
		s := NewScanner(bytes.NewReader(file), 0, int64(len(file)))
		defer s.Close()
		for rest := file; ; {
			got, pos, err := s.Next()
			if pos != int64(len(file)-len(rest)) {
				t.Fatalf("at %d instead of %d", pos, len(file)-len(rest))
			}
			if len(rest) == 0 {
				if !errors.Is(err, io.EOF) {
					t.Fatalf("at the end: %v", err)
				}
				return
			}
			want, more, wantErr := record.Next(rest)
			if wantErr == nil {
				wantErr = want.CheckCRC()
			}
			if (err == nil) != (wantErr == nil) || err != nil && !Damaged(err) || !bytes.Equal(got, want) && err == nil {
				t.Fatalf("%v instead of %v", err, wantErr)
			}
			if err != nil {
				return
			}
			rest = more
		}
	})
}
