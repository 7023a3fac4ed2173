package tier

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier/bucket"
)

var update = flag.Bool("update", false, "write testdata anew")

// golden compares bytes with a file of hex, 32 bytes a line.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var text bytes.Buffer
	for i := 0; i < len(got); i += 32 {
		fmt.Fprintln(&text, hex.EncodeToString(got[i:min(i+32, len(got))]))
	}
	file := filepath.Join("testdata", name+".hex")
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text.Bytes(), want) {
		t.Errorf("%s is written differently than in released versions:\n%s", name, text.Bytes())
	}
}

func sampleEntry(base int64) Entry {
	return Entry{
		Span: Span{
			Base: base, End: base + 100, Segments: 1, Bytes: 5000, MaxTimestamp: 1_700_000_000_000, RetentionTime: 1_700_000_000_500,
			VisibleBase: base + 2, VisibleEnd: base + 90, AbortedFirst: base - 5,
		},
		Epoch: 3, Token: Token{1, 2, 3, byte(base)}, DataSize: 4000, IndexPos: 4200,
		Sum: bucket.Checksum{Algorithm: bucket.CRC64NVME, Sum: "12345678"}, ETag: `"abc"`, Time: 1_700_000_001_000,
	}
}

func sampleManifest() *Manifest {
	page := []Entry{sampleEntry(100), sampleEntry(200)}
	hidden := sampleEntry(400)
	hidden.VisibleBase, hidden.VisibleEnd, hidden.MaxTimestamp, hidden.AbortedFirst = NoOffset, NoOffset, NoTimestamp, NoOffset
	return &Manifest{
		Cluster: "c1", PartitionID: PartitionID{Topic: TopicID{9, 8, 7}, Name: "orders", Partition: 2},
		Epoch: 3, Version: 17, Commit: Token{0xcc}, Time: 1_700_000_002_000, LogStart: 100, LogEnd: 900,
		ReportedStart: 120, SourceEnd: 5000, Partitions: 4, Schedule: TopicID{7, 8, 9}, Lost: []OffsetRange{{300, 400}},
		Config: map[string]string{"retention.ms": "1000", "cleanup.policy": "delete"},
		Epochs: []EpochStart{{Epoch: 0, Start: 50}, {Epoch: 3, Start: 150}},
		Start:  100, End: 500,
		Pages:   []PageRef{{Span: summarise(page), Epoch: 2, Token: Token{0xaa}, Entries: 2, First: page[0].Span, Size: 300, Sum: bucket.SumOf(bucket.CRC32C, []byte("page"))}},
		Tail:    []Entry{dropEntry(300, 400), hidden},
		Garbage: []Garbage{{ObjectID: ObjectID{Base: 50, Epoch: 1, Token: Token{0xbb}}, Kind: garbageSegment, Segments: 1, Bytes: 77, Since: 5}},
	}
}

func sampleIndex() *Index {
	return &Index{
		Cluster: "c1", Topic: TopicID{9, 8, 7}, Partition: 2, Base: 100, End: 200, DataSize: 2<<20 + 5, BlockBytes: blockBytes,
		Blocks:  []uint32{1, 2, 3},
		Visible: []VisibleRange{{Base: 100, End: 120, Pos: 0, Len: 1000}, {Base: 150, End: 200, Pos: 2000, Len: 3000}},
		Points:  []IndexPoint{{Offset: 100, Pos: 0, MaxTimestamp: NoTimestamp}, {Offset: 150, Pos: 70_000, MaxTimestamp: 1_700_000_000_000}},
		Aborted: []AbortedTxn{{ProducerID: 7, First: 90, Last: 110}}, Epochs: []EpochStart{{Epoch: 3, Start: 100}},
		SnapshotSize: 200, SnapshotCRC: 0xdeadbeef,
	}
}

func TestManifestFormat(t *testing.T) {
	m := sampleManifest()
	b := m.encode()
	golden(t, "manifest-v1", b)
	got, err := decodeManifest(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("%+v, %v", got, err)
	}
}

// TestManifestOfAnEarlyMorrow reads what was written before restores were noted.
func TestManifestOfAnEarlyMorrow(t *testing.T) {
	want := sampleManifest()
	want.Lost = nil
	b, err := os.ReadFile(filepath.Join("testdata", "manifest-v1-early.hex"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.ReplaceAll(string(b), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeManifest(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestPageFormat(t *testing.T) {
	entries := []Entry{sampleEntry(100), sampleEntry(200)}
	b := encodePage(entries)
	golden(t, "page-v1", b)
	got, err := decodePage(b)
	if err != nil || !reflect.DeepEqual(got, entries) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestIndexFormat(t *testing.T) {
	ix := sampleIndex()
	b := ix.encode()
	golden(t, "index-v1", b)
	got, err := decodeIndex(b)
	if err != nil || !reflect.DeepEqual(got, ix) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func sampleGroups() *GroupOffsets {
	return &GroupOffsets{
		Time: 1_700_000_002_000, Node: 4, Journal: TopicID{7}, Shards: 50, Config: map[string]string{"cleanup.policy": "compact"},
		Offsets: []GroupOffset{
			{Group: "g", TopicName: "orders", Topic: TopicID{9, 8, 7}, Partition: 2, Offset: 4711, LeaderEpoch: 3, Metadata: "m", Committed: 1_700_000_001_000, Expires: -1},
			{Group: "h", TopicName: "orders", Topic: TopicID{9, 8, 7}, LeaderEpoch: -1, Expires: 1_700_000_003_000},
		},
	}
}

func TestGroupOffsetsFormat(t *testing.T) {
	g := sampleGroups()
	b := g.encode()
	golden(t, "groups-v1", b)
	got, err := decodeGroups(b)
	if err != nil || !reflect.DeepEqual(got, g) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func FuzzDecodeGroupOffsets(f *testing.F) {
	f.Add(bodyOf(sampleGroups().encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		g, err := decodeGroups(seal(groupsMagic, groupsVersion, body))
		if err != nil {
			return
		}
		again, err := decodeGroups(g.encode())
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("%+v, %v after %+v", again, err, g)
		}
	})
}

// TestObjectFormat pins a whole segment object.
func TestObjectFormat(t *testing.T) {
	var data []byte
	for i := range int64(4) {
		var w record.Builder
		a := record.Attributes(0)
		if i == 1 {
			a = record.Hidden
		}
		w.Reset(a, 1000)
		w.Add(0, 1000+i, []byte("key"), []byte("value"))
		w.Add(1, 1001+i, nil, nil)
		b, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		b.SetBaseOffset(2 * i)
		b.SetLeaderEpoch(int32(i / 2))
		data = append(data, b...)
	}
	ix := Index{Cluster: "c1", Topic: TopicID{1}, Base: 0, End: 8, Aborted: []AbortedTxn{{ProducerID: 1, First: 0, Last: 3}}}
	s, err := sealSegment(t.Context(), bytes.NewReader(data), ix, ObjectID{}, int64(len(data)), []byte("snapshot"), bucket.CRC64NVME)
	if err != nil {
		t.Fatal(err)
	}
	body := s.body(bytes.NewReader(data))
	b := make([]byte, body.Size)
	if n, err := body.At.ReadAt(b, 0); int64(n) != body.Size {
		t.Fatal(n, err)
	}
	golden(t, "segment-v1", b)
	if bucket.SumOf(bucket.CRC64NVME, b) != body.Sum {
		t.Fatal("the checksum is not that of the object")
	}
	if !bytes.HasPrefix(b, data) {
		t.Fatal("the object does not begin with the log")
	}
	got, err := splitTail(b[s.entry.IndexPos:], s.entry.IndexPos)
	if err != nil || len(got.Visible) != 2 || got.SnapshotSize != 8 || len(got.Epochs) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	want := Span{Base: 0, End: 8, Segments: 1, Bytes: body.Size, MaxTimestamp: 1004, RetentionTime: 1004, VisibleBase: 0, VisibleEnd: 8, AbortedFirst: 0}
	if s.entry.Span != want {
		t.Fatalf("%+v", s.entry.Span)
	}
	for pos := range body.Size { // any range reads the same
		part := make([]byte, min(7, body.Size-pos))
		if n, _ := body.At.ReadAt(part, pos); n != len(part) || !bytes.Equal(part, b[pos:pos+int64(n)]) {
			t.Fatalf("at %d: %d bytes", pos, n)
		}
	}
}

// TestFieldsOfLaterVersionsAreSkipped: a length-prefixed structure may have grown. (Scenario 60)
func TestFieldsOfLaterVersionsAreSkipped(t *testing.T) {
	e := sampleEntry(5)
	var enc encoder
	enc.uint(1)
	enc.nested(func(n *encoder) { e.encode(n); n.string("a field of tomorrow") })
	got, err := decodePage(seal(pageMagic, pageVersion, enc.b))
	if err != nil || got[0] != e {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := decodePage(seal(pageMagic, pageVersion+1, enc.b)); err == nil {
		t.Fatal("a page of an unknown version was read")
	}
}

// TestDamageIsNoticed flips every bit of every format.
func TestDamageIsNoticed(t *testing.T) {
	for name, f := range map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"manifest": {sampleManifest().encode(), func(b []byte) error { _, err := decodeManifest(b); return err }},
		"page":     {encodePage([]Entry{sampleEntry(1)}), func(b []byte) error { _, err := decodePage(b); return err }},
		"index":    {sampleIndex().encode(), func(b []byte) error { _, err := decodeIndex(b); return err }},
		"groups":   {sampleGroups().encode(), func(b []byte) error { _, err := decodeGroups(b); return err }},
	} {
		for i := range f.b {
			for bit := range 8 {
				f.b[i] ^= 1 << bit
				if f.decode(f.b) == nil {
					t.Errorf("%s: bit %d of byte %d does not matter", name, bit, i)
				}
				f.b[i] ^= 1 << bit
			}
			if f.decode(f.b[:i]) == nil {
				t.Errorf("%s: cut at %d is fine", name, i)
			}
		}
	}
}

// The decoders are fuzzed behind the checksum, where damage that a checksum cannot notice would arrive.
func FuzzDecodeManifest(f *testing.F) {
	f.Add(bodyOf(sampleManifest().encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		if m, err := decodeManifest(seal(manifestMagic, manifestVersion, body)); err == nil {
			again, err := decodeManifest(m.encode())
			if err != nil || !reflect.DeepEqual(m, again) {
				t.Fatalf("%+v became %+v, %v", m, again, err)
			}
		}
	})
}

func FuzzDecodePage(f *testing.F) {
	f.Add(bodyOf(encodePage([]Entry{sampleEntry(1), dropEntry(101, 105)})))
	f.Fuzz(func(t *testing.T, body []byte) {
		if entries, err := decodePage(seal(pageMagic, pageVersion, body)); err == nil {
			summarise(entries)
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	f.Add(bodyOf(sampleIndex().encode()))
	f.Fuzz(func(t *testing.T, body []byte) {
		ix, err := decodeIndex(seal(indexMagic, indexVersion, body))
		if err != nil {
			return
		}
		for _, offset := range []int64{ix.Base, ix.Base + 1, ix.End, 1 << 62} {
			if pos := ix.pointPos(offset); pos < 0 || pos > ix.DataSize {
				t.Fatalf("position %d", pos)
			}
			ix.visibleAt(offset)
		}
	})
}

func FuzzState(f *testing.F) {
	p := pending{Entry: sampleEntry(5), Epochs: []EpochStart{{1, 2}}, Segment: LocalSegment{5, 105, 400, 0}, Prepared: 9}
	f.Add(preparedRecord(&p))
	f.Add(boundRecord(bound{1, 2, 3}))
	f.Fuzz(func(_ *testing.T, record []byte) {
		s := &state{}
		_ = s.apply(record) // must not panic
	})
}

func bodyOf(sealed []byte) []byte { return sealed[envelopeHead : len(sealed)-4] }
