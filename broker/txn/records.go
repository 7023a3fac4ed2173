package txn

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

const (
	// valueVersion is the first that can hold what KIP-890 needs.
	valueVersion = 1

	// topicIDTag is where a topic of a value keeps its id, and lastEpochTag where a value keeps the
	// epoch that a retried request may have: Kafka has no fields for them, and forgets them.
	topicIDTag   = 10000
	lastEpochTag = 10000
)

func key(id string) []byte {
	k := kmsg.TxnMetadataKey{TransactionalID: id}
	return k.AppendTo(nil)
}

// tombstone forgets a transactional id.
func tombstone(id string) coord.Record { return coord.Record{Key: key(id)} }

// record is all there is to know of a transactional id.
func (t *transaction) record() coord.Record {
	v := kmsg.NewTxnMetadataValue()
	v.Version = valueVersion
	v.ProducerID, v.ProducerEpoch, v.TimeoutMillis = t.producerID, t.epoch, t.timeoutMs
	v.State = kmsg.TransactionState(t.state)
	v.LastUpdateTimestamp, v.StartTimestamp = t.updateMs, t.startMs
	v.PreviousProducerID, v.NextProducerID, v.ClientTransactionVersion = t.previousID, t.nextID, t.version
	for _, topic := range slices.Sorted(maps.Keys(t.partitions)) {
		h := t.partitions[topic]
		vt := kmsg.NewTxnMetadataValueTopic()
		vt.Topic, vt.Partitions = topic, h.numbers
		vt.UnknownTags.Set(topicIDTag, h.topicID[:])
		v.Topics = append(v.Topics, vt)
	}
	if t.lastEpoch != noEpoch {
		v.UnknownTags.Set(lastEpochTag, kbin.AppendInt16(nil, t.lastEpoch))
	}
	return coord.Record{Key: key(t.id), Value: v.AppendTo(nil)}
}

// replay applies one record. Keys of versions it does not know belong to a later Kafka and are passed over.
func (m *machine) replay(r coord.Record) error {
	switch {
	case r.End != coord.NoEnd:
		return nil // transactions do not write here: somebody named the partition all the same
	case len(r.Key) < 2:
		return fmt.Errorf("key of %d bytes", len(r.Key))
	case binary.BigEndian.Uint16(r.Key) != 0:
		return nil
	}
	var k kmsg.TxnMetadataKey
	if err := k.ReadFrom(r.Key); err != nil {
		return err
	}
	if r.Value == nil {
		m.forget(k.TransactionalID)
		return nil
	}
	v := kmsg.NewTxnMetadataValue()
	if err := v.ReadFrom(r.Value); err != nil {
		return err
	}
	t, err := restore(k.TransactionalID, &v)
	if err != nil {
		return err
	}
	m.set(t)
	return nil
}

func restore(id string, v *kmsg.TxnMetadataValue) (*transaction, error) {
	if v.State < 0 || int(v.State) >= len(stateNames) {
		return nil, fmt.Errorf("transaction state %d", v.State)
	}
	t := &transaction{
		id:         strings.Clone(id),
		producerID: v.ProducerID, epoch: v.ProducerEpoch, lastEpoch: noEpoch,
		previousID: v.PreviousProducerID, nextID: v.NextProducerID,
		state: state(v.State), version: v.ClientTransactionVersion, timeoutMs: v.TimeoutMillis,
		startMs: v.StartTimestamp, updateMs: v.LastUpdateTimestamp,
	}
	if tag := tagOf(v.UnknownTags, lastEpochTag); len(tag) == 2 {
		t.lastEpoch = int16(binary.BigEndian.Uint16(tag))
	}
	for i := range v.Topics {
		vt := &v.Topics[i]
		h := held{numbers: slices.Clone(vt.Partitions)}
		slices.Sort(h.numbers)
		copy(h.topicID[:], tagOf(vt.UnknownTags, topicIDTag))
		if t.partitions == nil {
			t.partitions = make(map[string]held, len(v.Topics))
		}
		t.partitions[strings.Clone(vt.Topic)] = h
	}
	return t, nil
}

func tagOf(tags kmsg.Tags, number uint32) []byte {
	var found []byte
	tags.Each(func(n uint32, value []byte) {
		if n == number {
			found = value
		}
	})
	return found
}
