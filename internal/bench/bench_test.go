package bench

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/morrowmq/morrow/log/record"
)

// broker starts a broker that is not ours.
func broker(t *testing.T, brokers int) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

func load(t *testing.T, brokers []string, partitions int32) Load {
	t.Helper()
	topic, err := OpenTopic(t.Context(), brokers, TopicName(), partitions, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !topic.Created() {
		t.Fatal("the topic existed")
	}
	t.Cleanup(func() {
		if err := topic.Delete(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return Load{
		Brokers: brokers, Topic: topic.Name, RecordBytes: 100, BatchBytes: 2000, Codec: record.LZ4, Acks: -1,
		Connections: 2, InFlight: 3, FetchBytes: 1 << 20,
	}
}

// run lets a drive answer some records.
func run(t *testing.T, drive Drive, records int64) Report {
	t.Helper()
	r, err := Run(t.Context(), t.Name(), drive, Extent{Duration: 10 * time.Second, Records: records}, nil, NewMeter())
	if err != nil {
		t.Fatal(err)
	}
	if r.Records < records || r.Bytes < records*50 || r.Latency.Count == 0 || r.Errors != 0 {
		t.Fatalf("report is %+v, want %d records", r, records)
	}
	return r
}

func TestWhatIsProducedRawIsFetchedRaw(t *testing.T) {
	l := load(t, broker(t, 3), 5)
	run(t, RawProduce(l), 500)
	run(t, RawFetch(l), 5000)
	run(t, Consume(l), 1000)
}

func TestClientsProduceAndConsume(t *testing.T) {
	l := load(t, broker(t, 1), 3)
	run(t, Produce(l), 500)
	run(t, Consume(l), 1000)
	run(t, RawFetch(l), 1000)
	run(t, EndToEnd(l), 500)
}

// TestRawProduceKnowsWhatTheBrokerHasStored also counts what was under way when enough had been measured.
func TestRawProduceKnowsWhatTheBrokerHasStored(t *testing.T) {
	l := load(t, broker(t, 2), 3)
	l.InFlight = 20
	r := run(t, RawProduce(l), 500)
	ends, err := findEnds(t.Context(), l.Brokers, l.Topic)
	if err != nil {
		t.Fatal(err)
	}
	stored := int64(0)
	for _, e := range ends {
		stored += e.offset
	}
	if stored != r.AllRecords {
		t.Errorf("%d records are stored, %d were acknowledged", stored, r.AllRecords)
	}
}
