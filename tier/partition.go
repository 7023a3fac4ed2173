package tier

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Config is what a topic's configuration says to the tier. It is asked for anew by every step.
type Config struct {
	// Copy says whether closed segments are to be uploaded: remote.storage.enable and not
	// remote.log.copy.disable.
	Copy bool
	// Discard removes everything remote: remote.storage.enable=false with
	// remote.log.delete.on.disable=true. The log then begins at its local start.
	Discard bool
	// RetentionMs and RetentionBytes bound the whole log, remote and local; -1: no bound.
	RetentionMs, RetentionBytes int64
	// Topic is every explicitly set configuration of the topic, Partitions how many it has, and
	// Schedule the topic that holds its schedule, if any. They are kept in the manifest for
	// restore.
	Topic      map[string]string
	Partitions int32
	Schedule   TopicID
}

// Partition is the remote part of one partition. Its exported methods are safe for concurrent use.
type Partition struct {
	tier   *Tier
	id     PartitionID
	source Source
	config func() Config

	life     context.Context // of all work on the partition
	breakOff func()          // ends it

	// turn is held (by sending to it) by whoever changes the manifest, the state, or anything in this block.
	turn      chan struct{}
	catalog   catalog
	state     *state
	stopped   bool
	epoch     int32
	sealed    map[Token]sealed // of the last attempt, so that the next need not read the segments again
	failures  int              // consecutive, for the back-off
	said      saidError        // what the log was told of the partition alone; empty: all is well
	expireDue time.Time        // when retention is looked at again
	withdrawn bool             // the bound is unknown until the next settle
	broken    []Entry          // damaged remote segments of which the log has a copy; see repair.go
	absent    time.Time        // when it was seen last that there is no manifest, and none was wanted

	view atomic.Pointer[view]
	// kept returns the local copy of the manifest as it was at first, nil if there was none: it is
	// not written before view has a manifest.
	kept     func() *Manifest
	stats    stats
	streams  streams
	fetches  *semaphore.Weighted
	scrubbed atomic.Pointer[scrubbed]

	prefetching atomic.Bool
	// wanted is what Wanted returns.
	wanted atomic.Int64

	waiting waiting

	moved        atomic.Bool  // waitingBytes may have changed
	waitingBytes atomic.Int64 // of closed segments that are not in the bucket, when they were last measured

	slot slot // the queue's
}

// view is what readers see: an immutable snapshot, replaced as a whole.
type view struct {
	manifest  *Manifest // nil: not read yet
	confirmed int64     // local delete bound; NoOffset: unknown
	kept      int64     // where the first local copy begins that is needed for a repair; math.MaxInt64: none is
	err       error     // why the last step failed; nil if it did not
}

// absentInterval is how often a manifest is looked for that nobody wants: one may have been on its way.
const absentInterval = 5 * time.Minute

// ErrRolledBack says that the bucket has an older manifest than the one this broker committed, or none.
var ErrRolledBack = errors.New("manifest in the bucket is older than the last one committed")

func newPartition(t *Tier, id PartitionID, source Source, epoch int32, config func() Config) (*Partition, error) {
	st, err := openState(t.fs, statePath(t.dir, id, stateSuffix))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	p := &Partition{
		tier: t, id: id, source: source, config: config, epoch: epoch, state: st,
		withdrawn: st.bound.Version > 0 && st.bound.End == NoOffset,
		turn:      make(chan struct{}, 1),
		fetches:   semaphore.NewWeighted(fetchesPerPartition),
		catalog: catalog{
			bucket: t.bucket, dir: partitionDir(t.cluster, id.Topic, id.Partition), decoded: t.decoded,
			copy: localCopy{t.fs, statePath(t.dir, id, ".manifest")},
		},
	}
	p.life, p.breakOff = context.WithCancel(context.Background())
	p.kept = sync.OnceValue(p.catalog.copy.read)
	v := view{confirmed: NoOffset, kept: math.MaxInt64}
	if st.bound.Epoch == epoch {
		v.confirmed = st.bound.End // nobody else can have led in between
	}
	p.view.Store(&v)
	return p, nil
}

// Confirmed is the end of what the log may delete locally: every offset below it that is not below
// the log start is in the bucket, whole and checked, and named by a manifest that is there too. The
// bound has been made durable before it is returned. NoOffset means that it is not known: delete
// nothing.
func (p *Partition) Confirmed() int64 {
	v := p.view.Load()
	return min(v.confirmed, v.kept)
}

// Start is an offset below which nothing is in the bucket: where the remote range begins, if that is
// known, else 0.
func (p *Partition) Start() int64 {
	if m := p.view.Load().manifest; m != nil {
		return max(m.Start, 0)
	}
	return 0
}

// Wanted is the end of what retention would have removed from the tier, the last time it looked,
// had the gate let it.
func (p *Partition) Wanted() int64 { return p.wanted.Load() }

// RetentionTime is the latest record or receive time, ms, of what is remote below an offset, or a
// later one; NoTimestamp if that is nothing, math.MaxInt64 if it is not known. It asks no store: while
// that is away, local data must go on expiring.
func (p *Partition) RetentionTime(below int64) int64 {
	m := p.view.Load().manifest
	if m == nil {
		m = p.kept() // which names all that is remote, and perhaps what was to be
	}
	if m == nil {
		return math.MaxInt64
	}
	latest := NoTimestamp
	for i := range m.Pages {
		if s := &m.Pages[i].Span; s.Base < below {
			latest = max(latest, s.RetentionTime)
		}
	}
	for i := range m.Tail {
		if s := &m.Tail[i].Span; s.Base < below {
			latest = max(latest, s.RetentionTime)
		}
	}
	return latest
}

// Empty reports whether nothing of the partition is in the tier; false as long as that is not known.
func (p *Partition) Empty() bool {
	m := p.view.Load().manifest
	return m != nil && m.Empty()
}

// Err returns why the partition's last step failed, nil if it did not.
func (p *Partition) Err() error { return p.view.Load().err }

// Notify says that a segment was closed, or that configuration or offsets changed so that there may
// be something to do.
func (p *Partition) Notify() {
	p.moved.Store(true)
	p.tier.queue.add(p, p.tier.now())
}

// Stop ends all work on the partition and returns when none is under way. What is under way is broken
// off: it waits for no store. Reads fail from then on.
func (p *Partition) Stop(ctx context.Context) error {
	p.tier.forget(p)
	p.breakOff()
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.giveBack()
	p.stopped = true
	p.state.close()
	return nil
}

var errStopped = errors.New("this broker does not look after the partition any more")

// inTurn runs do while no other step of the partition runs. Stop ends its context; after that it fails.
func (p *Partition) inTurn(ctx context.Context, do func(context.Context) error) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.giveBack()
	if p.stopped {
		return fmt.Errorf("%s: %w", p.id, errStopped)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	err := do(ctx)
	if err != nil && p.life.Err() != nil {
		return fmt.Errorf("%s: %w", p.id, errStopped)
	}
	return err
}

// take waits for the turn.
func (p *Partition) take(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Partition) giveBack() { <-p.turn }

// publish replaces the view. The caller has the turn, or adds a manifest where there was none.
func (p *Partition) publish(change func(*view)) {
	for {
		old := p.view.Load()
		v := *old
		change(&v)
		if p.view.CompareAndSwap(old, &v) {
			return
		}
	}
}

// ready makes sure that the manifest is known, that it is ours, and that the local bound says the
// same as the bucket (R9). Afterwards catalog.current is nil only if there is none and none is
// wanted. The caller has the turn.
func (p *Partition) ready(ctx context.Context) (err error) {
	if err := p.tier.Admitted(); err != nil {
		return err
	}
	if p.catalog.current != nil || !p.config().Copy && p.tier.now().Sub(p.absent) < absentInterval {
		return nil
	}
	defer func() {
		if err != nil {
			p.catalog.current = nil // whatever was loaded is not ours to change
		}
		for _, lost := range []error{ErrFenced, ErrDiverged, ErrRolledBack, ErrCorrupt} {
			if errors.Is(err, lost) { // what was confirmed may be confirmed no more
				err = errors.Join(err, p.withdraw())
				break
			}
		}
	}()
	m, err := p.catalog.load(ctx)
	if err != nil {
		return err
	}
	if err := p.checkLoaded(m); err != nil {
		return err
	}
	if m != nil {
		if err := p.checkLineage(m); err != nil {
			return err
		}
	}
	if m == nil && !p.config().Copy {
		p.absent = p.tier.now()
		return nil // nothing is remote, and nothing is to be
	}
	// The manifest for whose sake the bound was withdrawn may still arrive, and must not replace this one.
	if m == nil || m.Epoch < p.epoch || p.catalog.damaged || p.withdrawn {
		if err := p.claim(ctx, m); err != nil {
			return err
		}
	}
	return p.reconcile(ctx)
}

func (p *Partition) checkLoaded(m *Manifest) error {
	last := p.state.bound
	if m == nil {
		if last.Version > 0 {
			return fmt.Errorf("%w: it is missing, version %d was committed", ErrRolledBack, last.Version)
		}
		return nil
	}
	switch {
	case m.Topic != p.id.Topic || m.PartitionID.Partition != p.id.Partition || m.Cluster != p.tier.cluster:
		return fmt.Errorf("%s: %w: it is of %s, partition %d", p.catalog.key(), ErrCorrupt, m.Topic, m.PartitionID.Partition)
	case m.Epoch > p.epoch:
		return fmt.Errorf("%w: %d > %d", ErrFenced, m.Epoch, p.epoch)
	case m.Version < last.Version:
		return fmt.Errorf("%w: version %d, committed was %d", ErrRolledBack, m.Version, last.Version)
	}
	return nil
}

// claim writes our leader epoch into the manifest, so that an older leader that is still running
// can commit nothing more.
func (p *Partition) claim(ctx context.Context, m *Manifest) error {
	next := newManifest(p.tier.cluster, p.id)
	if m != nil {
		next = m.clone()
	}
	return p.commit(ctx, next)
}

// commit stamps and commits a manifest.
func (p *Partition) commit(ctx context.Context, next *Manifest) error {
	next.Epoch, next.Time = p.epoch, p.tier.now().UnixMilli()
	next.Name = p.id.Name
	offsets := p.source.Offsets()
	next.LogStart, next.LogEnd = offsets.Start, max(next.LogEnd, offsets.End)
	next.ReportedStart, next.SourceEnd = offsets.Reported, max(next.SourceEnd, offsets.SourceEnd)
	cfg := p.config()
	next.Config, next.Partitions, next.Schedule = cfg.Topic, cfg.Partitions, cfg.Schedule
	if err := p.catalog.pageOut(ctx, next); err != nil {
		return err
	}
	if err := p.catalog.commit(ctx, next); err != nil {
		return err
	}
	return nil
}

// reconcile compares uploads that were under way with the manifest, and persists the bound that
// follows from it.
func (p *Partition) reconcile(ctx context.Context) error {
	var done []Token
	for i := range p.state.pending {
		u := &p.state.pending[i]
		committed, err := p.contains(ctx, &u.Entry)
		if err != nil {
			return err
		}
		if committed || u.Entry.Epoch != p.epoch {
			done = append(done, u.Entry.Token)
		}
	}
	return p.settle(done)
}

// settle makes the current manifest's end the local delete bound: first in the state file, then for
// the log to see (R4). Where the log start is above that end, nothing of the log is in between, and
// the log start is the bound.
func (p *Partition) settle(done []Token) error {
	m := p.catalog.current
	b := bound{Epoch: p.epoch, Version: m.Version, End: max(m.End, m.LogStart)}
	if err := p.state.settle(done, b); err != nil {
		p.catalog.current = nil // so that the next step settles, whether or not there is anything to commit
		return err
	}
	p.withdrawn = false
	p.publish(func(v *view) { v.manifest, v.confirmed = m, b.End })
	p.moved.Store(true)
	return nil
}

// contains reports whether the current manifest has exactly this entry, or page.
func (p *Partition) contains(ctx context.Context, e *Entry) (bool, error) {
	m := p.catalog.current
	entries := m.Tail
	for _, ref := range m.Pages {
		if ref.Token == e.Token {
			return true, nil
		}
		if ref.Base <= e.Base && e.Base < ref.End {
			var err error
			if entries, err = p.catalog.page(ctx, &ref); err != nil {
				return false, err
			}
		}
	}
	for i := range entries {
		if entries[i].Token == e.Token {
			return true, nil
		}
	}
	return false, nil
}

// statePath is the name of a file about a partition in a tier's own directory.
func statePath(dir string, id PartitionID, suffix string) string {
	return vfs.Join(dir, fmt.Sprintf("%s-%d%s", id.Topic, id.Partition, suffix))
}
