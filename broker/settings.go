package broker

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/protocol"
)

// Layout is as whom a broker runs and where it keeps what.
type Layout struct {
	NodeID  int32
	DataDir string
	TierURL string
}

// LayoutOf reads it from broker configs.
func LayoutOf(values config.Values) (Layout, error) {
	r := config.ResolveBroker(config.Layers{Static: values})
	l := Layout{NodeID: int32(r.Int("node.id")), DataDir: r.String("log.dir"), TierURL: r.String("tier.url")}
	if !r.IsNull("broker.id") {
		l.NodeID = int32(r.Int("broker.id"))
	}
	if dirs := r.List("log.dirs"); len(dirs) > 0 {
		l.DataDir = dirs[0]
	}
	if l.TierURL == "" {
		dir, err := filepath.Abs(l.DataDir)
		if err != nil {
			return l, fmt.Errorf("data directory: %w", err)
		}
		l.TierURL = "file://" + vfs.Join(dir, "tier")
	}
	return l, nil
}

func (b *broker) nodeID() int32 { return b.layout.NodeID }

func (b *broker) dataDir() string { return b.layout.DataDir }

func (b *broker) logsDir() string { return vfs.Join(b.dataDir(), "logs") }

func millis(r *config.Resolved, name string) time.Duration {
	return time.Duration(r.Int(name)) * time.Millisecond
}

func (b *broker) serverConfig() protocol.Config {
	r := b.settings
	return protocol.Config{
		RequestMaxBytes:     int32(r.Int("socket.request.max.bytes")),
		QueuedMaxBytes:      max(r.Int("queued.max.request.bytes"), 0),
		IdleTimeout:         millis(r, "connections.max.idle.ms"),
		MaxConnections:      int(r.Int("max.connections")),
		MaxConnectionsPerIP: int(r.Int("max.connections.per.ip")),
		MaxConnectionRate:   int(r.Int("max.connection.creation.rate")),
		SendBuffer:          int(r.Int("socket.send.buffer.bytes")),
		ReceiveBuffer:       int(r.Int("socket.receive.buffer.bytes")),
		TCPCongestion:       r.String("tcp.congestion"),
		Features:            b.features,
		Identity:            b.identity,
		Logger:              b.logger,
		Registerer:          b.registry,
	}
}

// identity is who we are in the cluster.
func (b *broker) identity() protocol.Identity {
	return protocol.Identity{ClusterID: b.store.Image().ClusterID(), NodeID: b.nodeID()}
}

// features are what clients may rely on besides versions: group.version 1 is KIP-848, share.version
// 1 KIP-932, transaction.version 2 KIP-890. The metadata version tells consoles which Kafka to
// treat us as.
func (b *broker) features() protocol.Features {
	return protocol.Features{Epoch: 0, All: []protocol.Feature{
		{Name: "group.version", Min: 0, Max: 1, Finalized: 1},
		{Name: "share.version", Min: 0, Max: 1, Finalized: 1},
		{Name: "transaction.version", Min: 0, Max: 2, Finalized: 2},
		{Name: "metadata.version", Min: 7, Max: metadataVersion, Finalized: metadataVersion},
	}}
}

// metadataVersion is the level of Kafka 4.0's IBP_4_0_IV3.
const metadataVersion = 25

// groupLimits is the limits of groups as one image has them.
type groupLimits struct {
	image  *cluster.Image
	config group.Config
}

// groupConfig is the limits of groups as they are now. They are parsed once per change of the metadata.
func (b *broker) groupConfig() group.Config {
	img := b.store.Image()
	if l := b.limits.Load(); l != nil && l.image == img {
		return l.config
	}
	c := groupConfigOf(img)
	b.limits.Store(&groupLimits{img, c})
	return c
}

func groupConfigOf(img *cluster.Image) group.Config {
	r := img.BrokerConfig()
	return group.Config{
		OfGroup: func(id string) (session, heartbeat time.Duration) {
			g := img.GroupConfig(id)
			return millis(g, "consumer.session.timeout.ms"), millis(g, "consumer.heartbeat.interval.ms")
		},
		OfShareGroup: func(id string) (session, heartbeat time.Duration) {
			g := img.GroupConfig(id)
			return millis(g, "share.session.timeout.ms"), millis(g, "share.heartbeat.interval.ms")
		},
		ShareSessionTimeout:           millis(r, "group.share.session.timeout.ms"),
		ShareHeartbeatInterval:        millis(r, "group.share.heartbeat.interval.ms"),
		ShareMaxSize:                  int(r.Int("group.share.max.size")),
		MinSessionTimeout:             millis(r, "group.min.session.timeout.ms"),
		MaxSessionTimeout:             millis(r, "group.max.session.timeout.ms"),
		InitialRebalanceDelay:         millis(r, "group.initial.rebalance.delay.ms"),
		MaxSize:                       int(r.Int("group.max.size")),
		ConsumerSessionTimeout:        millis(r, "group.consumer.session.timeout.ms"),
		ConsumerHeartbeatInterval:     millis(r, "group.consumer.heartbeat.interval.ms"),
		ConsumerMaxSize:               int(r.Int("group.consumer.max.size")),
		ConsumerAssignors:             r.List("group.consumer.assignors"),
		ConsumerMigrationPolicy:       group.MigrationPolicy(strings.ToLower(r.String("group.consumer.migration.policy"))),
		OffsetsRetention:              time.Duration(r.Int("offsets.retention.minutes")) * time.Minute,
		OffsetsRetentionCheckInterval: millis(r, "offsets.retention.check.interval.ms"),
		OffsetMetadataMaxBytes:        int(r.Int("offset.metadata.max.bytes")),
		OffsetCommitTimeout:           millis(r, "offsets.commit.timeout.ms"),
	}
}

// shardsOf is the number of partitions of a coordinator's topic: what it has or, by its config, will have.
func (b *broker) shardsOf(topic, setting string) int32 {
	if t, ok := b.store.Image().Topic(topic); ok {
		return int32(len(t.Partitions))
	}
	return int32(b.settings.Int(setting))
}

// shareConfig is what a share group does with its records, as it is configured now.
func (b *broker) shareConfig(id string) share.Config {
	g := b.store.Image().GroupConfig(id)
	return share.Config{
		LockDuration:  millis(g, "share.record.lock.duration.ms"),
		DeliveryLimit: int16(g.Int("share.delivery.count.limit")),
		MaxLocks:      g.Int("share.partition.max.record.locks"),
		RetryDelay:    millis(g, "share.retry.delay.ms"),
		RetryMaxDelay: millis(g, "share.retry.delay.max.ms"),
		DeadLetters:   g.String("errors.deadletterqueue.topic.name"),
	}
}

func (b *broker) shareCommitTimeout() time.Duration {
	return millis(b.store.Image().BrokerConfig(), "share.coordinator.write.timeout.ms")
}

// groupTopics is the cluster's topics as the group coordinator asks for them.
type groupTopics struct{ store cluster.Store }

func (g groupTopics) Partitions(name string) (n int32, id [16]byte, ok bool) {
	t, ok := g.store.Image().Topic(name)
	if !ok {
		return 0, id, false
	}
	return int32(len(t.Partitions)), t.ID, true
}

func (g groupTopics) NameOf(id [16]byte) (name string, ok bool) {
	t, ok := g.store.Image().TopicByID(id)
	if !ok {
		return "", false
	}
	return t.Name, true
}

func (g groupTopics) Names() []string {
	var names []string
	for _, t := range g.store.Image().Topics() {
		if !strings.HasPrefix(t.Name, cluster.SchedulePrefix) {
			names = append(names, t.Name)
		}
	}
	return names
}

func (g groupTopics) Version() int64 { return g.store.Image().Version() }
