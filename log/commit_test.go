package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// journaled gives a set a small journal that is ready.
func journaled(c *SetConfig) {
	c.JournalSegmentBytes, c.JournalMaxBytes = minJournalFile, 3*minJournalFile
}

func prepare(t testing.TB, s *Set) {
	t.Helper()
	for range s.commits.journal.files {
		check(t, s.commits.journal.prepare())
	}
}

// running runs a set until the test ends.
func running(t testing.TB, s *Set) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		check(t, <-done)
	})
}

// openLogs opens n logs.
func openLogs(t testing.TB, s *Set, n int, edit ...func(*Config)) []*Log {
	t.Helper()
	logs := make([]*Log, n)
	for i := range logs {
		var err error
		logs[i], err = tryOpenLog(s, ID{Partition: int32(i)}, edit...)
		check(t, err)
	}
	return logs
}

// Many writers to many logs, small and large appends, with the journal going round: every
// acknowledged append is there once, in the order of its writer, also after a crash.
func TestConcurrentAppends(t *testing.T) {
	defer goleak.VerifyNone(t)
	const writers, appends = 24, 60
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	prepare(t, s)
	logs := openLogs(t, s, 5, func(c *Config) { c.SegmentBytes = 200 << 10 })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			l := logs[w%len(logs)]
			for i := range appends {
				value := fmt.Sprintf("%d/%d", w, i)
				if i%20 == w%20 {
					value += strings.Repeat(".", 40_000)
				}
				a, err := l.Append(1, now, plain(batch(now.UnixMilli(), 0, value)))
				if err == nil {
					err = l.Wait(ctx, a.EndOffset)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	crashed := mem.Crash(nil)
	cancel()
	check(t, <-done)
	check(t, s.Close())

	s = openSet(t, crashed, "data", journaled)
	defer s.Close()
	next := make([]int, writers)
	for _, l := range openLogs(t, s, 5) {
		check(t, l.Scan(0, forever, func(b record.Batch) error {
			rs, err := b.Decode()
			check(t, err)
			var w, i int
			if _, err := fmt.Sscanf(string(rs[0].Value), "%d/%d", &w, &i); err != nil {
				return err
			}
			if i != next[w] {
				t.Errorf("writer %d: append %d where %d was expected", w, i, next[w])
			}
			next[w]++
			return nil
		}))
	}
	for w, n := range next {
		if n != appends {
			t.Errorf("writer %d: %d appends of %d", w, n, appends)
		}
	}
}

// Appends that come during a sync share the next one.
func TestAppendsShareSyncs(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFault(mem)
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	appendValue(t, l, "first")
	s.Sync()
	entered, release := make(chan struct{}), make(chan struct{})
	fsys.Add(vfs.Rule{Ops: vfs.OpSync, Name: "*.log", Do: func() { close(entered); <-release }})
	count := fsys.Add(vfs.Rule{Ops: vfs.OpSync, Name: "*.log", Times: vfs.Forever, Do: func() {}})
	running(t, s)
	appendValue(t, l, "second")
	<-entered
	var last Appended
	for range 100 {
		last = appendValue(t, l, "more")
	}
	close(release)
	check(t, l.Wait(t.Context(), last.EndOffset))
	if n := fsys.Fired(count); n != 1 {
		t.Fatalf("100 appends took %d syncs", n)
	}
}

// A failed sync of a segment takes its log offline and no other. It is not tried again.
func TestFailedSegmentSync(t *testing.T) {
	fsys := vfs.NewFault(vfs.NewMem())
	s := openSet(t, fsys, "data")
	defer s.Close()
	logs := openLogs(t, s, 2)
	a := appendValue(t, logs[0], "lost")
	rule := fsys.Add(vfs.Rule{Ops: vfs.OpSync, Name: "*.log"})
	s.Sync()
	equal(t, fsys.Fired(rule), 1)
	appendValue(t, logs[1], "kept")
	s.Sync()
	equal(t, logs[1].Offsets().HighWatermark, int64(1))

	var offline *OfflineError
	if err := logs[0].Failure(); !errors.As(err, &offline) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := logs[0].Wait(t.Context(), a.EndOffset); !errors.As(err, &offline) {
		t.Fatal(err)
	}
	if _, err := logs[0].Append(1, now, plain(batch(0, 0, "x"))); !errors.As(err, &offline) {
		t.Fatal(err)
	}
	if _, err := logs[0].Read(ReadRequest{}); !errors.As(err, &offline) {
		t.Fatal(err)
	}
	s.Sync()
	equal(t, logs[0].Offsets().HighWatermark, int64(0))
}

// A failed sync of the journal takes every log offline that has something in it and not in its
// segments; the others go on without it.
func TestFailedJournalSync(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFault(mem)
	s := openSet(t, fsys, "data", journaled)
	prepare(t, s)
	logs := openLogs(t, s, 4)
	appendValue(t, logs[0], "in an earlier frame")
	appendValue(t, logs[1], "in an earlier frame, and synced since")
	s.Sync()
	_, err := logs[1].syncSegments()
	check(t, err)
	fsys.Add(vfs.Rule{Ops: vfs.OpSync, Name: "journal-*"})
	appendValue(t, logs[2], "in the frame that fails")
	s.Sync()
	for i, failed := range []bool{true, false, true, false} {
		if err := logs[i].Failure(); (err != nil) != failed {
			t.Errorf("log %d: %v", i, err)
		}
	}
	appendValue(t, logs[1], "on")
	appendValue(t, logs[3], "on")
	s.Sync()
	equal(t, logs[1].Offsets().HighWatermark, int64(2))
	equal(t, logs[3].Offsets().HighWatermark, int64(1))

	crashed := mem.Crash(nil)
	s = openSet(t, crashed, "data", journaled)
	defer s.Close()
	for i, want := range []int64{1, 2, 0, 1} {
		l, err := tryOpenLog(s, ID{Partition: int32(i)})
		check(t, err)
		if end := l.Offsets().LogEnd; end < want {
			t.Errorf("log %d ends at %d, acknowledged were %d", i, end, want)
		}
	}
}

// A full journal whose files cannot be freed does not stop anything: segments are synced themselves.
func TestJournalWithoutRoom(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	defer s.Close()
	prepare(t, s)
	logs := openLogs(t, s, 2)
	value := strings.Repeat("x", 2000)
	for i := range 30 {
		for _, l := range logs {
			appendValue(t, l, value)
		}
		s.Sync()
		for _, l := range logs {
			equal(t, l.Offsets().HighWatermark, int64(i+1))
		}
	}
	j := s.commits.journal
	if j.countLocked(full) != 3 {
		t.Fatal("the journal never got full")
	}
	s = openSet(t, mem.Crash(nil), "data", journaled)
	defer s.Close()
	for _, l := range openLogs(t, s, 2) {
		equal(t, l.Offsets().LogEnd, int64(30))
	}
}

// trimFull trims the journal files that are full.
func trimFull(c *committer) {
	for _, f := range c.journal.files {
		if f.state == full {
			c.trimFile(f)
		}
	}
}

// A journal file is used again only when the segments have what it had.
func TestJournalFileIsUsedAgain(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	prepare(t, s)
	l := openLog(t, s)
	const n = 5 * framesPerFile
	for i := range n {
		appendValue(t, l, "x")
		s.Sync()
		trimFull(&s.commits)
		equal(t, len(recovered(t, mem.Crash(nil))), i+1)
	}
	if g := s.commits.journal.generation; g != 5 {
		t.Fatalf("%d files were begun", g)
	}
}

// Journal files are freed in the background and used again.
func TestJournalGoesRound(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	logs := openLogs(t, s, 3)
	running(t, s)
	value := strings.Repeat("x", 5000)
	var generations uint64
	rounds := int64(0)
	for ; rounds < 100 || generations < 4; rounds++ { // appends that find no file free do not use any
		for _, l := range logs {
			a := appendValue(t, l, value)
			check(t, l.Wait(t.Context(), a.EndOffset))
		}
		s.commits.journal.mu.Lock()
		generations = s.commits.journal.generation
		s.commits.journal.mu.Unlock()
	}
	s2 := openSet(t, mem.Crash(nil), "data", journaled)
	defer s2.Close()
	for _, l := range openLogs(t, s2, 3) {
		equal(t, l.Offsets().LogEnd, rounds)
	}
}

// A full disk refuses appends and nothing else: what was there stays, and when there is space again
// appends go on.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data")
	l := openLog(t, s)
	appendValue(t, l, "before")
	s.Sync()
	u, err := mem.Usage("data")
	check(t, err)
	mem.SetCapacity(u.Total - u.Free + 5000)
	if u.Total == 0 {
		t.Fatal("no usage")
	}
	big := strings.Repeat("x", 3000)
	n := 0
	for ; n < 10; n++ {
		if _, err = l.Append(1, now, plain(batch(now.UnixMilli(), 0, big))); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrNoSpace) || n == 0 {
		t.Fatalf("%d appends, then %v", n, err)
	}
	check(t, l.Failure())
	s.Sync()
	equal(t, l.Offsets().LogEnd, int64(n+1))
	mem.SetCapacity(u.Total - u.Free + 3000)
	g := plain(batch(now.UnixMilli(), 0, big))
	for range 2 {
		if _, err := l.Append(1, now, g); !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
	}
	mem.SetCapacity(0)
	_, err = l.Append(1, now, g) // the same group can be tried again
	check(t, err)
	n++
	appendValue(t, l, "after")
	s.Sync()
	equal(t, l.Offsets().HighWatermark, int64(n+2))
	equal(t, len(recovered(t, mem.Crash(nil))), n+2)
}

// Below the reserve, clients are refused and reserved groups pass.
func TestReserve(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetCapacity(1 << 20)
	s := openSet(t, mem, "data", func(c *SetConfig) { c.ReserveBytes = 100 << 10 })
	defer s.Close()
	l := openLog(t, s)
	appendValue(t, l, "a")
	mem.SetCapacity(80 << 10)
	s.Keep(now)
	if _, err := l.Append(1, now, plain(batch(0, 0, "client"))); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	g := plain(batch(0, 0, "delivery"))
	g.Reserved = true
	_, err := l.Append(1, now, g)
	check(t, err)
	mem.SetCapacity(1 << 20)
	s.Keep(now)
	appendValue(t, l, "client again")

	// Clients that fill the disk between two looks at it do not get at the reserve either.
	var refused error
	for range 100 {
		if _, refused = l.Append(1, now, plain(batch(0, 0, strings.Repeat("x", 20<<10)))); refused != nil {
			break
		}
	}
	u, err := mem.Usage("data")
	check(t, err)
	if !errors.Is(refused, ErrNoSpace) || u.Free < 60<<10 {
		t.Fatalf("%d bytes are free: %v", u.Free, refused)
	}
}

// Producers try again many times a second; whoever reads the log is told of a full disk once a minute.
func TestAFullDiskIsSaid(t *testing.T) {
	at := now
	mem := vfs.NewMem()
	var said strings.Builder
	s := openSet(t, mem, "data", func(c *SetConfig) {
		c.Logger, c.Now = slog.New(slog.NewTextHandler(&said, nil)), func() time.Time { return at }
	})
	defer s.Close()
	l := openLog(t, s)
	appendValue(t, l, "a")
	mem.SetCapacity(1)
	large := strings.Repeat("x", 64<<10)
	for range 3 {
		for range 10 {
			if _, err := l.Append(1, at, plain(batch(0, 0, large))); !errors.Is(err, ErrNoSpace) {
				t.Fatal(err)
			}
		}
		at = at.Add(time.Minute)
	}
	if n := strings.Count(said.String(), "the disk is full"); n != 3 {
		t.Errorf("said %d times: %s", n, &said)
	}
}

// With flush.messages above 1, acknowledgements run ahead of the disk by so many records or for so long.
func TestLooseFlush(t *testing.T) {
	at := now
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", func(c *SetConfig) { c.Now = func() time.Time { return at } }, journaled)
	prepare(t, s)
	l := openLog(t, s, func(c *Config) { c.FlushMessages, c.FlushMs = 10, 1000 })
	durable := func() int64 {
		s := openSet(t, mem.Crash(nil), "data", journaled)
		return openLog(t, s).Offsets().LogEnd
	}
	for range 9 {
		appendValue(t, l, "x")
		s.Sync()
	}
	equal(t, l.Offsets().HighWatermark, int64(9))
	s.Keep(at) // facts claim nothing that is not durable
	equal(t, durable(), int64(0))
	appendValue(t, l, "x")
	s.Sync()
	equal(t, durable(), int64(10))

	appendValue(t, l, "x")
	s.Sync()
	equal(t, durable(), int64(10))
	at = at.Add(time.Second)
	s.Keep(at)
	s.Sync()
	equal(t, durable(), int64(11))

	appendValue(t, l, "x")
	s.Sync()
	check(t, l.Flush(11))
	equal(t, durable(), int64(11))
	check(t, l.Flush(12))
	equal(t, durable(), int64(12))
	check(t, s.Close())
}

func TestWaitEnds(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := openLog(t, s)
	a := appendValue(t, l, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Wait(ctx, a.EndOffset); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { got <- l.Wait(t.Context(), a.EndOffset) }()
	s.Sync()
	check(t, <-got)
	check(t, l.Wait(ctx, a.EndOffset)) // reached already

	go func() { got <- l.Wait(t.Context(), 100) }()
	for waiting := 0; waiting == 0; {
		l.mu.Lock()
		waiting = len(l.waiters)
		l.mu.Unlock()
	}
	check(t, s.Remove(testID))
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
