package partition

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func sleepMinutes(n int) { time.Sleep(time.Duration(n) * time.Minute) }

// rolled appends records and closes the segment.
func (w *world) rolled(p *Partition, rs ...rec) {
	w.Helper()
	w.append(p, rs...)
	if err := p.log.Roll(); err != nil {
		w.Fatal(err)
	}
}

func TestStartDoesNotReadAgainWhatHoldsNothingPending(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1)
		p := w.partition("orders")
		stop := w.start()
		large := plain(strings.Repeat("x", 1<<20-1000))
		for range progressBytes>>20 + 2 {
			w.append(p, large)
		}
		time.Sleep(3 * tendInterval)
		w.append(p, delayed("later", "5h"), plain("b"))
		w.append(p, large)
		time.Sleep(3 * tendInterval) // this is too little to be worth a record
		from, _ := p.schedule.Replay()
		stop()

		w.reopen(w.mem.CrashProcess())
		p = w.partition("orders")
		if err := p.openKeeper(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p.schedule.End() != from || from != progressBytes>>20+2 {
			t.Errorf("the log is read from offset %d on, it was to be %d", p.schedule.End(), from)
		}
		w.load()
		if s := w.stats(p); s.Pending != 1 {
			t.Errorf("%d are pending", s.Pending)
		}
	})
}

// A progress record has the log synced. Where producers do not wait for that, it is not done for so little.
func TestProgressDoesNotSyncALooseLogAllTheTime(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "flush.messages", "1000000")
		p := w.partition("orders")
		stop := w.start()
		large := plain(strings.Repeat("x", 1<<20-1000))
		for range progressBytes>>20 + 2 {
			w.append(p, large)
		}
		time.Sleep(3 * tendInterval)
		if from, _ := p.schedule.Replay(); from != 0 {
			t.Errorf("progress was written up to offset %d", from)
		}
		stop()
	})
}

// A retention without end, as it is often written, has not passed: nothing is moved out of its way.
func TestNothingExpiresWithTheLongestRetention(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "retention.ms", strconv.FormatInt(math.MaxInt64, 10))
		p := w.partition("orders")
		stop := w.start()
		w.rolled(p, delayed("later", "5h"), plain("b"))
		time.Sleep(3 * tendInterval)
		stop()
		if s := w.stats(p); s.Pending != 1 || s.Spilled != 0 {
			t.Errorf("%d are pending, %d of them in runs", s.Pending, s.Spilled)
		}
	})
}

func TestRetentionKeepsWhatIsPending(t *testing.T) {
	w := newWorld(t)
	now := epoch
	w.clock = func() time.Time { return now }
	w.open()
	w.create("orders", 1, "retention.ms", "60000")
	w.rolled(w.partition("orders"), plain("a"))
	w.commit()
	w.reopen(w.mem.CrashProcess())
	p := w.partition("orders")
	now = now.Add(time.Hour)
	if p.retain(now); p.log.Offsets().RealStart != 0 {
		t.Error("deleted before the schedule was loaded: nobody knows yet what is pending")
	}
	w.load()
	w.rolled(p, delayed("later", "5h"), plain("b"))
	w.rolled(p, plain("c"))
	w.commit()
	now = now.Add(time.Hour)
	p.retain(now)
	if o := p.log.Offsets(); o.RealStart > 1 {
		t.Errorf("log starts at %d, and record 1 is pending", o.RealStart)
	}
	w.wantContent(p, w.content(p)...)
	if got := w.content(p); !slices.Contains(got, "1h:later") {
		t.Errorf("log holds %v", got)
	}
	w.append(p, cancelOf(1))
	w.commit()
	now = now.Add(time.Hour)
	for range 2 {
		if err := p.tend(t.Context(), math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		w.commit()
	}
	p.retain(now)
	if o := p.log.Offsets(); o.RealStart < 4 {
		t.Errorf("log starts at %d although nothing is pending", o.RealStart)
	}
}

// TestDelayLongerThanRetention is the delay that its topic's retention knows nothing of.
func TestDelayLongerThanRetention(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "retention.ms", "60000", "segment.ms", "10000")
		stop := w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		began := time.Now()
		w.append(p, delayed("in an hour", "1h"), delayed("in a day", "24h"))
		sleepMinutes(30)
		o := p.log.Offsets()
		if o.RealStart < 2 || w.stats(p).Pending != 2 {
			t.Fatalf("log starts at %d, %d are pending: the test is void", o.RealStart, w.stats(p).Pending)
		}
		if o.LogStart != 0 || o.VisibleEnd != 0 {
			t.Errorf("clients are told [%d, %d]: one that had caught up at 0 is out of range", o.LogStart, o.VisibleEnd)
		}
		if got := w.visible(p, 0); len(got) > 0 {
			t.Errorf("a reader at 0 gets %v", got)
		}
		sleepMinutes(31)
		if got := w.visible(p, 0); !slices.Equal(got, []string{"2:in an hour"}) {
			t.Errorf("after an hour a reader at 0 gets %v", got)
		}

		left := w.mem.CrashProcess()
		stop()
		w.restart(left)
		w.start()
		p = w.partition("orders")
		time.Sleep(time.Until(began.Add(24*time.Hour + 10*time.Second)))
		if got := w.delivered(p); len(got) != 1 || got[1] != 1 || w.stats(p).Pending != 0 {
			t.Errorf("a day later %v were delivered, %d are pending", got, w.stats(p).Pending)
		}
	})
}

// TestUploadOfASegmentWhoseIndexIsDamaged: the bytes decide, not what the log keeps beside them. (Scenario 12)
func TestUploadOfASegmentWhoseIndexIsDamaged(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("cold", 1, "remote.storage.enable", "true", "local.retention.ms", "1", "retention.ms", "-1", "index.interval.bytes", "1")
		for _, value := range []string{"a", "b", "c"} {
			w.append(w.partition("cold"), plain(value))
		}
		p := w.partition("cold")
		if err := p.log.Roll(); err != nil {
			t.Fatal(err)
		}
		w.commit()
		name := "/logs/" + p.log.ID().String() + "/00000000000000000000.index"
		f, err := w.fsys.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 16), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		w.start()
		sleepMinutes(10)
		if o := p.log.Offsets(); o.LocalStart != 3 {
			t.Fatalf("the local log starts at %d: the test is void", o.LocalStart)
		}
		r, err := p.ReadRemote(t.Context(), ReadRequest{Offset: 1, MaxBytes: 1000, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		if got := w.values(r); !slices.Equal(got, []string{"1:b", "2:c"}) {
			t.Errorf("read %v", got)
		}
	})
}

// Old records are imported behind young ones that lie in the tier only. They expire by their age,
// but not before those in front of them, which readers may still ask for.
func TestOldRecordsDoNotExpireBeforeYoungOnesInTheTier(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("cold", 1, "remote.storage.enable", "true", "local.retention.ms", "1", "retention.ms", "7200000")
		w.start()
		w.awaitLoaded("cold")
		p := w.partition("cold")
		w.rolled(p, plain("young"))
		sleepMinutes(10)
		if _, err := p.Append(context.Background(), batch(w.clock().Add(-5*time.Hour), plain("old")), nil, w.clock()); err != nil {
			t.Fatal(err)
		}
		if err := p.log.Roll(); err != nil {
			t.Fatal(err)
		}
		sleepMinutes(20)
		o := p.log.Offsets()
		if o.LocalStart == 0 {
			t.Fatal("nothing was evicted: the test is void")
		}
		if o.LogStart != 0 {
			t.Errorf("the log starts at %d", o.LogStart)
		}
		r, err := p.ReadRemote(t.Context(), ReadRequest{Offset: 0, MaxBytes: 1, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		got := w.values(r)
		r.Release()
		if !slices.Equal(got, []string{"0:young"}) {
			t.Errorf("read %v", got)
		}
		sleepMinutes(120)
		if o := p.log.Offsets(); o.LogStart != 2 {
			t.Errorf("two hours later the log starts at %d", o.LogStart)
		}
	})
}

// TestFirstOfTheNewestRecordsIsFound, also if only the later ones are still local.
func TestFirstOfTheNewestRecordsIsFound(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.bucket = buckettest.New()
		w.open()
		w.create("cold", 1, "remote.storage.enable", "true", "local.retention.ms", "1", "retention.ms", "-1")
		w.start()
		p, at := w.partition("cold"), time.Now()
		w.rolled(p, plain("a"))
		w.append(p, plain("b"))
		sleepMinutes(60)
		if o := p.log.Offsets(); o.LocalStart != 1 {
			t.Fatalf("local part starts at %d: the test is void", o.LocalStart)
		}
		if got, err := p.ListOffset(t.Context(), MaxTimestamp, false); err != nil || got != (FoundOffset{0, at.UnixMilli(), 0}) {
			t.Errorf("found %+v, %v", got, err)
		}
	})
}

func TestTieredPartitionIsReadHereAndThere(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.bucket = buckettest.New()
		w.open()
		w.create("cold", 1, "remote.storage.enable", "true", "local.retention.ms", "1", "retention.ms", "-1")
		w.start()
		w.awaitLoaded("cold")
		p := w.partition("cold")
		began := time.Now()
		w.rolled(p, plain("a"), plain("b"))
		sleepMinutes(1)
		w.rolled(p, plain("c"), delayed("later", "1000h"))
		sleepMinutes(1)
		w.append(p, plain("d"))
		sleepMinutes(60)

		o := p.log.Offsets()
		if o.LocalStart != 4 || o.LogStart != 0 {
			t.Fatalf("log starts at %d, local part at %d: the test is void", o.LogStart, o.LocalStart)
		}
		for timestamp, want := range map[int64]FoundOffset{
			Latest:                                  {5, -1, 0},
			Earliest:                                {0, -1, 0},
			EarliestLocal:                           {4, -1, 0},
			LatestTiered:                            {3, -1, 0},
			EarliestPendingUpload:                   {4, -1, 0},
			MaxTimestamp:                            {4, began.Add(2 * time.Minute).UnixMilli(), 0},
			began.UnixMilli():                       {0, began.UnixMilli(), 0},
			began.Add(time.Second).UnixMilli():      {2, began.Add(time.Minute).UnixMilli(), 0},
			began.Add(61 * time.Second).UnixMilli(): {4, began.Add(2 * time.Minute).UnixMilli(), 0},
			began.Add(1000 * time.Hour).UnixMilli(): notFound,
		} {
			got, err := p.ListOffset(context.Background(), timestamp, false)
			if err != nil || got != want {
				t.Errorf("at %d: %+v, %v, expected %+v", timestamp, got, err, want)
			}
		}

		var read []string
		for offset := int64(0); offset < 5; {
			r, err := p.ReadRemote(t.Context(), ReadRequest{Offset: offset, MaxBytes: 1, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
			if err != nil {
				t.Fatalf("read from %d: %v", offset, err)
			}
			got := w.values(r)
			if len(got) == 0 || r.HighWatermark != 5 || r.LogStart != 0 {
				t.Fatalf("read from %d: %v, %+v", offset, got, r)
			}
			read = append(read, got...)
			offset = 1 + int64(got[len(got)-1][0]-'0')
			r.Release()
		}
		if !slices.Equal(read, []string{"0:a", "1:b", "2:c", "4:d"}) {
			t.Errorf("read %v", read)
		}
		if _, err := p.Read(ReadRequest{Offset: 0, MaxBytes: 1000, LeaderEpoch: -1, LastFetchedEpoch: -1}); err == nil {
			t.Error("read locally what is not local")
		}
	})
}

// TestTimestampIsLookedUpWhileSegmentsAreEvicted: while the tier is asked for what is not here any
// more, the local copy of what was looked for goes too.
func TestTimestampIsLookedUpWhileSegmentsAreEvicted(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.bucket, w.store = buckettest.New(), newMemStore("log.retention.check.interval.ms", "1000")
		w.open()
		w.create("cold", 1, "remote.storage.enable", "true", "local.retention.ms", "3600000", "retention.ms", "-1")
		w.start()
		w.awaitLoaded("cold")
		p := w.partition("cold")
		w.rolled(p, plain("a"))
		sleepMinutes(70)
		want := FoundOffset{Offset: 1, Timestamp: w.clock().UnixMilli()}
		w.rolled(p, plain("b"))
		sleepMinutes(30)
		w.append(p, plain("c"))
		sleepMinutes(30)
		if o := p.log.Offsets(); o.LocalStart != 1 {
			t.Fatalf("the local log starts at %d: the test is void", o.LocalStart)
		}
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Times: buckettest.Forever, Delay: 5 * time.Second})
		got, err := p.ListOffset(context.Background(), want.Timestamp, false)
		if o := p.log.Offsets(); o.LocalStart != 2 {
			t.Fatalf("then it starts at %d: the test is void", o.LocalStart)
		}
		if err != nil || got != want {
			t.Errorf("found %+v, %v, expected %+v", got, err, want)
		}
	})
}

// TestNothingIsSpilledForARetentionThatDoesNotApply: local retention is that of topics which have a
// tier, and what it says of others removes nothing.
func TestNothingIsSpilledForARetentionThatDoesNotApply(t *testing.T) {
	for _, c := range []struct {
		name, retention string
		want            int64
	}{{"in a week", "604800000", 0}, {"in ten minutes", "600000", 10}} {
		t.Run(c.name, func(t *testing.T) {
			living(t, func(t *testing.T, w *world) {
				w.create("orders", 1, "remote.storage.enable", "true", "local.retention.ms", "60000", "retention.ms", c.retention, "segment.ms", "60000")
				w.start()
				w.awaitLoaded("orders")
				l := w.ledger("orders")
				l.schedule(10, 12*time.Hour)
				l.run(time.Hour)
				p := w.partition("orders")
				if st := w.stats(p); st.Spilled != c.want || p.log.Offsets().RealStart > 0 != (c.want > 0) {
					t.Errorf("%+v, the log begins at %d", st, p.log.Offsets().RealStart)
				}
			})
		})
	}
}

// TestRetentionOfManyPendingRecordsIsManyRuns: no run takes more than others can wait for, however
// much retention wants at once.
func TestRetentionOfManyPendingRecordsIsManyRuns(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		const batches, size = 40, 1000 // a little less than relief would move
		w.store = newMemStore("delay.index.memory", "1048576")
		w.open()
		w.create("orders", 1, "retention.ms", "600000", "segment.ms", "60000")
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		rs := make([]rec, size)
		for i := range rs {
			rs[i] = delayed("later", "1h")
		}
		for range batches {
			w.append(p, rs...)
		}
		sleepMinutes(9)
		if st := w.stats(p); st.Runs != 0 {
			t.Fatalf("%+v: the test is void", st)
		}
		sleepMinutes(20)
		if st, o := w.stats(p), p.log.Offsets(); st.Spilled != batches*size || st.Runs < 2 || o.RealStart < batches*size {
			t.Errorf("%+v, the log begins at %d", st, o.RealStart)
		}
		sleepMinutes(60)
		if st := w.stats(p); st.Delivered != batches*size || st.Pending != 0 {
			t.Errorf("after they were due: %+v", st)
		}
	})
}
