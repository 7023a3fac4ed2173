package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/cluster/config"
)

func TestTopicAndScheduleLiveTogether(t *testing.T) {
	newWorld().play(t, `
> broker 1
> create orders p=2
> print
__schedule.orders #2 schedule of #1 0:[1] 1:[1]
orders #1 0:[1] 1:[1]
> grow orders 3
> print
__schedule.orders #2 schedule of #1 0:[1] 1:[1] 2:[1]
orders #1 0:[1] 1:[1] 2:[1]
> delete orders
> print
deleted __schedule.orders #2 p=3 left [tier data/1]
deleted orders #1 p=3 left [tier offsets data/1]
`)
}

func TestTopicOfAnOldNameIsNew(t *testing.T) {
	newWorld().play(t, `
> broker 1
> create orders retention.ms=5
> delete orders
> create orders
> print
__schedule.orders #4 schedule of #3 0:[1]
orders #3 0:[1]
deleted __schedule.orders #2 p=1 left [tier data/1]
deleted orders #1 p=1 left [tier offsets data/1]
`)
}

func TestDeletionIsRememberedUntilAllIsConfirmed(t *testing.T) {
	newWorld().play(t, `
> broker 1
> create orders
> delete orders
> confirm orders data/1
> confirm orders data/1
> confirm orders tier
> confirm __schedule.orders tier
> print
deleted __schedule.orders #2 p=1 left [data/1]
deleted orders #1 p=1 left [offsets]
> confirm orders offsets
> confirm __schedule.orders data/1
> confirm orders offsets
> print
`)
}

func TestNamesAreKafkas(t *testing.T) {
	long := strings.Repeat("x", 249)
	w := newWorld()
	w.play(t, `
> broker 1
> create orders
> create orders
topic "orders" already exists
> create ..
topic name must not be ".."
> create a/b
topic name "a/b" contains '/': only letters, digits, '.', '_' and '-' are allowed
> create ä
topic name "ä" contains 'ä': only letters, digits, '.', '_' and '-' are allowed
> create a.b_c
> create a_b.c
topic name "a_b.c" collides with topic "a.b_c": names that differ in '.' and '_' only cannot be told apart in metric names
> create __schedule.other
topic name "__schedule.other" is reserved for the broker
> create __consumer_offsets
topic name "__consumer_offsets" is reserved for the broker
> create __cluster_metadata
topic name "__cluster_metadata" is that of Kafka's metadata log: tools would take the topic for it
> create __schedule_orders
> delete a.b_c
> create a_b.c
> create `+long+`x
topic name of 250 characters is too long: at most 249 are allowed
> create `+long+`
`)
	topic, _ := w.img.Topic(long)
	s, _ := w.img.TopicByID(topic.Schedule)
	if len(s.Name) != 249 || s.Name != scheduleName(long) || s.Name == scheduleName(long[:248]+"y") {
		t.Errorf("schedule of a long name: %q", s.Name)
	}
	if err := ValidateTopicName(""); !errors.Is(err, InvalidTopicName) {
		t.Error(err)
	}
}

func TestScheduleNameIsNotTakenFromAnother(t *testing.T) {
	long := strings.Repeat("x", 249)
	cut := strings.TrimPrefix(scheduleName(long), SchedulePrefix) // a legal name whose schedule would be called the same
	w := newWorld()
	w.play(t, `
> broker 1
> create `+long+`
> create `+cut+`
topic name "`+cut+`" cannot be used: its schedule would be called "`+scheduleName(long)+`", which another topic's is
`)
}

func TestInternalTopicsHaveNoSchedule(t *testing.T) {
	newWorld().play(t, `
> broker 1
> create __consumer_offsets p=2 internal= cleanup.policy=compact segment.bytes=104857600
> print
__consumer_offsets #1 0:[1] 1:[1] cleanup.policy=compact segment.bytes=104857600
> delete __consumer_offsets
topic "__consumer_offsets" belongs to the broker and cannot be deleted
> grow __consumer_offsets 3
topic "__consumer_offsets" belongs to the broker and cannot be given partitions
> alter topic __consumer_offsets segment.bytes=2048
> create orders
> delete __schedule.orders
topic "__schedule.orders" belongs to the broker and cannot be deleted
> grow __schedule.orders 3
topic "__schedule.orders" belongs to the broker and cannot be given partitions
> alter topic __schedule.orders retention.ms=1
the configs of "__schedule.orders" follow from those of the topic whose schedule it is
> lead __schedule.orders 0 epochs=0,0 leader=1 isr=1
partitions of "__schedule.orders" change with those of the topic whose schedule it is
`)
}

func TestJournalsKeepWhatTheyDependOn(t *testing.T) {
	newWorld().play(t, `
> broker 1
> create __consumer_offsets internal= segment.bytes=104857600
> create __transaction_state internal= min.insync.replicas=2
> create __share_group_state internal=
> print
__consumer_offsets #1 0:[1] cleanup.policy=compact segment.bytes=104857600
__share_group_state #3 0:[1] cleanup.policy=delete retention.bytes=-1 retention.ms=-1
__transaction_state #2 0:[1] cleanup.policy=compact min.insync.replicas=2
> alter topic __consumer_offsets cleanup.policy=delete
config cleanup.policy of "__consumer_offsets" must stay compact: the broker keeps state of its own there, and would lose some
> alter topic __consumer_offsets cleanup.policy+=delete
config cleanup.policy of "__consumer_offsets" must stay compact: the broker keeps state of its own there, and would lose some
> alter topic __transaction_state -cleanup.policy
config cleanup.policy of "__transaction_state" must stay compact: the broker keeps state of its own there, and would lose some
> replace topic __transaction_state segment.bytes=2048
config cleanup.policy of "__transaction_state" must stay compact: the broker keeps state of its own there, and would lose some
> alter topic __share_group_state retention.ms=1
config retention.ms of "__share_group_state" must stay -1: the broker keeps state of its own there, and would lose some
> alter topic __share_group_state -retention.bytes
config retention.bytes of "__share_group_state" must stay -1: the broker keeps state of its own there, and would lose some
> alter topic __share_group_state retention.bytes=1 validate=
config retention.bytes of "__share_group_state" must stay -1: the broker keeps state of its own there, and would lose some
> alter topic __share_group_state remote.storage.enable=true
config remote.storage.enable of "__share_group_state" must stay false: the broker keeps state of its own there, and would lose some
> replace topic __transaction_state cleanup.policy=compact segment.bytes=2048
> print
__consumer_offsets #1 0:[1] cleanup.policy=compact segment.bytes=104857600
__share_group_state #3 0:[1] cleanup.policy=delete retention.bytes=-1 retention.ms=-1
__transaction_state #2 0:[1] cleanup.policy=compact segment.bytes=2048
`)
}

func TestPartitionsAndReplicas(t *testing.T) {
	newWorld().play(t, `
> create orders
replication factor 1 is larger than the number of registered brokers, 0
> broker 1
> broker 2
> create orders p=0
number of partitions 0 must be at least 1, or -1 for the default
> create orders p=100001
number of partitions 100001 is more than a topic can have (100000)
> create orders rf=0
replication factor 0 must be at least 1, or -1 for the default
> create orders rf=3
replication factor 3 is larger than the number of registered brokers, 2
> create orders p=3 rf=2
> grow orders 3
topic "orders" already has 3 partitions
> grow orders 2
topic "orders" has 3 partitions, which cannot be reduced to 2
> grow orders 4 assign=1,2;2,1
topic "orders" grows by 1 partitions, but 2 assignments were given
> grow orders 4 assign=1
all partitions must have the same number of replicas (2): [1]
> grow orders 4 assign=2,1
> grow nowhere 4
there is no topic "nowhere"
> grow orders 9 validate=
> print
__schedule.orders #2 schedule of #1 0:[1 2] 1:[2 1] 2:[1 2] 3:[2 1]
orders #1 0:[1 2] 1:[2 1] 2:[1 2] 3:[2 1]
`)
}

func TestOneCommandAddsSoManyPartitionsAndNoMore(t *testing.T) {
	w := newWorld()
	w.play(t, "> broker 1\n")
	var c CreateTopics
	for _, n := range []int32{maxAdded - 1, 1, 1} {
		c.Topics = append(c.Topics, NewTopic{Name: fmt.Sprint("t", len(c.Topics)), Partitions: n, ReplicationFactor: 1})
	}
	_, err := Decide(w.img, c, w.now, w.newID)
	for i, full := range []bool{false, false, true} {
		if err := ItemError(err, i); errors.Is(err, InvalidPartitions) != full {
			t.Errorf("topic %d: %v", i, err)
		}
	}
}

func TestAssignmentsAreChecked(t *testing.T) {
	w := newWorld()
	w.play(t, `
> broker 1
> broker 2
> create orders assign=1,2;2,1 p=2
topic "orders": number of partitions and replication factor must both be -1 where an assignment is given
> create orders assign=1,2;2
all partitions must have the same number of replicas (2): [2]
> create orders assign=1,1
replicas [1 1] name a broker twice
> create orders assign=1,3
replicas [1 3] name broker 3, which is not registered
> create orders assign=;1
every partition must have at least one replica
> create orders assign=1,2;2,1
> print
__schedule.orders #2 schedule of #1 0:[1 2] 1:[2 1]
orders #1 0:[1 2] 1:[2 1]
`)
	gap := CreateTopics{Topics: []NewTopic{{Name: "gap", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {1}, 2: {1}}}}}
	if err := w.apply(gap); !errors.Is(err, InvalidAssignment) {
		t.Error(err)
	}
	empty := CreateTopics{Topics: []NewTopic{{Name: "empty", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{}}}}
	if err := w.apply(empty); !errors.Is(err, InvalidPartitions) {
		t.Error(err)
	}
}

func TestReplicasAreSpreadOverBrokersAndRacks(t *testing.T) {
	newWorld().play(t, `
> broker 1 rack=a
> broker 2 rack=a
> broker 3 rack=b
> broker 4 rack=b
> create first p=4 rf=2
> create second p=1 rf=2
> print
__schedule.first #2 schedule of #1 0:[1 3] 1:[3 2] 2:[2 4] 3:[4 1]
__schedule.second #4 schedule of #3 0:[2 4]
first #1 0:[1 3] 1:[3 2] 2:[2 4] 3:[4 1]
second #3 0:[2 4]
`)
}

func TestConfigsAreEdited(t *testing.T) {
	newWorld().play(t, `
> broker 1
> create orders retention.ms=5 segment.ms=6
> create other retention.ms=x
invalid value "x" for config retention.ms: must be an integer of 64 bits
> alter topic orders retention.ms=7 -segment.ms cleanup.policy+=compact
> print
__schedule.orders #2 schedule of #1 0:[1]
orders #1 0:[1] cleanup.policy=delete,compact retention.ms=7
> alter topic orders cleanup.policy-=delete cleanup.policy+=delete
config cleanup.policy is altered twice in one request
> alter topic orders cleanup.policy-=delete
> alter topic orders retention.ms+=7
config retention.ms is not a list: it can be set or deleted, not appended to or subtracted from
> alter topic orders retention.mss+=7
unknown topic config "retention.mss" (did you mean "retention.ms"?)
> alter topic orders remote.storage.enable=true
invalid value "true" for config remote.storage.enable: must be false for a topic whose cleanup.policy contains compact
> alter topic nowhere retention.ms=7
there is no topic "nowhere"
> alter topic orders retention.ms=8 validate=
> print
__schedule.orders #2 schedule of #1 0:[1]
orders #1 0:[1] cleanup.policy=compact retention.ms=7
> replace topic orders remote.storage.enable=true
> replace topic orders
invalid value "false" for config remote.storage.enable: must stay true unless remote.log.delete.on.disable is set to true as well, which deletes what the topic holds in the tier; to keep it, set remote.log.copy.disable instead
> replace topic orders remote.log.delete.on.disable=true
> print
__schedule.orders #2 schedule of #1 0:[1]
orders #1 0:[1] remote.log.delete.on.disable=true
`)
}

func TestBrokerAndGroupConfigsAreEdited(t *testing.T) {
	newWorld().play(t, `
> broker 1
> alter broker all log.retention.ms=5 log.cleanup.policy+=compact
> alter broker 1 log.retention.ms=6
> alter broker 2 log.retention.ms=6
broker 2 is not registered
> alter broker all node.id=6
invalid value "6" for config node.id: cannot be altered at run time; set it where the broker is configured and restart it
> alter broker all log.local.retention.ms=7 log.cleaner.max.compaction.lag.ms=1 log.cleaner.min.compaction.lag.ms=2
invalid value "2" for config log.cleaner.min.compaction.lag.ms: must not be larger than the maximum compaction lag, 1
invalid value "7" for config log.local.retention.ms: must be -2 or at most 6, the value of retention.ms
> alter group billing consumer.session.timeout.ms=50000
> alter group billing consumer.session.timeout.ms=44999
invalid value "44999" for config consumer.session.timeout.ms: must be from 45000 to 60000, the values of group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms of the broker
> print
all brokers log.cleanup.policy=delete,compact log.retention.ms=5
broker 1 log.retention.ms=6
group billing consumer.session.timeout.ms=50000
> alter group billing -consumer.session.timeout.ms
> replace broker all
> alter broker 1 -log.retention.ms
> print
`)
}

func TestTopicsFollowTheBrokersConfigs(t *testing.T) {
	w := newWorld()
	w.play(t, `
> broker 1
> create plain
> create own retention.ms=7
> alter broker all log.retention.ms=5 log.segment.bytes=2048
`)
	if got := w.img.TopicConfig("plain").RetentionMs; got != 5 {
		t.Errorf("plain: %d", got)
	}
	if got := w.img.TopicConfig("own"); got.RetentionMs != 7 || got.SegmentBytes != 2048 {
		t.Errorf("own: %+v", got)
	}
	if got := w.img.TopicConfig("__schedule.own"); got.RetentionMs != -1 || got.SegmentBytes != 2048 {
		t.Errorf("schedule: %+v", got)
	}
	if w.img.TopicConfig("none") != nil {
		t.Error("a config of no topic")
	}
}

func TestDeletionCanBeSwitchedOff(t *testing.T) {
	w := newWorld()
	w.img = NewImage("test", 1, config.Values{"delete.topic.enable": "false"})
	w.play(t, `
> broker 1
> create orders
> delete orders
topic "orders" cannot be deleted: delete.topic.enable is false
> delete nowhere
there is no topic with id AAAAAAAAAAAAAAAAAAAA_w
`)
}

func TestPartitionsChangeByEpochs(t *testing.T) {
	newWorld().play(t, `
> broker 1
> broker 2
> create orders rf=2
> lead orders 0 epochs=0,0 leader=2 isr=2
> lead orders 0 epochs=0,0 leader=1 isr=1,2
partition 0 of topic "orders" is at leader epoch 1 and partition epoch 1, not at 0 and 0
> print
__schedule.orders #2 schedule of #1 0:[1 2]leader 2 isr [2] epochs 1,1
orders #1 0:[1 2]leader 2 isr [2] epochs 1,1
> lead orders 0 epochs=1,1 leader=2 isr=2,1
> lead orders 0 epochs=1,2 leader=2 isr=2,1 elected=
> lead orders 0 epochs=2,3 leader=-1 isr=2
> print
__schedule.orders #2 schedule of #1 0:[1 2]leader -1 isr [2] epochs 3,4
orders #1 0:[1 2]leader -1 isr [2] epochs 3,4
> lead orders 0 epochs=3,4 leader=1 isr=2
leader 1 of partition 0 of topic "orders" is not among the in-sync replicas [2]
> lead orders 0 epochs=3,4 leader=1 isr=1,3
in-sync replicas [1 3] of partition 0 of topic "orders" are not a choice from its replicas [1 2]
> lead orders 0 epochs=3,4 leader=1 isr=
in-sync replicas [] of partition 0 of topic "orders" are not a choice from its replicas [1 2]
> lead orders 1 epochs=0,0 leader=1 isr=1
topic "orders" has no partition 1
`)
}

func TestItemsHaveTheirOwnOutcomes(t *testing.T) {
	w := newWorld()
	w.play(t, "> broker 1\n")
	err := w.apply(CreateTopics{Topics: []NewTopic{
		{Name: "a", Partitions: 1, ReplicationFactor: 1},
		{Name: "a", Partitions: 1, ReplicationFactor: 1},
		{Name: "b!", Partitions: 1, ReplicationFactor: 1},
		{Name: "c", Partitions: 1, ReplicationFactor: 1},
	}})
	var refusal *Error
	if !errors.Is(ItemError(err, 1), TopicExists) || !errors.As(ItemError(err, 2), &refusal) || refusal.Kind != InvalidTopicName {
		t.Errorf("%v", err)
	}
	if ItemError(err, 0) != nil || ItemError(err, 3) != nil || w.img.TopicCount() != 4 {
		t.Errorf("%v; %d topics", err, w.img.TopicCount())
	}
	if !errors.Is(err, InvalidTopicName) || errors.Is(err, UnknownTopic) {
		t.Errorf("%v", err)
	}
	checkImage(t, w.img)
}

func TestConfigRefusalsCanBeInspected(t *testing.T) {
	w := newWorld()
	w.play(t, "> broker 1\n> create orders\n")
	err := w.apply(SetTopicConfig{Topic: "orders", Edit: ConfigEdit{Replace: config.Values{"segment.ms": "0"}}})
	var value *config.ValueError
	if !errors.Is(err, InvalidConfig) || !errors.As(err, &value) || value.Def.Name != "segment.ms" {
		t.Errorf("%v", err)
	}
}

func TestChangesOfOnePartitionInOneCommandAddUp(t *testing.T) {
	w := newWorld()
	w.play(t, "> broker 1\n> create orders p=2\n")
	id := w.id("orders")
	change, err := Decide(w.img, ChangePartitions{Partitions: []PartitionChange{
		{Topic: id, Partition: 0, Leader: 1, ISR: []int32{1}, Elected: true},
		{Topic: id, Partition: 1, Leader: 1, ISR: []int32{1}, Elected: true},
		{Topic: id, Partition: 0, LeaderEpoch: 1, PartitionEpoch: 1, Leader: NoLeader, ISR: []int32{1}},
	}}, w.now, w.newID)
	if err != nil || len(change.Topics) != 2 {
		t.Fatalf("%d topics written, error %v", len(change.Topics), err)
	}
	w.img = w.img.With(change)
	w.play(t, `
> print
__schedule.orders #2 schedule of #1 0:[1]leader -1 isr [1] epochs 2,2 1:[1]leader 1 isr [1] epochs 1,1
orders #1 0:[1]leader -1 isr [1] epochs 2,2 1:[1]leader 1 isr [1] epochs 1,1
`)
}

func TestRegisteringAgainChangesNothing(t *testing.T) {
	w := newWorld()
	b := RegisterBroker{Broker: Broker{ID: 1, Endpoints: []Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092}}}}
	if err := w.apply(b); err != nil {
		t.Fatal(err)
	}
	if change, _ := Decide(w.img, b, w.now, w.newID); !change.Empty() {
		t.Errorf("%+v", change)
	}
	b.Broker.Rack = "r"
	if err := w.apply(b); err != nil {
		t.Fatal(err)
	}
	if got, _ := w.img.Broker(1); got.Rack != "r" || len(w.img.Brokers()) != 1 {
		t.Errorf("%+v", got)
	}
	if err := w.apply(RegisterBroker{Broker: Broker{ID: -1}}); !errors.Is(err, InvalidRequest) {
		t.Error(err)
	}
}

// Every partition is elected anew at each start: that must not take a copy of the topic for each of
// its partitions.
func BenchmarkElectPartitionsOfALargeTopic(b *testing.B) {
	const n = 10_000
	topic := &Topic{Name: "orders", ID: TopicID{1}, Partitions: make([]Partition, n)}
	elect := ChangePartitions{Partitions: make([]PartitionChange, n)}
	for i := range n {
		topic.Partitions[i] = Partition{Replicas: []int32{1}, ISR: []int32{1}, Leader: 1}
		elect.Partitions[i] = PartitionChange{Topic: topic.ID, Partition: int32(i), Leader: 1, ISR: []int32{1}, Elected: true}
	}
	w := newWorld()
	img := w.img.With(Change{Topics: []*Topic{topic}})
	for b.Loop() {
		if _, err := Decide(img, elect, w.now, w.newID); err != nil {
			b.Fatal(err)
		}
	}
}
