package tier

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// RestoreOptions say how a partition goes on whose local log was lost.
type RestoreOptions struct {
	// Epoch is the leader epoch to begin with. It is above every epoch of the old log, so that an
	// old leader that is still running can commit nothing more.
	Epoch int32
	// AtLeast is the lowest next offset that the caller allows. Gap is left free above whatever is
	// known to have been given out.
	AtLeast, Gap int64
	// Topic describes the topic from now on, if it is not nil: the newest of what its manifests say,
	// since by their times it cannot be told any more.
	Topic *RemoteTopic
	// AcceptLoss gives up the last segments if they are missing or damaged.
	AcceptLoss bool
	Now        time.Time
}

// ErrLastSegment says that the last segment of a partition is missing or damaged. It holds what was
// known of producers and transactions at its end, without which the partition cannot go on there.
var ErrLastSegment = errors.New("the last segment cannot be read")

// Restored is how a partition begins again. Below Next everything is remote, or was dropped on record.
type Restored struct {
	// Next is the first offset of the log, which is made empty. It is above every offset that was
	// ever given out.
	Next int64
	// End is the end of what came back: offsets from here to Next hold nothing.
	End int64
	// Start and ReportedStart are the log starts, VisibleEnd the end of the last visible batch (0:
	// there is none).
	Start, ReportedStart, VisibleEnd int64
	Epochs                           []EpochStart // of the remote range and of the log that begins
	// Snapshot is the producer state at the end of the last remote segment; nil if there is none.
	Snapshot []byte
	// GivenUp are segments that could not be read, the newest first. They lie above End.
	GivenUp []Entry
}

// Restore claims the manifest of a partition whose local log was lost, and says how the log goes
// on; of a partition without one, nothing was ever confirmed. The offsets that may have been given
// out and are not in the bucket are recorded as dropped, so that none is used twice, and as lost.
// It can be repeated: then it leaves another gap. The caller owns the cluster id ([Claimant.While])
// and nobody leads the partition.
func Restore(ctx context.Context, b bucket.Bucket, cluster string, topic TopicID, partition int32, o RestoreOptions) (Restored, error) {
	c := catalog{bucket: b, dir: partitionDir(cluster, topic, partition)}
	m, err := c.load(ctx)
	if err != nil {
		return Restored{}, err
	}
	if m == nil {
		m = newManifest(cluster, PartitionID{Topic: topic, Partition: partition})
	}
	if m.Epoch >= o.Epoch {
		return Restored{}, fmt.Errorf("%s: %w: %d ≥ %d", c.key(), ErrFenced, m.Epoch, o.Epoch)
	}
	next := m.clone()
	snapshot, givenUp, err := lastSnapshot(ctx, &c, next, o.AcceptLoss)
	if err != nil {
		return Restored{}, err
	}
	o.AtLeast = max(o.AtLeast, m.End)
	r := next.restored(o)
	r.Snapshot, r.GivenUp = snapshot, givenUp
	next.Epoch, next.LogEnd, next.Time = o.Epoch, r.Next, o.Now.UnixMilli()
	next.Lost = append(next.Lost, OffsetRange{max(next.End, m.LogStart, 0), r.Next})
	if t := o.Topic; t != nil {
		next.Name, next.Config, next.Partitions, next.Schedule = t.Name, t.Config, t.Count, t.Schedule
	}
	from := next.End
	if from == NoOffset {
		from = r.Start
	}
	if from < r.Next {
		if err := next.append(dropEntry(from, r.Next), []EpochStart{{Epoch: o.Epoch, Start: r.Next}}); err != nil {
			return Restored{}, err
		}
	}
	r.Epochs = append(r.Epochs, EpochStart{Epoch: o.Epoch, Start: r.Next})
	return r, c.commit(ctx, next)
}

// restored works out how the partition goes on.
func (m *Manifest) restored(o RestoreOptions) Restored {
	r := Restored{
		Next: max(m.End, m.LogEnd, o.AtLeast, 0) + o.Gap, End: max(m.End, 0),
		Start: m.Start, ReportedStart: m.ReportedStart,
		Epochs: append([]EpochStart(nil), m.Epochs...),
	}
	r.VisibleEnd = max(r.ReportedStart, m.Summary().VisibleEnd)
	switch {
	case !m.Empty(): // below the log start, too: it stayed because the schedule, as it is in the bucket, needs it
	case m.End != NoOffset:
		r.Start = m.End
	default:
		r.Start = max(m.LogStart, 0)
	}
	return r
}

// lastSnapshot reads the producer state that was stored with the last segment. With acceptLoss it
// cuts off the manifest what cannot be read. ErrLastSegment: there is something.
func lastSnapshot(ctx context.Context, c *catalog, m *Manifest, acceptLoss bool) (snapshot []byte, givenUp []Entry, err error) {
	for {
		last, err := lastSegment(ctx, c, m)
		if err != nil || last == nil {
			return nil, givenUp, err
		}
		snapshot, err = readSnapshot(ctx, c, last)
		if !errors.Is(err, bucket.ErrNotFound) && !errors.Is(err, ErrCorrupt) {
			return snapshot, givenUp, err
		}
		if !acceptLoss {
			return nil, nil, fmt.Errorf("%w, offsets %d to %d: %w", ErrLastSegment, last.Base, last.End-1, err)
		}
		givenUp = append(givenUp, *last)
		if err := c.cutBack(ctx, m, last.Base); err != nil {
			return nil, nil, err
		}
	}
}

// readSnapshot reads the producer state at the end of a segment.
func readSnapshot(ctx context.Context, c *catalog, e *Entry) ([]byte, error) {
	ix, err := readIndex(ctx, c.bucket, c.dir, e)
	if err != nil || ix.SnapshotSize == 0 {
		return nil, err
	}
	key := e.id().key(c.dir, segmentSuffix)
	data, err := readRange(ctx, c.bucket, key, e.DataSize, ix.SnapshotSize)
	if err != nil {
		return nil, err
	}
	if got := crc32.Checksum(data, castagnoli); got != ix.SnapshotCRC {
		return nil, fmt.Errorf("%s: producer snapshot: %w: crc %08x instead of %08x", key, ErrCorrupt, got, ix.SnapshotCRC)
	}
	return data, nil
}

// lastSegment returns the last entry that has an object.
func lastSegment(ctx context.Context, c *catalog, m *Manifest) (*Entry, error) {
	for i := len(m.Tail) - 1; i >= 0; i-- {
		if !m.Tail[i].isDrop() {
			return &m.Tail[i], nil
		}
	}
	for i := len(m.Pages) - 1; i >= 0; i-- {
		p := &m.Pages[i]
		if p.Segments == 0 {
			continue
		}
		entries, err := readPage(ctx, c.bucket, c.dir, p.id(), p.Size, p.Sum)
		if err != nil {
			return nil, err
		}
		for k := len(entries) - 1; k >= 0; k-- {
			if !entries[k].isDrop() {
				return &entries[k], nil
			}
		}
	}
	return nil, nil
}
