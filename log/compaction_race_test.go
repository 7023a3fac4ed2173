package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// TestCompactionBesideEverythingElse compacts a log that is appended to, read, scanned, retained
// and cut at its beginning meanwhile. Readers never fail, never go back, and see the last value of
// every key.
func TestCompactionBesideEverythingElse(t *testing.T) {
	s := openSet(t, vfs.OS{}, t.TempDir(), journaled, func(c *SetConfig) { c.IdleFiles, c.Now = 4, time.Now })
	l := openLog(t, s, func(c *Config) {
		c.Compact, c.SegmentBytes, c.IndexIntervalBytes, c.RetentionMs, c.RetentionBytes = true, 2000, 100, -1, 30_000
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	const keys, rounds = 20, 30
	done := make(chan struct{})
	var work sync.WaitGroup
	loop := func(f func() error) {
		work.Go(func() {
			for n := 0; ; n++ {
				if err := f(); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-done:
					if n > 0 {
						return
					}
				default:
				}
			}
		})
	}
	loop(func() error {
		_, err := l.Compact(ctx, time.Now(), Compaction{Gate: forever, MapBytes: 1 << 20})
		if errors.Is(err, ErrBusy) {
			err = nil
		}
		return err
	})
	loop(func() error {
		_, err := l.Retain(time.Now(), Floor{Gate: forever})
		return err
	})
	loop(func() error { // a client that follows
		last := int64(-1)
		for at := l.Offsets().LogStart; at < l.Offsets().VisibleEnd; {
			read, err := l.Read(ReadRequest{Offset: at, MaxBytes: 1000, MinOne: true})
			if errors.As(err, new(*OutOfRangeError)) {
				at = l.Offsets().LogStart
				continue
			}
			if err != nil {
				return err
			}
			for _, b := range readBatches(read) {
				if err := b.CheckCRC(); err != nil {
					return err
				}
				if b.LastOffset() <= last {
					return fmt.Errorf("batch [%d, %d) after offset %d", b.BaseOffset(), b.EndOffset(), last)
				}
				last = b.LastOffset()
			}
			read.Release()
			at = max(at, last) + 1
		}
		return nil
	})
	loop(func() error { // a coordinator that loads
		last := int64(-1)
		o := l.Offsets()
		err := l.Scan(o.LocalStart, o.HighWatermark, func(b record.Batch) error {
			if b.BaseOffset() <= last {
				return fmt.Errorf("batch at %d after offset %d", b.BaseOffset(), last)
			}
			last = b.LastOffset()
			return nil
		})
		if errors.As(err, new(*TieredError)) {
			err = nil // retention was faster
		}
		return err
	})
	loop(func() error {
		_, _, _, err := l.MaxTimestamp()
		return err
	})
	for n := range rounds {
		for k := range keys {
			a, err := l.Append(1, time.Now(), plain(keyed(0, fmt.Sprintf("%c=%d", 'a'+k, n))))
			check(t, err)
			if k == keys-1 {
				check(t, l.Wait(ctx, a.EndOffset))
			}
		}
		if n == rounds/2 {
			_, err := l.DeleteRecords(int64(n * keys))
			check(t, err)
		}
	}
	close(done)
	work.Wait()
	var found []stored
	check(t, l.Scan(l.Offsets().LocalStart, forever, func(b record.Batch) error {
		found = appendStored(found, b)
		return nil
	}))
	for _, value := range latest(found) {
		equal(t, value, fmt.Sprint(rounds-1))
	}
	equal(t, len(latest(found)), keys)
	cancel()
	running.Wait()
	check(t, s.Close())
}
