package bench

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

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

func TestRawProduceSendsAgainWhatIsRefusedForTheTimeBeing(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	l := load(t, c.ListenAddrs(), 1)
	l.Connections, l.Batches = 1, 7
	requests := 0
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if requests++; requests%2 == 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		topic, part := kmsg.NewProduceResponseTopic(), kmsg.NewProduceResponseTopicPartition()
		topic.Topic, part.ErrorCode = l.Topic, kerr.NotEnoughReplicas.Code
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	m := NewMeter()
	if err := errors.Join(RawProduce(l)(t.Context(), m), m.err()); err != nil {
		t.Fatal(err)
	}
	if taken, refused := requests/2, (requests+1)/2; taken != l.Batches || m.retries.Load() != int64(refused) {
		t.Errorf("%d requests were taken, %d refused, and %d sent again; %d were to be taken", taken, refused, m.retries.Load(), l.Batches)
	}
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
