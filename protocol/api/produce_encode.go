package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/protocol"
)

// encode writes the response body and lists the error codes in it.
func (p *producing) encode() (_ *protocol.Body, codes []int16) {
	e := encoder{version: p.req.Version, flexible: p.req.Version >= 9, dst: make([]byte, 0, 32+64*len(p.outcomes))}
	named := leaders{img: p.api.store.Image()}
	outcomes := p.outcomes
	e.length(len(p.req.Topics))
	for i := range p.req.Topics {
		t := &p.req.Topics[i]
		key := topicKey{t.TopicID, t.Topic}
		e.topic(key)
		e.length(len(t.Partitions))
		for j := range t.Partitions {
			o := &outcomes[0]
			outcomes = outcomes[1:]
			number := t.Partitions[j].Partition
			e.int32(number)
			if o.err == nil {
				e.produced(o)
				continue
			}
			l := noLeader
			c := code(o.err)
			codes = append(codes, c)
			if topic, err := find(named.img, key, e.version >= 13); err == nil && e.version >= 10 && c == kerr.NotLeaderForPartition.Code {
				l = named.of(topic, number)
			}
			e.refused(c, o.err, l)
		}
		e.noTags()
	}
	e.int32(0) // throttle
	e.endpointTags(named.brokers, p.listener)
	body := new(protocol.Body)
	body.Write(e.dst)
	return body, codes
}

// produced writes what follows the partition's number if its batch was stored.
func (e *encoder) produced(o *produced) {
	e.int16(0)
	e.int64(o.pending.BaseOffset)
	e.int64(o.pending.AppendTime)
	if e.version >= 5 {
		e.int64(o.pending.LogStart)
	}
	if e.version >= 8 {
		e.length(0)
		e.nullableString(nil)
	}
	e.noTags()
}

// refused writes what follows the partition's number if its batch was not stored. From version 8 on
// it tells which records were the reason (KIP-467).
func (e *encoder) refused(code int16, err error, l leader) {
	e.int16(code)
	e.int64(-1)
	e.int64(-1)
	if e.version >= 5 {
		e.int64(-1)
	}
	if e.version >= 8 {
		e.badRecords(err)
		e.nullableString(kmsg.StringPtr(message(err)))
	}
	if l == noLeader {
		e.noTags()
		return
	}
	e.uvarint(1)
	e.leaderTag(0, l)
}

func (e *encoder) badRecords(err error) {
	var bad []record.RecordError
	if all, ok := errors.AsType[*record.RecordErrors](err); ok {
		bad = all.Records
	}
	e.length(len(bad))
	for i := range bad {
		e.int32(bad[i].Index)
		e.nullableString(&bad[i].Reason)
		e.noTags()
	}
}
