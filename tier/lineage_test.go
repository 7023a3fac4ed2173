package tier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// twins are brokers that have copies of one data directory, and work on one bucket.
type twins struct {
	*world
	rnd    *rand.Rand
	copies []*world
	said   []string

	confirmed, refused int // looks at a broker that has something confirmed, and at one that is kept from it
	resumed            int // brokers that went on from their log
}

// copyOf is a broker with a copy of the disk and the log of another one.
func (tw *twins) copyOf(w *world) *world {
	c := tw.world.broker(w.epoch, newFakeLog(tw.t))
	ownMarker(c, len(tw.copies))
	w.mu.Lock()
	c.disk = w.disk.CrashProcess()
	w.mu.Unlock()
	w.log.mu.Lock()
	c.log.all, c.log.segments, c.log.end = slices.Clone(w.log.all), slices.Clone(w.log.segments), w.log.end
	w.log.mu.Unlock()
	return c
}

// ownMarker gives a broker an owner marker of its own, so that it meets the others in the manifests only.
func ownMarker(w *world, n int) {
	w.option = func(o *tier.Options) {
		o.Bucket = markedBucket{o.Bucket, fmt.Sprintf("%s/owner", cluster), fmt.Sprintf("%s/owner%d", cluster, n)}
	}
}

// markedBucket has one object under another key.
type markedBucket struct {
	bucket.Bucket
	from, to string
}

func (b markedBucket) key(key string) string {
	if key == b.from {
		return b.to
	}
	return key
}

func (b markedBucket) Put(ctx context.Context, key string, body bucket.Body, o bucket.PutOptions) (bucket.Object, error) {
	return b.Bucket.Put(ctx, b.key(key), body, o)
}

func (b markedBucket) Head(ctx context.Context, key string) (bucket.Object, error) {
	return b.Bucket.Head(ctx, b.key(key))
}

func (b markedBucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, bucket.Object, error) {
	return b.Bucket.Get(ctx, b.key(key), off, n)
}

// write has a broker close a segment of records that no other broker has.
func (tw *twins) write(w *world) {
	w.log.add(batch{records: 1 + tw.rnd.IntN(4), size: 100 + tw.rnd.IntN(1000), epoch: w.epoch})
	w.p.Notify()
}

// restart ends a broker's life, if it lives, and begins another, in the next leader epoch.
func (tw *twins) restart(w *world) {
	w.stop()
	w.epoch++
	w.start()
}

// holds fails if a broker takes something for confirmed of which the bucket has other bytes.
func (tw *twins) holds(i int) {
	w := tw.copies[i]
	if w.end == nil {
		return
	}
	bound := w.p.Confirmed()
	if errors.Is(w.p.Err(), tier.ErrDiverged) {
		tw.refused++
	}
	m, ok := w.manifest()
	if !ok || bound == tier.NoOffset || w.p.Confirmed() != bound {
		return
	}
	tw.confirmed++
	if err := m.EachSegment(w.calm(), w.bucket, func(e *tier.Entry) error {
		if e.Base >= bound {
			return nil
		}
		r, _, err := w.bucket.Get(w.calm(), m.Key(e), 0, e.DataSize)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, w.log.bytesOf(e.Base, e.End, false)) {
			err = fmt.Errorf("broker %d takes %d to %d for confirmed, of which the bucket has other records", i, e.Base, e.End-1)
		}
		return err
	}); err != nil {
		tw.t.Fatalf("%v, after %v", err, tw.said)
	}
}

func (tw *twins) step() {
	i := tw.rnd.IntN(len(tw.copies))
	w := tw.copies[i]
	say := func(what string) { tw.said = append(tw.said, fmt.Sprintf("%d %s", i, what)) }
	switch n := tw.rnd.IntN(13); {
	case n < 5 && w.end != nil:
		say("writes")
		tw.write(w)
	case n < 7:
		say("starts")
		tw.restart(w)
	case n < 8:
		say("stops")
		w.stop()
	case n < 10 && w.end != nil && errors.Is(w.p.Err(), tier.ErrDiverged):
		say("goes on alone")
		for _, c := range tw.copies {
			if c != w {
				c.stop()
			}
		}
		if _, err := w.p.Resume(w.calm(), true); err == nil {
			tw.resumed++
			tw.copies = []*world{w}
		}
	case n < 10 && len(tw.copies) < 3:
		say("is copied")
		tw.copies = append(tw.copies, tw.copyOf(w))
	default:
		say("waits")
		time.Sleep(time.Duration(tw.rnd.IntN(90)) * time.Second)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	for k := range tw.copies {
		tw.holds(k)
	}
}

// TestCopiesOfABrokerReplaceNothing: whatever brokers with copies of one data directory do, one
// after the other or at once, until one of them goes on from its log alone, none takes for
// confirmed what another has uploaded in its place.
func TestCopiesOfABrokerReplaceNothing(t *testing.T) {
	confirmed, refused, resumed := 0, 0, 0
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			ownMarker(w, 0)
			tw := &twins{world: w, rnd: rand.New(rand.NewPCG(seed, 7)), copies: []*world{w}}
			w.log.fill(2)
			w.start()
			w.settle()
			for range 60 {
				tw.step()
			}
			for _, c := range tw.copies {
				c.stop()
			}
			confirmed, refused, resumed = confirmed+tw.confirmed, refused+tw.refused, resumed+tw.resumed
		})
	}
	if confirmed < 100 || refused < 100 || resumed < 20 {
		t.Errorf("%d looks at something confirmed, %d at a broker that was refused, %d that went on: the test is void", confirmed, refused, resumed)
	}
}

// TestCopyThatUploadedNothingIsNoObstacle: it led for a while, in the tier only. The broker goes on
// in its next leader epoch.
func TestCopyThatUploadedNothingIsNoObstacle(t *testing.T) {
	inCluster(t, func(w *world) {
		tw := &twins{world: w, rnd: rand.New(rand.NewPCG(1, 1))}
		w.log.fill(4)
		w.start()
		w.settle()
		c := tw.copyOf(w)
		c.epoch++
		c.start()
		time.Sleep(time.Minute)
		c.stop()
		tw.write(w)
		w.settle()
		if err := w.p.Err(); !errors.Is(err, tier.ErrFenced) || w.p.Confirmed() != tier.NoOffset {
			t.Fatalf("beside the copy: %v, confirmed %d", err, w.p.Confirmed())
		}
		tw.restart(w)
		w.settle()
		if err := w.p.Err(); !errors.Is(err, tier.ErrDiverged) || w.p.Confirmed() != tier.NoOffset {
			t.Fatalf("in the leader epoch of the copy: %v, confirmed %d", err, w.p.Confirmed())
		}
		if a := w.tier.Alarms(); len(a) != 1 || a[0].Name != "partition_stopped" {
			t.Errorf("alarms %+v", a)
		}
		if _, err := w.p.Resume(w.t.Context(), true); !errors.Is(err, tier.ErrDiverged) { // the copy could commit as well
			t.Errorf("resumed in the leader epoch of the copy: %v", err)
		}
		tw.restart(w)
		w.settle()
		w.confirmedAll()
	})
}

// TestOlderLogUploadsNothing: a log that ends below what is remote gives out offsets that were
// given out before.
func TestOlderLogUploadsNothing(t *testing.T) {
	inCluster(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		w.stop()
		c := (&twins{world: w}).copyOf(w)
		w.epoch++
		w.log.fill(2)
		w.start()
		w.settle()
		w.confirmedAll()
		w.stop()
		c.epoch += 2
		c.start()
		c.settleZombie()
		if err := c.p.Err(); !errors.Is(err, tier.ErrDiverged) || c.p.Confirmed() != tier.NoOffset {
			t.Errorf("%v, confirmed %d", err, c.p.Confirmed())
		}
		c.stop()
		w.disk = vfs.NewMem()
		w.epoch++
		w.start()
		w.settle()
		w.confirmedAll()
	})
}
