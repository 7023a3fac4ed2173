package bench

import (
	"bufio"
	"bytes"
	"testing"
)

func TestABatchCutShortIsReadAgain(t *testing.T) {
	l := Load{RecordBytes: 100, BatchBytes: 1000}
	batch, err := l.batch(1)
	if err != nil {
		t.Fatal(err)
	}
	batch.SetBaseOffset(40)
	n := int(batch.Count())
	for _, tail := range []int{0, 5, 60, 61, len(batch) - 1} {
		stream := append(append(bytes.Clone(batch), batch[:tail]...), "the rest"...)
		in := bufio.NewReader(bytes.NewReader(stream))
		got, err := skipBatches(in, len(batch)+tail)
		if want := (fetched{records: n, bytes: len(batch), next: int64(40 + n)}); err != nil || got != want {
			t.Errorf("with %d bytes of another batch: %+v, %v; want %+v", tail, got, err, want)
		}
		if rest, _ := in.Peek(8); string(rest) != "the rest" {
			t.Errorf("with %d bytes of another batch: %q follows", tail, rest)
		}
	}
}
