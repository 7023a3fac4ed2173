package delay

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/morrowmq/morrow/log/record"
)

// memoryJournal is a schedule log in memory, in segments of a few batches.
type memoryJournal struct {
	segments  []journalSegment
	end       int64
	committed int64
	// before is called at the beginning of every append and wait, and may fail it. A wait that fails leaves it
	// unknown whether what was appended will be there after a crash.
	before func() error
	reads  atomic.Int64
	// unread, if not nil, may fail reading an offset.
	unread func(offset int64) error
	// dropped, if not nil, is told of every range that is dropped.
	dropped func(Range)
	// stall makes reading wait for ever.
	stall bool
}

type journalSegment struct {
	base    int64
	batches []record.Batch
}

// bytes are what its batches take.
func (j *memoryJournal) bytes() (sum int64) {
	for _, s := range j.segments {
		for _, b := range s.batches {
			sum += int64(cap(b))
		}
	}
	return sum
}

// smallSegment is how many batches a segment of the journal holds.
const smallSegment = 3

func (j *memoryJournal) Append(_ context.Context, roll bool, batches ...record.Batch) (int64, error) {
	if j.before != nil {
		if err := j.before(); err != nil {
			return 0, err
		}
	}
	base := j.end
	for i, b := range batches {
		last := len(j.segments) - 1
		if last < 0 || roll && i == 0 || len(j.segments[last].batches) >= smallSegment {
			j.segments = append(j.segments, journalSegment{base: j.end})
			last++
		}
		b = slices.Clone(b)
		b.SetBaseOffset(j.end)
		if err := b.CheckCRC(); err != nil {
			return 0, err
		}
		j.segments[last].batches = append(j.segments[last].batches, b)
		j.end = b.EndOffset()
	}
	return base, nil
}

func (j *memoryJournal) Wait(_ context.Context, end int64) error {
	if j.before != nil {
		if err := j.before(); err != nil {
			return err
		}
	}
	j.committed = max(j.committed, end)
	return nil
}

func (j *memoryJournal) BatchAt(ctx context.Context, offset int64, _ []byte) (record.Batch, error) {
	j.reads.Add(1)
	if j.stall {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if j.unread != nil {
		if err := j.unread(offset); err != nil {
			return nil, err
		}
	}
	for _, s := range j.segments {
		for _, b := range s.batches {
			if b.BaseOffset() <= offset && offset < b.EndOffset() {
				return slices.Clone(b), nil
			}
		}
	}
	return nil, fmt.Errorf("offset %d of the schedule log: %w", offset, ErrGone)
}

func (j *memoryJournal) Scan(_ context.Context, from, to int64, visit func(record.Batch) error) error {
	for _, s := range j.segments {
		for _, b := range s.batches {
			if b.EndOffset() > from && b.BaseOffset() < to {
				if err := visit(b); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (j *memoryJournal) Segments(_ context.Context, visit func(Range) bool) error {
	for _, s := range slices.Backward(j.segments) {
		if !visit(s.extent()) {
			break
		}
	}
	return nil
}

// extent is the range of the segment; one without batches ends where it begins.
func (s journalSegment) extent() Range {
	end := s.base
	if n := len(s.batches); n > 0 {
		end = s.batches[n-1].EndOffset()
	}
	return Range{s.base, end}
}

func (j *memoryJournal) Drop(_ context.Context, r Range) error {
	if j.dropped != nil {
		j.dropped(r)
	}
	for i := 0; i < len(j.segments); {
		if s := j.segments[i].extent(); r.From <= s.From && s.To <= r.To {
			j.segments = slices.Delete(j.segments, i, i+1)
		} else {
			i++
		}
	}
	return nil
}

// truncate cuts off batches from the end while they lie above an offset, as a crash does.
func (j *memoryJournal) truncate(end int64) {
	for len(j.segments) > 0 {
		last := &j.segments[len(j.segments)-1]
		for n := len(last.batches); n > 0 && last.batches[n-1].EndOffset() > end; n-- {
			j.end = last.batches[n-1].BaseOffset()
			last.batches = last.batches[:n-1]
		}
		if len(last.batches) > 0 {
			return
		}
		j.segments = j.segments[:len(j.segments)-1]
	}
}
