package txn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/internal/script"
)

type example struct {
	name string
	t    transaction
}

func examples() []example {
	fresh := transaction{
		id: "shop", producerID: 1000, epoch: 0, lastEpoch: noEpoch, previousID: noID, nextID: noID,
		timeoutMs: 60_000, startMs: -1, updateMs: 1_700_000_000_000,
	}
	open := fresh
	open.state, open.version, open.startMs = ongoing, version2, 1_700_000_000_000
	open.partitions = map[string]held{"orders": {[16]byte{15: 1}, []int32{0, 3}}, "__consumer_offsets": {[16]byte{15: 2}, []int32{7}}}
	decided := open
	decided.state, decided.epoch, decided.lastEpoch, decided.nextID = prepareCommit, 32767, 32766, 1001
	over := fresh
	over.state, over.producerID, over.previousID, over.version = completeAbort, 1001, 1000, version2
	return []example{{"empty", fresh}, {"ongoing", open}, {"prepare commit, last epoch", decided}, {"complete abort, new producer id", over}}
}

func TestRecordsHaveTheirBytes(t *testing.T) {
	var b strings.Builder
	for _, e := range examples() {
		r := e.t.record()
		fmt.Fprintf(&b, "%s\n  key   %x\n  value %x\n", e.name, r.Key, r.Value)
	}
	script.Golden(t, "testdata/records.golden", b.String())
}

// A record that was replayed is written again with the same bytes.
func TestRecordsSurviveReplay(t *testing.T) {
	for _, e := range examples() {
		w := newWorld()
		want := e.t.record()
		if err := w.machine.Replay(want); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		got := w.machine.transactions[e.t.id].record()
		if string(got.Key) != string(want.Key) || string(got.Value) != string(want.Value) {
			t.Errorf("%s: written again as\n%x, was\n%x", e.name, got.Value, want.Value)
		}
	}
}

// Kafka before transaction.version 2 writes version 0, without ids of topics.
func TestRecordsOfKafkaAreRead(t *testing.T) {
	v := kmsg.NewTxnMetadataValue()
	v.ProducerID, v.ProducerEpoch, v.State, v.StartTimestamp = 7, 3, kmsg.TransactionState(ongoing), 1000
	v.Topics = []kmsg.TxnMetadataValueTopic{{Topic: "orders", Partitions: []int32{2, 1}}}
	w := newWorld()
	if err := w.machine.Replay(coord.Record{Key: key("t"), Value: v.AppendTo(nil)}); err != nil {
		t.Fatal(err)
	}
	got := w.machine.transactions["t"]
	if got.producerID != 7 || got.epoch != 3 || got.nextID != noID || got.previousID != noID || fmt.Sprint(got.partitions["orders"].numbers) != "[1 2]" {
		t.Errorf("read as %+v", got)
	}
}

func TestRecordsThatCannotBeRead(t *testing.T) {
	good := examples()[0].t.record()
	unknown := kmsg.NewTxnMetadataValue()
	unknown.State = 9
	for name, r := range map[string]coord.Record{
		"key":   {Key: []byte{0}, Value: good.Value},
		"id":    {Key: good.Key[:5], Value: good.Value},
		"value": {Key: good.Key, Value: good.Value[:20]},
		"state": {Key: good.Key, Value: unknown.AppendTo(nil)},
	} {
		if err := newWorld().machine.Replay(r); err == nil {
			t.Errorf("a record with a bad %s was read", name)
		}
	}
	if err := newWorld().machine.Replay(coord.Record{Key: []byte{0, 9, 1}, Value: []byte{1}}); err != nil {
		t.Errorf("a key of a later version stops the shard: %v", err)
	}
	if err := newWorld().machine.Replay(coord.Record{Producer: &coord.Producer{ID: 7}, End: coord.Abort}); err != nil {
		t.Errorf("a marker stops the shard: %v", err)
	}
}
