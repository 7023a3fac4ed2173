// Package log keeps the logs of a broker: a [Log] is one partition's sequence of
// record batches, a [Set] is all of them, which share their syncs.
//
// A log is a run of segments plus a few facts (facts.go). Appends are written to the last segment
// at once and acknowledged after the set has made them durable, many at a time (commit.go). What
// readers may see is bounded by the high watermark, which the owner of the log moves, and by
// visibility: hidden batches are part of the log, take offsets, and are never served (visible.go).
//
// Offsets of a log, in ascending order; clients know the three reported ones only:
//
//	start ≤ reported start ≤ visible end ≤ high watermark ≤ synced end ≤ log end
//	        reported start ≤ last stable ≤ visible end
//
// Start and reported start are facts: nothing below the one need be kept, nothing below the other
// is shown. Local start is where the local segments begin; it is above start if older segments are
// in the tier.
//
// Locks, in the order in which they are taken: Log.appendMu is held by whoever changes the bytes of
// a log, over the writing. Log.cutMu is held by whoever removes or replaces segments, until their
// files have gone, and by whoever writes down what is in them or hides a part of it. Log.factsMu is
// held while facts are written. Log.mu guards what is known about all that, and is never held over
// I/O. [Options.Synced] is called without any.
//
// A log has no goroutine of its own; those of the set belong to [Set.Run].
package log

import (
	"encoding/hex"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// ID names a log: a topic is known by its id, never by its name.
type ID struct {
	Topic     [16]byte
	Partition int32
}

// String is the name of the log's directory.
func (id ID) String() string {
	return hex.EncodeToString(id.Topic[:]) + "-" + strconv.Itoa(int(id.Partition))
}

// ParseID reads the name of a log's directory.
func ParseID(name string) (id ID, ok bool) {
	topic, number, ok := strings.Cut(name, "-")
	if !ok || len(topic) != 32 {
		return id, false
	}
	if _, err := hex.Decode(id.Topic[:], []byte(topic)); err != nil {
		return id, false
	}
	n, err := strconv.ParseInt(number, 10, 32)
	id.Partition = int32(n)
	return id, err == nil && n >= 0 && id.String() == name
}

// Options are what a log is opened with.
type Options struct {
	Name   string // for errors and log lines: "orders-3"
	Config Config
	// Start is the first offset of a log that is created.
	Start int64
	// Before says what lies below Start when a log is created whose older part is in the tier. nil: nothing.
	Before *Before
	// Synced is called without locks when the synced end has moved: the owner decides what that
	// means for the high watermark. Calls may overlap, and so come out of order.
	Synced func(end int64)
}

// Before is the part of a log that is not local: all of it is in the tier.
type Before struct {
	// Start and ReportedStart are the log starts. VisibleEnd is the end of the last visible batch,
	// 0 if there is none.
	Start, ReportedStart, VisibleEnd int64
	Epochs                           []segment.Epoch
	// Producers is what is remembered of producers; nil: nothing.
	Producers *producer.State
}

// Log is one partition. All methods are safe for concurrent use.
type Log struct {
	set    *Set
	id     ID
	dir    string
	name   string
	synced func(end int64)

	config  atomic.Pointer[Config]
	failure atomic.Pointer[error] // set once, when the log went offline or was closed
	gone    atomic.Bool           // the log was removed

	compacting atomic.Bool // the log is being cleaned

	// appendMu is held over every change of the log's bytes at its end: append, roll, truncation.
	appendMu sync.Mutex
	scratch  []record.Batch // guarded by appendMu

	// cutMu is held over the removal, the cut and the replacement of segments, while it is settled
	// which of them go, and over writing checkpoints of them. Appends go on, and roll.
	cutMu sync.Mutex

	// factsMu is held while facts are written.
	factsMu sync.Mutex
	stored  factsFile // guarded by factsMu

	mu         sync.Mutex         // guards what follows
	segments   []*segment.Segment // replaced, never changed in place
	dirty      []*segment.Segment // those that may have bytes that are not durable in the file itself
	end        int64              // log end
	syncedEnd  int64              // acknowledged as durable; ahead of durableEnd only if Config.loose
	durableEnd int64              // on stable storage
	hw         int64
	// See facts.
	start         int64
	reportedStart int64
	localStart    int64
	deleteBound   int64
	visibleBelow  int64
	swapping      hole // that a swap is about to leave; none if it is empty
	lineage       uint64
	epochs        []segment.Epoch // replaced, never changed in place
	visible       visibility
	received      int64 // receive time of the last hidden batch, ms
	producers     *producer.State
	// verifications are under way, by producer: see Verify. One for each epoch that is claimed: a
	// zombie's is not that of its successor.
	verifications map[int64][]*Verification
	waiters       []*waiter
	subs          map[chan<- struct{}]struct{}
	factsDirty    bool  // the facts on disk are older than these
	flushedAt     int64 // of the last sync, ms
	openedAt      int64 // when it was recovered, ms
	expireAt      int64 // when producers are looked through next, ms
	jitterMs      int64 // how much sooner than others the active segment rolls
	removals      int   // how often segments were removed or replaced
	cleaned       cleaned
	recovery      recovery

	commit commitState // guarded by committer.mu
}

// active is the last segment, the one that is appended to.
func (l *Log) activeLocked() *segment.Segment { return l.segments[len(l.segments)-1] }

// ActiveBase is the first offset of the segment that is appended to: when it has moved, a segment was closed.
func (l *Log) ActiveBase() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.activeLocked().Base()
}

// ID names the log.
func (l *Log) ID() ID { return l.id }

// Name is what the log was opened as, for people.
func (l *Log) Name() string { return l.name }

// Config is the configuration in force.
func (l *Log) Config() Config { return *l.config.Load() }

// SetConfig changes the configuration. It applies to what comes after.
func (l *Log) SetConfig(c Config) {
	c = c.withDefaults()
	l.config.Store(&c)
}

// Failure says why the log is offline, as an *OfflineError; nil if it is not.
func (l *Log) Failure() error {
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Fail takes the log offline because of err: nothing is appended, read or acknowledged any more, and
// waiters are told. It returns the *OfflineError. It is for an owner that can no longer follow the log.
func (l *Log) Fail(err error) error { return l.fail(err) }

func (l *Log) fail(err error) error {
	offline := error(&OfflineError{Log: l.name, Err: err})
	if !l.failure.CompareAndSwap(nil, &offline) {
		return l.Failure()
	}
	l.set.metrics.failures.Inc()
	l.set.logger.Error("log goes offline", "log", l.name, "err", err)
	l.wakeAll()
	return offline
}

// close ends the log without calling it a failure.
func (l *Log) close() {
	closed := ErrClosed
	l.failure.CompareAndSwap(nil, &closed)
	l.wakeAll()
	l.mu.Lock()
	segments := l.segments
	l.mu.Unlock()
	for _, s := range segments {
		s.Close()
	}
}

// Offsets is one consistent view of a log's offsets.
type Offsets struct {
	LogStart       int64 // reported to clients
	RealStart      int64 // nothing below is needed
	LocalStart     int64 // nothing below is local
	DeleteBound    int64 // confirmed in the tier; -1: nothing is
	HighWatermark  int64
	VisibleEnd     int64 // reported to clients as the high watermark
	LastStable     int64 // reported to clients
	RealLastStable int64
	SyncedEnd      int64
	LogEnd         int64
}

// Offsets returns all offsets as of one moment.
func (l *Log) Offsets() Offsets {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offsetsLocked()
}

func (l *Log) offsetsLocked() Offsets {
	o := Offsets{
		LogStart: l.reportedStart, RealStart: l.start, LocalStart: l.localStart, DeleteBound: l.deleteBound,
		HighWatermark: l.hw, VisibleEnd: l.visibleEndLocked(),
		SyncedEnd: l.syncedEnd, LogEnd: l.end,
	}
	o.LastStable, o.RealLastStable = l.lastStableLocked(o)
	return o
}

// Size is the bytes of all local batches.
func (l *Log) Size() int64 {
	l.mu.Lock()
	segments := l.segments
	l.mu.Unlock()
	size := int64(0)
	for _, s := range segments {
		size += s.Size()
	}
	return size
}

// Segments describes the local segments, the active one last.
func (l *Log) Segments() []segment.Info {
	l.mu.Lock()
	segments := l.segments
	l.mu.Unlock()
	infos := make([]segment.Info, len(segments))
	for i, s := range segments {
		infos[i] = s.Info()
	}
	return infos
}

// SegmentsFrom yields what Segments does of those that end above an offset. To find the first takes
// hardly longer the more there are.
func (l *Log) SegmentsFrom(offset int64) iter.Seq[segment.Info] {
	l.mu.Lock()
	segments := l.segments
	l.mu.Unlock()
	return func(yield func(segment.Info) bool) {
		for _, s := range segments[segmentOf(segments, offset):] {
			if i := s.Info(); i.End > offset && !yield(i) {
				return
			}
		}
	}
}

// ProducerInfo describes a producer that is remembered.
type ProducerInfo = producer.Info

// ActiveProducers lists the producers that are remembered (DescribeProducers).
func (l *Log) ActiveProducers() []ProducerInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers.Producers()
}

// path is the path of a file of the log.
func (l *Log) path(name string) string { return vfs.Join(l.dir, name) }

func (l *Log) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, l.name, err)
}
