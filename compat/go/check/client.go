// Package check holds the checks of compat/checks_test.go as scenarios over a small interface, so
// that the Go suites differ only in how their client does each step.
package check

import (
	"context"
	"errors"
	"time"
)

// What an adapter's error must be (errors.Is) where a check cares.
var (
	ErrUnsupported   = errors.New("the client cannot do this") // makes the whole check unsupported
	ErrInvalidRecord = errors.New("INVALID_RECORD")
	ErrTopicExists   = errors.New("TOPIC_ALREADY_EXISTS")
)

// Partitions of the topics that groups consume. Every other topic has one partition.
const groupPartitions = 4

// Client is a Kafka client under test. Its methods may be called from several goroutines.
type Client interface {
	// Produce sends records to the partition each names and returns the offsets the broker gave
	// them, or -1 where it told none.
	Produce(ctx context.Context, topic string, opts ProduceOptions, records ...Record) ([]int64, error)

	// Consume starts to read partition 0 at from. It returns when that position is known.
	Consume(ctx context.Context, topic string, from Start, opts ConsumeOptions) (Consumer, error)

	// Join starts a member of a group. It returns at once; the member starts at the committed
	// offsets, or at the beginning where there is none.
	Join(ctx context.Context, group, topic string, opts JoinOptions) (Member, error)

	// Transactional starts a producer with a transactional id, which fences any other with that id.
	Transactional(ctx context.Context, id string) (Transactional, error)

	// Relay does what an application between two topics does: in one transaction of a producer with
	// this id it reads n records of partition 0 of from, as a consumer of the group, sends each
	// value on to partition 0 of to, and the position of the group along with them; then it commits
	// or aborts.
	Relay(ctx context.Context, id, group, from, to string, n int, commit bool) error

	Admin
}

// Transactional is a transactional producer, in one transaction after the other.
type Transactional interface {
	Begin() error
	// Produce sends records to the partition each names, in the transaction, and waits for their answers.
	Produce(ctx context.Context, topic string, records ...Record) error
	// End commits or aborts.
	End(ctx context.Context, commit bool) error
	Close()
}

// Record is a record to be produced, or one that was read.
type Record struct {
	Partition int32
	Offset    int64
	Key       string
	Value     string
	Headers   map[string]string
	Time      time.Time

	// HighWatermark is the high watermark that came with the record, -1 if the client does not tell.
	HighWatermark int64
}

// ProduceOptions of one call.
type ProduceOptions struct {
	Codec      string // none, gzip, snappy, lz4, zstd
	Acks       string // 0, 1, all
	Idempotent bool   // then acks is all
}

// ConsumeOptions of one consumer. Every consumer waits at most 500 ms for data in a fetch.
type ConsumeOptions struct {
	ReadCommitted bool
}

// JoinOptions of one member.
type JoinOptions struct {
	ConsumerProtocol bool // KIP-848
}

// Start is where a consumer starts: one of Beginning, End, an offset or a time.
type Start struct {
	Offset int64     // or Beginning or End
	Time   time.Time // if not zero: the first record at or after it
}

// Values of Start.Offset, as ListOffsets knows them.
const (
	Beginning int64 = -2
	End       int64 = -1
)

// Consumer reads one partition.
type Consumer interface {
	// Next returns the next record, or an error when ctx is done.
	Next(ctx context.Context) (Record, error)
	// Fetches is how many fetch requests the consumer has sent so far.
	Fetches() int
	Close()
}

// Member is a member of a group that reads what it is assigned.
type Member interface {
	// Assigned is how many partitions the member has now.
	Assigned() int
	// Records is what the member has read so far.
	Records() []Record
	// Commit commits the member's positions.
	Commit(ctx context.Context) error
	// Leave leaves the group without another commit.
	Leave()
}

// Admin is what administrators do. A method may return ErrUnsupported.
type Admin interface {
	CreateTopic(ctx context.Context, topic string, partitions int, configs map[string]string) error
	// Leaders returns the leader of each partition.
	Leaders(ctx context.Context, topic string) ([]int32, error)
	CreatePartitions(ctx context.Context, topic string, total int) error
	DeleteTopic(ctx context.Context, topic string) error
	Topics(ctx context.Context) ([]string, error)
	Configs(ctx context.Context, topic string) (map[string]string, error)
	AlterConfig(ctx context.Context, topic, key, value string) error
	// Offsets returns the earliest and latest offset of partition 0.
	Offsets(ctx context.Context, topic string) (earliest, latest int64, err error)
	DeleteRecords(ctx context.Context, topic string, before int64) error
	Groups(ctx context.Context) ([]string, error)
	DescribeGroup(ctx context.Context, group string) (state string, members int, err error)
	// GroupType is what ListGroups says: classic or consumer.
	GroupType(ctx context.Context, group string) (string, error)
	DeleteGroup(ctx context.Context, group string) error
	// Commit and Committed are the committed offset of partition 0, of a group without members.
	Commit(ctx context.Context, group, topic string, offset int64) error
	Committed(ctx context.Context, group, topic string) (int64, error)
	// LogDirSize is the size of the topic in all log directories.
	LogDirSize(ctx context.Context, topic string) (int64, error)
	// Brokers returns the address of each broker.
	Brokers(ctx context.Context) ([]string, error)
}
