package partition

import (
	"bytes"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// bytesOf reads what lies in ranges.
func (w *world) bytesOf(ranges []log.Range) []byte {
	w.Helper()
	var all bytes.Buffer
	for _, at := range ranges {
		part := make([]byte, at.Len)
		if _, err := at.File.ReadAt(part, at.Pos); err != nil {
			w.Fatalf("read %d bytes at %d: %v", at.Len, at.Pos, err)
		}
		all.Write(part)
	}
	return all.Bytes()
}

// wantBatch fails the test unless b is the one of a single large record at an offset.
func (w *world) wantBatch(b record.Batch, offset int64, value string) {
	w.Helper()
	if err := b.CheckCRC(); err != nil {
		w.Fatalf("batch at %d: %v", offset, err)
	}
	rs, err := b.Decode()
	if err != nil || len(rs) != 1 || rs[0].Offset != offset || string(rs[0].Value) != value {
		w.Fatalf("batch at %d: %d records, %v", offset, len(rs), err)
	}
}

// The tier keeps blocks of a segment in files of their own: batches lie across their borders.
func TestBatchesOfTheTierThatLieInPieces(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("cold", 1, "remote.storage.enable", "true", "local.retention.ms", "1", "retention.ms", "-1")
		p := w.partition("cold")
		const n = 12
		value := func(i int64) string { return strings.Repeat(string(rune('a'+i)), 400_000) }
		for i := range int64(n) {
			w.append(p, plain(value(i)))
		}
		w.rolled(p, plain("end"))
		w.start()
		sleepMinutes(10)
		if o := p.log.Offsets(); o.LocalStart <= n {
			t.Fatalf("the local log starts at %d: the test is void", o.LocalStart)
		}

		r, err := p.ReadRemote(t.Context(), ReadRequest{MaxBytes: 64 << 20, LeaderEpoch: -1, LastFetchedEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		next, pieces := int64(0), 0
		err = r.Batches(func(b Batch) bool {
			if b.BaseOffset() != next || b.Void {
				t.Fatalf("batch at %d is of %d, void: %v", next, b.BaseOffset(), b.Void)
			}
			ranges := r.Slice(nil, b.Pos, b.EndPos)
			if len(ranges) > 1 {
				pieces++
			}
			if next < n {
				w.wantBatch(w.bytesOf(ranges), next, value(next))
			}
			next++
			return true
		})
		if err != nil || next != n+1 {
			t.Errorf("%d batches, %v", next, err)
		}
		if pieces == 0 {
			t.Error("no batch lies in pieces: the test is void")
		}
		if all := r.Slice(nil, 0, int64(r.Size)); !bytes.Equal(w.bytesOf(all), w.bytesOf(r.Ranges)) {
			t.Error("the whole is not the sum of the parts")
		}
		for i := range int64(n) {
			b, err := p.BatchAt(t.Context(), i)
			if err != nil {
				t.Fatalf("batch at %d: %v", i, err)
			}
			w.wantBatch(b, i, value(i))
		}
	})
}
