package partition

import (
	"context"
	"sort"
)

// Timestamps with a meaning of their own in ListOffset.
const (
	Latest                int64 = -1
	Earliest              int64 = -2
	MaxTimestamp          int64 = -3 // KIP-734
	EarliestLocal         int64 = -4 // KIP-405
	LatestTiered          int64 = -5 // KIP-1005
	EarliestPendingUpload int64 = -6 // KIP-1023
)

// FoundOffset answers ListOffset. All fields are -1 if there is no such record.
type FoundOffset struct {
	Offset, Timestamp int64
	LeaderEpoch       int32
}

var notFound = FoundOffset{Offset: -1, Timestamp: -1, LeaderEpoch: -1}

// ListOffset finds the first visible record at or after a time (milliseconds since the epoch), or
// one of the offsets above. All answers lie within [reported log start, visible end]. ctx bounds a
// look into the tier.
func (p *Partition) ListOffset(ctx context.Context, timestamp int64, committed bool) (FoundOffset, error) {
	o := p.log.Offsets()
	end := o.VisibleEnd
	if committed {
		end = o.LastStable
	}
	switch timestamp {
	case Latest:
		return FoundOffset{end, -1, p.epoch.Load()}, nil
	case Earliest:
		return p.at(o.LogStart), nil
	case EarliestLocal:
		return p.at(min(max(o.LogStart, o.LocalStart), o.VisibleEnd)), nil
	case LatestTiered:
		if last := p.confirmed(); last > o.LogStart {
			return p.at(min(last, o.VisibleEnd) - 1), nil
		}
		return notFound, nil
	case EarliestPendingUpload:
		if !p.topic.Load().Config.RemoteStorageEnable {
			return notFound, nil
		}
		return p.at(min(max(o.LogStart, p.confirmed()), o.VisibleEnd)), nil
	case MaxTimestamp:
		return p.maxTimestamp(ctx, end)
	}
	offset, ts, ok, err := p.offsetForTimestamp(ctx, timestamp)
	return p.found(offset, ts, ok && offset < end), err
}

// offsetForTimestamp finds the first visible record at or after a time, here or in the tier. What is
// evicted while it looks is looked for again, in the tier.
func (p *Partition) offsetForTimestamp(ctx context.Context, timestamp int64) (offset, ts int64, ok bool, err error) {
	for {
		o := p.log.Offsets()
		if r := p.remote.Load(); r != nil && o.LocalStart > o.LogStart {
			offset, ts, ok, err = r.OffsetForTimestamp(ctx, timestamp, o.LogStart)
			if err != nil || ok && offset < o.LocalStart {
				return offset, ts, ok, err
			}
		}
		offset, ts, ok, err = p.log.OffsetForTimestamp(timestamp)
		if p.log.Offsets().LocalStart == o.LocalStart {
			return offset, ts, ok, err
		}
	}
}

// maxTimestamp finds the visible record with the newest timestamp, the first of several, here or in
// the tier.
func (p *Partition) maxTimestamp(ctx context.Context, end int64) (FoundOffset, error) {
	offset, ts, ok, err := p.log.MaxTimestamp()
	if err != nil {
		return notFound, err
	}
	if r, o := p.remote.Load(), p.log.Offsets(); r != nil && o.LocalStart > o.LogStart {
		older, olderTs, found, err := r.MaxTimestamp(ctx, o.LogStart)
		if err != nil {
			return notFound, err
		}
		if found && (!ok || olderTs >= ts) {
			offset, ts, ok = older, olderTs, true
		}
	}
	return p.found(offset, ts, ok && offset < end), nil
}

// at is the answer for an offset whose record has no part in the question.
func (p *Partition) at(offset int64) FoundOffset {
	return FoundOffset{offset, -1, p.epochAt(offset)}
}

// epochAt is the leader epoch in which an offset was written, or will be, -1 if that is not known any more.
func (p *Partition) epochAt(offset int64) int32 {
	epochs := p.log.EpochsIn(p.epoch.Load())
	i := sort.Search(len(epochs), func(i int) bool { return epochs[i].Start > offset })
	if i == 0 {
		return -1
	}
	return epochs[i-1].Epoch
}

func (p *Partition) found(offset, timestamp int64, ok bool) FoundOffset {
	if !ok {
		return notFound
	}
	return FoundOffset{offset, timestamp, p.epochAt(offset)}
}

// DeleteRecords moves the reported log start up to offset, -1 meaning the visible end, and returns
// it. It is durable on return; the bytes go later. Pending delayed records stay.
func (p *Partition) DeleteRecords(offset int64) (logStart int64, err error) {
	return p.log.DeleteRecords(offset)
}
