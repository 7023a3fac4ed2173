package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// checkedSegment writes a segment with batches of every kind and all its side files. Positions are
// those of the batches.
func checkedSegment(t testing.TB) (fsys *vfs.Mem, positions []int64) {
	t.Helper()
	fsys = vfs.NewMem()
	if err := fsys.MkdirAll("log"); err != nil {
		t.Fatal(err)
	}
	s, err := Create(Options{FS: fsys, Handles: NewHandles(fsys, 10), Dir: "log", IndexIntervalBytes: 1}, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, group := range checkedBatches(t) {
		for _, b := range group {
			b.SetBaseOffset(s.End())
			b.SetLeaderEpoch(3)
			pos, err := s.Append([]record.Batch{b}, 1)
			if err != nil {
				t.Fatal(err)
			}
			positions = append(positions, pos)
		}
	}
	s.AddAborted(AbortedTxn{ProducerID: 7, FirstOffset: 106, LastOffset: 107, LastStable: 108})
	s.Seal()
	c, err := s.Checkpoint()
	if err == nil {
		err = c.Store()
	}
	if err != nil {
		t.Fatal(err)
	}
	return fsys, positions
}

// checkedBatches are groups of batches: plain, compressed, a group of visible and hidden,
// transactional with its abort marker, a delivery.
func checkedBatches(t testing.TB) [][]record.Batch {
	build := func(a record.Attributes, timestamp int64, id int64, seq int32, values ...string) record.Batch {
		var w record.Builder
		w.Reset(a, timestamp)
		w.SetProducer(id, 0, seq)
		for i, v := range values {
			w.Add(int32(i), timestamp, []byte("k"), []byte(v))
		}
		b, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if a.Has(record.LogAppendTime) {
			b.Stamp(a, timestamp)
		}
		return b
	}
	hidden := record.Hidden | record.LogAppendTime
	marker := func() record.Batch {
		var w record.Builder
		w.Reset(record.Transactional|record.Control, 60)
		w.SetProducer(7, 0, -1)
		w.Add(0, 60, []byte{0, 0, 0, 0}, []byte{0, 0, 0, 0, 0, 5})
		b, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return [][]record.Batch{
		{build(0, 10, -1, -1, "one", "two")},
		{build(record.Attributes(0).WithCodec(record.Zstd), 20, -1, -1, strings.Repeat("three ", 20))},
		{build(record.Continued, 30, 5, 10, "now"), build(hidden|record.Continued, 40, 5, 11, "later"), build(0, 31, 5, 12, "now too")},
		{build(record.Transactional, 50, 7, 0, "undone")},
		{marker()},
		{build(record.Delivery, 70, -1, -1, "later")},
	}
}

func checkSegment(t *testing.T, fsys vfs.FS, foreign bool) (Checked, []Problem) {
	t.Helper()
	var problems []Problem
	c, err := Check(CheckOptions{
		FS: fsys, Name: "log/" + FileName(100, LogSuffix), Foreign: foreign,
		Report: func(p Problem) { problems = append(problems, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, problems
}

func TestCheckOfWholeSegment(t *testing.T) {
	fsys, positions := checkedSegment(t)
	for _, foreign := range []bool{false, true} {
		c, problems := checkSegment(t, fsys, foreign)
		if len(problems) > 0 || c.Tail.Damage != nil {
			t.Errorf("problems %v, tail %v", problems, c.Tail)
		}
		if c.Base != 100 || c.End != 109 || c.Batches != int64(len(positions)) || c.Records != 9 || c.Hidden != 1 {
			t.Errorf("checked %+v", c)
		}
	}
}

// edit changes the bytes of a file.
func edit(t *testing.T, fsys vfs.FS, suffix string, change func(b []byte) []byte) {
	t.Helper()
	name := "log/" + FileName(100, suffix)
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(fsys, name, change(b)); err != nil {
		t.Fatal(err)
	}
}

func TestCheckFindsEveryFlippedByte(t *testing.T) {
	for _, suffix := range suffixes {
		fsys, positions := checkedSegment(t)
		whole, err := vfs.ReadFile(fsys, "log/"+FileName(100, suffix))
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			if suffix == LogSuffix && unchecked(positions, int64(i)) {
				continue
			}
			edit(t, fsys, suffix, func([]byte) []byte {
				b := slices.Clone(whole)
				b[i] ^= 0x41
				return b
			})
			c, problems := checkSegment(t, fsys, false)
			if len(problems) == 0 && c.Tail.Damage == nil {
				t.Errorf("%s: byte %d changed, nothing found", suffix, i)
			}
			for _, p := range problems {
				if p.Cache == (suffix == LogSuffix) || !strings.HasSuffix(p.File, suffix) {
					t.Errorf("%s: byte %d changed, and the problem is %+v", suffix, i, p)
				}
			}
		}
	}
}

// unchecked reports whether a byte is one that no checksum covers: of the base offset or the leader epoch.
func unchecked(positions []int64, i int64) bool {
	n, _ := slices.BinarySearch(positions, i+1)
	at := i - positions[n-1]
	return at < 8 || at >= 12 && at < 16
}

func TestCheckFindsEveryTornEnd(t *testing.T) {
	fsys, positions := checkedSegment(t)
	for _, suffix := range suffixes[1:] {
		if err := fsys.Remove("log/" + FileName(100, suffix)); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := vfs.ReadFile(fsys, "log/"+FileName(100, LogSuffix))
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		edit(t, fsys, LogSuffix, func([]byte) []byte { return whole[:n] })
		c, problems := checkSegment(t, fsys, false)
		if len(problems) > 0 {
			t.Fatalf("cut at %d: problems %v", n, problems)
		}
		// The third batch to the fifth are one group. Zeros alone are taken for space that was not used yet.
		next, _ := slices.BinarySearch(positions, int64(n)+1)
		begun := strings.Trim(string(whole[positions[next-1]:n]), "\x00") != ""
		if torn := begun || next-1 == 3 || next-1 == 4; torn != (c.Tail.Damage != nil) {
			t.Errorf("cut at %d of %v: tail %+v", n, positions, c.Tail)
		}
		if c.Tail.Pos > int64(n) || !slices.Contains(positions, c.Tail.Pos) {
			t.Errorf("cut at %d of %v: tail begins at %d", n, positions, c.Tail.Pos)
		}
	}
}

func TestCheckGoesOnAfterDamage(t *testing.T) {
	fsys, positions := checkedSegment(t)
	edit(t, fsys, LogSuffix, func(b []byte) []byte {
		b[positions[1]+9] = 0x7f // the length of the second batch: framing is lost
		return b
	})
	c, problems := checkSegment(t, fsys, false)
	if len(problems) != 1 || problems[0].Pos != positions[1] || problems[0].Offset != 102 {
		t.Fatalf("problems %v", problems)
	}
	want := fmt.Sprintf("the next whole batch is at position %d and begins at offset 103, where offset 102 was expected", positions[2])
	if !strings.Contains(problems[0].Error(), want) {
		t.Errorf("%q does not say %q", problems[0], want)
	}
	if c.End != 109 || c.Batches != int64(len(positions)-1) {
		t.Errorf("checked %+v", c)
	}
}

func TestCheckFindsContradictions(t *testing.T) {
	// stamped replaces attributes and max timestamp of the batch at an index.
	stamped := func(i int, a record.Attributes, timestamp int64) func([]record.Batch) []record.Batch {
		return func(bs []record.Batch) []record.Batch {
			bs[i].Stamp(a, timestamp)
			return bs
		}
	}
	for _, test := range []struct {
		name   string
		change func([]record.Batch) []record.Batch
		want   error
	}{
		{"unknown attribute", stamped(0, 1<<12, 10), errUnknown},
		{"unknown codec", stamped(0, 7, 10), record.ErrCodec},
		{"hidden without receive time", stamped(0, record.Hidden, 10), errMarks},
		{"hidden delivery", stamped(7, record.Hidden|record.LogAppendTime|record.Delivery, 70), errMarks},
		{"transactional without producer", stamped(0, record.Transactional, 10), errProducer},
		{"max timestamp", stamped(0, 0, 11), errMaxTime},
		{"group without its middle", func(bs []record.Batch) []record.Batch { return slices.Delete(bs, 3, 4) }, errBroken},
		{"group of another producer", func(bs []record.Batch) []record.Batch { return slices.Delete(bs, 3, 5) }, errBroken},
		{"receive time goes back", func(bs []record.Batch) []record.Batch {
			bs[7].Stamp(record.Hidden|record.LogAppendTime, 39)
			return bs
		}, errReceived},
		{"leader epoch goes back", func(bs []record.Batch) []record.Batch {
			bs[7].SetLeaderEpoch(2)
			return bs
		}, errEpoch},
		{"offsets go back", func(bs []record.Batch) []record.Batch {
			bs[7].SetBaseOffset(103)
			return bs
		}, errOffsets},
		{"record count", func(bs []record.Batch) []record.Batch {
			bs[0][60] = 1
			seal(bs[0])
			return bs
		}, record.ErrInvalid},
		{"more records than offsets", func(bs []record.Batch) []record.Batch {
			bs[0][60] = 3
			seal(bs[0])
			return bs
		}, errRecords},
	} {
		t.Run(test.name, func(t *testing.T) {
			var bs []record.Batch
			end := int64(100)
			for _, b := range slices.Concat(checkedBatches(t)...) {
				b.SetBaseOffset(end)
				b.SetLeaderEpoch(3)
				end = b.EndOffset()
				bs = append(bs, b)
			}
			fsys := vfs.NewMem()
			if err := vfs.WriteFile(fsys, FileName(100, LogSuffix), slices.Concat(toBytes(test.change(bs))...)); err != nil {
				t.Fatal(err)
			}
			var found []error
			_, err := Check(CheckOptions{FS: fsys, Name: FileName(100, LogSuffix), Report: func(p Problem) { found = append(found, p) }})
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(errors.Join(found...), test.want) {
				t.Errorf("found %v, want %v", found, test.want)
			}
		})
	}
}

func toBytes(bs []record.Batch) [][]byte {
	out := make([][]byte, len(bs))
	for i, b := range bs {
		out[i] = b
	}
	return out
}

func TestCheckOfIndexesOfAnotherBroker(t *testing.T) {
	set := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte {
			b[i] = v
			return b
		}
	}
	_, positions := checkedSegment(t)
	for _, test := range []struct {
		name, suffix string
		change       func([]byte) []byte
		want         error
	}{
		{"zeros at the end", IndexSuffix, func(b []byte) []byte { return append(b, make([]byte, 1000)...) }, nil},
		{"zeros at the end of times", TimeSuffix, func(b []byte) []byte { return append(b, make([]byte, 1000)...) }, nil},
		{"first of several batches", IndexSuffix, func(b []byte) []byte { return set(3, 7)(b[:8]) }, nil},
		{"half an entry", IndexSuffix, func(b []byte) []byte { return append(b, 1) }, errOdd},
		{"no batch there", IndexSuffix, func(b []byte) []byte { b[7]++; return b }, errNoBatch},
		{"beyond the end", IndexSuffix, func(b []byte) []byte { return append(b, 0, 0, 9, 9, 0, 0, 9, 9) }, errNoBatch},
		{"offset too low", IndexSuffix, set(3, 1), errOffset},
		{"twice the same", IndexSuffix, func(b []byte) []byte { return append(slices.Clone(b[:8]), b...) }, errAscend},
		{"into a group", IndexSuffix, func([]byte) []byte { return appendOffset(nil, 4, uint32(positions[3])) }, errInGroup},
		{"timestamp of no batch", TimeSuffix, set(7, 11), errTime},
		{"time goes back", TimeSuffix, func(b []byte) []byte { return append(slices.Clone(b[12:24]), b[:12]...) }, errAscend},
		{"no marker", TxnSuffix, func(b []byte) []byte { b[17], b[25] = 100, 105; return b }, errMarker},
		{"ends before it begins", TxnSuffix, set(17, 108), errSpan},
		{"marker of another producer", TxnSuffix, set(9, 8), errMarker},
	} {
		t.Run(test.name, func(t *testing.T) {
			fsys, _ := checkedSegment(t)
			if err := fsys.Remove("log/" + FileName(100, SummarySuffix)); err != nil {
				t.Fatal(err)
			}
			edit(t, fsys, test.suffix, test.change)
			_, problems := checkSegment(t, fsys, true)
			var found []error
			for _, p := range problems {
				found = append(found, p)
			}
			if err := errors.Join(found...); !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("found %v, want %v", found, test.want)
			}
			if _, problems := checkSegment(t, fsys, false); len(problems) > 0 {
				t.Errorf("of a log of ours nothing believes it, but found %v", problems)
			}
		})
	}
}

// The files were written by LogSegment of Kafka 4.1.0: a closed segment with batches of every
// codec, several of them appended together, timestamps that go back, and an aborted transaction;
// and the active one, with preallocated files as it has them while it is open.
func TestCheckOfSegmentsWrittenByKafka(t *testing.T) {
	for _, test := range []struct {
		base                  int64
		end, batches, records int64
		unused                int64
		index                 int // entries
	}{
		{100, 138, 15, 38, 0, 9},
		{138, 146, 4, 8, 3044, 3},
	} {
		name := func(suffix string) string { return "testdata/kafka-4.1/" + FileName(test.base, suffix) }
		c, err := Check(CheckOptions{FS: vfs.OS{ReadOnly: true}, Name: name(LogSuffix), Foreign: true, Report: func(p Problem) { t.Error(p) }})
		if err != nil || c.Tail.Damage != nil || c.Base != test.base || c.End != test.end || c.Batches != test.batches || c.Records != test.records || c.Unused != test.unused {
			t.Errorf("segment %d: %+v, %v", test.base, c, err)
		}
		entries := 0
		err = DumpIndex(vfs.OS{ReadOnly: true}, name(IndexSuffix), func(IndexEntry) error {
			entries++
			return nil
		})
		if err != nil || entries != test.index {
			t.Errorf("segment %d: %d entries in the index, %v", test.base, entries, err)
		}
	}
}

func TestCheckOfSpaceAllocatedBeforehand(t *testing.T) {
	fsys, _ := checkedSegment(t)
	edit(t, fsys, LogSuffix, func(b []byte) []byte { return append(b, make([]byte, 300<<10)...) })
	c, problems := checkSegment(t, fsys, false)
	if len(problems) > 0 || c.Tail.Damage != nil || c.Unused != 300<<10 {
		t.Errorf("problems %v, checked %+v", problems, c)
	}
}

func TestCheckOfFileWithAnotherName(t *testing.T) {
	fsys, _ := checkedSegment(t)
	b, err := vfs.ReadFile(fsys, "log/"+FileName(100, LogSuffix))
	if err == nil {
		err = vfs.WriteFile(fsys, "copy", b)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := Check(CheckOptions{FS: fsys, Name: "copy", Report: func(p Problem) { t.Error(p) }})
	if err != nil || c.Base != 100 || c.End != 109 {
		t.Errorf("checked %+v, %v", c, err)
	}
}

// dumped tells of the pieces of a file whose first batch is expected at offset 40: from where to
// where they reach, what is next, and whether they are whole.
func dumped(t *testing.T, file []byte) (pieces []string) {
	t.Helper()
	err := Dump(bytes.NewReader(file), 40, int64(len(file)), func(p Piece) error {
		pieces = append(pieces, fmt.Sprint(p.Pos, p.EndPos, p.Next, p.Err == nil))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pieces
}

// TestDumpFindsBatchesInGarbage puts a batch behind bytes of every kind, larger than what is read at a time.
func TestDumpFindsBatchesInGarbage(t *testing.T) {
	b := checkedBatches(t)[0][0]
	b.SetBaseOffset(50)
	for _, garbage := range []byte{0, 1, 2, 0xff} {
		for _, n := range []int{1, 60, searchBytes - 30, searchBytes, searchBytes + 30, 3*searchBytes + 7} {
			file := append(slices.Repeat([]byte{garbage}, n), b...)
			want := []string{fmt.Sprint(0, n, 50, false), fmt.Sprint(n, len(file), None, true)}
			if pieces := dumped(t, file); !slices.Equal(pieces, want) {
				t.Errorf("%d bytes %#x: %v, want %v", n, garbage, pieces, want)
			}
		}
	}
}

// TestDumpOfDamagedBatchThatHoldsBatches damages a batch one of whose records is itself a batch, as
// in a topic that carries copies of segments: it is none of this segment.
func TestDumpOfDamagedBatchThatHoldsBatches(t *testing.T) {
	inner := checkedBatches(t)[0][0]
	inner.SetBaseOffset(41)
	var w record.Builder
	w.Reset(0, 1000)
	w.Add(0, 1000, nil, inner)
	w.Add(1, 1000, nil, []byte("behind it"))
	outer, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	outer.SetBaseOffset(40)
	last := bytes.Clone(inner)
	record.Batch(last).SetBaseOffset(42)
	for name, follows := range map[string][]byte{"and is the last one": nil, "with one behind it": last} {
		file := append(bytes.Clone(outer), follows...)
		file[len(outer)-1] ^= 1
		want := []string{fmt.Sprint(0, len(file), None, false)}
		if follows != nil {
			want = []string{fmt.Sprint(0, len(outer), 42, false), fmt.Sprint(len(outer), len(file), None, true)}
		}
		if pieces := dumped(t, file); !slices.Equal(pieces, want) {
			t.Errorf("%s: %v, want %v", name, pieces, want)
		}
	}
}

func TestDumpIndex(t *testing.T) {
	fsys, positions := checkedSegment(t)
	edit(t, fsys, IndexSuffix, func(b []byte) []byte { return append(b, make([]byte, 20)...) })
	for suffix, want := range map[string][]string{
		// Batches inside the group have no entries, nor does the first.
		IndexSuffix: {
			fmt.Sprint(0, 102, positions[1], -1), fmt.Sprint(8, 103, positions[2], -1), fmt.Sprint(16, 106, positions[5], -1),
			fmt.Sprint(24, 107, positions[6], -1), fmt.Sprint(32, 108, positions[7], -1),
		},
		TimeSuffix: {"0 102 -1 20", "12 103 -1 30", "24 106 -1 50", "36 107 -1 60", "48 108 -1 70"},
		TxnSuffix:  {"0 107 -1 -1 {7 106 107 108}"},
	} {
		var got []string
		err := DumpIndex(fsys, "log/"+FileName(100, suffix), func(e IndexEntry) error {
			s := fmt.Sprint(e.Pos, e.Offset, e.BatchPos, e.Timestamp)
			if e.Aborted != nil {
				s += fmt.Sprint(" ", *e.Aborted)
			}
			got = append(got, s)
			return nil
		})
		if err != nil || !IsIndex(FileName(100, suffix)) {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %v\nwant %v", suffix, got, want)
		}
	}
	var corrupt *CorruptError
	edit(t, fsys, TimeSuffix, func(b []byte) []byte { return b[:len(b)-1] })
	if err := DumpIndex(fsys, "log/"+FileName(100, TimeSuffix), func(IndexEntry) error { return nil }); !errors.As(err, &corrupt) || corrupt.Pos != 48 {
		t.Errorf("cut: %v", err)
	}
}

// FuzzCheck checks and dumps any bytes, which must come to an end without an error: what is wrong is reported.
func FuzzCheck(f *testing.F) {
	read := func(fsys vfs.FS, dir string, base int64, suffix string) []byte {
		b, err := readIfThere(fsys, vfs.Join(dir, FileName(base, suffix)))
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	ours, _ := checkedSegment(f)
	for _, s := range []struct {
		fsys vfs.FS
		dir  string
		base int64
	}{{ours, "log", 100}, {vfs.OS{}, "testdata/kafka-4.1", 100}, {vfs.OS{}, "testdata/kafka-4.1", 138}} {
		f.Add(read(s.fsys, s.dir, s.base, LogSuffix), read(s.fsys, s.dir, s.base, IndexSuffix), read(s.fsys, s.dir, s.base, TimeSuffix),
			read(s.fsys, s.dir, s.base, TxnSuffix), read(s.fsys, s.dir, s.base, SummarySuffix), s.base, true)
	}
	f.Fuzz(func(t *testing.T, log, index, times, txns, summary []byte, base int64, foreign bool) {
		if base < 0 {
			t.Skip()
		}
		fsys := vfs.NewMem()
		for suffix, b := range map[string][]byte{LogSuffix: log, IndexSuffix: index, TimeSuffix: times, TxnSuffix: txns, SummarySuffix: summary} {
			if err := vfs.WriteFile(fsys, FileName(base, suffix), b); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Check(CheckOptions{FS: fsys, Name: FileName(base, LogSuffix), Foreign: foreign, Report: func(p Problem) {
			if p.Pos < 0 || p.Err == nil {
				t.Errorf("problem %+v", p)
			}
		}})
		if err != nil {
			t.Error(err)
		}
		for _, suffix := range []string{IndexSuffix, TimeSuffix, TxnSuffix} {
			var corrupt *CorruptError
			err := DumpIndex(fsys, FileName(base, suffix), func(IndexEntry) error { return nil })
			if err != nil && !errors.As(err, &corrupt) {
				t.Error(err)
			}
		}
	})
}

// seal gives a batch that was changed by hand the checksum of its contents: bytes 17 to 20, of
// everything from 21 on.
func seal(b record.Batch) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}
