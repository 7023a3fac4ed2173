package cluster

import (
	"maps"

	"github.com/morrowmq/morrow/cluster/config"
)

// Recall describes a topic whose metadata was lost while its data was not: it
// keeps its id, and goes on in a leader epoch that was never used.
type Recall struct {
	Name        string
	ID          TopicID
	Schedule    TopicID // zero: its schedule topic is made anew
	Config      config.Values
	Partitions  int32
	Broker      int32 // the only replica of every partition
	LeaderEpoch int32
}

// Topics returns the topic and its schedule topic.
func (r Recall) Topics() []*Topic {
	schedule := r.Schedule
	if schedule.IsZero() {
		schedule = NewTopicID()
	}
	partitions := make([]Partition, r.Partitions)
	for n := range partitions {
		replicas := []int32{r.Broker}
		partitions[n] = Partition{Replicas: replicas, ISR: replicas, Leader: r.Broker, LeaderEpoch: r.LeaderEpoch}
	}
	return []*Topic{
		{Name: r.Name, ID: r.ID, Config: maps.Clone(r.Config), Partitions: partitions, Schedule: schedule},
		{Name: scheduleName(r.Name), ID: schedule, Internal: true, Partitions: partitions, ScheduleOf: r.ID},
	}
}
