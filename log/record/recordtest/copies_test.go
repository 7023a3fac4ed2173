package recordtest

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/morrowmq/morrow/log/record"
)

func TestCopiesAreValidAndConsecutive(t *testing.T) {
	var w record.Builder
	w.Reset(0, 1000)
	w.Add(0, 1000, nil, []byte("first"))
	w.Add(1, 1000, nil, []byte("second"))
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b.SetBaseOffset(7)
	c := NewCopies(b, 5)
	all, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(io.NewSectionReader(c, 0, c.Size()), all); err != nil {
		t.Error(err)
	}
	next := c.Base()
	for rest := all; len(rest) > 0; {
		got, after, err := record.Next(rest)
		if err != nil || got.CheckCRC() != nil || got.BaseOffset() != next || !bytes.Equal(got[8:], b[8:]) {
			t.Fatalf("batch at offset %d instead of %d: %v", got.BaseOffset(), next, err)
		}
		next, rest = got.EndOffset(), after
	}
	if next != c.End() || next != 17 {
		t.Errorf("ends at %d, says %d", next, c.End())
	}
}
