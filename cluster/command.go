package cluster

import (
	"strconv"

	"github.com/morrowmq/morrow/cluster/config"
)

// Command is a request to change the metadata: one of the types of this file.
type Command interface {
	decide(d *decision) (Change, error)
}

// CreateTopics creates topics, each with its schedule topic. Each topic has its
// own outcome: see BatchError.
type CreateTopics struct {
	Topics       []NewTopic
	ValidateOnly bool
}

// NewTopic is a topic to be created.
type NewTopic struct {
	Name              string
	Partitions        int32 // -1: num.partitions
	ReplicationFactor int32 // -1: default.replication.factor

	// Assignment gives the replicas of each partition, the preferred leader
	// first; nil lets the controller place them. With it, Partitions and
	// ReplicationFactor are -1.
	Assignment map[int32][]int32

	Config config.Values

	// Internal marks a topic the broker makes for itself: it may have a
	// reserved name and gets no schedule.
	Internal bool
}

// DeleteTopics deletes topics and their schedule topics. What they owned is
// listed in Image.Deletions until its owners confirm it gone. Each topic has
// its own outcome: see BatchError.
type DeleteTopics struct {
	IDs []TopicID
}

// CreatePartitions grows topics together with their schedule topics. Each topic
// has its own outcome: see BatchError.
type CreatePartitions struct {
	Topics       []Growth
	ValidateOnly bool
}

// Growth is a topic to be given more partitions.
type Growth struct {
	Name  string
	Count int32 // partitions afterwards, in all

	// Assignment gives the replicas of the new partitions in order; nil lets
	// the controller place them.
	Assignment [][]int32
}

// SetTopicConfig changes what is set on a topic.
type SetTopicConfig struct {
	Topic        string
	Edit         ConfigEdit
	ValidateOnly bool
}

// SetBrokerConfig changes what is set on a broker, or on all brokers, at run
// time.
type SetBrokerConfig struct {
	Broker       int32 // AllBrokers: the default of all
	Edit         ConfigEdit
	ValidateOnly bool
}

// AllBrokers stands for the default of all brokers in SetBrokerConfig.
const AllBrokers int32 = -1

// SetGroupConfig changes what is set on a consumer group, which need not exist.
type SetGroupConfig struct {
	Group        string
	Edit         ConfigEdit
	ValidateOnly bool
}

// ConfigEdit is a change of a set of overrides: replaced as a whole by Replace
// (AlterConfigs) or, where that is nil, step by step (IncrementalAlterConfigs,
// KIP-339).
type ConfigEdit struct {
	Replace config.Values
	Ops     []ConfigOp
}

// ConfigOp is one step of a ConfigEdit.
type ConfigOp struct {
	Kind  OpKind
	Name  string
	Value string
}

// OpKind is what a ConfigOp does. The numbers are those of
// IncrementalAlterConfigs.
type OpKind int8

const (
	OpSet      OpKind = 0
	OpDelete   OpKind = 1 // back to the default
	OpAppend   OpKind = 2 // adds to a list what it does not hold
	OpSubtract OpKind = 3 // takes from a list
)

// RegisterBroker records a broker and where it is reached, or what has changed
// about it.
type RegisterBroker struct {
	Broker Broker
}

// ChangePartitions changes leaders and in-sync replicas of partitions, and of
// the schedule partitions bound to them, where nobody else did so first. Each
// partition has its own outcome: see BatchError.
type ChangePartitions struct {
	Partitions []PartitionChange
}

// PartitionChange is the change of one partition.
type PartitionChange struct {
	Topic     TopicID
	Partition int32

	// The epochs the caller has seen. Others are refused with StaleEpoch.
	LeaderEpoch    int32
	PartitionEpoch int32

	Leader int32 // NoLeader: none
	ISR    []int32

	// Elected begins a new leader epoch even if the leader stays the same: one
	// that may have lost what it had not synced must not go on in the old one.
	Elected bool
}

// ConfirmDeleted records that something deleted topics have owned is gone.
// Topics of which nothing is left are forgotten. Repeating it is harmless.
type ConfirmDeleted struct {
	IDs  []TopicID
	What Cleanup
}

// Cleanup names something a deleted topic leaves behind.
type Cleanup string

const (
	CleanupOffsets Cleanup = "offsets" // committed offsets of consumer groups
	CleanupTier    Cleanup = "tier"    // objects in the tier
)

// CleanupData is the data of the topic's partitions in a broker's directories.
func CleanupData(broker int32) Cleanup {
	return Cleanup("data/" + strconv.Itoa(int(broker)))
}
