package log

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// segments of 100 bytes: offsets 0-9, 10-19, … one hour apart, the last one active and new.
func hourly(n int) []segment.Info {
	infos := make([]segment.Info, n)
	for i := range infos {
		base := int64(10 * i)
		infos[i] = segment.Info{
			Base: base, End: base + 10, Size: 100, LastVisible: base + 9, MaxReceived: -1,
			MaxTimestamp: int64(i-n+1) * time.Hour.Milliseconds(), Sealed: i < n-1,
		}
		infos[i].MaxTimestamp += now.UnixMilli()
	}
	return infos
}

func TestPlanOfRetention(t *testing.T) {
	hours := func(h int64) int64 { return h * time.Hour.Milliseconds() }
	for _, c := range []struct {
		name string
		edit func(r *retention)
		want string // segments to go, log start, reported start
	}{
		{"nothing is old", func(r *retention) {}, "0 0 0"},
		{"by time", func(r *retention) { r.cfg.RetentionMs = hours(2) }, "2 20 19"},
		{"by time, all but the newest", func(r *retention) { r.cfg.RetentionMs = hours(0) }, "4 40 39"},
		{"by size", func(r *retention) { r.cfg.RetentionBytes = 250 }, "2 20 19"},
		{"by size, not a byte too many", func(r *retention) { r.cfg.RetentionBytes = 301 }, "1 10 9"},
		{"not without delete policy", func(r *retention) { r.cfg.RetentionBytes, r.cfg.Delete = 250, false }, "0 0 0"},
		{"deleted records, whatever the policy", func(r *retention) { r.reported, r.cfg.Delete = 25, false }, "2 20 25"},
		{"all deleted", func(r *retention) { r.reported = 50 }, "roll"},
		{"all expired", func(r *retention) { r.cfg.RetentionMs = 0; r.now++ }, "roll"},
		{"not above the high watermark", func(r *retention) { r.cfg.RetentionMs, r.hw, r.stable = hours(0), 15, 15 }, "1 10 9"},
		{"not above the gate", func(r *retention) { r.cfg.RetentionMs, r.floor.Gate = hours(0), 25 }, "2 20 19"},
		{"gate holds deleted records too", func(r *retention) { r.reported, r.floor.Gate = 40, 15 }, "1 10 40"},
		{"hidden records count by receive time", func(r *retention) {
			r.cfg.RetentionMs = hours(2)
			r.segments[0].MaxReceived = now.UnixMilli()
		}, "0 0 0"},
		{"segment without visible batches", func(r *retention) {
			r.cfg.RetentionMs = hours(2)
			s := &r.segments[1]
			s.LastVisible, s.MaxReceived, s.MaxTimestamp = -1, s.MaxTimestamp, -1
		}, "2 20 9"},
		{"undecided hidden records are kept", func(r *retention) {
			r.cfg.RetentionMs, r.stable = hours(0), 15
			r.segments[1].HiddenBytes = 5
		}, "1 10 9"},
		{"undecided visible ones are not", func(r *retention) { r.cfg.RetentionMs, r.stable = hours(0), 15 }, "4 40 39"},
		{"tiered: local time", func(r *retention) {
			r.floor, r.cfg.LocalRetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: 100}, hours(2)
		}, "2 0 0"},
		{"tiered: local size", func(r *retention) {
			r.floor, r.cfg.LocalRetentionBytes = Floor{Gate: forever, Tiered: true, Confirmed: 100}, 250
		}, "2 0 0"},
		{"tiered: not what is not confirmed", func(r *retention) {
			r.floor, r.cfg.LocalRetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: 15}, 0
		}, "1 0 0"},
		{"tiered: not what a hole follows that the tier does not know of", func(r *retention) {
			r.floor, r.cfg.LocalRetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: 10}, 0
			r.segments[1].Base = 15
		}, "0 0 0"},
		{"tiered: what a hole follows that the tier knows of", func(r *retention) {
			r.floor, r.cfg.LocalRetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: 20}, 0
			r.segments[1].Base = 15
		}, "2 0 0"},
		{"tiered: nothing is known to be confirmed", func(r *retention) {
			r.floor, r.cfg.LocalRetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: -1}, 0
		}, "0 0 0"},
		{"tiered: copies of what the gate protects may go", func(r *retention) {
			r.floor, r.cfg.LocalRetentionMs = Floor{Gate: 5, Tiered: true, Confirmed: 35}, 0
		}, "3 0 0"},
		{"tiered: past total retention, confirmed or not", func(r *retention) {
			r.floor, r.cfg.RetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: -1}, hours(2)
		}, "2 20 19"},
		{"tiered: the active segment is not evicted", func(r *retention) {
			r.floor, r.cfg.LocalRetentionMs, r.now = Floor{Gate: forever, Tiered: true, Confirmed: 100}, 0, r.now+1
		}, "4 0 0"},
		{"tiered: old records behind younger ones, which are evicted, have not expired", func(r *retention) {
			r.floor, r.cfg.LocalRetentionBytes, r.cfg.RetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: 10}, 0, hours(2)
			r.segments[0].MaxTimestamp = now.UnixMilli()
		}, "1 0 0"},
		{"tiered: old records behind what is in the tier only have not expired", func(r *retention) {
			r.floor, r.cfg.RetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: 10, Remote: now.UnixMilli()}, hours(2)
			r.segments, r.deleteBound = r.segments[1:], 10
		}, "0 0 0"},
		{"tiered: what is in the tier has expired too, though nobody has removed it", func(r *retention) {
			r.floor, r.cfg.RetentionMs = Floor{Gate: forever, Tiered: true, Confirmed: 10, Remote: now.UnixMilli() - hours(5)}, hours(2)
			r.segments, r.deleteBound = r.segments[1:], 10
		}, "1 20 19"},
		{"tiered: what is deleted or too large takes with it what is in the tier", func(r *retention) {
			r.floor, r.cfg.RetentionBytes = Floor{Gate: forever, Tiered: true, Confirmed: 10, Remote: forever}, 250
			r.segments, r.deleteBound, r.reported = r.segments[1:], 10, 25
		}, "1 20 25"},
		{"what compaction has taken out at the start holds nothing up", func(r *retention) {
			r.cfg.RetentionMs = hours(2)
			r.segments, r.deleteBound, r.floor.Remote = r.segments[1:], -1, forever
		}, "1 20 19"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.RetentionMs = -1
			r := &retention{cfg: &cfg, now: now.UnixMilli(), floor: Floor{Gate: forever}, hw: 50, stable: 50, segments: hourly(5)}
			c.edit(r)
			p := r.plan()
			got := fmt.Sprint(p.gone, " ", p.start, " ", p.reported)
			if p.rollFirst {
				got = "roll"
			}
			equal(t, got, c.want)
		})
	}
}

// An empty log keeps its next offset when everything has expired.
func TestEverythingExpires(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s, func(c *Config) { c.RetentionMs = 1000 })
	appendValue(t, l, "a")
	appendValue(t, l, "b")
	s.Sync()
	removed, err := l.Retain(now.Add(time.Minute), Floor{Gate: forever})
	check(t, err)
	equal(t, removed, 1)
	check(t, s.Close())
	s = openSet(t, fsys, "data")
	defer s.Close()
	l = openLog(t, s)
	o := l.Offsets()
	equal(t, []int64{o.LogStart, o.RealStart, o.LocalStart, o.VisibleEnd, o.LogEnd}, []int64{2, 2, 2, 2, 2})
	if _, err := l.Read(ReadRequest{Offset: 1}); !errors.As(err, new(*OutOfRangeError)) {
		t.Fatal(err)
	}
	equal(t, appendValue(t, l, "c").BaseOffset, int64(2))
}

func TestDeleteRecords(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	for range 5 {
		appendValue(t, l, "a")
	}
	appendHidden(t, l, "x")
	s.Sync()
	for _, c := range []struct{ offset, want int64 }{{2, 2}, {1, 2}, {0, 2}, {-1, 5}, {5, 5}} {
		start, err := l.DeleteRecords(c.offset)
		check(t, err)
		equal(t, start, c.want)
	}
	for _, offset := range []int64{6, -2} {
		if _, err := l.DeleteRecords(offset); !errors.As(err, new(*OutOfRangeError)) {
			t.Fatalf("%d: %v", offset, err)
		}
	}
	crashed := openSet(t, fsys.Crash(nil), "data")
	defer crashed.Close()
	l = openLog(t, crashed)
	o := l.Offsets()
	equal(t, []int64{o.LogStart, o.VisibleEnd, o.RealStart, o.LogEnd}, []int64{5, 5, 0, 6})
	// The hidden record is still there.
	b, err := l.BatchAt(5, nil)
	check(t, err)
	equal(t, b.Hidden(), true)
}

// flush.messages lets acknowledgements run ahead of the disk. Records that are deleted before they
// are durable must not leave a start above the log, below which later ones would be hidden.
func TestDeletedRecordsOfALooseLogHideNothingAfterAPowerLoss(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	loose := func(c *Config) { c.FlushMessages = 1000 }
	l := openLog(t, s, loose)
	for range 5 {
		appendValue(t, l, "a")
	}
	s.Sync()
	equal(t, l.Offsets().HighWatermark, int64(5))
	start, err := l.DeleteRecords(-1)
	check(t, err)
	equal(t, start, int64(5))

	s = openSet(t, fsys.Crash(nil), "data")
	defer s.Close()
	l = openLog(t, s, loose)
	a := appendValue(t, l, "b")
	s.Sync()
	o := l.Offsets()
	equal(t, values(t, l, ReadRequest{Offset: o.LogStart, MaxBytes: 100}), []string{fmt.Sprintf("%d:b", a.BaseOffset)})
}

// Nobody is shown a start that the disk does not know: neither while it is being written nor if it
// could not be.
func TestStartsAreNotShownBeforeTheyAreDurable(t *testing.T) {
	for name, move := range map[string]func(l *Log) error{
		"delete records": func(l *Log) error { _, err := l.DeleteRecords(2); return err },
		"advance":        func(l *Log) error { return l.AdvanceStart(0, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewFault(vfs.NewMem())
			s := openSet(t, fsys, "data")
			defer s.Close()
			l := openLog(t, s)
			for range 3 {
				appendValue(t, l, "a")
			}
			s.Sync()
			full := fsys.Add(vfs.Rule{Ops: vfs.OpWrite, Name: "facts-*", Times: vfs.Forever, Err: syscall.ENOSPC})
			if err := move(l); !errors.Is(err, ErrNoSpace) {
				t.Errorf("on a full disk: %v", err)
			}
			equal(t, l.Offsets().LogStart, int64(0))
			fsys.End(full)
			var shown []int64
			look := fsys.Add(vfs.Rule{Ops: vfs.OpSync, Name: "facts-*", Times: vfs.Forever, Do: func() { shown = append(shown, l.Offsets().LogStart) }})
			err := move(l)
			fsys.End(look)
			check(t, err)
			equal(t, l.Offsets().LogStart, int64(2))
			if len(shown) == 0 || slices.Max(shown) > 0 {
				t.Errorf("while it was written the start was %d", shown)
			}
		})
	}
}

// Local segments that the tier has may go; the log start stays, and what is gone is said to be in the tier.
func TestEviction(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	tiered := func(c *Config) { c.LocalRetentionBytes = 0 }
	l := openLog(t, s, tiered)
	for range 3 {
		appendValue(t, l, "a")
		check(t, l.Roll())
	}
	s.Sync()
	read, err := l.Read(ReadRequest{MaxBytes: 100})
	check(t, err)
	removed, err := l.Retain(now, Floor{Gate: 0, Tiered: true, Confirmed: 2})
	check(t, err)
	equal(t, removed, 2)
	b := make([]byte, read.Ranges[0].Len)
	_, err = read.Ranges[0].File.ReadAt(b, read.Ranges[0].Pos)
	check(t, err) // readers are not disturbed
	check(t, record.Batch(b).CheckCRC())
	read.Release()
	for range 2 {
		o := l.Offsets()
		equal(t, []int64{o.LogStart, o.RealStart, o.LocalStart, o.DeleteBound, o.LogEnd}, []int64{0, 0, 2, 2, 3})
		var in *TieredError
		if _, err := l.Read(ReadRequest{Offset: 1, MaxBytes: 100}); !errors.As(err, &in) || in.LocalStart != 2 {
			t.Fatal(err)
		}
		if err := l.Scan(0, 3, nil); !errors.As(err, &in) {
			t.Fatal(err)
		}
		equal(t, values(t, l, ReadRequest{Offset: 2, MaxBytes: 100}), []string{"2:a"})
		check(t, s.Close())
		s = openSet(t, fsys, "data")
		l = openLog(t, s, tiered)
	}
	// The tier expires a segment: the log start moves, not past what is local.
	check(t, l.AdvanceStart(1, 1))
	o := l.Offsets()
	equal(t, []int64{o.LogStart, o.RealStart, o.LocalStart}, []int64{1, 1, 2})
	check(t, s.Close())
}

// Somebody imports old records behind young ones that are in the tier only. They have expired by
// their age, but nothing has before them.
func TestOldRecordsBehindTieredOnesDoNotMoveTheLogStart(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.LocalRetentionBytes, c.RetentionMs = 0, time.Hour.Milliseconds() })
	tiered := func(confirmed int64) int {
		s.Sync()
		removed, err := l.Retain(now, Floor{Gate: forever, Tiered: true, Confirmed: confirmed, Remote: now.UnixMilli()})
		check(t, err)
		return removed
	}
	appendValue(t, l, "young")
	check(t, l.Roll())
	equal(t, tiered(1), 1)
	_, err := l.Append(1, now, plain(batch(now.Add(-2*time.Hour).UnixMilli(), 0, "old")))
	check(t, err)
	check(t, l.Roll())
	equal(t, tiered(1), 0)
	equal(t, l.Offsets().LogStart, int64(0))
	// Once what is remote has expired, so has what follows it.
	check(t, l.AdvanceStart(1, 1))
	equal(t, tiered(1), 1)
	equal(t, l.Offsets().LogStart, int64(2))
}

// What Retain will do, and what closes the active segment, is told as it then comes.
func TestOutlook(t *testing.T) {
	at := now
	s := openSet(t, vfs.NewMem(), "data", func(c *SetConfig) { c.Now = func() time.Time { return at } })
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.LocalRetentionBytes, c.SegmentBytes, c.SegmentMs = 0, 1000, 5000 })
	for range 3 {
		appendValue(t, l, "a")
		check(t, l.Roll())
	}
	equal(t, l.Outlook(at, Floor{}).Active.Size, int64(0))
	appendValue(t, l, "b")
	s.Sync()
	floor := Floor{Tiered: true, Confirmed: 2}
	o := l.Outlook(at, floor)
	equal(t, []int64{o.LocalStart, o.Active.Base, o.Active.End, o.MaxBytes, o.Until}, []int64{2, 3, 4, 1000, at.UnixMilli() + 5000})
	equal(t, l.Outlook(at, Floor{}).LocalStart, int64(0))
	_, err := l.Retain(at, floor)
	check(t, err)
	equal(t, l.Offsets().LocalStart, o.LocalStart)
	s.Keep(time.UnixMilli(o.Until))
	equal(t, len(l.Segments()), 2)
	s.Keep(time.UnixMilli(o.Until + 1))
	equal(t, len(l.Segments()), 3)
	cfg := l.Config()
	cfg.SegmentMs = math.MaxInt64
	l.SetConfig(cfg)
	equal(t, l.Outlook(at, Floor{}).Until, int64(math.MaxInt64))
}

func TestOpenSegment(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.RetentionMs = 0 })
	appendValue(t, l, "a")
	check(t, l.Roll())
	appendValue(t, l, "b")
	s.Sync()
	for _, base := range []int64{1, 7} { // active, and no base
		if _, err := l.OpenSegment(base); !errors.Is(err, ErrSegmentGone) {
			t.Fatal(base, err)
		}
	}
	f, err := l.OpenSegment(0)
	check(t, err)
	_, err = l.Retain(now.Add(time.Hour), Floor{Gate: 1})
	check(t, err)
	b := make(record.Batch, f.Info().Size)
	_, err = f.ReadAt(b, 0)
	check(t, err)
	check(t, b.CheckCRC())
	check(t, f.Close())
	if _, err := l.OpenSegment(0); !errors.Is(err, ErrSegmentGone) {
		t.Fatal(err)
	}
}

// Segments roll by size, by the age of their records, by the clock if nothing is appended, and when
// their index is full.
func TestRolling(t *testing.T) {
	at := now
	s := openSet(t, vfs.NewMem(), "data", func(c *SetConfig) { c.Now = func() time.Time { return at } })
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.SegmentBytes, c.SegmentMs, c.IndexIntervalBytes = 1000, 5000, 1 })
	add := func(ts time.Time, size int) {
		t.Helper()
		_, err := l.Append(1, at, plain(batch(ts.UnixMilli(), 0, string(make([]byte, size)))))
		check(t, err)
	}
	segments := func(want int) {
		t.Helper()
		equal(t, len(l.Segments()), want)
	}
	add(at, 700)
	add(at, 100)
	segments(1)
	add(at, 300)
	segments(2)
	add(at.Add(4*time.Second), 1)
	segments(2)
	add(at.Add(6*time.Second), 1)
	segments(3)
	s.Keep(at.Add(5 * time.Second))
	segments(3)
	s.Keep(at.Add(6 * time.Second))
	segments(4)
	s.Keep(at.Add(60 * time.Second)) // empty
	segments(4)
	cfg := l.Config()
	cfg.SegmentIndexBytes = 64
	l.SetConfig(cfg)
	for range 20 {
		add(at, 1) // nine fit
	}
	segments(6)
	add(at, 2000) // larger than a segment: it gets one of its own
	segments(7)
	add(at, 1)
	segments(8)
}

// The last segment of a quiet topic is closed too, although a crash has made it forget when it was begun.
func TestIdleSegmentIsClosedAfterACrash(t *testing.T) {
	at := now
	clock := func(c *SetConfig) { c.Now = func() time.Time { return at } }
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data", clock)
	appendValue(t, openLog(t, s), "a")
	s.Sync()
	s = openSet(t, fsys.CrashProcess(), "data", clock)
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.SegmentMs = 5000 })
	s.Keep(at.Add(5 * time.Second))
	equal(t, len(l.Segments()), 1)
	s.Keep(at.Add(6 * time.Second))
	equal(t, len(l.Segments()), 2)
}

// Producers do not wait for the syncs of retention, however slow the disk is.
func TestAppendsGoOnDuringRetention(t *testing.T) {
	for _, take := range []struct {
		name string
		out  func(l *Log) (int, error)
	}{
		{"retain", func(l *Log) (int, error) { return l.Retain(now, Floor{Gate: forever}) }},
		{"drop", func(l *Log) (int, error) { return l.Drop(0, 2) }},
		{"evict", func(l *Log) (int, error) {
			return l.Evict(2, func(segment.Info) bool { return true })
		}},
	} {
		t.Run(take.name, func(t *testing.T) {
			mem := vfs.NewMem()
			fsys := vfs.NewFault(mem)
			s := openSet(t, fsys, "data")
			l := openLog(t, s, func(c *Config) { c.RetentionMs = -1 })
			for i := range int32(3) {
				_, err := l.Append(1, now, plain(idempotent(5, 1, i)))
				check(t, err)
				check(t, l.Roll())
			}
			s.Sync()
			_, err := l.DeleteRecords(2)
			check(t, err)
			syncs, within := 0, false
			rule := fsys.Add(vfs.Rule{Ops: vfs.OpSync, Times: vfs.Forever, Do: func() {
				if within {
					return
				}
				within = true
				syncs++
				appendValue(t, l, "meanwhile")
				check(t, l.Roll())
				within = false
			}})
			removed, err := take.out(l)
			fsys.End(rule)
			check(t, err)
			equal(t, removed, 2)
			if syncs == 0 {
				t.Fatal("nothing was synced")
			}
			s.Sync()
			end := l.Offsets().LogEnd
			equal(t, end, int64(3+syncs))
			for _, after := range []*vfs.Mem{mem.CrashProcess(), mem.Crash(nil)} {
				l := openLog(t, openSet(t, after, "data"))
				equal(t, l.Offsets().LocalStart, int64(2))
				equal(t, l.Offsets().LogEnd, end)
			}
		})
	}
}

// Records without a time count by when they were written, also after a restart.
func TestRecordsWithoutTimestampsExpire(t *testing.T) {
	fsys, began := vfs.NewMem(), time.Now()
	s := openSet(t, fsys, "data", func(c *SetConfig) { c.Now = time.Now })
	l := openLog(t, s)
	for _, v := range []string{"a", "b"} {
		_, err := l.Append(1, began, plain(batch(-1, 0, v)))
		check(t, err)
		check(t, l.Roll())
	}
	s.Sync()
	retain := func(l *Log, at time.Time) int {
		t.Helper()
		removed, err := l.Retain(at, Floor{Gate: forever})
		check(t, err)
		return removed
	}
	hour := func(c *Config) { c.RetentionMs = time.Hour.Milliseconds() }
	cfg := l.Config()
	hour(&cfg)
	l.SetConfig(cfg)
	equal(t, retain(l, began.Add(30*time.Minute)), 0)
	check(t, s.Close())

	s = openSet(t, fsys, "data", func(c *SetConfig) { c.Now = time.Now })
	defer s.Close()
	l = openLog(t, s, hour)
	equal(t, retain(l, began.Add(30*time.Minute)), 0)
	equal(t, retain(l, time.Now().Add(time.Hour+time.Second)), 2)
}
