// Package api answers Kafka's requests: one file per API key, each headed by the versions
// served and by what differs from Kafka. [API.Routes] is the table of all of them.
//
// Handlers turn a decoded request into calls of the broker's parts, and what comes back into a
// response. They hold no state of their own but the fetch and share sessions. Kafka error codes
// exist only here and in the coordinators: code maps every other package's errors.
//
// Everything is safe for concurrent use: many connections call the same handlers.
package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/time/rate"

	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/broker/txn"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// Deps are what the handlers work on. All are needed.
type Deps struct {
	NodeID     int32
	Store      cluster.Store
	Partitions *partition.Table
	Groups     *group.Coordinator
	Shares     *share.Coordinator
	// Transactions is the transaction coordinator.
	Transactions *txn.Coordinator
	// DataDir is the directory shown by DescribeLogDirs.
	DataDir string
	// Features are what the server advertises.
	Features func() protocol.Features
	Now      func() time.Time
	Logger   *slog.Logger
}

// API is the handlers of all requests.
type API struct {
	nodeID       int32
	store        cluster.Store
	partitions   *partition.Table
	groups       *group.Coordinator
	shares       *share.Coordinator
	transactions *txn.Coordinator
	dataDir      string
	features     func() protocol.Features
	now          func() time.Time
	logger       *slog.Logger

	sessions      *fetchSessions
	shareSessions *shareSessions
	unexplained   rate.Sometimes // log lines about errors that have no code of their own
	refused       rate.Sometimes // log lines about records that were not accepted
}

// New makes the handlers. It starts nothing.
func New(d Deps) *API {
	a := &API{
		nodeID:       d.NodeID,
		store:        d.Store,
		partitions:   d.Partitions,
		groups:       d.Groups,
		shares:       d.Shares,
		transactions: d.Transactions,
		dataDir:      d.DataDir,
		features:     d.Features,
		now:          d.Now,
		logger:       d.Logger,
		unexplained:  rate.Sometimes{First: 10, Interval: time.Second},
		refused:      rate.Sometimes{Interval: time.Second},
	}
	a.sessions = newFetchSessions(func() int { return a.intConfig("max.incremental.fetch.session.cache.slots") }, d.Now)
	a.shareSessions = newShareSessions(func() int { return a.intConfig("group.share.max.share.sessions") }, a.leaveShares)
	return a
}

// FetchSessions is the number of fetch sessions kept, for the metrics.
func (a *API) FetchSessions() int { return a.sessions.len() }

// ShareSessions is the number of share sessions kept, for the metrics.
func (a *API) ShareSessions() int { return a.shareSessions.len() }

func (a *API) intConfig(name string) int {
	return int(a.store.Image().BrokerConfig().Int(name))
}

// topicKey is how a request names a topic: by id in its newer versions, by name in the older ones.
type topicKey struct {
	id   cluster.TopicID
	name string
}

// find returns the topic of a key.
func find(img *cluster.Image, k topicKey, byID bool) (*cluster.Topic, error) {
	if byID {
		if t, ok := img.TopicByID(k.id); ok {
			return t, nil
		}
		return nil, kerr.UnknownTopicID
	}
	if t, ok := img.Topic(k.name); ok {
		return t, nil
	}
	return nil, kerr.UnknownTopicOrPartition
}

// partition returns a partition of this broker.
func (a *API) partition(k topicKey, byID bool, number int32) (*partition.Partition, error) {
	t, err := find(a.store.Image(), k, byID)
	if err != nil {
		return nil, err
	}
	if number < 0 || int(number) >= len(t.Partitions) {
		return nil, kerr.UnknownTopicOrPartition
	}
	return a.partitions.Get(t.ID, number)
}

// partitionNamed is partition for requests that know names only.
func (a *API) partitionNamed(topic string, number int32) (*partition.Partition, error) {
	return a.partition(topicKey{name: topic}, false, number)
}

// placement is what the metadata say of a partition, nil if there is none.
func placement(img *cluster.Image, topic string, number int32) *cluster.Partition {
	t, ok := img.Topic(topic)
	if !ok || number < 0 || int(number) >= len(t.Partitions) {
		return nil
	}
	return &t.Partitions[number]
}

// offline reports whether a partition assigned to this broker cannot be served because its storage failed.
func (a *API) offline(topic cluster.TopicID, number int32) bool {
	p, err := a.partitions.Get(topic, number)
	return errors.Is(err, partition.ErrOffline) || err == nil && p.Log().Failure() != nil
}

// apply changes the metadata and waits until this broker's partitions have followed, so that
// the client's next request finds what this one made.
func (a *API) apply(ctx context.Context, c cluster.Command) (*cluster.Image, error) {
	img, err := a.store.Apply(ctx, c)
	if img == nil {
		return nil, err
	}
	// The image of a command that is only validated is one that never comes to be.
	version := min(img.Version(), a.store.Image().Version())
	if werr := a.partitions.WaitVersion(ctx, version); werr != nil && err == nil {
		err = werr
	}
	return img, err
}

// within bounds ctx by the timeout of a request, in milliseconds. Clients that have none in mind send zero.
func within(ctx context.Context, timeoutMillis int32) (context.Context, context.CancelFunc) {
	if timeoutMillis <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Duration(timeoutMillis)*time.Millisecond)
}
