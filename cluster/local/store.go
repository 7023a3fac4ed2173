// Package local is the cluster.Store of a broker that is its own cluster: the
// metadata lives in one embedded database, <dir>/meta.db, and nothing has to be
// installed. FORMAT.md describes the file.
//
// The store starts no goroutine. Whoever applies a command commits it, and with
// it all commands that queued up meanwhile.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/vfs"
)

// Options say where a store is and whose view it gives.
type Options struct {
	Dir    string        // must exist
	Node   int32         // the id of this broker; the store remembers it
	Static config.Values // broker configs read at start
	Now    func() time.Time
	Logger *slog.Logger
}

// Store implements cluster.Store.
type Store struct {
	feed cluster.Feed
	db   *bolt.DB
	lock interface{ Close() error }
	now  func() time.Time
	log  *slog.Logger

	// turn is held, by sending to it, while commands are decided and committed.
	// It is a channel so that waiting for it can be given up.
	turn   chan struct{}
	failed error // set with turn held: why nothing can be committed any more

	mu    sync.Mutex
	queue []*request // guarded by mu: waiting for someone with the turn
}

var _ cluster.Store = (*Store)(nil)

// request is a command on its way. Its outcome is set before done is closed.
type request struct {
	command cluster.Command
	done    chan struct{}
	img     *cluster.Image
	err     error
}

// ErrClosed is returned by a store that has been closed.
var ErrClosed = errors.New("metadata store is closed")

// Open opens the store in a directory, creating it if there is none. It fails
// with a *LockedError, a *FormatError, or a *NodeError where the data cannot be
// used, and then changes nothing.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	db, lock, err := openFile(o.Dir, o.Node)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, lock: lock, now: o.Now, log: o.Logger, turn: make(chan struct{}, 1)}
	img, err := load(db, o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.feed.Publish(img)
	return s, nil
}

// Close waits for the commit under way and closes the database. Images stay
// readable.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if errors.Is(s.failed, ErrClosed) {
		return nil
	}
	s.failed = ErrClosed
	return errors.Join(s.db.Close(), s.lock.Close())
}

// Image implements cluster.Store.
func (s *Store) Image() *cluster.Image { return s.feed.Image() }

// Watch implements cluster.Store.
func (s *Store) Watch() (<-chan struct{}, func()) { return s.feed.Watch() }

// Apply implements cluster.Store.
func (s *Store) Apply(ctx context.Context, c cluster.Command) (*cluster.Image, error) {
	r := &request{command: c, done: make(chan struct{})}
	s.enqueue(r)
	select {
	case s.turn <- struct{}{}:
		s.commitQueued()
		<-s.turn
	case <-r.done:
	case <-ctx.Done():
		if s.withdraw(r) {
			return s.Image(), ctx.Err()
		}
	}
	<-r.done
	return r.img, r.err
}

func (s *Store) enqueue(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, r)
}

// withdraw takes a request back if nobody has begun with it.
func (s *Store) withdraw(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, queued := range s.queue {
		if queued == r {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return true
		}
	}
	return false
}

func (s *Store) takeQueue() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.queue
	s.queue = nil
	return queue
}

// commitQueued decides and commits all queued commands in one transaction. The
// turn is held.
func (s *Store) commitQueued() {
	requests := s.takeQueue()
	img := s.Image()
	var changes []cluster.Change
	first := len(requests) // that changes something: later ones are decided on what it makes
	for i, r := range requests {
		change, err := cluster.Decide(img, r.command, s.now(), cluster.NewTopicID)
		r.err = err
		switch {
		case change.DryRun:
			r.img = img.With(change)
		case !change.Empty():
			img = img.With(change)
			changes = append(changes, change)
			first = min(first, i)
		}
	}
	if err := s.commit(changes, img.Version()); err != nil {
		img = s.Image()
		for _, r := range requests[first:] {
			r.err, r.img = err, nil
		}
	} else if len(changes) > 0 {
		s.feed.Publish(img)
	}
	for _, r := range requests {
		if r.img == nil {
			r.img = img
		}
		close(r.done)
	}
}

// commit makes changes durable. The turn is held.
func (s *Store) commit(changes []cluster.Change, version int64) error {
	if len(changes) == 0 {
		return nil
	}
	return s.update(func(tx *bolt.Tx) error {
		for i := range changes {
			if err := putChange(tx, &changes[i]); err != nil {
				return err
			}
		}
		return putInt(tx, keyVersion, version)
	})
}

// update runs one durable transaction. The turn is held.
//
// A full disk is reported and may be tried again: what the transaction had
// written lies in pages that the last committed state does not refer to, and
// that the next transaction writes anew. After any other failure nobody knows
// what is on disk, so nothing more is written until the store is opened again.
func (s *Store) update(f func(*bolt.Tx) error) error {
	if s.failed != nil {
		return s.failed
	}
	err := s.db.Update(f)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("commit metadata: %w", err)
	if !vfs.IsFull(err) {
		s.failed = err
		s.log.Error("metadata store failed; restart the broker to use it again", "err", err)
	}
	return err
}

// ProducerIDs implements cluster.Store.
func (s *Store) ProducerIDs(ctx context.Context, n int64) (first int64, err error) {
	if n <= 0 {
		return 0, fmt.Errorf("a block of %d producer ids: must be at least 1", n)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	err = s.update(func(tx *bolt.Tx) error {
		if first, err = getInt(tx, keyNextProducerID); err != nil {
			return err
		}
		return putInt(tx, keyNextProducerID, first+n)
	})
	return first, err
}
