package group

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// consumerValueVersion starts every value of a consumer group record.
const consumerValueVersion int16 = 0

var (
	errCustomAssignor = errors.New("its assignor keeps data that would be lost")
	errValueVersion   = errors.New("unknown value version")
	errNoProtocols    = errors.New("member of the classic protocol without protocols")
)

func groupKey(kind int16, group string) []byte {
	return kbin.AppendString(kbin.AppendInt16(nil, kind), group)
}

func memberKey(kind int16, group, member string) []byte {
	return kbin.AppendString(groupKey(kind, group), member)
}

func (g *consumerGroup) tombstone() coord.Record {
	return coord.Record{Key: groupKey(g.kind.group, g.id)}
}

func (g *consumerGroup) targetEpochTombstone() coord.Record {
	return coord.Record{Key: groupKey(g.kind.targetEpoch, g.id)}
}

func newValue() []byte { return kbin.AppendInt16(nil, consumerValueVersion) }

func noTags(b []byte) []byte { return kbin.AppendUvarint(b, 0) }

// tagZero appends a tag section with a single field, under the tag 0. The
// records of consumer groups use no other.
func tagZero(b, field []byte) []byte {
	b = kbin.AppendUvarint(b, 1)
	b = kbin.AppendUvarint(b, 0)
	b = kbin.AppendUvarint(b, uint32(len(field)))
	return append(b, field...)
}

// readTags reads a tag section and returns the field under the tag 0, if there
// is one.
func readTags(b *kbin.Reader) (field []byte) {
	for n := b.Uvarint(); n > 0 && b.Ok(); n-- {
		tag, size := b.Uvarint(), b.Uvarint()
		if span := b.Span(int(size)); tag == 0 {
			field = span
		}
	}
	return field
}

func (g *consumerGroup) epochRecord(epoch int32, topicsHash uint64) coord.Record {
	b := kbin.AppendInt32(newValue(), epoch)
	hash := kbin.AppendInt64(nil, int64(topicsHash))
	if g.kind.shares {
		b = noTags(append(b, hash...))
	} else {
		b = tagZero(b, hash)
	}
	return coord.Record{Key: groupKey(g.kind.group, g.id), Value: b}
}

func (g *consumerGroup) targetEpochRecord(epoch int32) coord.Record {
	b := noTags(kbin.AppendInt32(newValue(), epoch))
	return coord.Record{Key: groupKey(g.kind.targetEpoch, g.id), Value: b}
}

func (g *consumerGroup) targetRecord(member string, target partitionSet) coord.Record {
	b := appendSet(newValue(), target)
	return coord.Record{Key: memberKey(g.kind.targetMember, g.id, member), Value: noTags(b)}
}

func (g *consumerGroup) memberRecord(m memberInfo) coord.Record {
	return coord.Record{Key: memberKey(g.kind.member, g.id, m.id), Value: g.kind.memberValue(m)}
}

func (k *groupKind) memberValue(m memberInfo) []byte {
	if k.shares {
		return appendShareMember(newValue(), m)
	}
	b := kbin.AppendCompactNullableString(newValue(), m.instance)
	b = kbin.AppendCompactNullableString(b, m.rack)
	b = kbin.AppendCompactString(b, m.clientID)
	b = kbin.AppendCompactString(b, m.host)
	b = kbin.AppendCompactArrayLen(b, len(m.topics))
	for _, t := range m.topics {
		b = kbin.AppendCompactString(b, t)
	}
	b = kbin.AppendCompactNullableString(b, nonEmpty(m.regex))
	b = kbin.AppendInt32(b, durationMillis(m.rebalanceTimeout))
	b = kbin.AppendCompactNullableString(b, nonEmpty(m.assignor))
	if m.classic == nil {
		return noTags(b)
	}
	return tagZero(b, m.classic.appendTo(nil))
}

// appendTo writes a nullable struct: a presence byte, then the fields.
func (c *classicMember) appendTo(b []byte) []byte {
	b = kbin.AppendInt8(b, 1)
	b = kbin.AppendInt32(b, durationMillis(c.sessionTimeout))
	b = kbin.AppendCompactArrayLen(b, len(c.protocols))
	for _, p := range c.protocols {
		b = kbin.AppendCompactString(b, p.Name)
		b = noTags(kbin.AppendCompactBytes(b, p.Metadata))
	}
	return noTags(b)
}

func (g *consumerGroup) positionRecord(member string, p memberPosition) coord.Record {
	b := kbin.AppendInt32(newValue(), p.epoch)
	b = kbin.AppendInt32(b, p.previous)
	b = kbin.AppendInt8(b, int8(p.state))
	if g.kind.shares {
		b = appendSet(b, p.assigned.set())
	} else {
		b = p.revoking.appendTo(p.assigned.appendTo(b))
	}
	return coord.Record{Key: memberKey(g.kind.position, g.id, member), Value: noTags(b)}
}

func (o owned) appendTo(b []byte) []byte {
	set := o.set()
	b = kbin.AppendCompactArrayLen(b, len(set))
	for _, id := range set.topics() {
		b = appendPartitions(kbin.AppendUuid(b, id), set[id])
		epochs := make([]int32, 0, len(set[id]))
		for _, p := range set[id] {
			epochs = append(epochs, o[id][p])
		}
		b = tagZero(b, appendPartitions(nil, epochs))
	}
	return b
}

func appendSet(b []byte, set partitionSet) []byte {
	b = kbin.AppendCompactArrayLen(b, len(set))
	for _, id := range set.topics() {
		b = noTags(appendPartitions(kbin.AppendUuid(b, id), set[id]))
	}
	return b
}

func appendPartitions(b []byte, parts []int32) []byte {
	b = kbin.AppendCompactArrayLen(b, len(parts))
	for _, p := range parts {
		b = kbin.AppendInt32(b, p)
	}
	return b
}

func readPartitions(b *kbin.Reader) []int32 {
	var out []int32
	for n := b.CompactArrayLen(); n > 0 && b.Ok(); n-- {
		out = append(out, b.Int32())
	}
	return out
}

// replayConsumer applies a record of a consumer or share group.
func (s *machine) replayConsumer(of *groupKind, kind int16, r coord.Record) error {
	key := kbin.Reader{Src: r.Key[2:]}
	id, member := key.String(), ""
	if kind != of.group && kind != of.targetEpoch {
		member = key.String()
	}
	if err := key.Complete(); err != nil {
		return err
	}
	if r.Value == nil {
		if g := s.groups[id]; g != nil && g.of(of) != nil {
			s.replayConsumerTombstone(g, of, kind, member)
		}
		return nil
	}
	g := s.ensure(id)
	if g.of(of) == nil {
		g.become(newConsumerGroup(id, of))
	}
	b := kbin.Reader{Src: bytes.Clone(r.Value)}
	if v := b.Int16(); v != consumerValueVersion {
		return errValueVersion
	}
	if err := g.of(of).restore(kind, member, &b); err != nil {
		return err
	}
	return b.Complete()
}

func (s *machine) replayConsumerTombstone(g *group, of *groupKind, kind int16, member string) {
	c := g.of(of)
	switch kind {
	case of.group:
		g.become(nil)
		s.dropIfVoid(g)
	case of.member:
		c.remove(member)
	case of.targetEpoch:
		c.targetEpoch = 0
	case of.targetMember:
		delete(c.target, member)
	case of.position:
		if m := c.members[member]; m != nil {
			c.put(&consumerMember{m.memberInfo, memberPosition{epoch: epochLeave, previous: epochLeave}})
		}
	}
}

// restore applies one value. That it was too short is for the caller to find out.
func (g *consumerGroup) restore(kind int16, member string, b *kbin.Reader) error {
	m := consumerMember{memberInfo: memberInfo{id: member}}
	if known := g.members[member]; known != nil {
		m = *known
	}
	switch kind {
	case g.kind.group:
		g.epoch = b.Int32()
		if g.kind.shares {
			g.topicsHash = uint64(b.Int64())
		}
		if hash := readTags(b); len(hash) == 8 {
			g.topicsHash = binary.BigEndian.Uint64(hash)
		}
	case g.kind.targetEpoch:
		g.targetEpoch = b.Int32()
		readTags(b)
	case g.kind.targetMember:
		g.target[member] = readSet(b)
		readTags(b)
	case g.kind.member:
		m.memberInfo = g.kind.readMember(member, b)
		if m.classic != nil && len(m.classic.protocols) == 0 {
			return errNoProtocols
		}
		g.put(&m)
	case g.kind.position:
		m.memberPosition = g.kind.readPosition(b)
		g.put(&m)
	}
	return nil
}

func readSet(b *kbin.Reader) partitionSet {
	set := partitionSet{}
	for n := b.CompactArrayLen(); n > 0 && b.Ok(); n-- {
		id := b.Uuid()
		set[id] = readPartitions(b)
		readTags(b)
	}
	return set
}

func (k *groupKind) readMember(id string, b *kbin.Reader) memberInfo {
	if k.shares {
		return readShareMember(id, b)
	}
	m := memberInfo{id: id}
	m.instance, m.rack = b.CompactNullableString(), b.CompactNullableString()
	m.clientID, m.host = b.CompactString(), b.CompactString()
	for n := b.CompactArrayLen(); n > 0 && b.Ok(); n-- {
		m.topics = append(m.topics, b.CompactString())
	}
	m.regex = stringOf(b.CompactNullableString())
	m.rebalanceTimeout = millis(b.Int32())
	m.assignor = stringOf(b.CompactNullableString())
	if field := readTags(b); len(field) > 0 && field[0] == 1 {
		m.classic = readClassicMember(&kbin.Reader{Src: field[1:]})
	}
	return m
}

func readClassicMember(b *kbin.Reader) *classicMember {
	c := &classicMember{sessionTimeout: millis(b.Int32())}
	for n := b.CompactArrayLen(); n > 0 && b.Ok(); n-- {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = b.CompactString(), b.CompactBytes()
		readTags(b)
		c.protocols = append(c.protocols, p)
	}
	return c
}

func (k *groupKind) readPosition(b *kbin.Reader) memberPosition {
	p := memberPosition{epoch: b.Int32(), previous: b.Int32(), state: memberState(b.Int8())}
	if k.shares {
		p.assigned = ownedSince(readSet(b), p.epoch)
		readTags(b)
		return p
	}
	p.assigned, p.revoking = readOwned(b, p.epoch), readOwned(b, p.epoch)
	readTags(b)
	return p
}

// readOwned reads partitions with their epochs; a writer that knew none held
// them since the epoch of the member.
func readOwned(b *kbin.Reader, epoch int32) owned {
	out := owned{}
	for n := b.CompactArrayLen(); n > 0 && b.Ok(); n-- {
		id, parts := b.Uuid(), readPartitions(b)
		epochs := readPartitions(&kbin.Reader{Src: readTags(b)})
		for i, p := range parts {
			since := epoch
			if len(epochs) == len(parts) {
				since = epochs[i]
			}
			out.add(id, p, since)
		}
	}
	return out
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func pointer[T any](v T) *T { return &v }

func sortedUnique(names []string) []string {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return slices.Sorted(maps.Keys(set))
}
