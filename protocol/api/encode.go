package api

import (
	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/morrowmq/morrow/cluster"
)

// encoder appends the fields of a response as Kafka's schemas want them. It writes the two answers
// that are too frequent, or hold too much, to go through kmsg: those of Produce and Fetch. Tests
// hold its bytes against kmsg's.
type encoder struct {
	version  int16
	flexible bool // compact lengths and tagged fields (KIP-482)
	dst      []byte
}

func (e *encoder) int16(v int16)    { e.dst = kbin.AppendInt16(e.dst, v) }
func (e *encoder) int32(v int32)    { e.dst = kbin.AppendInt32(e.dst, v) }
func (e *encoder) int64(v int64)    { e.dst = kbin.AppendInt64(e.dst, v) }
func (e *encoder) uvarint(v uint32) { e.dst = kbin.AppendUvarint(e.dst, v) }

// topic names a topic as both answers do: by id from version 13 on.
func (e *encoder) topic(k topicKey) {
	if e.version >= 13 {
		e.dst = append(e.dst, k.id[:]...)
	} else {
		e.string(k.name)
	}
}

func (e *encoder) string(s string) {
	if e.flexible {
		e.dst = kbin.AppendCompactString(e.dst, s)
	} else {
		e.dst = kbin.AppendString(e.dst, s)
	}
}

func (e *encoder) nullableString(s *string) {
	if e.flexible {
		e.dst = kbin.AppendCompactNullableString(e.dst, s)
	} else {
		e.dst = kbin.AppendNullableString(e.dst, s)
	}
}

// length begins an array or bytes of n elements; -1 is null.
func (e *encoder) length(n int) {
	if e.flexible {
		e.uvarint(uint32(n + 1))
	} else {
		e.int32(int32(n))
	}
}

// noTags ends a struct that has no tagged fields.
func (e *encoder) noTags() {
	if e.flexible {
		e.uvarint(0)
	}
}

// leaderTag writes a tagged field that names a partition's leader (KIP-951).
func (e *encoder) leaderTag(number uint32, l leader) {
	e.uvarint(number)
	e.uvarint(9)
	e.int32(l.id)
	e.int32(l.epoch)
	e.noTags()
}

// endpointTags ends a response with the tagged field 0 that says where the leaders named in it are reached
// (KIP-951), or with no tags if there are none.
func (e *encoder) endpointTags(brokers []cluster.Broker, listener string) {
	if !e.flexible || len(brokers) == 0 {
		e.noTags()
		return
	}
	field := encoder{version: e.version, flexible: true}
	field.endpoints(brokers, listener)
	e.uvarint(1)
	e.uvarint(0)
	e.uvarint(uint32(len(field.dst)))
	e.dst = append(e.dst, field.dst...)
}

// endpoints lists where brokers are reached.
func (e *encoder) endpoints(brokers []cluster.Broker, listener string) {
	e.length(len(brokers))
	for _, b := range brokers {
		host, port, _ := endpoint(b, listener)
		e.int32(b.ID)
		e.string(host)
		e.int32(port)
		e.nullableString(optional(b.Rack))
		e.noTags()
	}
}
