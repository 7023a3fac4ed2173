package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// SetConfig is what a set of logs works with.
type SetConfig struct {
	FS         vfs.FS
	Dir        string // made if it is missing; files of other names in it are left alone
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
	Now        func() time.Time      // nil: time.Now

	// JournalSegmentBytes is the size of a file of the commit journal, JournalMaxBytes of all of them.
	// 0: 64 MiB and 256 MiB. A negative JournalMaxBytes does without a journal.
	JournalSegmentBytes, JournalMaxBytes int64
	// ReserveBytes is the disk space only groups marked as reserved may fill.
	ReserveBytes int64
	// IdleFiles is how many files are kept open although nobody reads or writes them. 0: 512.
	IdleFiles int
}

// Set is all logs of a broker. They share syncs, the watch of the disk, and
// the bound on open files. It is safe for concurrent use.
type Set struct {
	fsys    vfs.FS
	dir     string
	logger  *slog.Logger
	now     func() time.Time
	reserve int64
	handles *segment.Handles
	metrics *metrics
	commits committer

	full     atomic.Bool  // less than the reserve is free
	spent    atomic.Int64 // bytes written since that was looked at
	saidFull atomic.Int64 // when noSpace logged last, in milliseconds; 0: never

	// waiters are *waiter to be used again. The pool is the set's own because a channel that was
	// made in a synctest bubble must not leave it.
	waiters sync.Pool

	mu      sync.Mutex   // guards what follows
	logs    map[ID]*Log  // open
	opening map[ID]bool  // being opened, created or removed
	broken  map[ID]error // not to be opened: the commit journal could not be replayed, or the name may not be durable
	closed  bool
}

const (
	removedSuffix = ".deleted" // directory of a log that is being removed
	createdSuffix = ".new"     // directory of a log that is being created
)

// Open opens the directory of a set. It finishes what a crash interrupted: half-made and half-removed logs go.
// It opens no log and starts no goroutine.
func Open(cfg SetConfig) (*Set, error) {
	s := &Set{
		fsys: cfg.FS, dir: cfg.Dir, logger: cfg.Logger, now: cfg.Now, reserve: cfg.ReserveBytes,
		logs: make(map[ID]*Log), opening: make(map[ID]bool), broken: make(map[ID]error),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if cfg.IdleFiles == 0 {
		cfg.IdleFiles = 512
	}
	s.handles = segment.NewHandles(cfg.FS, cfg.IdleFiles)
	s.metrics = newMetrics(cfg.Registerer)
	if err := s.fsys.MkdirAll(s.dir); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	if err := errors.Join(s.sweep(), s.fsys.SyncDir(s.dir)); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	j, broken, err := s.openJournal(cfg)
	if err != nil {
		return nil, fmt.Errorf("commit journal: %w", err)
	}
	maps.Copy(s.broken, broken)
	s.commits.init(s, j)
	s.watchSpace()
	return s, nil
}

// sweep finishes removals and undoes creations that a crash interrupted.
func (s *Set) sweep() error {
	names, err := s.fsys.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if Unfinished(name) {
			if err := s.fsys.RemoveAll(vfs.Join(s.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Unfinished reports whether a directory's name is that of a log being created or removed, which
// may have only some of its files.
func Unfinished(name string) bool {
	return strings.HasSuffix(name, removedSuffix) || strings.HasSuffix(name, createdSuffix)
}

// IDs lists the logs that are on disk.
func (s *Set) IDs() ([]ID, error) {
	names, err := s.fsys.List(s.dir)
	if err != nil {
		return nil, err
	}
	var ids []ID
	for _, name := range names {
		if id, ok := ParseID(name); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// claim keeps others from opening, creating or removing a log until release is called.
func (s *Set) claim(id ID) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.opening[id]:
		return nil, fmt.Errorf("log %s is being opened or removed", id)
	}
	s.opening[id] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.opening, id)
	}, nil
}

// Get returns a log that is open, or nil.
func (s *Set) Get(id ID) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs[id]
}

// OpenLog opens a log that is there; ErrNotExist if it is not. A log that is open already is an error.
// It recovers what a crash left: a *CorruptError means that something is damaged that
// must not be; the log stays closed then, and the others are not concerned.
func (s *Set) OpenLog(id ID, o Options) (*Log, error) {
	release, err := s.claim(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.Restored(id); err != nil {
		return nil, fmt.Errorf("open log %s: %w", o.Name, err)
	}
	return s.open(id, o)
}

func (s *Set) open(id ID, o Options) (*Log, error) {
	if s.Get(id) != nil {
		return nil, fmt.Errorf("log %s is open", o.Name)
	}
	l := &Log{set: s, id: id, dir: vfs.Join(s.dir, id.String()), name: o.Name, synced: o.Synced}
	if l.name == "" {
		l.name = id.String()
	}
	if exists, err := vfs.Exists(s.fsys, l.dir); err != nil || !exists {
		if err == nil {
			err = fmt.Errorf("%w: %s", ErrNotExist, l.dir)
		}
		return nil, l.wrap("open log", err)
	}
	l.SetConfig(o.Config)
	if err := l.recover(); err != nil {
		for _, seg := range l.segments {
			seg.Close()
		}
		s.metrics.failures.Inc()
		return nil, l.wrap("open log", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[id] = l
	return l, nil
}

// Restored says why what the commit journal has of a log could not be put into its segments; nil if
// all of it is there.
func (s *Set) Restored(id ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken[id]
}

// all is the open logs.
func (s *Set) all() []*Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.logs))
}

// Run makes appends durable, keeps the facts on disk up to date, rolls idle segments and watches the disk's
// space, until ctx ends. Then it makes everything durable and prepares for a fast start.
func (s *Set) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.commits.run(ctx) })
	wg.Go(func() { s.keep(ctx) })
	wg.Wait()
	s.settle()
	return nil
}

// Appended tells how many bytes of batches have been appended to the logs so far.
func (s *Set) Appended() int64 { return s.metrics.appendedBytes.Load() }

// Sync makes everything appended before it durable, as Run does all the time. It must not be called
// while Run runs.
func (s *Set) Sync() { s.commits.drain() }

// settle makes everything durable and takes checkpoints.
func (s *Set) settle() {
	s.Sync()
	for _, l := range s.all() {
		if l.Failure() != nil {
			continue
		}
		if synced, err := l.syncSegments(); err == nil {
			l.publish(synced, true)
		}
		if err := l.Checkpoint(); err == nil {
			_ = l.storeFacts(true) // a failure was logged
		}
	}
}

// Close settles and closes all logs. Run must have returned.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.settle()
	for _, l := range s.all() {
		l.appendMu.Lock()
		l.cutMu.Lock()
		l.close()
		l.cutMu.Unlock()
		l.appendMu.Unlock()
	}
	var err error
	if j := s.commits.journal; j != nil {
		if s.settled() {
			err = j.void()
		}
		err = errors.Join(err, j.close())
	}
	return errors.Join(err, s.handles.Close())
}

// settled reports whether every log that the journal has entries of has them in its segments.
func (s *Set) settled() bool {
	for _, l := range s.all() {
		l.mu.Lock()
		dirty := len(l.dirty) > 0
		l.mu.Unlock()
		if dirty {
			return false
		}
	}
	return true
}
