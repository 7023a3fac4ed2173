package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier"
)

// openRemote takes the partition into the tier, if its topic is tiered or once was: what lies there
// must stay readable, or go.
func (p *Partition) openRemote() error {
	topic, o := p.Topic(), p.log.Offsets()
	if p.tier == nil || p.remote.Load() != nil {
		return nil
	}
	id := tier.PartitionID{Topic: tier.TopicID(topic.ID), Name: topic.Name, Partition: p.number}
	if !topic.Config.RemoteStorageEnable && o.DeleteBound < 0 && o.LocalStart <= o.RealStart {
		if known, err := p.tier.Knows(id); err != nil || !known {
			return err
		}
	}
	remote, err := p.tier.Partition(id, localSource{p}, p.epoch.Load(), p.tierConfig)
	if err != nil {
		return fmt.Errorf("remote part of %s: %w", p, err)
	}
	p.remote.Store(remote)
	return nil
}

// tierConfig is what the topic's configuration says to the tier at the moment.
func (p *Partition) tierConfig() tier.Config {
	c := p.Topic().Config
	return tier.Config{
		Copy:           c.RemoteStorageEnable && !c.RemoteCopyDisable,
		Discard:        !c.RemoteStorageEnable && c.RemoteDeleteOnDisable,
		RetentionMs:    c.RetentionMs,
		RetentionBytes: c.RetentionBytes,
		Topic:          p.Topic().Overrides,
		Partitions:     p.Topic().Partitions,
		Schedule:       tier.TopicID(p.Topic().ScheduleID),
	}
}

// confirmed is the end of what is confirmed in the tier; tier.NoOffset if nothing is known to be.
func (p *Partition) confirmed() int64 {
	if r := p.remote.Load(); r != nil {
		return r.Confirmed()
	}
	return tier.NoOffset
}

// RemoteSize is how many bytes of the partition are confirmed in the tier, and whether it is tiered
// or ever was.
func (p *Partition) RemoteSize() (int64, bool) {
	r := p.remote.Load()
	if r == nil {
		return 0, false
	}
	return r.Size(), true
}

// ReadRemote finds visible batches in the tier, or in the local log where that goes on. It waits
// for the store until ctx ends; what was begun then goes on, so that the client's next try finds
// it.
func (p *Partition) ReadRemote(ctx context.Context, r ReadRequest) (*Read, error) {
	remote := p.remote.Load()
	if remote == nil {
		return nil, ErrNotRemote
	}
	for {
		local, err := p.Read(r)
		missing, ok := errors.AsType[*log.TieredError](err)
		if !ok {
			return local, err
		}
		o := p.log.Offsets()
		r.Offset = missing.Offset // only hidden batches were before
		found, err := remote.Read(ctx, tier.ReadRequest{Offset: r.Offset, MaxBytes: int64(r.MaxBytes), MinOne: r.MinOne, Committed: r.Committed})
		if _, gone := errors.AsType[*tier.OutOfRangeError](err); gone && p.log.Offsets().RealStart > r.Offset {
			continue // it was removed since; if clients may still ask for it, only hidden batches were
		}
		if err != nil {
			return nil, err
		}
		if len(found.Ranges) == 0 && found.Next > r.Offset {
			r.Offset = found.Next // as there
			if err := found.Release(); err != nil {
				return nil, err
			}
			continue
		}
		return p.remoteRead(found, o), nil
	}
}

func (p *Partition) remoteRead(found *tier.Read, o log.Offsets) *Read {
	read := &Read{
		Size: int(found.Bytes), HighWatermark: o.VisibleEnd, LastStable: o.LastStable, LogStart: o.LogStart,
		Diverging: EpochEnd{Epoch: -1},
		release: func() {
			if err := found.Release(); err != nil {
				p.logger.Warn("cached part of a remote segment could not be given back", "partition", p.String(), "err", err)
			}
		},
	}
	for _, r := range found.Ranges {
		read.Ranges = append(read.Ranges, log.Range{File: r.File, Pos: r.Pos, Len: r.Len})
	}
	for _, t := range found.Aborted {
		read.Aborted = append(read.Aborted, log.AbortedTxn{ProducerID: t.ProducerID, FirstOffset: t.First, LastOffset: t.Last})
	}
	return read
}

// ErrNotRemote means that records are missing here and the partition has no remote part: the tier
// is switched off.
var ErrNotRemote = errors.New("records lie in the tier, which is switched off on this broker")

// localSource is the partition's log as the tier sees it.
type localSource struct{ p *Partition }

var _ tier.Source = localSource{}

// maxClosed is how many segments Closed lists at once.
const maxClosed = 100

// Closed implements tier.Source. What is missing in a schedule log can be judged only once the
// schedule is loaded.
func (s localSource) Closed(from int64) ([]tier.LocalSegment, error) {
	if s.p.Topic().Schedule && s.schedule() == nil {
		return nil, nil
	}
	o := s.p.log.Offsets()
	decided := min(o.HighWatermark, o.RealLastStable)
	var closed []tier.LocalSegment
	for i := range s.p.log.SegmentsFrom(from) {
		if !i.Sealed || i.End > decided || len(closed) == maxClosed {
			break
		}
		closed = append(closed, localSegment(&i))
	}
	return closed, nil
}

// Outlook implements tier.Source. Which local copies of a schedule's runs go, its deliveries
// decide: see evictRuns.
func (s localSource) Outlook() tier.LocalOutlook {
	floor := log.Floor{}
	if !s.p.Topic().Schedule {
		floor = s.p.floor()
	}
	found := s.p.log.Outlook(s.p.now(), floor)
	offsets := s.p.log.Offsets()
	decided := min(offsets.HighWatermark, offsets.RealLastStable)
	o := tier.LocalOutlook{Start: found.LocalStart, Active: localSegment(&found.Active), MaxBytes: found.MaxBytes}
	if found.Until != math.MaxInt64 {
		o.Until = time.UnixMilli(found.Until)
	}
	for i := range s.p.log.SegmentsFrom(decided) {
		if i.Sealed {
			o.Undecided = append(o.Undecided, localSegment(&i))
		}
	}
	return o
}

func localSegment(i *segment.Info) tier.LocalSegment {
	return tier.LocalSegment{Base: i.Base, End: i.End, Size: i.Size, Generation: i.Generation}
}

// Open implements tier.Source.
func (s localSource) Open(seg tier.LocalSegment) (tier.SegmentFile, error) {
	f, err := s.p.log.OpenSegment(seg.Base)
	if errors.Is(err, log.ErrSegmentGone) {
		return nil, errors.Join(tier.ErrGone, err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.p.log.Flush(seg.End); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if i := f.Info(); i.End != seg.End || i.Size != seg.Size || i.Generation != seg.Generation {
		return nil, errors.Join(tier.ErrGone, f.Close())
	}
	return segmentFile{f, s.p.log}, nil
}

// segmentFile is an open segment with what was known of producers at its end.
type segmentFile struct {
	*log.SegmentFile
	log *log.Log
}

// ProducerSnapshot implements tier.SegmentFile.
func (f segmentFile) ProducerSnapshot() ([]byte, error) { return f.log.ProducerSnapshot(f.Info().End) }

// Aborted implements tier.Source.
func (s localSource) Aborted(from, to int64) ([]tier.AbortedTxn, error) {
	found, err := s.p.log.Aborted(from, to)
	if err != nil {
		return nil, err
	}
	aborted := make([]tier.AbortedTxn, len(found))
	for i, t := range found {
		aborted[i] = tier.AbortedTxn{ProducerID: t.ProducerID, First: t.FirstOffset, Last: t.LastOffset}
	}
	return aborted, nil
}

// Offsets implements tier.Source.
func (s localSource) Offsets() tier.LocalOffsets {
	o := s.p.log.Offsets()
	return tier.LocalOffsets{
		Start: o.RealStart, Reported: o.LogStart, LocalStart: o.LocalStart, End: o.LogEnd,
		SourceEnd: s.p.sourceEnd(), Gate: s.p.remoteGate(),
	}
}

// sourceEnd is the end of the log whose schedule this one holds, tier.NoOffset if it holds none.
func (p *Partition) sourceEnd() int64 {
	if owner := p.owner(); owner != nil {
		return owner.log.Offsets().LogEnd
	}
	return tier.NoOffset
}

// Size implements tier.Source.
func (s localSource) Size() int64 { return s.p.log.Size() }

// Epochs implements tier.Source.
func (s localSource) Epochs() []tier.EpochStart {
	epochs := s.p.log.EpochsIn(-1)
	out := make([]tier.EpochStart, len(epochs))
	for i, e := range epochs {
		out[i] = tier.EpochStart(e)
	}
	return out
}

// Since implements tier.Source.
func (s localSource) Since(offset int64) time.Time {
	for i := range s.p.log.SegmentsFrom(offset) {
		if i.Created >= 0 {
			return time.UnixMilli(i.Created)
		}
	}
	return time.Time{}
}

// schedule is the one whose runs the log holds, nil if it is not loaded or there is none.
func (s localSource) schedule() *delay.Schedule {
	if owner := s.p.owner(); owner != nil && owner.loaded.Load() {
		return owner.schedule
	}
	return nil
}

// Advance implements tier.Source.
func (s localSource) Advance(start, reported int64) error {
	s.p.evicting.Lock()
	defer s.p.evicting.Unlock()
	return s.p.log.AdvanceStart(start, reported)
}

// Dropped implements tier.Source: the schedule has recorded what it needs; other logs have holes if
// they were compacted before they were tiered.
func (s localSource) Dropped(from, to int64) bool {
	if !s.p.Topic().Schedule {
		return s.p.log.Compacted(from, to)
	}
	schedule := s.schedule()
	return schedule != nil && !schedule.Needs(delay.Range{From: from, To: to})
}
