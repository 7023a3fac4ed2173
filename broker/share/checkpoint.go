package share

import (
	"cmp"
	"maps"
	"slices"

	"github.com/morrowmq/morrow/broker/coord"
)

// checkpoint keeps the journal short. Once it holds many more records than there
// are share-partitions, every share-partition is written as a snapshot; what came
// before the first of them is then not needed. What a load finds counts too: a broker
// that is often restarted must not keep its journal for ever.
type checkpoint struct {
	records int   // in the journal since the last one began
	mark    int64 // where the running one began
	left    []Key // it has yet to write
	running bool
}

const (
	checkpointRecords   = 5000 // least records between two checkpoints
	checkpointPerPart   = 8    // and for each share-partition
	partsPerCheckpoint  = 50   // snapshots of one step, so that calls get their turn in between
	checkpointRetryTime = retryExpire
)

// maybeCheckpoint begins a checkpoint when it is time.
func (s *machine) maybeCheckpoint(tx *coord.Tx) {
	c := &s.checkpoint
	if c.running || c.records < max(checkpointRecords, checkpointPerPart*len(s.parts)) {
		return
	}
	s.log.Debug("share group state is written anew", "records", c.records, "partitions", len(s.parts))
	*c = checkpoint{mark: tx.End(), running: true, left: slices.SortedFunc(maps.Keys(s.parts), Key.compare)}
	s.timers.Set(timerKey{checkpoint: true}, tx.Now())
}

// stepCheckpoint writes some of the snapshots. The journal is trimmed when the last
// one is committed.
func (s *machine) stepCheckpoint(tx *coord.Tx) {
	c := &s.checkpoint
	n := min(partsPerCheckpoint, len(c.left))
	for _, k := range c.left[:n] {
		p := s.parts[k]
		if p == nil {
			continue
		}
		if err := tx.Append(snapshot(k, &p.runs)); err != nil {
			s.log.Warn("share group state not written anew, will retry", "group", k.Group, "partition", k.Partition, "err", err)
			s.timers.Set(timerKey{checkpoint: true}, tx.Now().Add(checkpointRetryTime))
			return
		}
	}
	if c.left = c.left[n:]; len(c.left) > 0 {
		s.timers.Set(timerKey{checkpoint: true}, tx.Now())
		return
	}
	c.running = false
	tx.Trim(c.mark)
}

func (k Key) compare(other Key) int {
	return cmp.Or(
		cmp.Compare(k.Group, other.Group),
		slices.Compare(k.Topic[:], other.Topic[:]),
		cmp.Compare(k.Partition, other.Partition),
	)
}
