package coord

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

var errSync = errors.New("sync failed")

// fakeJournal commits when the test says so.
type fakeJournal struct {
	mu        sync.Mutex
	records   []Record
	committed int64
	changed   chan struct{} // closed and replaced when committed or failed changes
	failed    error         // what Wait fails with for what is not committed
	appendErr error
	loadErr   error
	loads     int
	trimmed   int64 // what it was last asked to remove; not removed
}

func newFakeJournal(keys ...string) *fakeJournal {
	j := &fakeJournal{changed: make(chan struct{})}
	for _, k := range keys {
		j.records = append(j.records, Record{Key: []byte(k)})
	}
	j.committed = int64(len(keys))
	return j
}

func (j *fakeJournal) Append(rs []Record, _ time.Time) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.appendErr != nil {
		return 0, j.appendErr
	}
	j.records = append(j.records, rs...)
	return int64(len(j.records)), nil
}

func (j *fakeJournal) trim(below int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.trimmed = below
	return nil
}

func (j *fakeJournal) Wait(ctx context.Context, end int64) error {
	for {
		j.mu.Lock()
		committed, failed, changed := j.committed, j.failed, j.changed
		j.mu.Unlock()
		switch {
		case committed >= end:
			return nil
		case failed != nil:
			return failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Load cuts off what was not committed, as a restarted log would.
func (j *fakeJournal) Load(_ context.Context, replay func(int64, Record) error) (int64, error) {
	j.mu.Lock()
	j.loads++
	if j.loadErr != nil {
		defer j.mu.Unlock()
		return 0, j.loadErr
	}
	j.records = j.records[:j.committed]
	j.failed = nil
	records := slices.Clone(j.records)
	j.mu.Unlock()
	for i, r := range records {
		if err := replay(int64(i), r); err != nil {
			return 0, err
		}
	}
	return int64(len(records)), nil
}

// set changes the journal and wakes whoever waits.
func (j *fakeJournal) set(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *fakeJournal) commitAll() { j.set(func() { j.committed = int64(len(j.records)) }) }
func (j *fakeJournal) fail()      { j.set(func() { j.failed = errSync }) }

// words is a state machine that remembers the keys of its records, and keeps
// calls waiting until the word they wait for arrives.
type words struct {
	list    []string
	waiting map[string]*Reply[string]
	timers  Timers[string]
}

func newWords() *words { return &words{waiting: map[string]*Reply[string]{}} }

func (w *words) Replay(r Record) error {
	if string(r.Key) == "poison" {
		return errors.New("poisoned")
	}
	w.list = append(w.list, string(r.Key))
	return nil
}

func (w *words) Loaded(*Tx)          {}
func (w *words) Deadline() time.Time { return w.timers.Next() }

func (w *words) Expire(tx *Tx) {
	if key, ok := w.timers.Pop(tx.Now()); ok {
		if err := w.say(tx, key); err != nil {
			panic(err)
		}
	}
}

func (w *words) Unloaded(err error) {
	for _, r := range w.waiting {
		r.Fail(err)
	}
}

// say appends a word and answers who waits for it.
func (w *words) say(tx *Tx, word string) error {
	if err := tx.Append(Record{Key: []byte(word)}); err != nil {
		return err
	}
	if r := w.waiting[word]; r != nil {
		r.Send(tx, word)
		delete(w.waiting, word)
	}
	return nil
}
