package group

import (
	"math"
	"slices"
	"time"
)

// Config holds the limits of groups and offsets. It is read anew for every
// decision, so a changed value applies from the next request on; deadlines that
// are already set keep their value. The comments give Kafka's names.
type Config struct {
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int           // group.max.size: members of a classic group

	ConsumerSessionTimeout    time.Duration // group.consumer.session.timeout.ms
	ConsumerHeartbeatInterval time.Duration // group.consumer.heartbeat.interval.ms
	// OfGroup returns a consumer group's own consumer.session.timeout.ms and
	// consumer.heartbeat.interval.ms; nil: no group has its own.
	OfGroup                 func(group string) (session, heartbeat time.Duration)
	ConsumerMaxSize         int             // group.consumer.max.size
	ConsumerAssignors       []string        // group.consumer.assignors; the first is the default
	ConsumerMigrationPolicy MigrationPolicy // group.consumer.migration.policy

	ShareSessionTimeout    time.Duration // group.share.session.timeout.ms
	ShareHeartbeatInterval time.Duration // group.share.heartbeat.interval.ms
	// OfShareGroup is OfGroup for share groups: share.session.timeout.ms and
	// share.heartbeat.interval.ms.
	OfShareGroup func(group string) (session, heartbeat time.Duration)
	ShareMaxSize int // group.share.max.size

	OffsetsRetention              time.Duration // offsets.retention.minutes
	OffsetsRetentionCheckInterval time.Duration // offsets.retention.check.interval.ms
	OffsetMetadataMaxBytes        int           // offset.metadata.max.bytes
	OffsetCommitTimeout           time.Duration // offsets.commit.timeout.ms: bounds every wait for the journal
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		MinSessionTimeout:     6 * time.Second,
		MaxSessionTimeout:     30 * time.Minute,
		InitialRebalanceDelay: 3 * time.Second,
		MaxSize:               math.MaxInt32,

		ConsumerSessionTimeout:    45 * time.Second,
		ConsumerHeartbeatInterval: 5 * time.Second,
		ConsumerMaxSize:           math.MaxInt32,
		ConsumerAssignors:         []string{AssignorUniform, AssignorRange},
		ConsumerMigrationPolicy:   MigrationBidirectional,

		ShareSessionTimeout:    45 * time.Second,
		ShareHeartbeatInterval: 5 * time.Second,
		ShareMaxSize:           200,

		OffsetsRetention:              7 * 24 * time.Hour,
		OffsetsRetentionCheckInterval: 10 * time.Minute,
		OffsetMetadataMaxBytes:        4096,
		OffsetCommitTimeout:           5 * time.Second,
	}
}

// assignors returns the assignors members may choose from, the default first.
func (c Config) assignors() []string {
	known := slices.DeleteFunc(slices.Clone(c.ConsumerAssignors), func(name string) bool { return assignors[name] == nil })
	if len(known) == 0 {
		return []string{AssignorUniform}
	}
	return known
}

// consumer returns the session timeout and the heartbeat interval of a consumer group.
func (c Config) consumer(group string) (session, heartbeat time.Duration) {
	if c.OfGroup != nil {
		return c.OfGroup(group)
	}
	return c.ConsumerSessionTimeout, c.ConsumerHeartbeatInterval
}

// MigrationPolicy says in which direction a group with members may change
// between the classic and the consumer protocol while it is running. An empty
// group always may.
type MigrationPolicy string

// The values of group.consumer.migration.policy.
const (
	MigrationDisabled      MigrationPolicy = "disabled"
	MigrationUpgrade       MigrationPolicy = "upgrade"
	MigrationDowngrade     MigrationPolicy = "downgrade"
	MigrationBidirectional MigrationPolicy = "bidirectional"
)

func (p MigrationPolicy) upgrade() bool {
	return p == MigrationUpgrade || p == MigrationBidirectional
}

func (p MigrationPolicy) downgrade() bool {
	return p == MigrationDowngrade || p == MigrationBidirectional
}

// The server-side assignors of KIP-848.
const (
	AssignorUniform = "uniform"
	AssignorRange   = "range"
)
