package coord

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config describes one shard. Journal, New and Logger are required.
type Config[S State] struct {
	Journal Journal
	New     func() S // an empty state, for every load
	Logger  *slog.Logger

	// Now is the wall clock, time.Now when nil.
	Now func() time.Time

	// Trim removes what lies below an offset from the journal, as far as it can;
	// nil: a journal that is compacted, or grows for ever. See [Tx.Trim].
	Trim func(below int64) error
	// CommitTimeout bounds how long an answer waits for its commit; nil or not
	// positive means as long as the caller does.
	CommitTimeout func() time.Duration
}

// The pause after a load that failed doubles from the first to the second.
const (
	minReloadPause = 100 * time.Millisecond
	maxReloadPause = 10 * time.Second
)

// Shard runs one state machine over one journal: it loads it, runs commands one
// at a time, lets answers leave when the journal has committed, and calls the
// state when its timers are due.
//
// When a commit fails the shard goes offline, fails what waits, and loads the
// state again: the journal, not memory, decides what happened.
type Shard[S State] struct {
	cfg Config[S]

	mu     sync.Mutex // guards the fields below and everything inside state
	status status
	state  S
	end    int64 // end of what was loaded or appended
	trim   int64 // below it this life does not need the journal, once all of it is committed
	life   *life

	appended chan struct{} // 1-buffered: end has moved
	rearm    chan struct{} // 1-buffered: the deadline may have moved forward
}

// life is the time between one load and the next. An answer belongs to the life
// it was given in: offset 100 appended, commit fails, log cut to 90, loaded
// again, other records appended and committed to 110 must not make the first
// answer look committed.
type life struct {
	committed atomic.Int64    // everything below was seen to be committed
	ctx       context.Context // ends with the life, with the reason as its cause
	end       context.CancelCauseFunc
}

func newLife(committed int64) *life {
	l := &life{}
	l.committed.Store(committed)
	l.ctx, l.end = context.WithCancelCause(context.Background())
	return l
}

type status int

const (
	loading status = iota
	active
	stopped
)

// NewShard returns a shard that answers [ErrLoading] until it is run.
func NewShard[S State](cfg Config[S]) *Shard[S] {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.CommitTimeout == nil {
		cfg.CommitTimeout = func() time.Duration { return 0 }
	}
	return &Shard[S]{cfg: cfg, appended: make(chan struct{}, 1), rearm: make(chan struct{}, 1)}
}

// Run loads the shard and serves it until ctx ends; then everything that waits
// fails with [ErrNotLeader], as does every later call. It is called once.
func (s *Shard[S]) Run(ctx context.Context) error {
	wait := minReloadPause
	for ctx.Err() == nil {
		if err := s.load(ctx); err != nil {
			if ctx.Err() == nil {
				s.cfg.Logger.Error("coordinator shard not loaded, will retry", "err", err, "in", wait)
				pause(ctx, wait)
				wait = min(2*wait, maxReloadPause)
			}
			continue
		}
		wait = minReloadPause
		if err := s.serve(ctx); ctx.Err() == nil {
			s.cfg.Logger.Error("coordinator shard offline, loading again", "err", err)
			s.unload(loading, ErrLoading)
		}
	}
	s.unload(stopped, ErrNotLeader)
	return nil
}

// Call runs one command on the shard and returns its answer when everything the
// answer may reveal is committed. The command must send reply, or keep it in
// the state to be sent by a later command. A nil shard is one that is not led
// here. Errors: [ErrLoading], [ErrNotLeader], [ErrCommitTimeout], that of ctx, or
// one of [Journal.Wait]. After an error the command may have happened or not.
func Call[S State, R any](ctx context.Context, s *Shard[S], command func(state S, tx *Tx, reply *Reply[R])) (R, error) {
	var zero R
	if s == nil {
		return zero, ErrNotLeader
	}
	reply := NewReply[R]()
	life, err := s.do(func(state S, tx *Tx) { command(state, tx, reply) })
	if err != nil {
		return zero, err
	}
	a, err := reply.wait(ctx)
	if err != nil {
		return zero, err
	}
	if err := s.waitCommitted(ctx, life, a.end); err != nil {
		return zero, err
	}
	return a.value, nil
}

// Do is [Call] for a command that answers at once. Its error is the command's or one of Call.
func Do[S State, R any](ctx context.Context, s *Shard[S], command func(state S, tx *Tx) (R, error)) (R, error) {
	type answer struct {
		value R
		err   error
	}
	a, err := Call(ctx, s, func(state S, tx *Tx, reply *Reply[answer]) {
		v, err := command(state, tx)
		reply.Send(tx, answer{v, err})
	})
	return a.value, errors.Join(err, a.err)
}

// View runs a function that only reads the state, without waiting for the
// commit of what it sees: for metrics. It reports whether the shard is loaded.
func (s *Shard[S]) View(read func(state S)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != active {
		return false
	}
	read(s.state)
	return true
}

func (s *Shard[S]) do(command func(S, *Tx)) (*life, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.status {
	case loading:
		return nil, ErrLoading
	case stopped:
		return nil, ErrNotLeader
	}
	s.runLocked(command)
	return s.life, nil
}

// runLocked runs one command and hands out its answers.
func (s *Shard[S]) runLocked(command func(S, *Tx)) {
	before := s.state.Deadline()
	tx := &Tx{now: s.cfg.Now(), end: s.end}
	tx.append = func(rs []Record) error { return s.appendLocked(rs, tx.now) }
	command(s.state, tx)
	tx.Deliver(s.end)
	s.trim = max(s.trim, tx.trim)
	if after := s.state.Deadline(); earlier(after, before) {
		wake(s.rearm)
	}
}

// appendLocked writes and applies. A record that its own state refuses is a bug
// that would stop every later load too: better to stop before it is told to anyone.
func (s *Shard[S]) appendLocked(rs []Record, now time.Time) error {
	end, err := s.cfg.Journal.Append(rs, now)
	if err != nil {
		return fmt.Errorf("append to coordinator journal: %w", err)
	}
	s.end = end
	for _, r := range rs {
		if err := s.state.Replay(r); err != nil {
			panic(fmt.Sprintf("coord: state refuses its own record %x: %v", r.Key, err))
		}
	}
	wake(s.appended)
	return nil
}

func (s *Shard[S]) load(ctx context.Context) error {
	start := s.cfg.Now()
	state := s.cfg.New()
	var records int64
	end, err := s.cfg.Journal.Load(ctx, func(_ int64, r Record) error {
		records++
		return state.Replay(r)
	})
	if err != nil {
		return fmt.Errorf("load coordinator journal: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.end, s.trim, s.status, s.life = state, end, 0, active, newLife(end)
	s.runLocked(func(state S, tx *Tx) { state.Loaded(tx) })
	s.cfg.Logger.Debug("coordinator shard loaded", "records", records, "end", end, "took", s.cfg.Now().Sub(start))
	return nil
}

func (s *Shard[S]) unload(next status, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == active {
		s.life.end(err)
		s.state.Unloaded(err)
		var none S
		s.state = none
	}
	s.status = next
}

// serve runs timers and watches commits until ctx ends or a commit fails.
func (s *Shard[S]) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.watchCommits(ctx) })
	g.Go(func() error { return s.runTimers(ctx) })
	return g.Wait()
}

// watchCommits notices failed commits that nobody waits for, and remembers how
// far the journal is committed so that answers need not ask.
func (s *Shard[S]) watchCommits(ctx context.Context) error {
	for {
		s.mu.Lock()
		end, life, trim := s.end, s.life, s.trim
		s.trim = 0
		s.mu.Unlock()
		if err := s.cfg.Journal.Wait(ctx, end); err != nil {
			return fmt.Errorf("commit coordinator journal: %w", err)
		}
		life.committed.Store(end)
		s.trimJournal(trim)
		select {
		case <-s.appended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Shard[S]) trimJournal(below int64) {
	if below <= 0 || s.cfg.Trim == nil {
		return
	}
	if err := s.cfg.Trim(below); err != nil {
		s.cfg.Logger.Warn("coordinator journal not trimmed, will try again later", "below", below, "err", err)
	}
}

func (s *Shard[S]) runTimers(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.rearm:
		case <-timer.C:
		}
		if next := s.expireDue(ctx); !next.IsZero() {
			timer.Reset(max(next.Sub(s.cfg.Now()), 0))
		}
	}
}

// expireDue runs what is due, each as a command of its own so that calls get
// their turn in between, and returns the next deadline.
func (s *Shard[S]) expireDue(ctx context.Context) time.Time {
	for {
		s.mu.Lock()
		next := s.state.Deadline()
		if ctx.Err() != nil || next.IsZero() || next.After(s.cfg.Now()) {
			s.mu.Unlock()
			return next
		}
		s.runLocked(func(state S, tx *Tx) { state.Expire(tx) })
		s.mu.Unlock()
	}
}

// waitCommitted waits until everything below end is committed, as long as the
// life in which it was appended lasts: what the journal holds there afterwards
// may be something else.
func (s *Shard[S]) waitCommitted(ctx context.Context, life *life, end int64) error {
	if end <= life.committed.Load() {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(life.ctx, func() { cancel(context.Cause(life.ctx)) })()
	if d := s.cfg.CommitTimeout(); d > 0 {
		defer time.AfterFunc(d, func() { cancel(ErrCommitTimeout) }).Stop()
	}
	err := s.cfg.Journal.Wait(ctx, end)
	if life.ctx.Err() != nil {
		return context.Cause(life.ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// earlier reports whether a is a deadline before b, zero being never.
func earlier(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
