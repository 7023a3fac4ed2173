package tier

import (
	"fmt"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
)

// longLog is a log of many closed segments of ten offsets and 100 bytes, in memory only as a number.
type longLog struct {
	Source
	segments int64
	listed   int // segments that Closed has returned
}

func (l *longLog) Offsets() LocalOffsets {
	return LocalOffsets{End: 10*l.segments + 1, SourceEnd: NoOffset, Gate: math.MaxInt64}
}

func (l *longLog) Closed(from int64) (closed []LocalSegment, _ error) {
	for n := max(0, from) / 10; n < l.segments && len(closed) < 100; n++ {
		closed = append(closed, LocalSegment{Base: 10 * n, End: 10 * (n + 1), Size: 100})
	}
	l.listed += len(closed)
	return closed, nil
}

func (l *longLog) Since(int64) time.Time { return time.UnixMilli(1) }

// newLongPartition is a partition nobody works on: nothing of it is in the bucket.
func newLongPartition(t testing.TB, l *longLog, now *time.Time) *Partition {
	t.Helper()
	store, err := bucket.OpenDir(vfs.NewMem(), "/bucket", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tr, err := Open(Options{
		Bucket: store, Cluster: "c", Name: "test", FS: vfs.NewMem(), Dir: "/tier", Logger: slog.New(slog.DiscardHandler), CacheReserve: 1,
		Now: func() time.Time { return *now },
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := tr.Partition(PartitionID{Topic: TopicID{1}, Name: "orders"}, l, 0, func() Config { return Config{Copy: true} })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestLookAtWhatWaitsCostsWhatIsNew: a store that has been away for long makes no step longer, and
// the lag is measured in one pass.
func TestLookAtWhatWaitsCostsWhatIsNew(t *testing.T) {
	l, now := &longLog{segments: 100_000}, time.UnixMilli(1_000_000)
	p := newLongPartition(t, l, &now)
	listed := func(do func()) int {
		before := l.listed
		do()
		return l.listed - before
	}
	look := func() {
		if err := p.lookAtWaiting(); err != nil {
			t.Fatal(err)
		}
	}
	if n := listed(look); n != 100_000 {
		t.Errorf("first look: %d segments", n)
	}
	now = now.Add(time.Hour)
	if n := listed(look); n != 0 {
		t.Errorf("nothing new: %d segments", n)
	}
	l.segments += 3
	if n := listed(look); n != 3 {
		t.Errorf("three more: %d segments", n)
	}
	var lag Lag
	if n := listed(func() {
		var err error
		if lag, err = p.Lag(); err != nil {
			t.Fatal(err)
		}
	}); n != 100_003 {
		t.Errorf("lag: %d segments", n)
	}
	want := Lag{Segments: 100_003, Bytes: 10_000_300, Since: time.UnixMilli(1_000_000), AtRisk: time.UnixMilli(1)}
	if lag != want {
		t.Errorf("lag %+v, want %+v", lag, want)
	}
}

// TestWaitingSince: looks at a log, each with where closed segments, the bucket and the log end,
// and then since when a segment has waited.
func TestWaitingSince(t *testing.T) {
	type look struct{ end, copied, logEnd int64 }
	for _, c := range []struct {
		name  string
		looks []look // at 1, 2, 3 … s
		end   int64
		want  int64 // s
	}{
		{"first look", []look{{30, 0, 35}}, 10, 1},
		{"found by a later look", []look{{30, 0, 35}, {40, 0, 45}}, 40, 2},
		{"between looks", []look{{30, 0, 35}, {60, 0, 65}}, 40, 2},
		{"nothing new does not count", []look{{30, 0, 35}, {30, 0, 38}, {40, 0, 45}}, 40, 3},
		{"the first ones are copied", []look{{30, 0, 35}, {60, 20, 65}}, 30, 1},
		{"all of a look is copied", []look{{30, 0, 35}, {60, 30, 65}}, 40, 2},
		{"all is copied", []look{{30, 0, 35}, {30, 30, 35}, {40, 30, 45}}, 40, 3},
		{"truncated", []look{{30, 0, 35}, {60, 0, 65}, {60, 0, 40}, {40, 0, 45}}, 40, 4},
		{"not seen yet", []look{{30, 0, 35}}, 40, 100},
	} {
		var w waiting
		for i, l := range c.looks {
			w.note(l.end, l.copied, l.logEnd, time.Unix(int64(i)+1, 0))
		}
		if got := w.since(c.end, time.Unix(100, 0)); got.Unix() != c.want {
			t.Errorf("%s: since %d, want %d", c.name, got.Unix(), c.want)
		}
		if n := len(w.seen); n > len(c.looks) {
			t.Errorf("%s: %d times are kept", c.name, n)
		}
	}
}

// BenchmarkLag is what a scrape, and what a step, costs a partition whose store is away.
func BenchmarkLag(b *testing.B) {
	now := time.UnixMilli(1_000_000)
	for _, n := range []int64{1000, 10_000, 100_000} {
		p := newLongPartition(b, &longLog{segments: n}, &now)
		b.Run(fmt.Sprintf("scrape/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Lag(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("step/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := p.lookAtWaiting(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestWhatIsNotToBeCopiedDoesNotWait: a topic whose copying is switched off raises no alarm about it.
func TestWhatIsNotToBeCopiedDoesNotWait(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	p := newLongPartition(t, &longLog{segments: 3}, &now)
	if lag, err := p.Lag(); err != nil || lag.Segments != 3 || lag.AtRisk.IsZero() {
		t.Errorf("while it is copied: %+v, %v", lag, err)
	}
	p.config = func() Config { return Config{} }
	if lag, err := p.Lag(); err != nil || lag != (Lag{}) {
		t.Errorf("switched off: %+v, %v", lag, err)
	}
}
