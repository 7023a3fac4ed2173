package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

func TestIDs(t *testing.T) {
	id := ID{Topic: [16]byte{0xab, 15: 0xcd}, Partition: 12}
	equal(t, id.String(), "ab0000000000000000000000000000cd-12")
	got, ok := ParseID(id.String())
	equal(t, fmt.Sprint(got, ok), fmt.Sprint(id, true))
	for _, name := range []string{
		"journal", "ab0000000000000000000000000000cd", "ab0000000000000000000000000000cd-", "ab0000000000000000000000000000cd--1",
		"ab0000000000000000000000000000cd-012", "AB0000000000000000000000000000cd-12", "ab00-1", "ab0000000000000000000000000000cd-12.new",
	} {
		if _, ok := ParseID(name); ok {
			t.Errorf("%s was taken for a log", name)
		}
	}
}

func TestCreateOpenRemove(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	if _, err := s.OpenLog(testID, Options{}); !errors.Is(err, ErrNotExist) {
		t.Fatal(err)
	}
	check(t, s.Remove(testID))
	l, err := s.Create(testID, Options{Name: "a", Start: 100})
	check(t, err)
	if _, err := s.Create(testID, Options{}); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	if _, err := s.OpenLog(testID, Options{}); err == nil {
		t.Fatal("opened twice")
	}
	equal(t, appendValue(t, l, "x").BaseOffset, int64(100))
	ids, err := s.IDs()
	check(t, err)
	equal(t, ids, []ID{testID})
	read, err := l.Read(ReadRequest{Offset: 100})
	check(t, err)
	read.Release()

	check(t, s.Remove(testID))
	if _, err := l.Append(1, now, plain(batch(0, 0, "x"))); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := l.Read(ReadRequest{Offset: 100}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	l = openLog(t, s)
	equal(t, appendValue(t, l, "x").BaseOffset, int64(0))
	check(t, s.Close())
	if _, err := s.Create(ID{}, Options{}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// A log is made whole or not at all, and gone for good or not at all, wherever the power fails.
func TestCreateAndRemoveAreAtomic(t *testing.T) {
	for seed := range uint64(40) {
		mem := vfs.NewMem()
		var after []*vfs.Mem
		crash := func() { after = append(after, mem.Crash(rand.New(rand.NewPCG(seed, 0)))) }
		fsys := vfs.NewFault(mem)
		s := openSet(t, fsys, "data")
		fsys.Add(vfs.Rule{After: int(seed % 20), Do: crash})
		l := openLog(t, s)
		appendValue(t, l, "x")
		s.Sync()
		fsys.Add(vfs.Rule{After: int(seed % 5), Do: crash})
		check(t, s.Remove(testID))
		crash()
		for i, fsys := range after {
			s := openSet(t, fsys, "data")
			l, err := s.OpenLog(testID, Options{})
			if i == len(after)-1 && !errors.Is(err, ErrNotExist) {
				t.Fatalf("removed log came back: %v", err)
			}
			if err != nil && !errors.Is(err, ErrNotExist) {
				t.Fatalf("seed %d, crash %d: %v", seed, i, err)
			}
			if err == nil {
				appendValue(t, l, "y")
			}
			names, err := fsys.List("data")
			check(t, err)
			for _, name := range names {
				if _, ok := ParseID(name); !ok {
					t.Fatalf("%s was left over", name)
				}
			}
		}
	}
}

// Logs that were closed open without reading their segments.
func TestOpenAfterClose(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	prepare(t, s)
	l := openLog(t, s, func(c *Config) { c.SegmentBytes = 1 << 20 })
	for range 50 {
		appendValue(t, l, strings.Repeat("x", 100_000))
	}
	check(t, s.Close())
	counted := &countingFS{FS: mem}
	s = openSet(t, counted, "data", journaled)
	journal := counted.read
	l = openLog(t, s)
	equal(t, l.Offsets().HighWatermark, int64(50))
	if counted.read-journal > 20_000 {
		t.Fatalf("%d bytes were read", counted.read-journal)
	}
}

// Few files stay open, however many segments there are.
func TestOpenFiles(t *testing.T) {
	fsys := &openFiles{FS: vfs.NewMem()}
	s := openSet(t, fsys, "data", func(c *SetConfig) { c.IdleFiles = 10 })
	logs := openLogs(t, s, 20, func(c *Config) { c.SegmentBytes, c.IndexIntervalBytes = 10_000, 1000 })
	for i := range 40 {
		for _, l := range logs {
			appendValue(t, l, strings.Repeat("x", 900))
			if i%10 == 9 {
				s.Sync()
				s.Keep(now)
				values(t, l, ReadRequest{Offset: int64(i / 2), MaxBytes: 5000})
			}
		}
	}
	s.Sync()
	if fsys.open > 10+2 {
		t.Errorf("%d files are open", fsys.open)
	}
	check(t, s.Close())
	equal(t, fsys.open, 0)
}

// openFiles counts the files that are open.
type openFiles struct {
	vfs.FS
	mu         sync.Mutex
	open, most int
}

type openFile struct {
	vfs.File
	fsys *openFiles
}

func (o *openFiles) count(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open++
	o.most = max(o.most, o.open)
	return openFile{File: f, fsys: o}, nil
}

func (o *openFiles) Open(name string) (vfs.File, error)   { return o.count(o.FS.Open(name)) }
func (o *openFiles) Create(name string) (vfs.File, error) { return o.count(o.FS.Create(name)) }

func (f openFile) Close() error {
	f.fsys.mu.Lock()
	f.fsys.open--
	f.fsys.mu.Unlock()
	return f.File.Close()
}

// A thousand idle logs take little memory.
func TestIdleLogsAreSmall(t *testing.T) {
	mem := vfs.NewMem()
	func() { // so that nothing of the first set is still held below
		s := openSet(t, mem, "data")
		for _, l := range openLogs(t, s, 1000) {
			appendValue(t, l, "x")
		}
		check(t, s.Close())
	}()
	used := func() int64 {
		var m runtime.MemStats
		for range 3 { // what pools hold goes with the second
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := used()
	s := openSet(t, mem, "data")
	logs := openLogs(t, s, 1000)
	after := used()
	if each := (after - before) / 1000; each > 8<<10 {
		t.Errorf("%d bytes for an idle log", each)
	}
	runtime.KeepAlive(logs)
	check(t, s.Close())
}

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	s := openSet(t, vfs.NewMem(), "data", journaled, func(c *SetConfig) { c.Registerer = r })
	prepare(t, s)
	l := openLog(t, s)
	appendValue(t, l, "x")
	s.Sync()
	_ = l.Fail(errors.New("test"))
	families, err := r.Gather()
	check(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()] += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	equal(t, got, map[string]float64{
		"morrow_log_appended_bytes_total": float64(l.Size()), "morrow_log_failures_total": 1, "morrow_log_damaged_snapshots_total": 0,
		"morrow_log_journal_bytes_total": 4096, "morrow_log_sync_seconds": 1,
		"morrow_log_compactions_total": 0, "morrow_log_compaction_read_bytes_total": 0,
		"morrow_log_compaction_written_bytes_total": 0, "morrow_log_compaction_reclaimed_bytes_total": 0,
	})
}

func TestEpochs(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	add := func(epoch int32) {
		t.Helper()
		_, err := l.Append(epoch, now, plain(batch(now.UnixMilli(), 0, "x")))
		check(t, err)
	}
	equal(t, epochOf(l, 0), "-1 -1")
	check(t, l.startEpoch(1)) // whose append was refused: it leaves no trace
	add(2)
	add(2)
	add(5)
	s.Sync()
	for range 2 {
		for epoch, want := range map[int32]string{-1: "-1 -1", 0: "0 0", 1: "1 0", 2: "2 2", 3: "2 2", 4: "2 2", 5: "5 3", 6: "-1 -1"} {
			if got := epochOf(l, epoch); got != want {
				t.Errorf("end of epoch %d: got %s, want %s", epoch, got, want)
			}
		}
		var fenced *FencedEpochError
		if _, err := l.Append(4, now, plain(batch(0, 0, "x"))); !errors.As(err, &fenced) || fenced.Current != 5 {
			t.Fatal(err)
		}
		fsys = fsys.Crash(nil)
		s = openSet(t, fsys, "data")
		l = openLog(t, s)
	}
	check(t, l.TruncateTo(2))
	equal(t, fmt.Sprint(l.EpochsIn(-1)), "[{2 0}]")
	equal(t, fmt.Sprint(epochsFrom([]segment.Epoch{{Epoch: 1, Start: 0}, {Epoch: 2, Start: 10}, {Epoch: 3, Start: 20}}, 15)), "[{2 15} {3 20}]")
}

// Timestamps are looked up record by record; the index only says where to begin.
func TestTimestamps(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.SegmentBytes, c.IndexIntervalBytes = 1000, 100 })
	ts := now.UnixMilli()
	for i := range int64(40) {
		_, err := l.Append(1, now, plain(batch(ts+10*i, 0, "a", "b", "c")))
		check(t, err)
		appendHidden(t, l, "later")
	}
	_, err := l.Append(1, now, plain(batch(ts, 0, "out of order")))
	check(t, err)
	s.Sync()
	for _, c := range []struct{ ts, offset, found int64 }{
		{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 4, 10}, {10, 4, 10}, {111, 45, 111}, {392, 158, 392},
	} {
		offset, found, ok, err := l.OffsetForTimestamp(ts + c.ts)
		check(t, err)
		equal(t, fmt.Sprintln(offset, found-ts, ok), fmt.Sprintln(c.offset, c.found, true))
	}
	if _, _, ok, err := l.OffsetForTimestamp(ts + 393); ok || err != nil {
		t.Fatal(ok, err)
	}
	offset, found, ok, err := l.MaxTimestamp()
	check(t, err)
	equal(t, fmt.Sprintln(offset, found-ts, ok), fmt.Sprintln(158, 392, true))
	_, err = l.DeleteRecords(46)
	check(t, err)
	offset, _, _, err = l.OffsetForTimestamp(ts)
	check(t, err)
	equal(t, offset, int64(46))
}

// Producers are forgotten when they have not been heard of for long.
func TestProducersExpire(t *testing.T) {
	at := now
	s := openSet(t, vfs.NewMem(), "data", func(c *SetConfig) { c.Now = func() time.Time { return at } })
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.ProducerIDExpirationMs = 1000 })
	var w record.Builder
	w.Reset(0, 0) // a producer whose clock is far behind
	w.SetProducer(1, 0, 0)
	w.Add(0, 0, nil, nil)
	b, err := w.Finish()
	check(t, err)
	_, err = l.Append(1, at, plain(b))
	check(t, err)
	s.Keep(at)
	equal(t, len(l.ActiveProducers()), 1)
	at = at.Add(expireInterval)
	s.Keep(at)
	equal(t, len(l.ActiveProducers()), 0)
}

// A log whose older part is in the tier begins behind it, and knows what the lost one knew: where
// it starts for clients and for itself, what is visible, leader epochs, producers.
func TestCreateBehindTheTier(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	lost := openLog(t, s)
	_, err := lost.Append(1, now, plain(idempotent(7, 1, 5)))
	check(t, err)
	s.Sync()
	snapshot, err := lost.ProducerSnapshot(1)
	check(t, err)
	check(t, s.Close())
	producers, err := producer.Decode(snapshot)
	check(t, err)

	s = openSet(t, fsys, "restored")
	o := Options{Name: "test", Config: DefaultConfig(), Start: 1000, Before: &Before{
		Start: 0, ReportedStart: 0, VisibleEnd: 1, Producers: producers,
		Epochs: []segment.Epoch{{Epoch: 1, Start: 0}, {Epoch: 9, Start: 1000}},
	}}
	l, err := s.Create(testID, o)
	check(t, err)
	for range 2 {
		o := l.Offsets()
		equal(t, o, Offsets{LocalStart: 1000, DeleteBound: 1000, HighWatermark: 1000, VisibleEnd: 1, LastStable: 1, RealLastStable: 1000, SyncedEnd: 1000, LogEnd: 1000})
		equal(t, epochOf(l, 1), "1 1000")
		equal(t, epochOf(l, 9), "9 1000")
		stored, duplicate, err := l.CheckProducer(7, 1, 5, 5)
		check(t, err)
		equal(t, []any{duplicate, stored.BaseOffset}, []any{true, 0})
		if _, _, err := l.CheckProducer(7, 1, 7, 7); !errors.As(err, new(*OutOfOrderSequenceError)) {
			t.Fatal(err)
		}
		check(t, s.Close())
		// What is known of producers is nowhere else, so it is not given up for a failed read.
		fault := vfs.NewFault(fsys)
		fault.Add(vfs.Rule{Ops: vfs.OpRead, Name: "*" + snapshotSuffix})
		s = openSet(t, fault, "restored")
		if _, err := tryOpenLog(s, testID); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		check(t, s.Close())
		s = openSet(t, fsys, "restored")
		l = openLog(t, s)
	}
	a, err := l.Append(9, now, plain(idempotent(7, 1, 6)))
	check(t, err)
	equal(t, a.BaseOffset, int64(1000))
	s.Sync()
	equal(t, l.Offsets().VisibleEnd, int64(1001))
	check(t, s.Close())
}

// idempotent is a batch of one record with a sequence number.
func idempotent(id int64, epoch int16, sequence int32) record.Batch {
	var w record.Builder
	w.Reset(0, now.UnixMilli())
	w.SetProducer(id, epoch, sequence)
	w.Add(0, now.UnixMilli(), nil, []byte("value"))
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}
