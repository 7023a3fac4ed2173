package partition

import (
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/tier"
)

// openRemote takes the partition into the tier, if its topic is tiered or ever was.
func (p *Partition) openRemote(t *tier.Tier) error {
	topic := p.Topic()
	if t == nil || !topic.Config.RemoteStorageEnable {
		return nil
	}
	id := tier.PartitionID{Topic: tier.TopicID(topic.ID), Name: topic.Name, Partition: p.number}
	remote, err := t.Partition(id, localSource{p}, p.epoch.Load(), p.tierConfig)
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
		RetentionMs:    c.RetentionMs,
		RetentionBytes: c.RetentionBytes,
		Topic:          p.Topic().Overrides,
	}
}

// confirmed is the end of what is confirmed in the tier; tier.NoOffset if nothing is known to be.
func (p *Partition) confirmed() int64 {
	if r := p.remote.Load(); r != nil {
		return r.Confirmed()
	}
	return tier.NoOffset
}

// localSource is the partition's log as the tier sees it.
type localSource struct{ p *Partition }

var _ tier.Source = localSource{}

// maxClosed is how many segments Closed lists at once.
const maxClosed = 100

// Closed implements tier.Source.
func (s localSource) Closed(from int64) ([]tier.LocalSegment, error) {
	o := s.p.log.Offsets()
	decided := min(o.HighWatermark, o.RealLastStable)
	var closed []tier.LocalSegment
	for _, i := range s.p.log.Segments() {
		if i.Sealed && i.End > from && i.End <= decided && len(closed) < maxClosed {
			closed = append(closed, tier.LocalSegment{Base: i.Base, End: i.End, Size: i.Size, Generation: i.Generation})
		}
	}
	return closed, nil
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
	return tier.LocalOffsets{Start: o.RealStart, LocalStart: o.LocalStart, LocalBytes: s.p.log.Size(), End: o.LogEnd, Gate: s.p.gate()}
}

// Advance implements tier.Source.
func (s localSource) Advance(start, reported int64) error {
	return s.p.log.AdvanceStart(start, reported)
}

// Dropped implements tier.Source. Nothing is ever dropped from the middle of these logs.
func (s localSource) Dropped(int64, int64) bool { return false }
