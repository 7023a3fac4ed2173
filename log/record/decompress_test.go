package record

import (
	"testing"
	"time"
)

// Batches of a few kilobytes that decompress to much are not decompressed all at the same time.
func TestLargeBuffersOfClientsAreFew(t *testing.T) {
	var b Builder
	b.Reset(Attributes(0).WithCodec(Zstd), 0)
	b.Add(0, 0, nil, make([]byte, 2*keepBuffer))
	bomb, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	held := make([]*Decompressor, cap(largeOfClients))
	for i := range held {
		held[i] = ForClient()
		if _, err := held[i].Records(bomb); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() {
		d := ForClient()
		defer d.Release()
		_, err := d.Records(bomb)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("%d large buffers at a time, expected at most %d (%v)", len(held)+1, len(held), err)
	case <-time.After(20 * time.Millisecond):
	}
	held[0].Release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, d := range held[1:] {
		d.Release()
	}
}
