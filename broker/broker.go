// Package broker puts the parts of a broker together and runs them: it opens what is stored,
// starts what works, and stops it in the reverse order. It decides nothing else.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/deadletter"
	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/broker/offsetcopy"
	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/restore"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/broker/txn"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/protocol"
	"github.com/morrowmq/morrow/protocol/api"
	"github.com/morrowmq/morrow/tier"
)

// Config is what a broker is started with.
type Config struct {
	// Values are the broker configs set by file, environment and flags, validated.
	Values config.Values
	FS     vfs.FS
	Logger *slog.Logger
	// Version is shown in the log and as a metric.
	Version string
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Run starts a broker and serves until ctx ends. It returns an error if the broker could not start,
// or had to stop.
func Run(ctx context.Context, cfg Config) error {
	b, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(b.run(ctx), b.close())
}

// broker is the parts, in the order they were opened.
type broker struct {
	cfg      Config
	settings *config.Resolved
	layout   Layout
	logger   *slog.Logger
	registry *prometheus.Registry

	kafka []listener
	http  net.Listener

	lock         io.Closer
	store        *local.Store
	logs         *log.Set
	tier         *tier.Tier
	dispatcher   *delay.Dispatcher
	groups       *group.Coordinator
	shares       *share.Coordinator
	transactions *txn.Coordinator
	partitions   *partition.Table
	server       *protocol.Server

	started time.Time
	limits  atomic.Pointer[groupLimits]
	ready   atomic.Bool
}

// listener is an open listener for Kafka clients.
type listener struct {
	config.Listener
	security string
	accept   net.Listener
}

// open opens everything and starts nothing. What can be refused is refused first.
func open(ctx context.Context, cfg Config) (_ *broker, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	layout, err := LayoutOf(cfg.Values)
	if err != nil {
		return nil, err
	}
	b := &broker{
		cfg:      cfg,
		layout:   layout,
		settings: config.ResolveBroker(config.Layers{Static: cfg.Values}),
		logger:   cfg.Logger,
		registry: prometheus.NewRegistry(),
		started:  cfg.Now(),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	for _, step := range []func(context.Context) error{b.listen, b.openStore, b.register, b.elect, b.openLogs, b.openTier, b.openParts} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *broker) openStore(context.Context) error {
	dir := b.dataDir()
	if err := b.cfg.FS.MkdirAll(dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	lock, err := b.cfg.FS.Lock(vfs.Join(dir, "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("data directory %s is in use by another broker", dir)
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	b.lock = lock
	if err := restore.CheckFinished(b.cfg.FS, dir); err != nil {
		return err
	}
	meta := vfs.Join(dir, local.FileName)
	owner, err := readIdentity(b.cfg.FS, b.logsDir())
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	exists, err := vfs.Exists(b.cfg.FS, meta)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := checkMetadata(owner, b.logsDir(), meta, exists); err != nil {
		return err
	}
	b.store, err = local.Open(local.Options{Dir: dir, Node: b.nodeID(), Static: b.cfg.Values, Now: b.cfg.Now, Logger: b.logger})
	if err != nil {
		return err
	}
	return claimLogs(b.cfg.FS, owner, b.logsDir(), meta, b.store.Image(), b.nodeID())
}

func (b *broker) openLogs(context.Context) (err error) {
	b.logs, err = log.Open(log.SetConfig{
		FS:                  b.cfg.FS,
		Dir:                 b.logsDir(),
		Logger:              b.logger,
		Registerer:          b.registry,
		Now:                 b.cfg.Now,
		JournalSegmentBytes: b.settings.Int("journal.segment.bytes"),
		JournalMaxBytes:     b.settings.Int("journal.max.bytes"),
		ReserveBytes:        b.settings.Int("disk.reserve.bytes"),
	})
	return err
}

// openParts makes the coordinators, the partitions and the server, and opens every partition assigned here.
func (b *broker) openParts(ctx context.Context) (err error) {
	b.dispatcher = delay.NewDispatcher(delay.DispatcherConfig{Logger: b.logger, Registerer: b.registry, Now: b.cfg.Now})
	b.groups = group.New(b.groupConfig, groupTopics{b.store}, b.shardsOf(cluster.OffsetsTopic, "offsets.topic.num.partitions"), b.logger, b.registry, b.cfg.Now)
	b.transactions = txn.New(b.transactionConfig, transactionCluster{b}, b.shardsOf(cluster.TransactionsTopic, "transaction.state.log.num.partitions"), b.logger, b.registry, b.cfg.Now)
	letters := &deadletter.Writer{Store: b.store, Now: b.cfg.Now}
	b.shares = share.New(share.Options{
		Config: b.shareConfig, CommitTimeout: b.shareCommitTimeout, Shards: b.shardsOf(cluster.ShareStateTopic, "share.coordinator.state.topic.num.partitions"), Letters: letters,
		Logger: b.logger, Now: b.cfg.Now,
	})
	b.partitions = partition.NewTable(partition.Config{
		NodeID:       b.nodeID(),
		Store:        b.store,
		Logs:         b.logs,
		Dispatcher:   b.dispatcher,
		Tier:         b.tier,
		FS:           b.cfg.FS,
		DataDir:      b.dataDir(),
		Now:          b.cfg.Now,
		Logger:       b.logger,
		Opened:       b.partitionOpened,
		Closed:       b.partitionClosed,
		TopicDeleted: b.topicDeleted,
	})
	letters.Partitions = b.partitions
	dir, err := filepath.Abs(b.dataDir()) // clients do not know where this process was started
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	handlers := api.New(api.Deps{
		NodeID:       b.nodeID(),
		Store:        b.store,
		Partitions:   b.partitions,
		Groups:       b.groups,
		Shares:       b.shares,
		Transactions: b.transactions,
		DataDir:      dir,
		Features:     b.features,
		Now:          b.cfg.Now,
		Logger:       b.logger,
	})
	if b.server, err = protocol.NewServer(b.serverConfig(), handlers.Routes()); err != nil {
		return err
	}
	b.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newCollector(b, handlers),
	)
	b.partitions.Open(ctx)
	return nil
}

// run starts everything, in stages: what a later stage needs to finish its work stays up until that has ended.
func (b *broker) run(ctx context.Context) error {
	storage := newStage(context.WithoutCancel(ctx))
	storage.goRun(b.logs.Run)

	work := newStage(storage.ctx)
	work.goRun(b.groups.Run)
	work.goRun(b.transactions.Run)
	work.goRun(b.shares.Run)
	work.goRun(b.partitions.Run)
	work.goRun(b.dispatcher.Run)
	if b.tier != nil {
		work.goRun(b.tier.Run)
		work.goRun(b.followTierRates)
	}

	copying := newStage(work.ctx) // to its last copy belongs what is committed last
	if b.tier != nil {
		copying.goRun((&offsetcopy.Copier{
			Node: b.nodeID(), Image: b.store.Image, Positions: b.groups.Positions, Put: b.tier.PutGroupOffsets, Now: b.cfg.Now, Logger: b.logger,
		}).Run)
	}

	serving := newStage(copying.ctx)
	for _, l := range b.kafka {
		serving.goRun(func(ctx context.Context) error { return b.server.Serve(ctx, l.Name, l.accept) })
	}
	if b.http != nil {
		admin := newAdminServer(b.logger, b.routes())
		work.goRun(func(ctx context.Context) error { return admin.Run(ctx, b.http) })
	}
	b.ready.Store(true)
	b.logger.Info("broker is ready", "version", b.cfg.Version, "node", b.nodeID(), "cluster", b.store.Image().ClusterID(),
		"listeners", b.addresses(), "advertised", b.advertisedAddresses(), "http", httpAddress(b.http), "data", b.dataDir(), "took", b.cfg.Now().Sub(b.started))

	select {
	case <-ctx.Done():
		b.logger.Info("broker is stopping")
	case <-serving.ctx.Done(): // some part failed; all stages end with the one below them
	}
	b.ready.Store(false)
	began := time.Now()
	err := errors.Join(serving.stop(), copying.stop(), work.stop(), storage.stop())
	b.logger.Info("broker has stopped", "took", time.Since(began))
	return err
}

// close releases what open took, in reverse.
func (b *broker) close() error {
	var errs []error
	if b.tier != nil {
		errs = append(errs, b.tier.Close())
	}
	if b.logs != nil {
		errs = append(errs, b.logs.Close())
	}
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Close())
	}
	for _, l := range b.kafka {
		_ = l.accept.Close() // closed already if it has served
	}
	if b.http != nil {
		_ = b.http.Close()
	}
	return errors.Join(errs...)
}

func (b *broker) readiness() error {
	if !b.ready.Load() {
		return errors.New("the broker is starting or stopping")
	}
	return nil
}

// stage is parts that run together: when one fails, all of them and the stages above are ended.
type stage struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  *errgroup.Group
}

func newStage(parent context.Context) *stage {
	ctx, cancel := context.WithCancel(parent)
	group, ctx := errgroup.WithContext(ctx)
	return &stage{ctx, cancel, group}
}

func (s *stage) goRun(run func(context.Context) error) {
	s.group.Go(func() error { return run(s.ctx) })
}

// stop ends the stage's parts and waits for them. That a part says so when it was told to end is no error.
func (s *stage) stop() error {
	s.cancel()
	if err := s.group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
