package history

import (
	"sync"
	"time"
)

// Recorder writes a history down. It is safe for concurrent use.
type Recorder struct {
	mu sync.Mutex
	h  History // guarded by mu; what it holds is changed by its index
}

// Send notes that a record is about to be sent, and returns what is to be called when the producer
// has been told.
func (r *Recorder) Send(s Send) (settle func(o Outcome, offset int64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.h.Sends)
	s.Sent = time.Now()
	r.h.Sends = append(r.h.Sends, s)
	return func(o Outcome, offset int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.h.Sends[i].Outcome, r.h.Sends[i].Offset = o, offset
	}
}

// Begin notes that a transaction begins, and returns what is to be called when it is about to end
// and when that was answered.
func (r *Recorder) Begin(id string) (ending func(commit bool, group string, offsets map[int32]int64), ended func(Outcome)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.h.Txns)
	r.h.Txns = append(r.h.Txns, Txn{ID: id})
	ending = func(commit bool, group string, offsets map[int32]int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		t := &r.h.Txns[i]
		t.Commit, t.Group, t.Offsets, t.Ending = commit, group, offsets, time.Now()
	}
	return ending, func(o Outcome) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.h.Txns[i].Outcome, r.h.Txns[i].Ended = o, time.Now()
	}
}

// Cancel notes the outcome of a cancel.
func (r *Recorder) Cancel(id string, o Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Cancels = append(r.h.Cancels, Cancel{id, o})
}

// Session begins a session and returns what is to be called with everything that it reads, by one goroutine.
func (r *Recorder) Session(name string, committed bool) (read func(Read)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.h.Sessions)
	r.h.Sessions = append(r.h.Sessions, Session{Name: name, Committed: committed})
	return func(one Read) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.h.Sessions[i].Reads = append(r.h.Sessions[i].Reads, one)
	}
}

// Commit notes a commit that began at a time and has been answered.
func (r *Recorder) Commit(group string, partition int32, offset int64, begin time.Time, o Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Commits = append(r.h.Commits, Commit{group, partition, offset, begin, time.Now(), o})
}

// Position notes what was answered to a question that began at a time.
func (r *Recorder) Position(group string, partition int32, offset int64, begin time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Positions = append(r.h.Positions, Position{group, partition, offset, begin, time.Now()})
}

// Enough is History.Enough of what was written down until now.
func (r *Recorder) Enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.h.Enough()
}

// History returns what was written down, with the whole topic as it is in the end. Nothing may be
// noted afterwards.
func (r *Recorder) History(log, visible Session) *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Log, r.h.Visible, r.h.Quiet = log, visible, time.Now()
	return &r.h
}
