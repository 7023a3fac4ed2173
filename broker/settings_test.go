package broker

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
)

// An expression of KIP-848 matches internal topics as well, as in Kafka: exclude.internal.topics is
// the client's to heed. Schedules are not shown to clients at all.
func TestExpressionsMatchInternalTopicsButNoSchedules(t *testing.T) {
	store, err := local.Open(local.Options{Dir: t.TempDir(), Node: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := store.Apply(t.Context(), cluster.RegisterBroker{Broker: cluster.Broker{ID: 1}}); err != nil {
		t.Fatal(err)
	}
	_, err = store.Apply(t.Context(), cluster.CreateTopics{Topics: []cluster.NewTopic{
		{Name: "orders", Partitions: 1, ReplicationFactor: 1, Config: config.Values{}},
		{Name: cluster.OffsetsTopic, Partitions: 1, ReplicationFactor: 1, Config: config.Values{}, Internal: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	topics := groupTopics{store}
	if got, want := topics.Names(), []string{cluster.OffsetsTopic, "orders"}; !slices.Equal(got, want) {
		t.Errorf("topics to match: %q, want %q", got, want)
	}
}
