package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
)

// seeded is what a restore makes a store from.
func seeded() Seed {
	orders := cluster.Recall{
		Name: "orders", ID: cluster.TopicID{1}, Schedule: cluster.TopicID{2}, Config: config.Values{"remote.storage.enable": "true"},
		Partitions: 3, Broker: 4, LeaderEpoch: 1007,
	}
	return Seed{ClusterID: "the old cluster", Topics: orders.Topics(), NextProducerID: 1078}
}

func TestCreatedStoreHoldsWhatItWasSeededWith(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir, 4, seeded()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and after a restart
		s, err := Open(Options{Dir: dir, Node: 4})
		if err != nil {
			t.Fatal(err)
		}
		image := s.Image()
		if image.ClusterID() != "the old cluster" {
			t.Errorf("cluster %q", image.ClusterID())
		}
		for _, want := range seeded().Topics {
			if got, ok := image.TopicByID(want.ID); !ok || got.Name != want.Name || got.Internal != want.Internal || got.ScheduleOf != want.ScheduleOf ||
				got.Schedule != want.Schedule || len(got.Config) != len(want.Config) || !reflect.DeepEqual(got.Partitions, want.Partitions) {
				t.Errorf("topic %+v, want %+v", got, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(Options{Dir: dir, Node: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if id, err := s.ProducerIDs(t.Context(), 1); err != nil || id != 1078 {
		t.Errorf("first producer id %d, %v", id, err)
	}
}

func TestCreateReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir, 4, seeded()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(dir, 4, Seed{ClusterID: "another"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a store: %v", err)
	}
	s, err := Open(Options{Dir: dir, Node: 4})
	if err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if err := Create(dir, 4, Seed{ClusterID: "another"}); !errors.As(err, &locked) || locked.Dir != dir {
		t.Errorf("beside a broker: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil || len(after) != len(before) {
		t.Errorf("%d bytes became %d, %v", len(before), len(after), err)
	}
}

// A Create that was interrupted leaves a file that is not a store; the next one begins anew.
func TestInterruptedCreateIsBegunAnew(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName+".new"), []byte("half of a store"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir, 4, seeded()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, FileName+".new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	s, err := Open(Options{Dir: dir, Node: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStoreIsForTheNodeItWasMadeFor(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir, 4, seeded()); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Options{Dir: dir, Node: 5}); err == nil {
		t.Errorf("node 5 has opened the store of node 4: %v", s.Close())
	}
	if err := Create(filepath.Join(dir, "missing"), 4, seeded()); err == nil {
		t.Error("made a store in a directory that is not there")
	}
}
