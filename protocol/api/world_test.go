package api

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/broker/txn"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/protocol"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a broker of one piece without main program, files but for the metadata, or network: what
// the handlers need is real, its logs are in memory, and clients come through pipes, so that a test
// can run on the clock of testing/synctest.
type world struct {
	testing.TB
	store        *local.Store
	logs         *log.Set
	tier         *tier.Tier // nil without a bucket
	partitions   *partition.Table
	groups       *group.Coordinator
	shares       *share.Coordinator
	transactions *txn.Coordinator
	api          *API
	lines        *lines
	listener     net.Listener
	stopServer   context.CancelFunc
	served       chan struct{}
}

const (
	node         = int32(7)
	testListener = "CLIENTS"
)

// option changes how a world is made.
type option func(*setup)

type setup struct {
	static   config.Values
	bucket   bucket.Bucket
	fsys     vfs.FS
	listener net.Listener
}

// with sets a broker config.
func with(name, value string) option {
	return func(s *setup) { s.static[name] = value }
}

// tieredIn keeps closed segments of tiered topics in a bucket.
func tieredIn(b bucket.Bucket) option {
	return func(s *setup) { s.bucket = b }
}

// on stores the logs in another file system.
func on(fsys vfs.FS) option {
	return func(s *setup) { s.fsys = fsys }
}

// at serves another listener than pipes.
func at(l net.Listener) option {
	return func(s *setup) { s.listener = l }
}

// newWorld starts a broker, which is stopped when the test ends.
func newWorld(t testing.TB, options ...option) *world {
	t.Helper()
	s := setup{
		static: config.Values{
			"offsets.topic.num.partitions": "2", "transaction.state.log.num.partitions": "2", "share.coordinator.state.topic.num.partitions": "2",
		},
		fsys:     vfs.NewMem(),
		listener: newPipes(),
	}
	for _, o := range options {
		o(&s)
	}
	w := &world{TB: t, lines: &lines{}, listener: s.listener, served: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(w.lines, nil))
	var err error
	if w.store, err = local.Open(local.Options{Dir: t.TempDir(), Node: node, Static: s.static, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	if w.logs, err = log.Open(log.SetConfig{FS: s.fsys, Dir: vfs.Join(t.TempDir(), "logs"), Logger: logger, JournalMaxBytes: -1}); err != nil {
		t.Fatal(err)
	}
	dispatcher := delay.NewDispatcher(delay.DispatcherConfig{Logger: logger})
	w.groups = group.New(groupConfig, topics{w.store}, int32(w.store.Image().BrokerConfig().Int("offsets.topic.num.partitions")),
		logger, prometheus.NewRegistry(), nil)
	w.shares = share.New(share.Options{
		Config: w.shareConfig, CommitTimeout: func() time.Duration { return 5 * time.Second }, Shards: 2, Letters: noLetters{}, Logger: logger,
	})
	shards := int32(w.store.Image().BrokerConfig().Int("transaction.state.log.num.partitions"))
	w.transactions = txn.New(txn.DefaultConfig, transactionCluster{topics{w.store}, w}, shards, logger, prometheus.NewRegistry(), nil)
	parts := []func(context.Context) error{w.logs.Run, w.groups.Run, w.shares.Run, w.transactions.Run, dispatcher.Run}
	if s.bucket != nil {
		if w.tier, err = tier.Open(tier.Options{Bucket: s.bucket, Cluster: "test", FS: s.fsys, Dir: vfs.Join(t.TempDir(), "remote"), Logger: logger}); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, w.tier.Run)
	}
	w.partitions = partition.NewTable(partition.Config{
		NodeID: node, Store: w.store, Logs: w.logs, Dispatcher: dispatcher, Tier: w.tier, FS: s.fsys, DataDir: "/", Now: time.Now, Logger: logger,
		Opened: func(p *partition.Partition) {
			switch p.Topic().Name {
			case cluster.OffsetsTopic:
				w.groups.Elect(p.Number(), p.Journal())
			case cluster.TransactionsTopic:
				w.transactions.Elect(p.Number(), p.LeaderEpoch(), p.Journal())
			case cluster.ShareStateTopic:
				w.shares.Elect(p.Number(), p.Journal(), p.TrimJournal)
			}
		},
		Closed:       func(*partition.Partition) {},
		TopicDeleted: func(context.Context, *cluster.Deletion) error { return nil },
	})
	w.register()
	w.api = New(Deps{
		NodeID: node, Store: w.store, Partitions: w.partitions, Groups: w.groups, Shares: w.shares, Transactions: w.transactions,
		DataDir: "/data", Features: features, Now: time.Now, Logger: logger,
	})
	server, err := protocol.NewServer(protocol.Config{Logger: logger}, w.api.Routes())
	if err != nil {
		t.Fatal(err)
	}
	w.partitions.Open(context.Background())
	w.run(server, append(parts, w.partitions.Run)...)
	return w
}

// groupConfig is Kafka's, but nobody waits for members that might come.
func groupConfig() group.Config {
	c := group.DefaultConfig()
	c.InitialRebalanceDelay = 0
	return c
}

// shareConfig is what a group is configured to do with its records.
func (w *world) shareConfig(id string) share.Config {
	g := w.store.Image().GroupConfig(id)
	return share.Config{
		LockDuration:  time.Duration(g.Int("share.record.lock.duration.ms")) * time.Millisecond,
		DeliveryLimit: int16(g.Int("share.delivery.count.limit")),
		MaxLocks:      g.Int("share.partition.max.record.locks"),
	}
}

// noLetters refuses dead letters: no test here has a dead-letter topic.
type noLetters struct{}

func (noLetters) Bury(context.Context, share.Key, string, []share.Dead) error {
	return errors.New("there is no dead-letter topic")
}

// register makes this broker known to the cluster, reached at an address that only the pipes'
// dialer understands.
func (w *world) register() {
	w.Helper()
	_, err := w.store.Apply(context.Background(), cluster.RegisterBroker{Broker: cluster.Broker{
		ID: node, Rack: "r1",
		Endpoints: []cluster.Endpoint{{Listener: testListener, Security: "PLAINTEXT", Host: "broker.test", Port: 9092}},
	}})
	if err != nil {
		w.Fatal(err)
	}
}

// run runs the server and the parts until the test ends.
func (w *world) run(server *protocol.Server, parts ...func(context.Context) error) {
	var wg sync.WaitGroup
	work, stopWork := context.WithCancel(context.Background())
	for _, part := range parts {
		wg.Go(func() {
			if err := part(work); err != nil && !errors.Is(err, context.Canceled) {
				w.Errorf("part of the broker ended with: %v", err)
			}
		})
	}
	serving, stopServer := context.WithCancel(context.Background())
	w.stopServer = stopServer
	go func() {
		defer close(w.served)
		if err := server.Serve(serving, testListener, w.listener); err != nil {
			w.Errorf("server ended with: %v", err)
		}
	}()
	w.Cleanup(func() {
		stopServer()
		<-w.served
		stopWork()
		wg.Wait()
		if w.tier != nil {
			if err := w.tier.Close(); err != nil {
				w.Errorf("close tier: %v", err)
			}
		}
		if err := w.logs.Close(); err != nil {
			w.Errorf("close logs: %v", err)
		}
		if err := w.store.Close(); err != nil {
			w.Errorf("close store: %v", err)
		}
	})
}

func features() protocol.Features {
	return protocol.Features{All: []protocol.Feature{{Name: "group.version", Max: 1, Finalized: 1}}}
}

// topics is the store as the group coordinator asks for it.
type topics struct{ *local.Store }

func (s topics) Partitions(name string) (n int32, id [16]byte, ok bool) {
	t, ok := s.Image().Topic(name)
	if !ok {
		return 0, id, false
	}
	return int32(len(t.Partitions)), t.ID, true
}

func (s topics) NameOf(id [16]byte) (string, bool) {
	t, ok := s.Image().TopicByID(id)
	if !ok {
		return "", false
	}
	return t.Name, true
}

func (s topics) Names() (names []string) {
	for _, t := range s.Image().Topics() {
		if !t.Internal {
			names = append(names, t.Name)
		}
	}
	return names
}

func (s topics) Version() int64 { return s.Image().Version() }

// create makes a topic, with configs given as name, value, name, value.
func (w *world) create(name string, partitions int32, configs ...string) *cluster.Topic {
	w.Helper()
	values := config.Values{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = configs[i+1]
	}
	n := cluster.NewTopic{Name: name, Partitions: partitions, ReplicationFactor: 1, Config: values}
	img, err := w.api.apply(context.Background(), cluster.CreateTopics{Topics: []cluster.NewTopic{n}})
	if err != nil {
		w.Fatal(err)
	}
	t, _ := img.Topic(name)
	return t
}

// other is a broker of the cluster that is not there.
const other = int32(8)

// elsewhere makes a topic whose only partition another broker leads.
func (w *world) elsewhere(name string) *cluster.Topic {
	w.Helper()
	ctx := context.Background()
	endpoints := []cluster.Endpoint{{Listener: testListener, Security: "PLAINTEXT", Host: "other.test", Port: 9093}}
	if _, err := w.store.Apply(ctx, cluster.RegisterBroker{Broker: cluster.Broker{ID: other, Endpoints: endpoints}}); err != nil {
		w.Fatal(err)
	}
	n := cluster.NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {other}}}
	img, err := w.api.apply(ctx, cluster.CreateTopics{Topics: []cluster.NewTopic{n}})
	if err != nil {
		w.Fatal(err)
	}
	t, _ := img.Topic(name)
	return t
}

// stop stops the server and waits until it has.
func (w *world) stop() {
	w.stopServer()
	<-w.served
}

// loaded waits until a partition's schedule has been read from its log.
func (w *world) loaded(topic string, number int32) {
	w.Helper()
	p, err := w.api.partitionNamed(topic, number)
	if err != nil {
		w.Fatal(err)
	}
	for {
		if _, ok := p.ScheduleStats(0); ok {
			return
		}
		runtime.Gosched()
	}
}

// log is the log of a partition.
func (w *world) log(topic string, number int32) *log.Log {
	w.Helper()
	p, err := w.api.partitionNamed(topic, number)
	if err != nil {
		w.Fatal(err)
	}
	return p.Log()
}

// lines is what the broker logs.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// transactionCluster is the world as the transaction coordinator sees it.
type transactionCluster struct {
	topics
	w *world
}

func (transactionCluster) Writable(name string) bool {
	return name == cluster.OffsetsTopic || !cluster.IsReserved(name)
}

func (c transactionCluster) OffsetsPartition(group string) (txn.Partition, error) {
	_, id, ok := c.Partitions(cluster.OffsetsTopic)
	if !ok {
		return txn.Partition{}, errors.New("no offsets topic")
	}
	return txn.Partition{Topic: cluster.OffsetsTopic, TopicID: id, Number: c.w.groups.FindShard(group)}, nil
}

func (c transactionCluster) ReserveProducerIDs(ctx context.Context, n int64) (int64, error) {
	return c.w.store.ProducerIDs(ctx, n)
}

func (c transactionCluster) WriteMarker(ctx context.Context, p txn.Partition, m txn.Marker) error {
	if p.Topic == cluster.OffsetsTopic {
		return c.w.groups.EndTransaction(ctx, p.Number, coord.Producer{ID: m.ProducerID, Epoch: m.Epoch, CoordinatorEpoch: m.CoordinatorEpoch, NewEpoch: m.NewEpoch}, m.Commit)
	}
	part, err := c.w.partitions.Get(p.TopicID, p.Number)
	if err != nil {
		return err
	}
	pending, err := part.EndTransaction(log.Marker{ProducerID: m.ProducerID, Epoch: m.Epoch, CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit}, m.NewEpoch, time.Now())
	if err != nil {
		return err
	}
	return pending.Wait(ctx)
}
