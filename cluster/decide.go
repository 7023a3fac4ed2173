package cluster

import (
	"maps"
	"slices"
	"time"
)

// Decide is the controller: it says what a command changes, given the metadata
// it is decided on. It is a pure function; newID must return a fresh id each
// time it is called.
//
// A refusal is an *Error. Commands of several items answer a *BatchError when
// items were refused, together with the change that the others make.
func Decide(img *Image, c Command, now time.Time, newID func() TopicID) (Change, error) {
	return c.decide(&decision{img: img, now: now, newID: newID})
}

// decision is what a command is decided on.
type decision struct {
	img   *Image
	now   time.Time
	newID func() TopicID
}

// maxAdded bounds the partitions that one command adds, as Kafka does: a request
// has room for a million topics, and each would be decided on the image that the
// ones before it have left.
const maxAdded = 10_000

// each decides the items of a command in order, every one on the image that the
// ones before it have left.
func each[T any](d *decision, items []T, decide func(*decision, T) (Change, error)) (Change, error) {
	var all Change
	errs := make([]error, len(items))
	latest := map[TopicID]int{} // position in all.Topics
	step := *d
	added := 0
	for i, item := range items {
		if added >= maxAdded {
			errs[i] = refuse(InvalidPartitions, "the request adds more than %d partitions, expected several requests", maxAdded)
			continue
		}
		c, err := decide(&step, item)
		if err != nil {
			errs[i] = err
			continue
		}
		added += step.img.added(c)
		step.img = step.img.With(c)
		for _, t := range c.Topics {
			if at, ok := latest[t.ID]; ok {
				all.Topics[at] = t
				continue
			}
			latest[t.ID] = len(all.Topics)
			all.Topics = append(all.Topics, t)
		}
		all.Dropped = append(all.Dropped, c.Dropped...)
		all.Deletions = append(all.Deletions, c.Deletions...)
	}
	return all, batchError(errs)
}

// added is the number of partitions that a change adds, those of schedules not counted.
func (img *Image) added(c Change) int {
	n := 0
	for _, t := range c.Topics {
		if IsReserved(t.Name) {
			continue
		}
		n += len(t.Partitions)
		if old, ok := img.TopicByID(t.ID); ok {
			n -= len(old.Partitions)
		}
	}
	return n
}

func (c DeleteTopics) decide(d *decision) (Change, error) {
	return each(d, c.IDs, deleteTopic)
}

func deleteTopic(d *decision, id TopicID) (Change, error) {
	t, ok := d.img.TopicByID(id)
	switch {
	case !ok:
		return Change{}, refuse(UnknownTopic, "there is no topic with id %s", id)
	case t.Internal:
		return Change{}, refuse(InternalTopic, "topic %q belongs to the broker and cannot be deleted", t.Name)
	case !d.img.BrokerConfig().Bool("delete.topic.enable"):
		return Change{}, refuse(TopicDeletionDisabled, "topic %q cannot be deleted: delete.topic.enable is false", t.Name)
	}
	change := Change{
		Dropped:   []TopicID{t.ID},
		Deletions: []*Deletion{deletionOf(t, d.now, CleanupOffsets)},
	}
	if s, ok := d.img.TopicByID(t.Schedule); ok {
		change.Dropped = append(change.Dropped, s.ID)
		change.Deletions = append(change.Deletions, deletionOf(s, d.now))
	}
	return change, nil
}

// deletionOf lists what a topic leaves behind: data on every replica, objects
// in the tier, and more.
func deletionOf(t *Topic, now time.Time, more ...Cleanup) *Deletion {
	holders := map[int32]struct{}{}
	for _, p := range t.Partitions {
		for _, broker := range p.Replicas {
			holders[broker] = struct{}{}
		}
	}
	left := append([]Cleanup{CleanupTier}, more...)
	for _, broker := range slices.Sorted(maps.Keys(holders)) {
		left = append(left, CleanupData(broker))
	}
	return &Deletion{
		ID: t.ID, Name: t.Name, Partitions: int32(len(t.Partitions)),
		Deleted: now.UnixMilli(), Left: left,
	}
}

func (c ConfirmDeleted) decide(d *decision) (Change, error) {
	var change Change
	for _, id := range c.IDs {
		was, ok := d.img.Deletion(id)
		if !ok || !slices.Contains(was.Left, c.What) {
			continue
		}
		still := *was
		still.Left = slices.DeleteFunc(slices.Clone(was.Left), func(left Cleanup) bool { return left == c.What })
		if len(still.Left) == 0 {
			change.Cleaned = append(change.Cleaned, id)
		} else {
			change.Deletions = append(change.Deletions, &still)
		}
	}
	return change, nil
}

func (c RegisterBroker) decide(d *decision) (Change, error) {
	if c.Broker.ID < 0 {
		return Change{}, refuse(InvalidRequest, "broker id %d must not be negative", c.Broker.ID)
	}
	if was, ok := d.img.Broker(c.Broker.ID); ok && was.Rack == c.Broker.Rack && slices.Equal(was.Endpoints, c.Broker.Endpoints) {
		return Change{}, nil
	}
	b := c.Broker
	b.Endpoints = slices.Clone(b.Endpoints)
	return Change{Brokers: []Broker{b}}, nil
}

func (c ChangePartitions) decide(d *decision) (Change, error) {
	e := partitionEdit{img: d.img, topics: map[TopicID]*Topic{}}
	errs := make([]error, len(c.Partitions))
	for i, p := range c.Partitions {
		errs[i] = e.change(p)
	}
	return e.made, batchError(errs)
}

// partitionEdit changes partitions one after the other, and copies each topic once: a start changes
// all partitions there are.
type partitionEdit struct {
	img    *Image
	topics map[TopicID]*Topic // the copies
	made   Change
}

func (e *partitionEdit) change(c PartitionChange) error {
	t, ok := e.topic(c.Topic)
	switch {
	case !ok:
		return refuse(UnknownTopic, "there is no topic with id %s", c.Topic)
	case t.IsSchedule():
		return refuse(InternalTopic, "partitions of %q change with those of the topic whose schedule it is", t.Name)
	case c.Partition < 0 || int(c.Partition) >= len(t.Partitions):
		return refuse(InvalidRequest, "topic %q has no partition %d", t.Name, c.Partition)
	}
	next, err := c.apply(t.Name, t.Partitions[c.Partition])
	if err != nil {
		return err
	}
	e.put(t, c.Partition, next)
	if s, ok := e.topic(t.Schedule); ok {
		e.put(s, c.Partition, next)
	}
	return nil
}

// topic returns a topic as the changes before have left it.
func (e *partitionEdit) topic(id TopicID) (*Topic, bool) {
	if t, ok := e.topics[id]; ok {
		return t, true
	}
	return e.img.TopicByID(id)
}

func (e *partitionEdit) put(t *Topic, number int32, p Partition) {
	edited, ok := e.topics[t.ID]
	if !ok {
		edited = new(*t)
		edited.Partitions = slices.Clone(t.Partitions)
		e.topics[t.ID] = edited
		e.made.Topics = append(e.made.Topics, edited)
	}
	edited.Partitions[number] = p
}

// apply returns the partition after the change.
func (c PartitionChange) apply(topic string, p Partition) (Partition, error) {
	switch {
	case c.LeaderEpoch != p.LeaderEpoch || c.PartitionEpoch != p.PartitionEpoch:
		return p, refuse(StaleEpoch, "partition %d of topic %q is at leader epoch %d and partition epoch %d, not at %d and %d",
			c.Partition, topic, p.LeaderEpoch, p.PartitionEpoch, c.LeaderEpoch, c.PartitionEpoch)
	case len(c.ISR) == 0 || !distinct(c.ISR) || !subset(c.ISR, p.Replicas):
		return p, refuse(InvalidRequest, "in-sync replicas %v of partition %d of topic %q are not a choice from its replicas %v",
			c.ISR, c.Partition, topic, p.Replicas)
	case c.Leader != NoLeader && !slices.Contains(c.ISR, c.Leader):
		return p, refuse(InvalidRequest, "leader %d of partition %d of topic %q is not among the in-sync replicas %v",
			c.Leader, c.Partition, topic, c.ISR)
	}
	if c.Leader != p.Leader || c.Elected {
		p.LeaderEpoch++
	}
	p.PartitionEpoch++
	p.Leader, p.ISR = c.Leader, slices.Clone(c.ISR)
	return p, nil
}

func distinct(ids []int32) bool {
	seen := make(map[int32]struct{}, len(ids))
	for _, id := range ids {
		seen[id] = struct{}{}
	}
	return len(seen) == len(ids)
}

func subset(some, of []int32) bool {
	return !slices.ContainsFunc(some, func(id int32) bool { return !slices.Contains(of, id) })
}
