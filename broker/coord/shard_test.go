package coord

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// world is a running shard of words inside a synctest bubble.
type world struct {
	t       *testing.T
	journal *fakeJournal
	shard   *Shard[*words]
	stop    func()
}

func run(t *testing.T, j *fakeJournal, timeout time.Duration, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		j.changed = make(chan struct{}) // of this bubble
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{t: t, journal: j, shard: NewShard(Config[*words]{
			Journal:       j,
			New:           newWords,
			Logger:        slog.New(slog.DiscardHandler),
			CommitTimeout: func() time.Duration { return timeout },
			Trim:          j.trim,
		})}
		ended := make(chan error, 1)
		go func() { ended <- w.shard.Run(ctx) }()
		w.stop = func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
			ended <- nil
		}
		synctest.Wait()
		test(t, w)
		w.stop()
	})
}

// outcome is what a call returned, once it has.
type outcome struct {
	value string
	err   error
}

// call starts a command and returns where its outcome will be.
func (w *world) call(command func(*words, *Tx, *Reply[string])) chan outcome {
	c := make(chan outcome, 1)
	go func() {
		v, err := Call(w.t.Context(), w.shard, command)
		c <- outcome{v, err}
	}()
	synctest.Wait()
	return c
}

func (w *world) say(word string) chan outcome {
	return w.call(func(s *words, tx *Tx, reply *Reply[string]) {
		if err := s.say(tx, word); err != nil {
			reply.Send(tx, "refused")
			return
		}
		reply.Send(tx, "said "+word)
	})
}

func (w *world) read() chan outcome {
	return w.call(func(s *words, tx *Tx, reply *Reply[string]) { reply.Send(tx, strings.Join(s.list, " ")) })
}

func (w *world) await(word string) chan outcome {
	return w.call(func(s *words, _ *Tx, reply *Reply[string]) { s.waiting[word] = reply })
}

// sleep lets time pass, and what is due happen.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func pending(t *testing.T, c chan outcome) {
	t.Helper()
	synctest.Wait()
	select {
	case o := <-c:
		t.Fatalf("answered %q, %v; should wait", o.value, o.err)
	default:
	}
}

func answered(t *testing.T, c chan outcome, value string, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case o := <-c:
		if o.value != value || !errors.Is(o.err, err) {
			t.Fatalf("answered %q, %v; want %q, %v", o.value, o.err, value, err)
		}
	default:
		t.Fatalf("no answer; want %q, %v", value, err)
	}
}

func TestAnswersWaitForTheCommitOfWhatTheyReveal(t *testing.T) {
	run(t, newFakeJournal("old"), 0, func(t *testing.T, w *world) {
		answered(t, w.read(), "old", nil)
		said := w.say("new")
		read := w.read()
		pending(t, said)
		pending(t, read)
		w.journal.commitAll()
		answered(t, said, "said new", nil)
		answered(t, read, "old new", nil)
	})
}

func TestParkedCallsAreAnsweredByLaterCommands(t *testing.T) {
	run(t, newFakeJournal(), 0, func(t *testing.T, w *world) {
		waiting := w.await("go")
		pending(t, waiting)
		said := w.say("go")
		pending(t, waiting)
		w.journal.commitAll()
		answered(t, said, "said go", nil)
		answered(t, waiting, "go", nil)
	})
}

func TestFailedAppendAppliesNothing(t *testing.T) {
	run(t, newFakeJournal("old"), 0, func(t *testing.T, w *world) {
		w.journal.set(func() { w.journal.appendErr = errSync })
		answered(t, w.say("lost"), "refused", nil)
		answered(t, w.read(), "old", nil)
		w.journal.set(func() { w.journal.appendErr = nil })
		said := w.say("kept")
		w.journal.commitAll()
		answered(t, said, "said kept", nil)
	})
}

func TestFailedCommitDropsTheStateAndLoadsItAgain(t *testing.T) {
	run(t, newFakeJournal("old"), 0, func(t *testing.T, w *world) {
		waiting := w.await("never")
		said := w.say("lost")
		w.journal.fail()
		synctest.Wait()
		if o := <-said; !errors.Is(o.err, errSync) && !errors.Is(o.err, ErrLoading) { // whoever notices first
			t.Fatalf("answered %q, %v", o.value, o.err)
		}
		answered(t, waiting, "", ErrLoading)
		answered(t, w.read(), "old", nil)
	})
}

func TestFailedCommitIsNoticedWhenNobodyWaits(t *testing.T) {
	run(t, newFakeJournal(), 0, func(t *testing.T, w *world) {
		w.shard.View(func(s *words) { s.timers.Set("tick", time.Now().Add(time.Second)) })
		answered(t, w.read(), "", nil)
		wakeTimers(w)
		sleep(2 * time.Second)
		w.journal.fail()
		synctest.Wait()
		answered(t, w.read(), "", nil)
		if w.journal.loads != 2 {
			t.Errorf("loaded %d times, want 2", w.journal.loads)
		}
	})
}

// An answer given before a reload must not be taken for committed because the
// journal has grown past its offset since.
func TestAnswerOfAFormerLifeIsNotCommitted(t *testing.T) {
	run(t, newFakeJournal(), 0, func(t *testing.T, w *world) {
		w.say("lost")
		w.shard.mu.Lock()
		former := w.shard.life
		w.shard.mu.Unlock()
		w.journal.fail()
		synctest.Wait()
		said := w.say("kept")
		w.journal.commitAll()
		answered(t, said, "said kept", nil)
		if err := w.shard.waitCommitted(t.Context(), former, 1); !errors.Is(err, ErrLoading) {
			t.Errorf("the lost record is reported as committed: %v", err)
		}
	})
}

func TestJournalIsTrimmedOnceWhatReplacesItIsCommitted(t *testing.T) {
	run(t, newFakeJournal("old"), 0, func(t *testing.T, w *world) {
		said := w.call(func(s *words, tx *Tx, reply *Reply[string]) {
			if err := s.say(tx, "all"); err == nil {
				tx.Trim(1)
			}
			reply.Send(tx, "")
		})
		if pending(t, said); w.journal.trimmed != 0 {
			t.Fatal("trimmed before the commit")
		}
		w.journal.commitAll()
		if answered(t, said, "", nil); w.journal.trimmed != 1 {
			t.Errorf("trimmed below %d, want 1", w.journal.trimmed)
		}
	})
}

// What was to replace the beginning of the journal was not committed, so the
// beginning is needed.
func TestFailedCommitKeepsTheJournalFromBeingTrimmed(t *testing.T) {
	run(t, newFakeJournal("old"), 0, func(t *testing.T, w *world) {
		w.say("lost") // its commit is waited for when the next command asks for the trim
		w.call(func(s *words, tx *Tx, reply *Reply[string]) {
			if err := s.say(tx, "all"); err == nil {
				tx.Trim(2)
			}
			reply.Send(tx, "")
		})
		w.journal.fail()
		synctest.Wait()
		said := w.say("kept")
		w.journal.commitAll()
		if answered(t, said, "said kept", nil); w.journal.trimmed != 0 {
			t.Errorf("trimmed below %d of a journal that holds no more than that", w.journal.trimmed)
		}
	})
}

func TestCallsAreRefusedWhileLoadingAndAfterwards(t *testing.T) {
	j := newFakeJournal("old")
	j.loadErr = errSync
	run(t, j, 0, func(t *testing.T, w *world) {
		answered(t, w.read(), "", ErrLoading)
		if w.shard.View(func(*words) {}) {
			t.Error("a shard that is not loaded can be viewed")
		}
		w.journal.set(func() { w.journal.loadErr = nil })
		sleep(maxReloadPause)
		answered(t, w.read(), "old", nil)
		waiting := w.await("never")
		w.stop()
		answered(t, waiting, "", ErrNotLeader)
		answered(t, w.read(), "", ErrNotLeader)
	})
}

func TestUnreadableJournalKeepsTheShardUnloaded(t *testing.T) {
	run(t, newFakeJournal("old", "poison"), 0, func(t *testing.T, w *world) {
		sleep(time.Minute)
		answered(t, w.read(), "", ErrLoading)
		if w.journal.loads < 3 || w.journal.loads > 15 {
			t.Errorf("tried %d times in a minute", w.journal.loads)
		}
	})
}

func TestCommitTimeoutFreesTheCaller(t *testing.T) {
	run(t, newFakeJournal(), 5*time.Second, func(t *testing.T, w *world) {
		said := w.say("slow")
		sleep(4 * time.Second)
		pending(t, said)
		sleep(time.Second)
		answered(t, said, "", ErrCommitTimeout)
		w.journal.commitAll()
		answered(t, w.read(), "slow", nil)
	})
}

func TestCallEndsWithItsContext(t *testing.T) {
	run(t, newFakeJournal(), 0, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Call(ctx, w.shard, func(s *words, _ *Tx, reply *Reply[string]) { s.waiting["never"] = reply })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err %v", err)
		}
	})
}

func TestTimersRunWhenDueAndInOrder(t *testing.T) {
	run(t, newFakeJournal(), 0, func(t *testing.T, w *world) {
		start := time.Now()
		set := func(key string, after time.Duration) {
			answered(t, w.call(func(s *words, tx *Tx, reply *Reply[string]) {
				s.timers.Set(key, start.Add(after))
				reply.Send(tx, "")
			}), "", nil)
		}
		set("third", 3*time.Second)
		set("first", time.Second) // earlier than what the shard sleeps for
		set("second", 2*time.Second)
		set("second", 2500*time.Millisecond) // later than what it sleeps for
		sleep(time.Second)
		w.journal.commitAll()
		answered(t, w.read(), "first", nil)
		sleep(time.Second)
		w.journal.commitAll()
		answered(t, w.read(), "first", nil)
		sleep(time.Second)
		w.journal.commitAll()
		answered(t, w.read(), "first second third", nil)
	})
}

func TestOnlyTheFirstAnswerCounts(t *testing.T) {
	run(t, newFakeJournal(), 0, func(t *testing.T, w *world) {
		answered(t, w.call(func(_ *words, tx *Tx, reply *Reply[string]) {
			reply.Send(tx, "first")
			reply.Send(tx, "second")
			reply.Fail(errSync)
		}), "first", nil)
	})
}

// wakeTimers makes the shard look at deadlines a test has set behind its back.
func wakeTimers(w *world) { wake(w.shard.rearm) }

func TestTimersKeepOneDeadlinePerKey(t *testing.T) {
	var timers Timers[string]
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	timers.Set("a", at(3))
	timers.Set("b", at(1))
	timers.Set("c", at(2))
	timers.Set("b", at(3))
	timers.Cancel("c")
	timers.Cancel("nothing")
	if d, ok := timers.At("b"); !ok || d != at(3) || timers.Len() != 2 || timers.Next() != at(3) {
		t.Errorf("b at %v, %v; %d timers, next %v", d, ok, timers.Len(), timers.Next())
	}
	if _, ok := timers.Pop(at(2)); ok {
		t.Error("popped before it was due")
	}
	var popped []string
	for k, ok := timers.Pop(at(9)); ok; k, ok = timers.Pop(at(9)) {
		popped = append(popped, k)
	}
	if !slices.Equal(popped, []string{"a", "b"}) || !timers.Next().IsZero() {
		t.Errorf("popped %v, next %v", popped, timers.Next())
	}
}

func TestBatchesHoldWhatAJournalTakes(t *testing.T) {
	of := func(sizes ...int) (rs []Record) {
		for _, n := range sizes {
			rs = append(rs, Record{Key: make([]byte, n)})
		}
		return rs
	}
	for _, tc := range []struct {
		records []Record
		want    []int // records of each batch
	}{
		{nil, nil},
		{of(10, 10, 10), []int{3}},
		{of(batchBytes/2, batchBytes/2, 10), []int{1, 2}},
		{of(10, 2*batchBytes, 10), []int{1, 1, 1}},
	} {
		var got []int
		for batch := range Batches(tc.records) {
			got = append(got, len(batch))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("batches of %v records, want %v", got, tc.want)
		}
	}
}
