package group

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// The first two bytes of a key say what the record is about. FORMAT.md
// describes all of them; the numbers and encodings are Kafka's.
const (
	keyOffsetV0          int16 = 0
	keyOffset            int16 = 1
	keyClassicGroup      int16 = 2
	keyConsumerGroup     int16 = 3
	keyConsumerMember    int16 = 5
	keyTargetEpoch       int16 = 6
	keyTargetMember      int16 = 7
	keyCurrentAssignment int16 = 8
	keyShareMember       int16 = 10
	keyShareGroup        int16 = 11
	keyShareTargetEpoch  int16 = 12
	keyShareTargetMember int16 = 13
	keyShareAssignment   int16 = 14
)

// offsetValueVersion is the first that can hold a topic id.
const offsetValueVersion = 4

// classicValueVersion is the highest that old readers of the topic understand.
const classicValueVersion = 3

// expireTag is where an offset value keeps its expiry: Kafka's field for it
// exists only in version 1, which has no room for a leader epoch or a topic id.
const expireTag = 10000

var errTruncated = errors.New("too short")

// replay applies one record of any kind. Kinds it does not know belong to group
// types this broker does not serve; they are passed over.
func (s *machine) replay(r coord.Record) error {
	if r.End != coord.NoEnd {
		s.replayEnd(r.Producer, r.End)
		return nil
	}
	if len(r.Key) < 2 {
		return errTruncated
	}
	switch kind := int16(binary.BigEndian.Uint16(r.Key)); kind {
	case keyOffsetV0, keyOffset:
		return s.replayOffsetRecord(r)
	case keyClassicGroup:
		return s.replayClassicRecord(r)
	case keyConsumerGroup, keyConsumerMember, keyTargetEpoch, keyTargetMember, keyCurrentAssignment:
		return s.replayConsumer(consumerKind, kind, r)
	case keyShareGroup, keyShareMember, keyShareTargetEpoch, keyShareTargetMember, keyShareAssignment:
		return s.replayConsumer(shareKind, kind, r)
	default:
		return nil
	}
}

func offsetKeyBytes(k offsetKey) []byte {
	key := kmsg.OffsetCommitKey{Version: keyOffset, Group: k.group, Topic: k.topic, Partition: k.partition}
	return key.AppendTo(make([]byte, 0, 10+len(k.group)+len(k.topic)))
}

func offsetRecord(k offsetKey, id [16]byte, c committed) coord.Record {
	v := kmsg.NewOffsetCommitValue()
	v.Version = offsetValueVersion
	v.Offset, v.LeaderEpoch, v.Metadata = c.offset, c.leaderEpoch, c.metadata
	v.CommitTimestamp = c.commitMs
	v.TopicID = id
	if c.expireMs >= 0 {
		v.UnknownTags.Set(expireTag, kbin.AppendInt64(nil, c.expireMs))
	}
	return coord.Record{Key: offsetKeyBytes(k), Value: v.AppendTo(nil)}
}

func offsetTombstone(k offsetKey) coord.Record { return coord.Record{Key: offsetKeyBytes(k)} }

// replayOffsetRecord is the one decoder that has to be fast: a journal is mostly
// offsets. Strings point into the record until they are kept.
func (s *machine) replayOffsetRecord(r coord.Record) error {
	var key kmsg.OffsetCommitKey
	if err := key.UnsafeReadFrom(r.Key); err != nil {
		return err
	}
	k := offsetKey{key.Group, key.Topic, key.Partition}
	if r.Value == nil {
		s.replayOffsetTombstone(k)
		return nil
	}
	s.seq++
	v := kmsg.NewOffsetCommitValue()
	if err := v.UnsafeReadFrom(r.Value); err != nil {
		return err
	}
	c := committed{offset: v.Offset, leaderEpoch: v.LeaderEpoch, metadata: strings.Clone(v.Metadata), commitMs: v.CommitTimestamp, expireMs: -1, seq: s.seq}
	if v.Version < 3 {
		c.leaderEpoch = -1
	}
	if v.Version == 1 {
		c.expireMs = v.ExpireTimestamp
	}
	if tag := tagOf(v.UnknownTags, expireTag); len(tag) == 8 {
		c.expireMs = int64(binary.BigEndian.Uint64(tag))
	}
	if r.Producer != nil {
		s.replayPending(r.Producer, k, v.TopicID, c)
		return nil
	}
	s.replayOffset(k, v.TopicID, c)
	return nil
}

func classicKey(group string) []byte {
	key := kmsg.GroupMetadataKey{Version: keyClassicGroup, Group: group}
	return key.AppendTo(nil)
}

func classicTombstone(group string) coord.Record { return coord.Record{Key: classicKey(group)} }

// record is the group with the assignments its members have. Without a leader
// it says that the group has yet to rebalance.
func (g *classicGroup) record(now time.Time) coord.Record {
	return g.recordAssigned(nil, now)
}

// recordAssigned is the group with new assignments, by member id. Members that
// are not mentioned get none. With nil, everybody keeps what they have.
func (g *classicGroup) recordAssigned(assignment map[string][]byte, now time.Time) coord.Record {
	v := kmsg.NewGroupMetadataValue()
	v.Version = classicValueVersion
	v.ProtocolType, v.Generation, v.Protocol = g.protoType, g.generation, g.protocol
	if g.leader != "" && g.state != statePreparing {
		v.Leader = &g.leader
	}
	v.CurrentStateTimestamp = now.UnixMilli()
	for _, m := range g.sorted() {
		vm := kmsg.NewGroupMetadataValueMember()
		vm.MemberID, vm.InstanceID = m.id, m.instance
		vm.ClientID, vm.ClientHost = m.clientID, m.host
		vm.RebalanceTimeoutMillis = durationMillis(m.rebalanceTimeout)
		vm.SessionTimeoutMillis = durationMillis(m.sessionTimeout)
		vm.Subscription = m.metadata(*g.protocol)
		vm.Assignment = m.assignment
		if assignment != nil {
			vm.Assignment = assignment[m.id]
		}
		v.Members = append(v.Members, vm)
	}
	return coord.Record{Key: classicKey(g.id), Value: v.AppendTo(nil)}
}

func (s *machine) replayClassicRecord(r coord.Record) error {
	var key kmsg.GroupMetadataKey
	if err := key.ReadFrom(r.Key); err != nil {
		return err
	}
	if r.Value == nil {
		if g := s.groups[key.Group]; g != nil {
			g.classic = nil
			s.dropIfVoid(g)
		}
		return nil
	}
	v := kmsg.NewGroupMetadataValue()
	if err := v.ReadFrom(bytes.Clone(r.Value)); err != nil {
		return err
	}
	if len(v.Members) > 0 && v.Protocol == nil {
		return fmt.Errorf("%d members without a protocol", len(v.Members))
	}
	g := s.ensure(key.Group)
	g.consumer, g.share = nil, nil
	if g.classic == nil {
		g.classic = newClassicGroup(key.Group, time.UnixMilli(v.CurrentStateTimestamp))
	}
	g.classic.restore(&v)
	return nil
}

// restore makes the group what the record says. A member that is known keeps
// what a record cannot hold: its calls, and protocols other than the chosen one.
func (g *classicGroup) restore(v *kmsg.GroupMetadataValue) {
	g.protoType, g.generation, g.protocol = v.ProtocolType, v.Generation, v.Protocol
	g.sinceMs, g.initial = v.CurrentStateTimestamp, false
	listed := make(map[string]bool, len(v.Members))
	for i := range v.Members {
		vm := &v.Members[i]
		listed[vm.MemberID] = true
		m := g.members[vm.MemberID]
		if m == nil {
			m = restoredMember(v, vm)
			g.add(m, v.ProtocolType)
		}
		m.assignment, m.seq = vm.Assignment, uint64(i) // the order of the record is the order of joining
	}
	g.nextSeq = uint64(len(v.Members))
	for id := range g.members {
		if !listed[id] {
			g.remove(id)
		}
	}
	switch {
	case len(v.Members) == 0:
		g.state, g.leader = stateEmpty, ""
	case v.Leader == nil:
		g.state, g.leader = statePreparing, v.Members[0].MemberID
	default:
		g.state, g.leader = stateStable, *v.Leader
	}
	g.learnTopics()
}

func restoredMember(v *kmsg.GroupMetadataValue, vm *kmsg.GroupMetadataValueMember) *member {
	rebalance := vm.RebalanceTimeoutMillis
	if v.Version < 1 {
		rebalance = vm.SessionTimeoutMillis
	}
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = *v.Protocol, vm.Subscription
	return &member{
		id: vm.MemberID, instance: vm.InstanceID, clientID: vm.ClientID, host: vm.ClientHost,
		rebalanceTimeout: millis(rebalance), sessionTimeout: millis(vm.SessionTimeoutMillis),
		protocols: []kmsg.JoinGroupRequestProtocol{p},
	}
}

// consumerProtocol is the protocol type of consumers, whose metadata the
// coordinator understands; that of others, such as "connect", is opaque.
const consumerProtocol = "consumer"

// subscribedTopics reads the topics out of a consumer's metadata. They stand
// first in every version of it.
func subscribedTopics(metadata []byte) ([]string, error) {
	b := kbin.Reader{Src: metadata}
	b.Int16() // version
	topics := make([]string, 0, 4)
	for n := b.ArrayLen(); n > 0 && b.Ok(); n-- {
		topics = append(topics, b.String())
	}
	if !b.Ok() {
		return nil, errTruncated
	}
	return topics, nil
}

// sortedPartitions orders the offsets of a topic by partition.
func sortedPartitions(t *topicOffsets) []fetchedOffset {
	out := make([]fetchedOffset, 0, len(t.parts))
	for p, c := range t.parts {
		out = append(out, fetchedOffset{p, c})
	}
	slices.SortFunc(out, func(a, b fetchedOffset) int { return cmp.Compare(a.partition, b.partition) })
	return out
}

func tagOf(tags kmsg.Tags, key uint32) (value []byte) {
	tags.Each(func(k uint32, v []byte) {
		if k == key {
			value = v
		}
	})
	return value
}
