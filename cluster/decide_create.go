package cluster

import (
	"maps"
	"slices"

	"github.com/morrowmq/morrow/cluster/config"
)

func (c CreateTopics) decide(d *decision) (Change, error) {
	change, err := each(d, c.Topics, createTopic)
	change.DryRun = c.ValidateOnly
	return change, err
}

func createTopic(d *decision, n NewTopic) (Change, error) {
	if err := d.checkName(n); err != nil {
		return Change{}, err
	}
	if n.Internal {
		n.Config = journalConfig(n)
	}
	if err := config.ValidateTopicSet(d.img.Layers(d.img.node), n.Config); err != nil {
		return Change{}, refuseConfig(err)
	}
	replicas, err := d.replicas(n)
	if err != nil {
		return Change{}, err
	}
	t := &Topic{
		Name: n.Name, ID: d.freshID(), Internal: n.Internal,
		Config:     maps.Clone(n.Config),
		Partitions: newPartitions(replicas),
	}
	if n.Internal {
		return Change{Topics: []*Topic{t}}, nil
	}
	s := &Topic{
		Name: scheduleName(t.Name), ID: d.freshID(), Internal: true,
		Partitions: newPartitions(replicas),
		ScheduleOf: t.ID,
	}
	if _, taken := d.img.Topic(s.Name); taken {
		return Change{}, refuse(InvalidTopicName, "topic name %q cannot be used: its schedule would be called %q, which another topic's is", t.Name, s.Name)
	}
	t.Schedule = s.ID
	return Change{Topics: []*Topic{t, s}}, nil
}

func (d *decision) freshID() TopicID {
	for {
		id := d.newID()
		_, used := d.img.TopicByID(id)
		_, left := d.img.Deletion(id)
		if !used && !left && !id.reserved() {
			return id
		}
	}
}

func (d *decision) checkName(n NewTopic) error {
	if err := ValidateTopicName(n.Name); err != nil {
		return err
	}
	if _, ok := d.img.Topic(n.Name); ok {
		return refuse(TopicExists, "topic %q already exists", n.Name)
	}
	if n.Internal {
		return nil
	}
	if IsReserved(n.Name) {
		return refuse(InvalidTopicName, "topic name %q is reserved for the broker", n.Name)
	}
	if n.Name == kafkaMetadataTopic {
		return refuse(InvalidRequest, "topic name %q is that of Kafka's metadata log: tools would take the topic for it", n.Name)
	}
	if other, ok := d.img.collision.get(collisionKey(n.Name)); ok {
		return refuse(InvalidTopicName, "topic name %q collides with topic %q: names that differ in '.' and '_' only cannot be told apart in metric names", n.Name, other)
	}
	return nil
}

// replicas returns the replicas of every partition of a new topic: as the
// client wants them or as the controller places them.
func (d *decision) replicas(n NewTopic) ([][]int32, error) {
	if n.Assignment != nil {
		return d.assigned(n)
	}
	partitions, factor := n.Partitions, n.ReplicationFactor
	if partitions == -1 {
		partitions = int32(d.img.BrokerConfig().Int("num.partitions"))
	}
	if factor == -1 {
		factor = int32(d.img.BrokerConfig().Int("default.replication.factor"))
	}
	if partitions <= 0 {
		return nil, refuse(InvalidPartitions, "number of partitions %d must be at least 1, or -1 for the default", partitions)
	}
	if err := d.checkTotal(partitions); err != nil {
		return nil, err
	}
	return d.place(factor, 0, partitions)
}

// maxPartitions bounds one topic: a slip of the finger must not fill the disk
// with directories.
const maxPartitions = 100_000

func (d *decision) checkTotal(partitions int32) error {
	if partitions > maxPartitions {
		return refuse(InvalidPartitions, "number of partitions %d is more than a topic can have (%d)", partitions, maxPartitions)
	}
	return nil
}

// assigned checks the assignment a client gave for a new topic.
func (d *decision) assigned(n NewTopic) ([][]int32, error) {
	if n.Partitions != -1 || n.ReplicationFactor != -1 {
		return nil, refuse(InvalidRequest, "topic %q: number of partitions and replication factor must both be -1 where an assignment is given", n.Name)
	}
	if len(n.Assignment) == 0 {
		return nil, refuse(InvalidPartitions, "topic %q: the assignment must name at least one partition", n.Name)
	}
	replicas := make([][]int32, len(n.Assignment))
	for i := range replicas {
		r, ok := n.Assignment[int32(i)]
		if !ok {
			return nil, refuse(InvalidAssignment, "topic %q: the assignment must name partitions 0 to %d without a gap", n.Name, len(replicas)-1)
		}
		replicas[i] = r
	}
	return replicas, d.checkAssignment(replicas, len(replicas[0]))
}

// checkAssignment requires factor distinct, registered brokers per partition.
func (d *decision) checkAssignment(replicas [][]int32, factor int) error {
	for _, r := range replicas {
		switch {
		case len(r) == 0:
			return refuse(InvalidAssignment, "every partition must have at least one replica")
		case len(r) != factor:
			return refuse(InvalidAssignment, "all partitions must have the same number of replicas (%d): %v", factor, r)
		case !distinct(r):
			return refuse(InvalidAssignment, "replicas %v name a broker twice", r)
		}
		for _, id := range r {
			if _, ok := d.img.Broker(id); !ok {
				return refuse(InvalidAssignment, "replicas %v name broker %d, which is not registered", r, id)
			}
		}
	}
	return nil
}

func newPartitions(replicas [][]int32) []Partition {
	partitions := make([]Partition, len(replicas))
	for i, r := range replicas {
		partitions[i] = Partition{Replicas: slices.Clone(r), ISR: slices.Clone(r), Leader: r[0]}
	}
	return partitions
}

func (c CreatePartitions) decide(d *decision) (Change, error) {
	change, err := each(d, c.Topics, growTopic)
	change.DryRun = c.ValidateOnly
	return change, err
}

func growTopic(d *decision, g Growth) (Change, error) {
	t, ok := d.img.Topic(g.Name)
	if !ok {
		return Change{}, refuse(UnknownTopic, "there is no topic %q", g.Name)
	}
	if t.Internal {
		return Change{}, refuse(InternalTopic, "topic %q belongs to the broker and cannot be given partitions", t.Name)
	}
	replicas, err := d.growth(t, g)
	if err != nil {
		return Change{}, err
	}
	change := Change{Topics: []*Topic{t.grown(replicas)}}
	if s, ok := d.img.TopicByID(t.Schedule); ok {
		change.Topics = append(change.Topics, s.grown(replicas))
	}
	return change, nil
}

// growth returns the replicas of the partitions to be added.
func (d *decision) growth(t *Topic, g Growth) ([][]int32, error) {
	have := int32(len(t.Partitions))
	switch {
	case g.Count == have:
		return nil, refuse(InvalidPartitions, "topic %q already has %d partitions", t.Name, have)
	case g.Count < have:
		return nil, refuse(InvalidPartitions, "topic %q has %d partitions, which cannot be reduced to %d", t.Name, have, g.Count)
	}
	if err := d.checkTotal(g.Count); err != nil {
		return nil, err
	}
	factor := len(t.Partitions[0].Replicas)
	if g.Assignment == nil {
		return d.place(int32(factor), have, g.Count-have)
	}
	if len(g.Assignment) != int(g.Count-have) {
		return nil, refuse(InvalidAssignment, "topic %q grows by %d partitions, but %d assignments were given", t.Name, g.Count-have, len(g.Assignment))
	}
	return g.Assignment, d.checkAssignment(g.Assignment, factor)
}

func (t *Topic) grown(replicas [][]int32) *Topic {
	next := *t
	next.Partitions = append(slices.Clip(t.Partitions), newPartitions(replicas)...)
	return &next
}

// place spreads replicas over the brokers: leaders round robin, followers on
// the brokers after, neighbours in different racks where there are several
// (KIP-36). Each topic begins at another broker.
func (d *decision) place(factor, from, count int32) ([][]int32, error) {
	brokers := interleaveRacks(d.img.Brokers())
	switch {
	case factor <= 0:
		return nil, refuse(InvalidReplicationFactor, "replication factor %d must be at least 1, or -1 for the default", factor)
	case int(factor) > len(brokers):
		return nil, refuse(InvalidReplicationFactor, "replication factor %d is larger than the number of registered brokers, %d", factor, len(brokers))
	}
	start := d.img.TopicCount() + int(from)
	replicas := make([][]int32, count)
	for p := range replicas {
		for r := range int(factor) {
			replicas[p] = append(replicas[p], brokers[(start+p+r)%len(brokers)])
		}
	}
	return replicas, nil
}

// interleaveRacks orders brokers so that neighbours are in different racks as
// far as that is possible: the first of each rack, the second of each, ….
func interleaveRacks(brokers []Broker) []int32 {
	byRack := map[string][]int32{}
	for _, b := range brokers {
		byRack[b.Rack] = append(byRack[b.Rack], b.ID)
	}
	racks := slices.Sorted(maps.Keys(byRack))
	var order []int32
	for i := 0; len(order) < len(brokers); i++ {
		for _, rack := range racks {
			if i < len(byRack[rack]) {
				order = append(order, byRack[rack][i])
			}
		}
	}
	return order
}
