package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/cluster/config"
)

// model is the simplest thing that behaves as Decide and With must: what
// exists, by name, with nothing shared and nothing cached.
type model struct {
	topics  map[string]*modelTopic
	deleted map[TopicID]map[Cleanup]bool
	brokers map[int32]bool
	cluster config.Values
}

type modelTopic struct {
	partitions int32
	factor     int32
	retention  string // override of retention.ms; empty: none
	epochs     map[int32][2]int32
}

// TestRandomHistoriesAgreeWithTheModel also checks that images already handed
// out never change, and that Since tells exactly what is different.
func TestRandomHistoriesAgreeWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{
			world: newWorld(),
			model: model{
				topics: map[string]*modelTopic{}, deleted: map[TopicID]map[Cleanup]bool{},
				brokers: map[int32]bool{}, cluster: config.Values{},
			},
			known: map[TopicID]*Topic{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"":         m.check,
			"broker":   m.broker,
			"create":   m.create,
			"delete":   m.delete,
			"confirm":  m.confirm,
			"grow":     m.grow,
			"retain":   m.retain,
			"defaults": m.defaults,
			"lead":     m.lead,
		})
	})
}

type machine struct {
	world *world
	model model

	old      *Image // an image of the past, and what it printed then
	oldPrint string

	known map[TopicID]*Topic // topics as Since has told
	seen  *Image
}

// expect applies a command that must succeed or be refused with the given kind.
func (m *machine) expect(t *rapid.T, c Command, want Kind) {
	m.old, m.oldPrint = m.world.img, printImage(m.world.img)
	err := m.world.apply(c)
	if want == 0 && err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	if want != 0 && kindOf(err) != want {
		t.Fatalf("%+v: %v, want %v", c, err, want)
	}
}

func kindOf(err error) Kind {
	for k := range kindNames {
		if k > 0 && err != nil && ItemError(err, 0) != nil && isKind(ItemError(err, 0), Kind(k)) {
			return Kind(k)
		}
	}
	return 0
}

func isKind(err error, k Kind) bool {
	refusal, ok := errors.AsType[*Error](err)
	return ok && refusal.Kind == k
}

var names = []string{"a.b", "a_b", "c", "d", strings.Repeat("e", 245)}

func (m *machine) name(t *rapid.T) string { return rapid.SampledFrom(names).Draw(t, "name") }

// existing returns a topic that exists, skipping the step if there is none.
func (m *machine) existing(t *rapid.T) (string, *modelTopic) {
	if len(m.model.topics) == 0 {
		t.Skip("no topic")
	}
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(m.model.topics))).Draw(t, "topic")
	return name, m.model.topics[name]
}

func (m *machine) broker(t *rapid.T) {
	id := rapid.Int32Range(1, 3).Draw(t, "id")
	m.model.brokers[id] = true
	m.expect(t, RegisterBroker{Broker: Broker{ID: id}}, 0)
}

func (m *machine) create(t *rapid.T) {
	name := m.name(t)
	partitions := rapid.Int32Range(0, 3).Draw(t, "partitions")
	factor := rapid.Int32Range(1, 3).Draw(t, "factor")
	c := CreateTopics{Topics: []NewTopic{{Name: name, Partitions: partitions, ReplicationFactor: factor}}}
	if want := m.refusalOf(name, partitions, factor); want != 0 {
		m.expect(t, c, want)
		return
	}
	m.expect(t, c, 0)
	m.model.topics[name] = &modelTopic{partitions: partitions, factor: factor, epochs: map[int32][2]int32{}}
}

func (m *machine) refusalOf(name string, partitions, factor int32) Kind {
	for other := range m.model.topics {
		if other == name {
			return TopicExists
		}
		if collisionKey(other) == collisionKey(name) {
			return InvalidTopicName
		}
	}
	switch {
	case partitions == 0:
		return InvalidPartitions
	case int(factor) > len(m.model.brokers):
		return InvalidReplicationFactor
	}
	return 0
}

func (m *machine) delete(t *rapid.T) {
	name, _ := m.existing(t)
	topic, _ := m.world.img.Topic(name)
	m.expect(t, DeleteTopics{IDs: []TopicID{topic.ID}}, 0)
	delete(m.model.topics, name)
	left := func(more ...Cleanup) map[Cleanup]bool {
		all := map[Cleanup]bool{CleanupTier: true}
		for _, p := range topic.Partitions {
			for _, broker := range p.Replicas {
				all[CleanupData(broker)] = true
			}
		}
		for _, what := range more {
			all[what] = true
		}
		return all
	}
	m.model.deleted[topic.ID] = left(CleanupOffsets)
	m.model.deleted[topic.Schedule] = left()
}

func (m *machine) confirm(t *rapid.T) {
	deletions := m.world.img.Deletions()
	if len(deletions) == 0 {
		t.Skip("nothing deleted")
	}
	d := rapid.SampledFrom(deletions).Draw(t, "deletion")
	what := rapid.SampledFrom([]Cleanup{CleanupTier, CleanupOffsets, CleanupData(1), CleanupData(2), CleanupData(3)}).Draw(t, "what")
	m.expect(t, ConfirmDeleted{IDs: []TopicID{d.ID, {15: 0xff}}, What: what}, 0)
	delete(m.model.deleted[d.ID], what)
	if len(m.model.deleted[d.ID]) == 0 {
		delete(m.model.deleted, d.ID)
	}
}

func (m *machine) grow(t *rapid.T) {
	name, topic := m.existing(t)
	count := rapid.Int32Range(1, 5).Draw(t, "count")
	c := CreatePartitions{Topics: []Growth{{Name: name, Count: count}}}
	if count <= topic.partitions {
		m.expect(t, c, InvalidPartitions)
		return
	}
	m.expect(t, c, 0)
	topic.partitions = count
}

func (m *machine) retain(t *rapid.T) {
	name, topic := m.existing(t)
	value := rapid.SampledFrom([]string{"1", "-1", "x", ""}).Draw(t, "retention.ms")
	op := ConfigOp{Kind: OpSet, Name: "retention.ms", Value: value}
	if value == "" {
		op.Kind = OpDelete
	}
	c := SetTopicConfig{Topic: name, Edit: ConfigEdit{Ops: []ConfigOp{op}}}
	if value == "x" {
		m.expect(t, c, InvalidConfig)
		return
	}
	m.expect(t, c, 0)
	topic.retention = value
}

func (m *machine) defaults(t *rapid.T) {
	value := rapid.SampledFrom([]string{"2", "3"}).Draw(t, "log.retention.ms")
	values := config.Values{"log.retention.ms": value}
	m.expect(t, SetBrokerConfig{Broker: AllBrokers, Edit: ConfigEdit{Replace: values}}, 0)
	m.model.cluster = values
}

func (m *machine) lead(t *rapid.T) {
	name, topic := m.existing(t)
	actual, _ := m.world.img.Topic(name)
	i := rapid.Int32Range(0, topic.partitions-1).Draw(t, "partition")
	stale := rapid.Bool().Draw(t, "stale")
	epochs := topic.epochs[i]
	p := actual.Partitions[i]
	c := PartitionChange{
		Topic: actual.ID, Partition: i, LeaderEpoch: epochs[0], PartitionEpoch: epochs[1],
		Leader: rapid.SampledFrom(p.Replicas).Draw(t, "leader"), ISR: p.Replicas,
	}
	if stale {
		c.PartitionEpoch++
		m.expect(t, ChangePartitions{Partitions: []PartitionChange{c}}, StaleEpoch)
		return
	}
	m.expect(t, ChangePartitions{Partitions: []PartitionChange{c}}, 0)
	if c.Leader != p.Leader {
		epochs[0]++
	}
	epochs[1]++
	topic.epochs[i] = epochs
}

// check compares the image with the model.
func (m *machine) check(t *rapid.T) {
	img := m.world.img
	checkImage(t, img)
	if m.old != nil && printImage(m.old) != m.oldPrint {
		t.Fatalf("an image handed out has changed from\n%s\nto\n%s", m.oldPrint, printImage(m.old))
	}
	clients := slices.DeleteFunc(slices.Clone(img.Topics()), func(t *Topic) bool { return t.Internal })
	if len(clients) != len(m.model.topics) {
		t.Fatalf("%d topics, want %d", len(clients), len(m.model.topics))
	}
	for name, want := range m.model.topics {
		m.checkTopic(t, name, want)
	}
	if got, want := fmt.Sprint(lefts(img.Deletions())), fmt.Sprint(m.model.deleted); got != want {
		t.Fatalf("deletions %s, want %s", got, want)
	}
	if again := img.With(m.world.last); printImage(again) != printImage(img) {
		t.Fatalf("a change applied twice is not the change applied once:\n%s", printImage(again))
	}
	m.checkSince(t)
}

func (m *machine) checkTopic(t *rapid.T, name string, want *modelTopic) {
	got, ok := m.world.img.Topic(name)
	if !ok || int32(len(got.Partitions)) != want.partitions {
		t.Fatalf("topic %s: %+v, want %+v", name, got, want)
	}
	for i, p := range got.Partitions {
		if int32(len(p.Replicas)) != want.factor || !slices.Contains(p.ISR, p.Leader) {
			t.Fatalf("partition %d of %s: %+v", i, name, p)
		}
		if epochs := want.epochs[int32(i)]; p.LeaderEpoch != epochs[0] || p.PartitionEpoch != epochs[1] {
			t.Fatalf("partition %d of %s: %+v, want epochs %v", i, name, p, epochs)
		}
	}
	retention := want.retention
	if retention == "" {
		retention = m.model.cluster["log.retention.ms"]
	}
	if retention == "" {
		retention = "604800000"
	}
	if fmt.Sprint(got.Resolved().RetentionMs) != retention {
		t.Fatalf("topic %s: retention %d, want %s", name, got.Resolved().RetentionMs, retention)
	}
}

// checkSince follows the topics by what Since tells alone.
func (m *machine) checkSince(t *rapid.T) {
	img := m.world.img
	img.Since(m.seen,
		func(topic *Topic) { m.known[topic.ID] = topic },
		func(id TopicID) { delete(m.known, id) })
	m.seen = img
	if len(m.known) != img.TopicCount() {
		t.Fatalf("Since has told of %d topics, there are %d", len(m.known), img.TopicCount())
	}
	for _, topic := range img.Topics() {
		if m.known[topic.ID] != topic {
			t.Fatalf("Since has not told of the change of %s", topic.Name)
		}
	}
}

func lefts(deletions []*Deletion) map[TopicID]map[Cleanup]bool {
	all := map[TopicID]map[Cleanup]bool{}
	for _, d := range deletions {
		all[d.ID] = map[Cleanup]bool{}
		for _, what := range d.Left {
			all[d.ID][what] = true
		}
	}
	return all
}
