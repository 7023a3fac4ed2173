package group

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/internal/script"
)

// examples are one record of every kind this broker writes.
func examples() []struct {
	name string
	r    coord.Record
} {
	id := topicID{0: 0xaa, 15: 1}
	range_ := kmsg.NewJoinGroupRequestProtocol()
	range_.Name, range_.Metadata = "range", []byte{0, 1, 0, 0, 0, 0}
	g := newClassicGroup("g", time.UnixMilli(1_700_000_000_000))
	g.generation, g.protocol = 3, pointer("range")
	g.add(&member{
		id: "c-1", instance: pointer("i"), clientID: "c", host: "/127.0.0.1",
		rebalanceTimeout: time.Minute, sessionTimeout: 45 * time.Second,
		protocols: []kmsg.JoinGroupRequestProtocol{range_}, assignment: []byte{0, 1, 2},
	}, consumerProtocol)
	empty := newClassicGroup("g", time.UnixMilli(1_700_000_000_000))
	empty.generation, empty.protoType = 4, consumerProtocol
	info := memberInfo{
		id: "m", instance: pointer("i"), rack: pointer("r"), clientID: "c", host: "/127.0.0.1",
		topics: []string{"t", "u"}, regex: "x.*", rebalanceTimeout: time.Minute, assignor: "range",
	}
	classic := memberInfo{
		id: "m", clientID: "c", host: "/127.0.0.1", topics: []string{"t"}, rebalanceTimeout: time.Minute,
		classic: &classicMember{45 * time.Second, []kmsg.JoinGroupRequestProtocol{range_}},
	}
	position := memberPosition{
		epoch: 7, previous: 6, state: memberUnrevoked,
		assigned: owned{id: {0: 5, 2: 7}}, revoking: owned{id: {1: 4}},
	}
	k := offsetKey{"g", "t", 2}
	c := committed{offset: 42, leaderEpoch: 3, metadata: "note", commitMs: 1_700_000_000_000, expireMs: -1}
	expiring := c
	expiring.expireMs = 1_700_000_060_000
	now := time.UnixMilli(1_700_000_000_123)
	return []struct {
		name string
		r    coord.Record
	}{
		{"offset", offsetRecord(k, id, c)},
		{"offset that expires", offsetRecord(k, id, expiring)},
		{"offset tombstone", offsetTombstone(k)},
		{"classic group", g.record(now)},
		{"classic group with a new assignment", g.recordAssigned(map[string][]byte{"c-1": {9}}, now)},
		{"classic group without members", empty.record(now)},
		{"classic group tombstone", classicTombstone("g")},
		{"consumer group", newConsumerGroup("g", consumerKind).epochRecord(7, 0x0102030405060708)},
		{"consumer group tombstone", newConsumerGroup("g", consumerKind).tombstone()},
		{"member", newConsumerGroup("g", consumerKind).memberRecord(info)},
		{"member of the classic protocol", newConsumerGroup("g", consumerKind).memberRecord(classic)},
		{"target epoch", newConsumerGroup("g", consumerKind).targetEpochRecord(7)},
		{"target", newConsumerGroup("g", consumerKind).targetRecord("m", partitionSet{id: {0, 2}})},
		{"current assignment", newConsumerGroup("g", consumerKind).positionRecord("m", position)},
		{"current assignment tombstone", newConsumerGroup("g", consumerKind).memberTombstones("m")[0]},
		{"target tombstone", newConsumerGroup("g", consumerKind).memberTombstones("m")[1]},
		{"member tombstone", newConsumerGroup("g", consumerKind).memberTombstones("m")[2]},
		{"target epoch tombstone", newConsumerGroup("g", consumerKind).targetEpochTombstone()},
		{"share group", newConsumerGroup("g", shareKind).epochRecord(7, 0x0102030405060708)},
		{"share group tombstone", newConsumerGroup("g", shareKind).tombstone()},
		{"share group member", newConsumerGroup("g", shareKind).memberRecord(memberInfo{
			id: "m", rack: pointer("r"), clientID: "c", host: "/127.0.0.1", topics: []string{"t", "u"},
		})},
		{"share group target epoch", newConsumerGroup("g", shareKind).targetEpochRecord(7)},
		{"share group target", newConsumerGroup("g", shareKind).targetRecord("m", partitionSet{id: {0, 2}})},
		{"share group current assignment", newConsumerGroup("g", shareKind).positionRecord("m", memberPosition{
			epoch: 7, previous: 6, assigned: owned{id: {0: 7, 2: 7}}, revoking: owned{},
		})},
	}
}

func TestRecordsHaveTheirBytes(t *testing.T) {
	var b strings.Builder
	for _, e := range examples() {
		fmt.Fprintf(&b, "%s\n  key   %x\n", e.name, e.r.Key)
		if e.r.Value != nil {
			fmt.Fprintf(&b, "  value %x\n", e.r.Value)
		}
	}
	script.Golden(t, "testdata/records.golden", b.String())
}

// A record that was replayed is written again with the same bytes.
func TestRecordsSurviveReplay(t *testing.T) {
	for _, e := range examples() {
		if e.r.Value == nil {
			continue
		}
		w := newWorld()
		if err := w.machine.Replay(e.r); err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		if again := rewrite(w.machine, e.r); !bytes.Equal(again.Value, e.r.Value) {
			t.Errorf("%s: replayed and written again\n%x, want\n%x", e.name, again.Value, e.r.Value)
		}
		for n := range e.r.Value {
			if err := newWorld().machine.Replay(coord.Record{Key: e.r.Key, Value: e.r.Value[:n]}); err == nil {
				t.Errorf("%s: cut to %d bytes it is accepted", e.name, n)
			}
		}
	}
}

// rewrite writes what the machine has under the key of a record.
func rewrite(m *machine, r coord.Record) coord.Record {
	g := m.groups["g"]
	switch r.Key[1] {
	case byte(keyOffset):
		t := g.offsets["t"]
		return offsetRecord(offsetKey{"g", "t", 2}, t.id, t.parts[2])
	case byte(keyClassicGroup):
		return g.classic.record(time.UnixMilli(g.classic.sinceMs))
	}
	c := g.assigned()
	switch int16(r.Key[1]) {
	case c.kind.group:
		return c.epochRecord(c.epoch, c.topicsHash)
	case c.kind.member:
		return c.memberRecord(c.members["m"].memberInfo)
	case c.kind.targetEpoch:
		return c.targetEpochRecord(c.targetEpoch)
	case c.kind.targetMember:
		return c.targetRecord("m", c.target["m"])
	default:
		return c.positionRecord("m", c.members["m"].memberPosition)
	}
}

// Records that Kafka wrote, in versions this broker does not write.
func TestRecordsOfKafkaAreRead(t *testing.T) {
	w := newWorld()
	w.topics.set("t", 4)
	key := func(p int32) []byte {
		k := kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t", Partition: p}
		return k.AppendTo(nil)
	}
	for version := range int16(5) {
		v := kmsg.NewOffsetCommitValue()
		v.Version, v.Offset, v.LeaderEpoch, v.Metadata = version, int64(10+version), 2, "m"
		v.CommitTimestamp, v.ExpireTimestamp = 1000, 2000
		if err := w.machine.Replay(coord.Record{Key: key(int32(version)), Value: v.AppendTo(nil)}); err != nil {
			t.Fatalf("offset value version %d: %v", version, err)
		}
		got := w.machine.groups["g"].offsets["t"].parts[int32(version)]
		want := committed{offset: int64(10 + version), leaderEpoch: -1, metadata: "m", commitMs: 1000, expireMs: -1, seq: int64(version) + 1}
		if version >= 3 {
			want.leaderEpoch = 2
		}
		if version == 1 {
			want.expireMs = 2000
		}
		if got != want {
			t.Errorf("offset value version %d: %+v, want %+v", version, got, want)
		}
	}
	for version := range int16(5) {
		v := kmsg.NewGroupMetadataValue()
		v.Version, v.ProtocolType, v.Generation, v.Protocol, v.Leader = version, "consumer", 5, pointer("range"), pointer("m")
		m := kmsg.NewGroupMetadataValueMember()
		m.MemberID, m.SessionTimeoutMillis, m.RebalanceTimeoutMillis = "m", 1000, 2000
		v.Members = append(v.Members, m)
		k := kmsg.GroupMetadataKey{Version: 2, Group: fmt.Sprint("classic-", version)}
		if err := w.machine.Replay(coord.Record{Key: k.AppendTo(nil), Value: v.AppendTo(nil)}); err != nil {
			t.Fatalf("group value version %d: %v", version, err)
		}
		c := w.machine.groups[k.Group].classic
		rebalance := 2 * time.Second
		if version == 0 {
			rebalance = time.Second
		}
		if c.state != stateStable || c.leader != "m" || c.members["m"].rebalanceTimeout != rebalance {
			t.Errorf("group value version %d: %+v %+v", version, c, c.members["m"])
		}
	}
	// A position without assignment epochs (KIP-1251) holds since its epoch.
	p := memberPosition{epoch: 7, previous: 6, assigned: owned{topicID{1}: {0: 7}}, revoking: owned{}}
	r := newConsumerGroup("g2", consumerKind).positionRecord("m", p)
	r.Value = bytes.Replace(r.Value, []byte{1, 0, 5, 2, 0, 0, 0, 7}, []byte{0}, 1)
	if err := w.machine.Replay(r); err != nil {
		t.Fatal(err)
	}
	if got := w.machine.groups["g2"].consumer.members["m"].memberPosition; !got.equal(p) {
		t.Errorf("%+v, want %+v", got, p)
	}
	// Streams groups are passed over.
	if err := w.machine.Replay(coord.Record{Key: []byte{0, 17, 0, 1, 'g'}, Value: []byte{0, 0}}); err != nil {
		t.Error(err)
	}
}

func FuzzReplay(f *testing.F) {
	for _, e := range examples() {
		f.Add(e.r.Key, e.r.Value, e.r.Value == nil)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, tombstone bool) {
		w := newWorld()
		w.topics.set("t", 4)
		for _, e := range examples() {
			if err := w.machine.Replay(e.r); err != nil {
				t.Fatal(err)
			}
		}
		if tombstone {
			value = nil
		} else if value == nil {
			value = []byte{}
		}
		if err := w.machine.Replay(coord.Record{Key: key, Value: value}); err != nil {
			return
		}
		// What was accepted can be lived with.
		w.do(func(m *machine, tx *coord.Tx) { m.Loaded(tx) })
		w.pass(time.Hour)
		_ = w.machine.dump()
	})
}
