package coord

import (
	"context"
	"math"
	"sync"
	"unicode/utf16"

	"golang.org/x/sync/errgroup"
)

// Table is the shards of one coordinator, one per partition of its journal topic, of which some are
// led here. It is safe for concurrent use.
//
// Goroutines: those of the shards, owned by [Table.Run]. Locks: one, for the table itself.
type Table[S State] struct {
	mu     sync.Mutex    // guards what follows
	terms  []*term[S]    // the latest term of each shard; nil: there was none
	starts []*term[S]    // elected, waiting for Run
	wake   chan struct{} // 1-buffered: starts has grown
}

// term is one term of leading a shard.
type term[S State] struct {
	shard  *Shard[S]
	ctx    context.Context // ends with the term
	resign context.CancelFunc
	former *term[S]      // has to end first: what it appends last must be loaded
	ended  chan struct{} // closed when nothing of the term is left
}

func (t *term[S]) run() error {
	defer close(t.ended)
	if t.former != nil {
		<-t.former.ended
		t.former = nil
	}
	return t.shard.Run(t.ctx)
}

// NewTable returns a table that leads no shard. shards is the number of
// partitions of the journal topic, which must never change.
func NewTable[S State](shards int32) *Table[S] {
	return &Table[S]{terms: make([]*term[S], shards), wake: make(chan struct{}, 1)}
}

// Elect starts leading shard n: it is loaded in the background, and answers
// [ErrLoading] until that is done. A term that was still running is ended first.
func (t *Table[S]) Elect(n int32, shard *Shard[S]) {
	ctx, cancel := context.WithCancel(context.Background())
	e := &term[S]{shard: shard, ctx: ctx, resign: cancel, ended: make(chan struct{})}
	t.mu.Lock()
	if e.former = t.terms[n]; e.former != nil {
		e.former.resign()
	}
	t.terms[n] = e
	t.starts = append(t.starts, e)
	t.mu.Unlock()
	wake(t.wake)
}

// Resign stops leading a shard: what waits there fails with [ErrNotLeader], as
// does every later call.
func (t *Table[S]) Resign(n int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.terms[n]; e != nil {
		e.resign()
	}
}

// Run runs the elected shards until ctx ends, and returns when all have stopped.
// It is called once.
func (t *Table[S]) Run(ctx context.Context) error {
	var g errgroup.Group
	for {
		for _, e := range t.takeStarts() {
			g.Go(func() error {
				defer context.AfterFunc(ctx, e.resign)()
				return e.run()
			})
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

func (t *Table[S]) takeStarts() []*term[S] {
	t.mu.Lock()
	defer t.mu.Unlock()
	starts := t.starts
	t.starts = nil
	return starts
}

// Find returns the number of the shard that coordinates a group or transactional id: see [ShardOf].
func (t *Table[S]) Find(id string) int32 { return ShardOf(id, int32(len(t.terms))) }

// Shards is how many shards there are, led here or not.
func (t *Table[S]) Shards() int { return len(t.terms) }

// ShardOf returns the number of the shard, of so many, that coordinates a group or transactional
// id, as every Kafka tool computes it: the absolute value of Java's hash of the id,
// with 0 for the one integer that has none, modulo the number of shards.
func ShardOf(id string, shards int32) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(id)) {
		h = 31*h + int32(unit)
	}
	switch {
	case h == math.MinInt32:
		h = 0
	case h < 0:
		h = -h
	}
	return h % shards
}

// Of returns the shard that coordinates an id; nil if it is not led here.
func (t *Table[S]) Of(id string) *Shard[S] { return t.Shard(t.Find(id)) }

// Shard returns shard n; nil if it is not led here.
func (t *Table[S]) Shard(n int32) *Shard[S] {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < 0 || int(n) >= len(t.terms) {
		return nil
	}
	if e := t.terms[n]; e != nil && e.ctx.Err() == nil {
		return e.shard
	}
	return nil
}

// Led returns every shard that is led here.
func (t *Table[S]) Led() []*Shard[S] {
	t.mu.Lock()
	defer t.mu.Unlock()
	var led []*Shard[S]
	for _, e := range t.terms {
		if e != nil && e.ctx.Err() == nil {
			led = append(led, e.shard)
		}
	}
	return led
}
