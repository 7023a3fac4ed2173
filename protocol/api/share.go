package api

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
)

// What the requests of share groups have in common. Package broker/group knows the members (keys 76
// and 77), package broker/share what they have done with their records; reading those is for the
// handlers.

// shared returns a share-partition and the partition it is of.
func (a *API) shared(group string, k fetchKey) (share.Key, *partition.Partition, error) {
	key := share.Key{Group: group, Topic: k.id, Partition: k.partition}
	p, err := a.partition(k.topicKey, true, k.partition)
	return key, p, err
}

// topicName is the name of a topic for the log, "" if it is gone.
func (a *API) topicName(k fetchKey) string {
	if t, err := find(a.store.Image(), k.topicKey, true); err == nil {
		return t.Name
	}
	return ""
}

// openShare begins a share-partition where the group's share.auto.offset.reset says.
func (a *API) openShare(ctx context.Context, key share.Key, p *partition.Partition) error {
	start, err := a.shareStart(ctx, key.Group, p)
	if err != nil {
		return err
	}
	return a.shares.Open(ctx, key, start)
}

func (a *API) shareStart(ctx context.Context, group string, p *partition.Partition) (int64, error) {
	c := a.store.Image().GroupConfig(group)
	reset, err := config.ParseShareReset(c.String("share.auto.offset.reset"))
	if err != nil {
		return 0, err // validated when it was set
	}
	timestamp := partition.Latest
	switch {
	case reset.Earliest:
		timestamp = partition.Earliest
	case reset.Age > 0:
		timestamp = a.now().Add(-reset.Age).UnixMilli()
	}
	committed := readsCommitted(c)
	found, err := p.ListOffset(ctx, timestamp, committed)
	if err == nil && found.Offset < 0 { // nothing is as young as that
		found, err = p.ListOffset(ctx, partition.Latest, committed)
	}
	return found.Offset, err
}

// readsCommitted reports whether a group is kept from what open and aborted transactions wrote.
func readsCommitted(group *config.Resolved) bool {
	return group.String("share.isolation.level") == "read_committed"
}

// ensureShareState creates the topic that keeps the state of share groups, with the first of them.
func (a *API) ensureShareState(ctx context.Context) error {
	if _, ok := a.store.Image().Topic(cluster.ShareStateTopic); ok {
		return nil
	}
	return a.createDefault(ctx, cluster.ShareStateTopic)
}

// shareStatePartition is the partition of __share_group_state that keeps a share-partition:
// group:topic-id:partition.
func (a *API) shareStatePartition(ctx context.Context, name string) (*cluster.Partition, error) {
	key, err := parseShareKey(name)
	if err != nil {
		return nil, err
	}
	return a.statePartition(ctx, cluster.ShareStateTopic, a.shares.FindShard(key))
}

// parseShareKey reads the name of a share-partition. Groups may have colons in theirs.
func parseShareKey(name string) (key share.Key, err error) {
	wrong := coded(kerr.InvalidRequest, "share coordinator key %q is not group:topic-id:partition", name)
	rest, number, ok := cutLast(name, ":")
	if !ok {
		return key, wrong
	}
	group, id, ok := cutLast(rest, ":")
	n, nerr := strconv.ParseInt(number, 10, 32)
	topic, terr := cluster.ParseTopicID(id)
	if !ok || group == "" || nerr != nil || n < 0 || terr != nil {
		return key, wrong
	}
	return share.Key{Group: group, Topic: topic, Partition: int32(n)}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// shareStateTopic is __share_group_state as Kafka makes it.
func (a *API) shareStateTopic() cluster.NewTopic {
	c := a.store.Image().BrokerConfig()
	return cluster.NewTopic{
		Name:              cluster.ShareStateTopic,
		Partitions:        int32(c.Int("share.coordinator.state.topic.num.partitions")),
		ReplicationFactor: min(int32(c.Int("share.coordinator.state.topic.replication.factor")), int32(len(a.store.Image().Brokers()))),
		Internal:          true,
		Config: config.Values{
			"compression.type":  "producer",
			"max.message.bytes": "8388608", // a share-partition with as many records in flight as it may have
			"segment.bytes":     c.String("share.coordinator.state.topic.segment.bytes"),
		},
	}
}

// checkShareMember refuses a member id that no client makes.
func checkShareMember(group, member *string) (shareMember, error) {
	m := shareMember{deref(group), deref(member)}
	switch {
	case m.group == "":
		return m, kerr.InvalidGroupID
	case m.member == "" || len(m.member) > 36:
		return m, coded(kerr.InvalidRequest, "the member id must have 1 to 36 characters")
	}
	return m, nil
}

// lockMillis is for how long members of a group hold records.
func (a *API) lockMillis(group string) int32 {
	return int32(a.store.Image().GroupConfig(group).Int("share.record.lock.duration.ms"))
}

// sharesAtOnce is how many share-partitions of one request are waited for at the same time.
const sharesAtOnce = 32

// shareAck is the acknowledgements of one partition in a request, and what became of them.
type shareAck struct {
	key  fetchKey
	acks []share.Ack
	err  error
}

// acknowledge applies the acknowledgements of a request, of every partition by itself.
func (a *API) acknowledge(ctx context.Context, m shareMember, renew bool, acks []shareAck) {
	if renew && !a.store.Image().GroupConfig(m.group).Bool("share.renew.acknowledge.enable") {
		renew = false
	}
	var g errgroup.Group
	g.SetLimit(sharesAtOnce)
	for i := range acks {
		g.Go(func() error {
			ack := &acks[i]
			var key share.Key
			if key, _, ack.err = a.shared(m.group, ack.key); ack.err == nil {
				ack.err = a.shares.Acknowledge(ctx, key, m.member, ack.acks, renew)
			}
			return nil
		})
	}
	_ = g.Wait() // errors are kept per partition
}

// leaveTimeout bounds how long the end of a connection waits for the records of its session to be
// given back. Those that are not come back when their lock ends.
const leaveTimeout = 5 * time.Second

// leaveShares gives back what a session that is over holds.
func (a *API) leaveShares(s *shareSession) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(sharesAtOnce)
	for _, k := range s.keys() {
		g.Go(func() error {
			err := a.shares.Leave(ctx, share.Key{Group: s.group, Topic: k.id, Partition: k.partition}, s.member)
			if err != nil && !errors.Is(err, share.ErrNotLeader) {
				a.logger.Warn("records of a share session not given back; they are when their lock ends", "group", s.group, "member", s.member, "err", err)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// shareEnd is the end of a range of an acknowledgement, of which requests name the last offset.
func shareEnd(last int64) int64 {
	if last == math.MaxInt64 {
		return last
	}
	return last + 1
}
