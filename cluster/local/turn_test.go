package local

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/morrowmq/morrow/cluster"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Options{Dir: t.TempDir(), Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func broker(rack string) cluster.Command {
	return cluster.RegisterBroker{Broker: cluster.Broker{ID: 1, Rack: rack}}
}

func TestWaitingForTheTurnCanBeGivenUp(t *testing.T) {
	s := openStore(t)
	s.turn <- struct{}{} // somebody commits
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Apply(ctx, broker("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := s.ProducerIDs(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-s.turn
	if _, err := s.Apply(t.Context(), broker("b")); err != nil {
		t.Error(err)
	}
	if s.Image().Version() != 1 {
		t.Error("a command given up was applied")
	}
}

func TestWhoHasTheTurnCommitsForAll(t *testing.T) {
	s := openStore(t)
	first := &request{command: broker("a"), done: make(chan struct{})}
	second := &request{command: broker("b"), done: make(chan struct{})}
	refused := &request{command: cluster.RegisterBroker{Broker: cluster.Broker{ID: -1}}, done: make(chan struct{})}
	for _, r := range []*request{first, refused, second} {
		s.enqueue(r)
	}
	before := lastTransaction(t, s)
	s.commitQueued()
	if n := lastTransaction(t, s) - before; n != 1 || s.Image().Version() != 2 {
		t.Errorf("%d transactions, version %d", n, s.Image().Version())
	}
	if first.err != nil || second.err != nil || !errors.Is(refused.err, cluster.InvalidRequest) {
		t.Errorf("%v %v %v", first.err, second.err, refused.err)
	}
	if b, _ := first.img.Broker(1); b.Rack != "b" {
		t.Error("the commands were decided out of order")
	}
}

// What is decided on a change that is not committed then may be another answer without it: that
// there is nothing to change, say, or that a name is taken.
func TestNothingIsAnsweredFromWhatWasNotCommitted(t *testing.T) {
	s := openStore(t)
	if err := s.update(func(*bolt.Tx) error { return syscall.EIO }); err == nil {
		t.Fatal("no failure")
	}
	queue := func(c cluster.Command) *request {
		r := &request{command: c, done: make(chan struct{})}
		s.enqueue(r)
		return r
	}
	before := queue(cluster.RegisterBroker{Broker: cluster.Broker{ID: -1}})
	queue(broker("a"))
	same := queue(broker("a"))
	refused := queue(cluster.RegisterBroker{Broker: cluster.Broker{ID: -2}})
	dry := queue(cluster.CreateTopics{ValidateOnly: true, Topics: []cluster.NewTopic{{Name: "t", Partitions: 1, ReplicationFactor: 1}}})
	s.commitQueued()
	if !errors.Is(before.err, cluster.InvalidRequest) {
		t.Errorf("refused before there was a change: %v", before.err)
	}
	for _, r := range []*request{same, refused, dry} {
		if !errors.Is(r.err, syscall.EIO) || r.img != s.Image() {
			t.Errorf("%+v: version %d, %v", r.command, r.img.Version(), r.err)
		}
	}
}

// lastTransaction returns the number of the last committed transaction.
func lastTransaction(t *testing.T, s *Store) (id int) {
	t.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		id = tx.ID()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAFullDiskIsTriedAgain(t *testing.T) {
	s := openStore(t)
	err := s.update(func(*bolt.Tx) error { return &fs.PathError{Op: "write", Path: "meta.db", Err: syscall.ENOSPC} })
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), broker("a")); err != nil {
		t.Error(err)
	}
}

func TestNothingIsWrittenAfterAFailure(t *testing.T) {
	s := openStore(t)
	err := s.update(func(*bolt.Tx) error { return &fs.PathError{Op: "sync", Path: "meta.db", Err: syscall.EIO} })
	if !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	img, err := s.Apply(t.Context(), broker("a"))
	if !errors.Is(err, syscall.EIO) || img.Version() != 0 {
		t.Errorf("version %d: %v", img.Version(), err)
	}
	if _, err := s.Apply(t.Context(), cluster.ConfirmDeleted{}); err != nil {
		t.Errorf("a command that changes nothing needs no disk: %v", err)
	}
}
