package share

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/broker/coord/coordtest"
)

// running is a coordinator of one shard inside a synctest bubble.
type running struct {
	*Coordinator
	t       *testing.T
	cfg     Config
	journal *coordtest.Journal
	letters *letters
	trimmed int64
	logged  logged
}

// logged is what was logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func runCoordinator(t *testing.T, test func(t *testing.T, r *running)) {
	synctest.Test(t, func(t *testing.T) {
		r := &running{
			t: t, journal: &coordtest.Journal{}, letters: &letters{dead: map[int64]Dead{}},
			cfg: Config{LockDuration: 30 * time.Second, DeliveryLimit: 2, MaxLocks: 2000, DeadLetters: "dead"},
		}
		r.Coordinator = New(Options{
			Config: func(string) Config { return r.cfg }, CommitTimeout: func() time.Duration { return time.Second }, Shards: 1,
			Letters: r.letters, Logger: slog.New(slog.NewTextHandler(&r.logged, nil)),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		r.Elect(0, r.journal, func(below int64) error { r.trimmed = below; return nil })
		synctest.Wait()
		test(t, r)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// hold begins the share-partition, if it has not, and has a member acquire a batch of n records
// from where next says.
func (r *running) hold(member string, n int64) []Acquired {
	r.t.Helper()
	if err := r.Open(r.t.Context(), testKey, 0); err != nil {
		r.t.Fatal(err)
	}
	from, _, _, err := r.Next(testKey)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.Acquire(r.t.Context(), testKey, Find{Member: member, From: from, Spans: []Span{{from, from + n}}, To: from + n, Max: n})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (r *running) ack(member string, a Ack) {
	r.t.Helper()
	if err := r.Acknowledge(r.t.Context(), testKey, member, []Ack{a}, false); err != nil {
		r.t.Fatal(err)
	}
}

// A record that the dead-letter topic does not take stays, shows, and is written once the topic takes it.
func TestRecordsStayUntilTheirLettersAreWritten(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		refusal := errors.New("no such topic")
		r.letters.refuse(refusal)
		r.hold("a", 3)
		r.ack("a", Ack{0, 3, []int8{AckReject, AckAccept, AckReject}})
		time.Sleep(10 * time.Minute)
		s := r.Statuses("g")[0]
		if s.Dying != 2 || s.Start != 0 || !errors.Is(s.Stuck, refusal) || s.Totals.Buried != 0 {
			t.Fatalf("while it fails: %+v", s)
		}
		r.letters.refuse(nil)
		time.Sleep(2 * maxBurialPause)
		s = r.Statuses("g")[0]
		if s.Dying != 0 || s.Start != 3 || s.Stuck != nil || s.Totals.Buried != 2 || s.Totals.Archived != 2 {
			t.Errorf("afterwards: %+v", s)
		}
		if dead := r.letters.written(); len(dead) != 2 || dead[0] != (Dead{0, 1, true}) || dead[2] != (Dead{2, 1, true}) {
			t.Errorf("written: %+v", dead)
		}
	})
}

// A disk that is full for an hour is told at once, and seldom afterwards; another failure is told
// at once again. Nothing is wrong with the broker.
func TestFailureOfLettersIsToldSeldom(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		warned := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			if text := r.logged.String(); strings.Count(text, "level=WARN") != want || strings.Contains(text, "level=ERROR") {
				t.Errorf("%s: logged, with %d warnings expected:\n%s", what, want, text)
			}
		}
		r.letters.refuse(errors.New("disk full"))
		r.hold("a", 1)
		r.ack("a", Ack{0, 1, []int8{AckReject}})
		time.Sleep(5 * time.Minute)
		warned("after some tries", 1)
		time.Sleep(time.Hour)
		warned("after an hour", 7)
		r.letters.refuse(errors.New("no such topic"))
		time.Sleep(2 * maxBurialPause)
		warned("of something else", 8)
	})
}

// What was given up before a restart is written after it.
func TestLettersAreWrittenAfterARestart(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		r.letters.refuse(errors.New("disk full"))
		r.hold("a", 1)
		r.ack("a", Ack{0, 1, []int8{AckReject}})
		r.Elect(0, r.journal, nil)
		r.letters.refuse(nil)
		time.Sleep(2 * maxBurialPause)
		if dead := r.letters.written(); len(dead) != 1 || r.Statuses("g")[0].Start != 1 {
			t.Errorf("written: %+v, state %+v", dead, r.Statuses("g"))
		}
	})
}

// slowJournal is one whose commits take until a given time.
type slowJournal struct {
	*coordtest.Journal
	until atomic.Int64 // unix milliseconds
}

func (j *slowJournal) Wait(ctx context.Context, _ int64) error {
	timer := time.NewTimer(time.Until(time.UnixMilli(j.until.Load())))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A disk that is slow for a while keeps no letter from being written, even if nothing else is given
// up afterwards.
func TestLettersAreWrittenAfterASlowCommit(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		slow := &slowJournal{Journal: r.journal}
		r.Elect(0, slow, nil)
		synctest.Wait()
		r.hold("a", 1)
		slow.until.Store(time.Now().Add(time.Minute).UnixMilli())
		err := r.Acknowledge(t.Context(), testKey, "a", []Ack{{0, 1, []int8{AckReject}}}, false)
		if !errors.Is(err, ErrCommitTimeout) {
			t.Fatalf("acknowledged: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if dead := r.letters.written(); len(dead) != 1 || r.Statuses("g")[0].Start != 1 {
			t.Errorf("written: %+v, state %+v", dead, r.Statuses("g"))
		}
	})
}

// A share-partition that is deleted while its letters fail is not remembered.
func TestFailedLettersAreForgottenWithTheirGroup(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		r.letters.refuse(errors.New("no such topic"))
		r.hold("a", 1)
		r.ack("a", Ack{0, 1, []int8{AckReject}})
		time.Sleep(time.Minute)
		if err := r.DeleteGroup(t.Context(), testKey.Group); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * maxBurialPause)
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.stuck) != 0 {
			t.Errorf("still stuck: %v", r.stuck)
		}
	})
}

func TestWaitersAreWoken(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		r.cfg.RetryDelay, r.cfg.RetryMaxDelay, r.cfg.DeliveryLimit = time.Minute, time.Minute, 9
		r.hold("a", 2)
		wake := make(chan struct{}, 1)
		r.Subscribe(testKey, wake)
		begun := time.Now()
		woken := func(what string, after time.Duration) {
			t.Helper()
			<-wake
			if took := time.Since(begun); took != after {
				t.Errorf("%s woke after %v, want %v", what, took, after)
			}
		}
		r.ack("a", Ack{0, 1, []int8{AckRelease}})
		select { // there is room beyond the end: that may wake, too
		case <-wake:
		default:
		}
		woken("the end of a lock", 30*time.Second)
		woken("a retry", time.Minute)
		r.Unsubscribe(testKey, wake)
		if len(r.waiters) != 0 {
			t.Errorf("%d share-partitions are still waited for", len(r.waiters))
		}
	})
}

// The journal is trimmed now and then, and what is left of it is enough.
func TestJournalIsTrimmed(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		for range checkpointRecords + 10 {
			got := r.hold("a", 1)
			r.ack("a", Ack{got[0].First, got[0].End, []int8{AckAccept}})
		}
		synctest.Wait()
		if r.trimmed < checkpointRecords-10 {
			t.Fatalf("trimmed below %d of %d records", r.trimmed, len(r.journal.Records))
		}
		r.journal.Records = r.journal.Records[r.trimmed:]
		r.Elect(0, r.journal, nil)
		synctest.Wait()
		if s := r.Statuses("g")[0]; s.Start != checkpointRecords+10 {
			t.Errorf("after loading what is left: %+v", s)
		}
	})
}

// A journal that is loaded again before it is long enough to be trimmed is trimmed nevertheless.
func TestJournalIsTrimmedAcrossRestarts(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		for range 4 {
			for range checkpointRecords/4 + 10 {
				got := r.hold("a", 1)
				r.ack("a", Ack{got[0].First, got[0].End, []int8{AckAccept}})
			}
			r.Elect(0, r.journal, func(below int64) error { r.trimmed = below; return nil })
			synctest.Wait()
		}
		r.hold("a", 1)
		r.ack("a", Ack{r.Statuses("g")[0].Start, r.Statuses("g")[0].Start + 1, []int8{AckAccept}})
		synctest.Wait()
		if r.trimmed == 0 {
			t.Errorf("%d records and not trimmed", len(r.journal.Records))
		}
	})
}

func TestDeletedGroupsAndTopicsLeaveNothing(t *testing.T) {
	runCoordinator(t, func(t *testing.T, r *running) {
		ctx := t.Context()
		keys := []Key{testKey, {"g", [16]byte{2}, 0}, {"h", testKey.Topic, 0}, {"h", [16]byte{3}, 1}}
		for _, k := range keys {
			if err := r.Open(ctx, k, 0); err != nil {
				t.Fatal(err)
			}
		}
		left := func(what string, err error, want int) {
			t.Helper()
			if got := r.Statuses(""); err != nil || len(got) != want {
				t.Errorf("%s: %v, %d left, want %d", what, err, len(got), want)
			}
		}
		left("topic", r.TopicDeleted(ctx, testKey.Topic), 2)
		left("topic of a group", r.DeleteTopic(ctx, "g", [16]byte{2}), 1)
		left("group", r.DeleteGroup(ctx, "h"), 0)
		if _, _, _, err := r.Next(testKey); !errors.Is(err, ErrUnknown) {
			t.Errorf("next: %v", err)
		}
		r.Resign(0)
		if _, _, _, err := r.Next(testKey); !errors.Is(err, ErrNotLeader) {
			t.Errorf("next after resigning: %v", err)
		}
	})
}
