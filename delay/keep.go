package delay

import "context"

// Limits say what [Keeper.Keep] has to achieve.
type Limits struct {
	// Memory is how many bytes the schedule may occupy.
	Memory int64
	// Below is the ticket below which nothing may be pending in the partition's log: it lies too far behind the log's end, or in
	// a segment that is to be deleted.
	Below int64
	// Start is where the partition's log would begin if nothing of it were needed.
	Start int64
	// LogStart is the log's reported start, for the record.
	LogStart int64
}

// maxUnfolded is how many proofs may wait to be folded in before progress is written.
const maxUnfolded = 256 << 10

// Keep does what is due: spills what exceeds the limits, merges runs, writes progress, and deletes what is not needed. It is called
// every second or so; most calls do nothing.
func (k *Keeper) Keep(ctx context.Context, src Source, l Limits) error {
	s := k.schedule
	below := max(l.Below, s.excess(l.Memory))
	if s.Floor() < below {
		if err := k.Spill(ctx, src, below, l.LogStart); err != nil {
			return err
		}
	}
	merged, err := k.Merge(ctx, l.LogStart)
	if err != nil {
		return err
	}
	if s.wantsProgress(l.Start) {
		if err := k.Progress(ctx, l.LogStart); err != nil {
			return err
		}
	}
	if merged || k.untidy {
		err = k.Tidy(ctx, l.LogStart)
		k.untidy = err != nil
	}
	return err
}

// excess returns a ticket below which about half of the near index lies if the schedule occupies more than maxBytes; else 0.
func (s *Schedule) excess(maxBytes int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory() <= maxBytes || len(s.pins.spans) == 0 {
		return 0
	}
	half := int64(s.near.count) / 2
	for i, p := range s.pins.spans[1:] {
		if half -= int64(s.pins.spans[i].live); half < 0 {
			return p.from
		}
	}
	return s.end
}

// wantsProgress reports whether a progress record would let the log go on to start, or save much work after a crash.
func (s *Schedule) wantsProgress(start int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.namesRuns {
		return false
	}
	fresh, finished := 0, false
	for _, r := range s.runs.list {
		fresh += len(r.fresh)
		finished = finished || r.live == 0
	}
	folded := min(s.highWatermark, s.end)
	return finished || fresh > maxUnfolded || s.folded < folded && s.folded < start
}

// Memory is about how many bytes the schedule occupies.
func (s *Schedule) Memory() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory()
}

// What things cost in memory, in bytes.
const (
	entryCost  = 15
	nameCost   = 150
	flightCost = 25
	opCost     = 80
	fenceCost  = 32
)

func (s *Schedule) memory() int64 {
	n := entryCost*int64(s.near.count) + opCost*int64(len(s.undo))
	n += nameCost*int64(len(s.names.of)) + 2*s.names.bytes
	n += flightCost * s.open.count
	for _, f := range s.flights {
		n += flightCost * int64(len(f.Entries))
	}
	for _, r := range s.runs.list {
		n += entryCost*int64(r.exceptions.count) + flightCost*int64(len(r.fresh))
		n += fenceCost*int64(len(r.data)+len(r.tickets)+2*len(r.keys)) + int64(len(r.filter))
	}
	return n
}
