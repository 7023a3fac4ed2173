package tier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

var orders = tier.PartitionID{Topic: tier.TopicID{1, 2, 3}, Name: "orders", Partition: 3}

const cluster = "c1"

// world is a broker's tier with its surroundings, in virtual time: a bucket and a disk that can
// fail, a log, and one life of the process after the other.
type world struct {
	t      *testing.T
	bucket *buckettest.Bucket
	mu     sync.Mutex // guards disk, which a crash replaces from wherever it happens
	disk   *vfs.Mem
	log    *fakeLog
	config *atomic.Pointer[tier.Config]
	epoch  int32
	option func(*tier.Options)
	before func(op, key string)
	asked  func() // if set, called whenever the configuration is asked for

	// One life.
	line  *line
	fault *vfs.Fault
	tier  *tier.Tier
	p     *tier.Partition
	end   func()
}

// inWorld runs a test in virtual time. Whatever it does, at the end the uploads are checked against the log.
func inWorld(t *testing.T, run func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		run(w)
		w.stop()
		w.checkBucket()
	})
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, bucket: buckettest.New(), disk: vfs.NewMem(), log: newFakeLog(t), config: new(atomic.Pointer[tier.Config])}
	w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1})
	t.Cleanup(w.stop)
	return w
}

func (w *world) configure(c tier.Config) { w.config.Store(&c) }

func (w *world) current() tier.Config {
	if w.asked != nil {
		w.asked()
	}
	return *w.config.Load()
}

// line is a life's connection to the bucket. When it is cut nothing gets through any more, as after a crash.
type line struct {
	bucket.Bucket
	cut    atomic.Bool
	before func(op, key string) // if set, called before every request
}

var errCut = errors.New("the process is dead")

func (l *line) dead(op, key string) error {
	if l.before != nil {
		l.before(op, key)
	}
	if l.cut.Load() {
		return &bucket.Error{Op: op, Key: key, Kind: bucket.ErrUnknown, Err: errCut}
	}
	return nil
}

func (l *line) Put(ctx context.Context, key string, b bucket.Body, o bucket.PutOptions) (bucket.Object, error) {
	if err := l.dead("put", key); err != nil {
		return bucket.Object{}, err
	}
	return l.Bucket.Put(ctx, key, b, o)
}

func (l *line) Head(ctx context.Context, key string) (bucket.Object, error) {
	if err := l.dead("head", key); err != nil {
		return bucket.Object{}, err
	}
	return l.Bucket.Head(ctx, key)
}

func (l *line) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, bucket.Object, error) {
	if err := l.dead("get", key); err != nil {
		return nil, bucket.Object{}, err
	}
	return l.Bucket.Get(ctx, key, off, n)
}

func (l *line) List(ctx context.Context, prefix string, visit func(bucket.Object) error) error {
	if err := l.dead("list", prefix); err != nil {
		return err
	}
	return l.Bucket.List(ctx, prefix, visit)
}

func (l *line) Delete(ctx context.Context, keys ...string) error {
	if err := l.dead("delete", fmt.Sprint(keys)); err != nil {
		return err
	}
	return l.Bucket.Delete(ctx, keys...)
}

// start begins a life.
func (w *world) start() {
	w.t.Helper()
	w.line = &line{Bucket: w.bucket, before: w.before}
	w.mu.Lock()
	w.fault = vfs.NewFault(w.disk)
	w.mu.Unlock()
	o := tier.Options{
		Bucket: w.line, Cluster: cluster, Name: "test", FS: w.fault, Dir: "/tier",
		Logger:     slog.New(slog.DiscardHandler),
		PrepareTTL: 10 * time.Minute, SweepGrace: time.Minute,
	}
	if w.option != nil {
		w.option(&o)
	}
	var err error
	if w.tier, err = tier.Open(o); err != nil {
		w.t.Fatal(err)
	}
	if w.p, err = w.tier.Partition(orders, w.log, w.epoch, w.current); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	tr := w.tier
	go func() { done <- tr.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run ended with %v", err)
		}
		if err := tr.Close(); err != nil && !w.crashed() {
			w.t.Errorf("close: %v", err)
		}
	}
}

func (w *world) crashed() bool { return w.line.cut.Load() }

// stop ends a life in an orderly way, or after a crash.
func (w *world) stop() {
	if w.end != nil {
		w.end()
		w.end = nil
	}
}

// crash cuts the power: the bucket hears nothing more, and the disk keeps what was durable and, as
// rnd decides, some of what was not.
func (w *world) crash(rnd *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.line.cut.Swap(true) {
		w.disk = w.disk.Crash(rnd)
	}
}

// settle lets time pass until everything that can happen has happened.
func (w *world) settle() { w.wait(10 * time.Minute) }

// wait lets time pass. Until nothing moves any more it looks at the delete bound all the time.
func (w *world) wait(d time.Duration) {
	w.t.Helper()
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		w.boundHolds()
	}
	time.Sleep(d - 2*time.Second)
	synctest.Wait()
	w.checkBound()
}

// boundHolds fails if the local delete bound is above what the manifest in the bucket says.
func (w *world) boundHolds() {
	w.t.Helper()
	bound, start := w.p.Confirmed(), w.log.Offsets().Start
	if bound == tier.NoOffset || bound <= start {
		return
	}
	m, err := w.readManifest()
	if errors.Is(err, tier.ErrCorrupt) {
		return // the store said yes and kept something else; until that is made good the objects are there
	}
	if w.p.Confirmed() != bound {
		return // withdrawn meanwhile, before the manifest was replaced
	}
	if err != nil || m.End < bound {
		w.t.Fatalf("confirmed %d, but the manifest in the bucket says: %+v, %v", bound, m, err)
	}
}

// checkBound compares the local delete bound with what is in the bucket (P4, R4).
func (w *world) checkBound() {
	w.t.Helper()
	w.boundHolds()
	w.checkBucket()
}

// manifest reads the manifest that is in the bucket.
func (w *world) manifest() (*tier.Manifest, bool) {
	w.t.Helper()
	m, err := w.readManifest()
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, false
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return m, true
}

func (w *world) readManifest() (*tier.Manifest, error) {
	return tier.ReadManifest(w.calm(), w.bucket, cluster, orders.Topic, orders.Partition)
}

func (w *world) calm() context.Context { return buckettest.Unharmed(w.t.Context()) }

// checkBucket compares every remote segment with the log, byte for byte.
func (w *world) checkBucket() {
	w.t.Helper()
	m, ok := w.manifest()
	if !ok {
		return
	}
	at, start := m.Start, w.log.Offsets().Start
	err := m.EachSegment(w.calm(), w.bucket, func(e *tier.Entry) error {
		if e.Base < at {
			w.t.Fatalf("segment [%d, %d) after %d", e.Base, e.End, at)
		}
		if from := max(at, start); e.Base > from && !w.log.Dropped(from, e.Base) {
			w.t.Fatalf("offsets %d to %d are missing", from, e.Base-1)
		}
		at = e.End
		r, _, err := w.bucket.Get(w.calm(), m.Key(e), 0, e.DataSize)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, w.log.bytesOf(e.Base, e.End, false)) {
			err = fmt.Errorf("segment [%d, %d) differs from the log", e.Base, e.End)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// confirmedAll fails unless everything closed is confirmed.
func (w *world) confirmedAll() {
	w.t.Helper()
	if got, want := w.p.Confirmed(), w.log.Offsets().End; got != want {
		w.t.Fatalf("confirmed %d, want %d; the partition says: %v; the tier: %v", got, want, w.p.Err(), w.tier.Admitted())
	}
	w.checkBound()
}

// noOrphans fails unless the bucket holds nothing but what is named, once the sweeper has come by.
func (w *world) noOrphans() {
	w.t.Helper()
	w.wait(25 * time.Minute)
	if _, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil {
		w.t.Fatal(err)
	}
	m, _ := w.manifest()
	named := map[string]bool{cluster + "/owner": true, dir + "manifest": true}
	if m != nil {
		if err := m.EachSegment(w.calm(), w.bucket, func(e *tier.Entry) error { named[m.Key(e)] = true; return nil }); err != nil {
			w.t.Fatal(err)
		}
		for range m.Pages {
			named["page"] = true
		}
	}
	for _, key := range w.bucket.Keys(cluster + "/") {
		if !named[key] && !strings.HasPrefix(key, cluster+"/sweeps/") && !(named["page"] && bytes.HasSuffix([]byte(key), []byte(".page"))) {
			w.t.Fatalf("orphan %s", key)
		}
	}
}

// dir is where the test's partition lies in the bucket.
var dir = fmt.Sprintf("%s/%s/%d/", cluster, orders.Topic, orders.Partition)
