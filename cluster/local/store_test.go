package local_test

import (
	"testing"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/local"
)

func open(t *testing.T, dir string) *local.Store {
	t.Helper()
	s, err := local.Open(local.Options{Dir: dir, Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func apply(t *testing.T, s *local.Store, c cluster.Command) *cluster.Image {
	t.Helper()
	img, err := s.Apply(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestTopicsSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	apply(t, s, cluster.RegisterBroker{Broker: cluster.Broker{ID: 1}})
	before := apply(t, s, cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: "orders", Partitions: 3, ReplicationFactor: -1}}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := open(t, dir).Image()
	a, _ := before.Topic("orders")
	b, ok := after.Topic("orders")
	if !ok || a.ID != b.ID || len(b.Partitions) != 3 || before.Version() != after.Version() {
		t.Fatalf("before %+v, after %+v", a, b)
	}
}
