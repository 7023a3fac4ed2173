package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memStore is a cluster.Store that survives every crash.
type memStore struct {
	cluster.Feed
	mu sync.Mutex
}

const self = int32(1)

// newMemStore makes a store whose broker has configs, given as name, value, name, value.
func newMemStore(configs ...string) *memStore {
	s, values := &memStore{}, config.Values{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = configs[i+1]
	}
	s.Publish(cluster.NewImage("test", self, values))
	s.must(cluster.RegisterBroker{Broker: cluster.Broker{ID: self}})
	return s
}

func (s *memStore) Apply(_ context.Context, c cluster.Command) (*cluster.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change, err := cluster.Decide(s.Image(), c, time.Now(), cluster.NewTopicID)
	if !change.Empty() {
		s.Publish(s.Image().With(change))
	}
	return s.Image(), err
}

func (s *memStore) ProducerIDs(context.Context, int64) (int64, error) {
	return 0, errors.New("not asked for here")
}

func (s *memStore) must(c cluster.Command) {
	if _, err := s.Apply(context.Background(), c); err != nil {
		panic(err)
	}
}

// world is the partitions of a broker in memory. Unless start is called nothing runs by itself:
// commit, load and the methods of Table do what the goroutines would.
type world struct {
	testing.TB
	fsys       vfs.FS
	mem        *vfs.Mem // under fsys
	store      *memStore
	clock      func() time.Time
	bucket     *buckettest.Bucket // nil: no tier
	tier       *tier.Tier
	reserve    int64 // bytes of disk
	logs       *log.Set
	dispatcher *delay.Dispatcher
	table      *Table
	lines      *syncBuffer

	mu      sync.Mutex
	opened  []string // guarded by mu
	closed  []string // guarded by mu
	deleted []string // guarded by mu
	// refuseDeletion is what TopicDeleted answers.
	refuseDeletion error
}

var epoch = time.UnixMilli(1_700_000_000_000)

func newWorld(t testing.TB) *world {
	t.Helper()
	mem := vfs.NewMem()
	w := &world{TB: t, fsys: mem, mem: mem, store: newMemStore(), clock: func() time.Time { return epoch }, lines: &syncBuffer{}}
	w.open()
	return w
}

// open opens what is stored.
func (w *world) open() {
	w.Helper()
	logger := slog.New(slog.NewTextHandler(w.lines, nil))
	var err error
	if w.logs, err = log.Open(log.SetConfig{FS: w.fsys, Dir: "/logs", Logger: logger, Now: w.clock, JournalMaxBytes: -1, ReserveBytes: w.reserve}); err != nil {
		w.Fatal(err)
	}
	if w.bucket != nil {
		w.tier, err = tier.Open(tier.Options{Bucket: w.bucket, Cluster: "c", FS: w.fsys, Dir: "/remote", Now: w.clock, Logger: logger, CacheReserve: 1})
		if err != nil {
			w.Fatal(err)
		}
	}
	w.dispatcher = delay.NewDispatcher(delay.DispatcherConfig{Logger: logger, Now: w.clock})
	w.table = NewTable(Config{
		NodeID: self, Store: w.store, Logs: w.logs, Dispatcher: w.dispatcher, Tier: w.tier, FS: w.fsys, DataDir: "/", Now: w.clock, Logger: logger,
		Opened: func(p *Partition) { w.note(&w.opened, p.String()) },
		Closed: func(p *Partition) { w.note(&w.closed, p.String()) },
		TopicDeleted: func(_ context.Context, d *cluster.Deletion) error {
			w.note(&w.deleted, d.Name)
			if w.refuseDeletion != nil {
				return w.refuseDeletion
			}
			for _, what := range []cluster.Cleanup{cluster.CleanupData(self), cluster.CleanupOffsets, cluster.CleanupTier} {
				w.store.must(cluster.ConfirmDeleted{IDs: []cluster.TopicID{d.ID}, What: what})
			}
			return nil
		},
	})
	w.table.Open(context.Background())
}

func (w *world) note(list *[]string, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, name)
}

// load reads all schedules from their logs.
func (w *world) load() {
	w.Helper()
	for p := w.table.nextUnloaded(); p != nil; p = w.table.nextUnloaded() {
		if err := p.load(context.Background()); err != nil {
			w.Fatalf("load %s: %v", p, err)
		}
	}
}

// reopen goes on from what a file system holds, as after a crash of what was there before. No
// schedule is loaded.
func (w *world) reopen(mem *vfs.Mem) {
	w.Helper()
	w.mem, w.fsys = mem, mem
	w.open()
}

// restart is reopen with all schedules loaded.
func (w *world) restart(mem *vfs.Mem) {
	w.Helper()
	w.reopen(mem)
	w.load()
}

// start runs what a broker runs, in a synctest bubble whose clock it takes, until the test or the
// returned function ends it.
func (w *world) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	runs := []func(context.Context) error{w.logs.Run, w.dispatcher.Run, w.table.Run}
	if w.tier != nil {
		runs = append(runs, w.tier.Run)
	}
	for _, run := range runs {
		wg.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				w.Errorf("part ended with: %v", err)
			}
		})
	}
	remote := w.tier
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if remote != nil {
			if err := remote.Close(); err != nil {
				w.Errorf("close tier: %v", err)
			}
		}
	})
	w.Cleanup(stop)
	return stop
}

// create makes a topic, with configs given as name, value, name, value, and follows.
func (w *world) create(name string, partitions int32, configs ...string) *cluster.Topic {
	w.Helper()
	values := config.Values{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = configs[i+1]
	}
	w.store.must(cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: name, Partitions: partitions, ReplicationFactor: 1, Config: values}}})
	w.follow()
	return w.topic(name)
}

// follow brings the table to the latest metadata.
func (w *world) follow() {
	w.Helper()
	if err := w.table.WaitVersion(canceled(), w.store.Image().Version()); err != nil {
		w.table.follow(context.Background())
	}
}

// canceled is a context that has ended.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (w *world) topic(name string) *cluster.Topic {
	w.Helper()
	t, ok := w.store.Image().Topic(name)
	if !ok {
		w.Fatalf("there is no topic %s", name)
	}
	return t
}

// partition is partition 0 of a topic.
func (w *world) partition(name string) *Partition {
	w.Helper()
	p, err := w.table.Get(w.topic(name).ID, 0)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// rec is a record: its value, which may be null, and headers as name, value, name, value.
type rec struct {
	key, value string
	null       bool
	headers    []string
}

func plain(value string) rec { return rec{value: value} }

func delayed(value, by string) rec {
	return rec{value: value, headers: []string{delay.HeaderDelay, by}}
}

func cancelOf(ticket int64) rec {
	return rec{headers: []string{delay.HeaderCancel, fmt.Sprint(ticket)}}
}

// batch encodes records as a producer does.
func batch(now time.Time, rs ...rec) record.Batch {
	var b record.Builder
	b.Reset(0, now.UnixMilli())
	for i, r := range rs {
		var key []byte
		if r.key != "" {
			key = []byte(r.key)
		}
		var headers []record.Header
		for j := 0; j < len(r.headers); j += 2 {
			headers = append(headers, record.Header{Key: r.headers[j], Value: []byte(r.headers[j+1])})
		}
		value := []byte(r.value)
		if r.null {
			value = nil
		}
		b.Add(int32(i), now.UnixMilli(), key, value, headers...)
	}
	done, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return bytes.Clone(done)
}

// sequenced makes a batch an idempotent producer's.
func sequenced(b record.Batch, sequence int32) record.Batch {
	var w record.Builder
	w.ResetLike(b)
	w.SetProducer(5, 0, sequence)
	if err := b.Walk(nil, func(v *record.View) error { w.AddView(v); return nil }); err != nil {
		panic(err)
	}
	done, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return bytes.Clone(done)
}

// append appends records and returns the offset of the first.
func (w *world) append(p *Partition, rs ...rec) int64 {
	w.Helper()
	pending, err := p.Append(context.Background(), batch(w.clock(), rs...), nil, w.clock())
	if err != nil {
		w.Fatalf("append to %s: %v", p, err)
	}
	return pending.BaseOffset
}

// commit makes everything appended durable.
func (w *world) commit() { w.logs.Sync() }

// content lists what is in a log as "offset:value", with marks for what is not an ordinary record.
func (w *world) content(p *Partition) []string {
	w.Helper()
	var all []string
	o := p.log.Offsets()
	err := p.log.Scan(o.RealStart, o.LogEnd, func(b record.Batch) error {
		rs, err := b.Decode()
		for _, r := range rs {
			mark := ""
			if b.Hidden() {
				mark += "h"
			}
			if b.Delivery() {
				mark += "d"
			}
			all = append(all, fmt.Sprintf("%d%s:%s", r.Offset, mark, r.Value))
		}
		return err
	})
	if err != nil {
		w.Fatalf("scan %s: %v", p, err)
	}
	return all
}

func (w *world) wantContent(p *Partition, want ...string) {
	w.Helper()
	if got := w.content(p); !slices.Equal(got, want) {
		w.Errorf("log holds %v, expected %v", got, want)
	}
}

// visible lists what a client reads from an offset on as "offset:value".
func (w *world) visible(p *Partition, from int64) []string {
	w.Helper()
	r, err := p.Read(ReadRequest{Offset: from, MaxBytes: 1 << 20, LeaderEpoch: -1, LastFetchedEpoch: -1})
	if err != nil {
		w.Fatalf("read %s: %v", p, err)
	}
	defer r.Release()
	return w.values(r)
}

func (w *world) values(r *Read) (all []string) {
	w.Helper()
	for _, at := range r.Ranges {
		bytes := make([]byte, at.Len)
		if _, err := at.File.ReadAt(bytes, at.Pos); err != nil {
			w.Fatal(err)
		}
		for len(bytes) > 0 {
			b, rest, err := record.Next(bytes)
			if err != nil {
				w.Fatal(err)
			}
			rs, err := b.Decode()
			if err != nil {
				w.Fatal(err)
			}
			for _, r := range rs {
				all = append(all, fmt.Sprintf("%d:%s", r.Offset, r.Value))
			}
			bytes = rest
		}
	}
	return all
}

// stats are those of a partition's schedule.
func (w *world) stats(p *Partition) delay.Stats {
	w.Helper()
	s, ok := p.ScheduleStats(w.clock().UnixMilli())
	if !ok {
		w.Fatalf("schedule of %s is not loaded", p)
	}
	return s
}

// directories lists the logs on disk by topic name, "?" for one that no topic has.
func (w *world) directories() string {
	w.Helper()
	names, err := w.fsys.List("/logs")
	if err != nil {
		w.Fatal(err)
	}
	var all []string
	for _, name := range names {
		if id, ok := log.ParseID(name); ok {
			name = "?"
			if t, ok := w.store.Image().TopicByID(id.Topic); ok {
				name = t.Name
			}
			all = append(all, fmt.Sprintf("%s-%d", name, id.Partition))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// syncBuffer is a buffer for what is logged.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
