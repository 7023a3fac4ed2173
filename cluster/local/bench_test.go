package local_test

import (
	"fmt"
	"testing"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/local"
)

// BenchmarkCreateTopic creates topics one by one beside ten thousand others.
func BenchmarkCreateTopic(b *testing.B) {
	s := manyTopics(b, 10_000)
	for i := 0; b.Loop(); i++ {
		create := cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: fmt.Sprint("new-", i), Partitions: 1, ReplicationFactor: 1}}}
		if _, err := s.Apply(b.Context(), create); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a store of ten thousand topics.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir, 10_000)
	for b.Loop() {
		s, err := local.Open(local.Options{Dir: dir, Node: 1})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

func manyTopics(b *testing.B, n int) *local.Store {
	dir := b.TempDir()
	fill(b, dir, n)
	s, err := local.Open(local.Options{Dir: dir, Node: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// fill creates topics by one command.
func fill(b *testing.B, dir string, n int) {
	s, err := local.Open(local.Options{Dir: dir, Node: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Apply(b.Context(), cluster.RegisterBroker{Broker: cluster.Broker{ID: 1}}); err != nil {
		b.Fatal(err)
	}
	create := cluster.CreateTopics{}
	for i := range n {
		create.Topics = append(create.Topics, cluster.NewTopic{Name: fmt.Sprint("topic-", i), Partitions: 1, ReplicationFactor: 1})
	}
	if _, err := s.Apply(b.Context(), create); err != nil {
		b.Fatal(err)
	}
}
