package console

import (
	"context"
	"time"
)

// Broker is what the console asks of the broker itself. Its answers come from memory; only Group
// waits, as long as ctx lets it.
type Broker interface {
	// Version is that of the binary.
	Version() string
	// Standing is how the broker stands.
	Standing() Standing
	// Topics are all topics, by name.
	Topics() []Topic
	// Topic describes one topic, nil if there is none of that name.
	Topic(name string) *TopicDetail
	// Groups are the groups that are coordinated here, by id.
	Groups() []Group
	// Group describes one of them, nil if there is none of that id.
	Group(ctx context.Context, id string) (*GroupDetail, error)
}

// Standing is how a broker stands.
type Standing struct {
	Node    int32
	Cluster string
	Started time.Time
	// NotReady is why clients are not served; nil: they are.
	NotReady error
	// Disk is the file system of the data directory, zero if it cannot be asked.
	DiskFree, DiskTotal int64
}

// Topic is a topic at a glance.
type Topic struct {
	Name     string
	Internal bool
	// Partitions is how many there are, Missing how many of them are not served.
	Partitions, Missing int
	// Records counts offsets from the start to the end that consumers see, Bytes what lies on the disk.
	Records, Bytes int64
}

// TopicDetail is all of a topic.
type TopicDetail struct {
	Topic
	// Delays says that records can be delivered later there.
	Delays bool
	// Parts are the partitions by number.
	Parts []Partition
	// Settings are the configs that are not at their defaults, by name.
	Settings []Setting
}

// Partition is a partition of a topic.
type Partition struct {
	Number int32
	// Err is why it is not served. Then nothing else is known.
	Err error
	// LeaderEpoch is that of this broker.
	LeaderEpoch int32
	// Start and End are what consumers can read, LocalStart is where what is on the disk begins.
	Start, End, LocalStart int64
	Bytes                  int64
	Pending, Overdue       int64
	// Loading: what is pending is not known yet.
	Loading bool
}

// Records counts offsets.
func (p Partition) Records() int64 { return p.End - p.Start }

// Setting is a config and where its value comes from.
type Setting struct {
	Name, Value, Source string
}

// Group is a group at a glance.
type Group struct {
	ID string
	// Protocol is classic, consumer or share.
	Protocol string
	State    string
	Members  int
	// Lags are its topics, by name.
	Lags []Lag
}

// Lag sums up the lags of a topic.
type Lag struct {
	Topic      string
	Partitions int
	Records    int64
	// InFlight is what members of a share group hold.
	InFlight int64
}

// Records sums up the lags of all topics.
func (g Group) Records() (n int64) {
	for _, l := range g.Lags {
		n += l.Records
	}
	return n
}

// namedLags is how many topics of a group are named in a list.
const namedLags = 5

// Named are the first topics, Unnamed is how many there are besides.
func (g Group) Named() []Lag { return g.Lags[:min(namedLags, len(g.Lags))] }

// Unnamed counts the topics that Named leaves out.
func (g Group) Unnamed() int { return len(g.Lags) - len(g.Named()) }

// InFlight sums up what is in flight in all topics.
func (g Group) InFlight() (n int64) {
	for _, l := range g.Lags {
		n += l.InFlight
	}
	return n
}

// GroupDetail is all of a group.
type GroupDetail struct {
	Group
	List []Member
	// Positions are the committed offsets, by topic and partition. A share group has none.
	Positions []Position
}

// Member is a member of a group.
type Member struct {
	ID, Client, Host string
	// Assigned are its partitions as people read them: topic and numbers.
	Assigned []string
}

// Position is a committed offset.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
	// End is the end that consumers see, -1 if it is not known. Then there is no lag.
	End, Lag int64
}
