package tier

import (
	"context"
	"errors"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

const (
	// Readers that hold an older manifest go on reading for so long (Kafka: file.delete.delay.ms).
	deleteDelay = time.Minute
	// What is to be deleted later than this is deleted at once: readers are told that it has expired.
	clockSlack = 10 * deleteDelay
	// A step deletes so many segments at most.
	collectSegments = 1000
)

// collectStep deletes garbage that no reader can be reading any more, and then forgets it. It
// reports whether there is more, and when the next item is due (0: none). The caller has the turn.
func (p *Partition) collectStep(ctx context.Context) (more bool, due time.Duration, err error) {
	m := p.catalog.current
	now := p.tier.now()
	n, segments := 0, 0
	for n < len(m.Garbage) && segments < collectSegments {
		wait := time.UnixMilli(m.Garbage[n].Since).Add(deleteDelay).Sub(now)
		if wait > 0 && wait <= clockSlack { // else it was noted by a clock that was ahead
			due = min(wait, deleteDelay)
			break
		}
		if err := p.deleteGarbage(ctx, &m.Garbage[n]); err != nil {
			p.stats.deleteErrors.Add(1)
			return false, 0, err
		}
		segments += max(1, m.Garbage[n].Segments)
		n++
	}
	if n == 0 {
		return false, due, nil
	}
	next := m.clone()
	next.Garbage = next.Garbage[n:]
	if err := p.commit(ctx, next); err != nil {
		return false, 0, err
	}
	return due == 0 && len(next.Garbage) > 0, due, p.settle(nil)
}

// deleteGarbage deletes the objects of one item. It can be repeated: what is gone is gone.
func (p *Partition) deleteGarbage(ctx context.Context, g *Garbage) error {
	var keys []string
	switch g.Kind {
	case garbageSegment:
		keys = append(keys, g.key(p.catalog.dir, segmentSuffix))
	case garbagePage:
		keys = append(keys, g.key(p.catalog.dir, pageSuffix))
	case garbagePageAll:
		entries, err := p.tier.decoded.page(ctx, p.tier.bucket, p.catalog.dir, g.ObjectID, g.Size, g.Sum)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
		for i := range entries {
			if e := &entries[i]; !e.isDrop() {
				keys = append(keys, e.id().key(p.catalog.dir, segmentSuffix))
			}
		}
	}
	if err := p.tier.bucket.Delete(ctx, keys...); err != nil {
		return err
	}
	p.stats.deleteRequests.Add(int64(len(keys)))
	if g.Kind == garbagePageAll { // last, since it is the only list of the others
		return p.tier.bucket.Delete(ctx, g.key(p.catalog.dir, pageSuffix))
	}
	return nil
}
