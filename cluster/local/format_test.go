package local

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
)

// The bytes of the format: a change here needs a new version of Format and code
// that reads the old one.
const golden = `
broker-configs 31 {"log.roll.ms":"7"}
broker-configs 616c6c {"log.segment.bytes":"4096"}
brokers 31 {"endpoints":[{"listener":"PLAINTEXT","security":"PLAINTEXT","host":"h","port":9092}],"rack":"r"}
deletions 01000000000000000000000000000003 {"name":"gone","partitions":4,"deleted_ms":1234,"left":["tier","data/1"]}
group-configs 62696c6c696e67 {"consumer.session.timeout.ms":"50000"}
meta 636c75737465722d6964 id
meta 666f726d6174 1
meta 6e6578742d70726f64756365722d6964 0
meta 6e6f64652d6964 1
meta 76657273696f6e 0
topics 01000000000000000000000000000001 {"name":"orders","partitions":[{"replicas":[1,2],"isr":[1],"leader":1,"leader_epoch":3,"partition_epoch":4}],"config":{"retention.ms":"5"},"schedule":"AQAAAAAAAAAAAAAAAAAAAg"}
topics 01000000000000000000000000000002 {"name":"__schedule.orders","partitions":[],"internal":true,"schedule_of":"AQAAAAAAAAAAAAAAAAAAAQ"}
`

func goldenChange() cluster.Change {
	orders, schedule := cluster.TopicID{0: 1, 15: 1}, cluster.TopicID{0: 1, 15: 2}
	all := config.Values{"log.segment.bytes": "4096"}
	return cluster.Change{
		Topics: []*cluster.Topic{
			{
				Name: "orders", ID: orders, Schedule: schedule, Config: config.Values{"retention.ms": "5"},
				Partitions: []cluster.Partition{{Replicas: []int32{1, 2}, ISR: []int32{1}, Leader: 1, LeaderEpoch: 3, PartitionEpoch: 4}},
			},
			{Name: "__schedule.orders", ID: schedule, ScheduleOf: orders, Internal: true},
		},
		Deletions:     []*cluster.Deletion{{ID: cluster.TopicID{0: 1, 15: 3}, Name: "gone", Partitions: 4, Deleted: 1234, Left: []cluster.Cleanup{cluster.CleanupTier, cluster.CleanupData(1)}}},
		Brokers:       []cluster.Broker{{ID: 1, Rack: "r", Endpoints: []cluster.Endpoint{{Listener: "PLAINTEXT", Security: "PLAINTEXT", Host: "h", Port: 9092}}}},
		ClusterConfig: &all,
		BrokerConfigs: map[int32]config.Values{1: {"log.roll.ms": "7"}},
		GroupConfigs:  map[string]config.Values{"billing": {"consumer.session.timeout.ms": "50000"}},
	}
}

func TestFormatIsAsDocumented(t *testing.T) {
	s := openStore(t)
	err := s.db.Update(func(tx *bolt.Tx) error {
		change := goldenChange()
		if err := putChange(tx, &change); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(keyCluster, []byte("id"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s.db); got != strings.TrimPrefix(golden, "\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	s := openStore(t)
	want := goldenChange()
	var got cluster.Change
	err := s.db.Update(func(tx *bolt.Tx) (err error) {
		if err := putChange(tx, &want); err != nil {
			return err
		}
		got, err = readAll(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Topics {
		if fmt.Sprint(*got.Topics[i]) != fmt.Sprint(*want.Topics[i]) {
			t.Errorf("topic %+v, want %+v", *got.Topics[i], *want.Topics[i])
		}
	}
	if fmt.Sprint(*got.Deletions[0]) != fmt.Sprint(*want.Deletions[0]) || fmt.Sprint(got.Brokers) != fmt.Sprint(want.Brokers) {
		t.Errorf("%+v %+v", *got.Deletions[0], got.Brokers)
	}
	if !maps.Equal(*got.ClusterConfig, *want.ClusterConfig) || fmt.Sprint(got.BrokerConfigs, got.GroupConfigs) != fmt.Sprint(want.BrokerConfigs, want.GroupConfigs) {
		t.Errorf("%v %v %v", *got.ClusterConfig, got.BrokerConfigs, got.GroupConfigs)
	}
}

// dump prints every key, in hexadecimal, and value.
func dump(t *testing.T, db *bolt.DB) string {
	t.Helper()
	var b strings.Builder
	err := db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bolt.Bucket) error {
			return bucket.ForEach(func(k, v []byte) error {
				fmt.Fprintf(&b, "%s %x %s\n", name, k, v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
