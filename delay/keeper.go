package delay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// KeeperConfig is what a keeper needs.
type KeeperConfig struct {
	Journal Journal
	// Topic and Partition are whose schedule this is.
	Topic     [16]byte
	Partition int32
	// Lost are the ranges of the partition's log of which nothing came back when it was restored from
	// a copy, each from the end of that copy to where the log went on. What progress says of them is
	// void: whoever wrote it knew more than the copy has.
	Lost []Range
	// FS and Dir are where temporary files go. The directory is the keeper's own; it is emptied.
	FS  vfs.FS
	Dir string
	// SortBytes is how much is sorted in memory while a run is written; 0 means 32 MiB.
	SortBytes int
	// Flush makes the partition's log durable up to an offset at or below the high watermark. nil:
	// what is committed is durable.
	Flush  func(end int64) error
	Logger *slog.Logger
	// Now is the wall clock, time.Now if nil.
	Now func() time.Time
}

// Keeper moves what is pending out of memory, for one partition that this broker leads: it writes
// runs and progress into the partition's journal, and deletes what is not needed there any more. It
// starts no goroutine; its methods are called one at a time, and may take long. While Merge reads,
// others than itself and Tidy may be called: see there.
type Keeper struct {
	c        KeeperConfig
	schedule *Schedule
	header   runHeader
	builder  record.Builder
	// segment is the offset of the last complete progress record, which begins a segment; -1
	// without one. Others follow it, up to the offset until; written is how many bytes all of them
	// have.
	segment, until int64
	written        int
	// copies are the schedule's, while it is read.
	copies []journalCopy
	// end is the end of what the keeper has appended to the journal last.
	end int64
	// complete says that the next progress record must be complete.
	complete bool
	// void says that there is progress in the journal which is passed over, see [KeeperConfig.Lost].
	void bool
	// drops are named by every progress record until other ones take their place.
	drops []Range
	// pick is [pickMerge].
	pick func([]*run) []*run
}

// maxProgressBytes is how much is read, beyond a complete progress record, to know the state of a schedule.
const maxProgressBytes = 1 << 20

// ErrLogEndLost means that the partition's log ends below what its journal has taken in of it.
// Before progress is written, the log is durable up to there, and neither a restore nor a salvage
// gives out an offset twice: so it is damaged. Records that got the lost offsets would be taken for
// those that had them.
var ErrLogEndLost = errors.New("the end of the partition's log is lost")

// OpenKeeper reads what a journal knows of a partition's schedule. The schedule must then be
// applied the partition's log from [Schedule.End] on, and after that [Keeper.Renew] called. At is
// the range of that log. The error is [ErrLogEndLost] if the journal knows more of it.
func OpenKeeper(ctx context.Context, c KeeperConfig, at Range) (*Keeper, *Schedule, error) {
	if c.SortBytes == 0 {
		c.SortBytes = 32 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{c: c, header: runHeader{c.Topic, c.Partition}, segment: -1, complete: true, pick: pickMerge}
	if err := tempDir(c.FS, c.Dir); err != nil {
		return nil, nil, err
	}
	p, err := k.load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the schedule log: %w", err)
	}
	if p == nil {
		k.schedule = NewSchedule(at.From)
		k.copies = []journalCopy{{}}
	} else if known := max(p.folded, p.floor); known > at.To {
		return nil, nil, fmt.Errorf("%w: the schedule log knows of all below offset %d, the log ends at %d", ErrLogEndLost, known, at.To)
	} else if k.schedule, err = k.restore(ctx, p, at.From); err != nil {
		return nil, nil, err
	}
	k.schedule.journal, k.schedule.copies, k.copies = c.Journal, k.copies, nil
	return k, k.schedule, nil
}

// load finds the last complete progress record, which begins a segment, and folds in those that
// follow it. It returns nil if there is none.
func (k *Keeper) load(ctx context.Context) (*progress, error) {
	var last, present Range
	var failed error
	err := k.c.Journal.Segments(ctx, func(s Range) bool {
		last.To = max(last.To, s.To)
		if s.From == s.To {
			return true
		}
		var b record.Batch
		var p *progress
		if b, failed = k.c.Journal.BatchAt(ctx, s.From, nil); failed == nil {
			p, failed = readProgress(b)
		}
		switch {
		case failed != nil:
			return false
		case p == nil, k.isVoid(p):
			present = Range{}
			return true
		}
		present = Range{From: s.From, To: max(present.To, s.To)}
		return !p.complete
	})
	if err = cmp.Or(failed, err); err != nil {
		return nil, err
	}
	// What is read here opens the gate, so it may not be lost any more.
	if err := k.c.Journal.Wait(ctx, last.To); err != nil {
		return nil, err
	}
	return k.fold(ctx, present)
}

// readProgress reads a progress record; nil if the batch is something else.
func readProgress(b record.Batch) (*progress, error) {
	kind, value, err := kindOf(b)
	if err != nil || kind != kindProgress {
		return nil, err
	}
	p, err := decodeProgress(value)
	if err != nil {
		return nil, fmt.Errorf("progress record at offset %d: %w", b.BaseOffset(), err)
	}
	return p, nil
}

// isVoid reports whether a progress record has folded in what was lost, and notes that.
func (k *Keeper) isVoid(p *progress) bool {
	void := slices.ContainsFunc(k.c.Lost, func(r Range) bool { return r.From < p.folded && p.folded < r.To })
	k.void = k.void || void
	return void
}

// fold reads the progress records of a range, the first of which is complete, up to the first that
// is void; nil if that is not so.
func (k *Keeper) fold(ctx context.Context, r Range) (p *progress, err error) {
	err = k.c.Journal.Scan(ctx, r.From, r.To, func(b record.Batch) error {
		next, err := readProgress(b)
		switch {
		case err != nil || next == nil:
			return err
		case k.isVoid(next): // and so are those that build on it
			return nil
		case p == nil && !next.complete:
			return nil
		case p == nil:
			p, k.segment = next, r.From
		default:
			p.fold(next)
		}
		k.until, k.drops = b.EndOffset(), p.drops
		k.copies = append(k.copies, copyOf(p, Range{k.segment, k.until}))
		return nil
	})
	return p, err
}

// restore makes the schedule that a progress record describes.
func (k *Keeper) restore(ctx context.Context, p *progress, logStart int64) (*Schedule, error) {
	// The log may begin above the floor: it has kept what was pending and what is proved above folded.
	s := NewSchedule(max(p.floor, logStart))
	s.began, s.folded = logStart, p.folded
	s.received.Store(p.received)
	s.highWatermark, s.namesRuns = p.folded, len(p.runs) > 0
	for i := range p.runs {
		r, err := loadRun(ctx, k.c.Journal, &p.runs[i])
		if err != nil {
			return nil, err
		}
		s.runs.replace(nil, r)
	}
	for i := range k.copies {
		k.copies[i].trim(s.runs.list)
	}
	return s, nil
}

// Renew writes progress if there is void one in the journal, so that it is passed over whatever is
// known later of what was lost. The whole of the log must have been applied.
func (k *Keeper) Renew(ctx context.Context, logStart int64) error {
	if !k.void {
		return nil
	}
	err := k.Progress(ctx, logStart)
	k.void = err != nil
	return err
}

// Progress writes down what is finished, so that the partition's log need not keep the proofs, and
// forgets runs that are finished as a whole. LogStart is the log's reported start. When it returns
// nil, [Schedule.Gate] has moved.
func (k *Keeper) Progress(ctx context.Context, logStart int64) error {
	return k.commit(ctx, k.complete || k.written > maxProgressBytes, change{}, logStart)
}

// commit writes a progress record and, when it is committed, makes the change that it announces. A
// complete one begins a segment.
func (k *Keeper) commit(ctx context.Context, complete bool, c change, logStart int64) error {
	p, finished := k.schedule.capture(complete, c)
	p.logStart, p.drops = logStart, k.drops
	value := p.encode()
	// Until this one is known to be committed, the next one must not build on it.
	k.complete = true
	if k.c.Flush != nil {
		// If the log lost what the record speaks of, it would give those offsets to other records.
		if err := k.c.Flush(p.folded); err != nil {
			return fmt.Errorf("make what progress is about durable: %w", err)
		}
	}
	b, err := hidden(&k.builder, k.c.Now().UnixMilli(), kindProgress, value)
	if err != nil {
		return err
	}
	offset, err := k.append(ctx, complete, b)
	if err == nil {
		at := Range{k.segment, k.end}
		if complete {
			at.From = offset
		}
		k.schedule.written(p, at, c)
		err = k.c.Journal.Wait(ctx, k.end)
	}
	if err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	if complete {
		k.segment, k.written = offset, 0
	}
	k.until = k.end
	k.written += len(value)
	k.complete = false
	k.schedule.progressed(p, finished, c)
	return nil
}

// append appends a batch to the journal.
func (k *Keeper) append(ctx context.Context, roll bool, b record.Batch) (base int64, err error) {
	if err := ctx.Err(); err != nil { // the journal may not look
		return 0, err
	}
	if base, err = k.c.Journal.Append(ctx, roll, b); err == nil {
		k.end = base + int64(b.Count())
	}
	return base, err
}

// Tidy deletes what lies in the journal and is needed no more: finished and replaced runs, runs
// that were not finished before a crash, and old progress. The deletion is recorded before it is
// carried out, and with a run go all progress records that name it, so that a copy of the journal
// which is made later never names what it has not. What is not deleted yet, or not everywhere, is
// left to the next time; one that cannot be deleted does not keep the others.
func (k *Keeper) Tidy(ctx context.Context, logStart int64) error {
	present := Range{k.segment, k.until} // nothing, if there is no progress yet
	drops, more, err := k.garbage(ctx, present)
	if err != nil {
		return err
	}
	if more {
		k.drops, k.complete = drops, true
		if err := k.Progress(ctx, logStart); err != nil {
			k.drops = nil
			return err
		}
	}
	var errs []error
	for _, d := range slices.Backward(drops) {
		k.schedule.dropping(d)
		if err := k.c.Journal.Drop(ctx, d); err != nil {
			errs = append(errs, fmt.Errorf("drop [%d, %d) of the schedule log: %w", d.From, d.To, err))
		}
	}
	return errors.Join(errs...)
}

// garbage returns the ranges of segments that belong to no run, in order. If all but the present
// progress have been recorded before, they are those; else more is set, and a new complete progress
// record will make the present ones garbage too.
func (k *Keeper) garbage(ctx context.Context, present Range) (drops []Range, more bool, err error) {
	var old, all []Range
	live := k.schedule.runRanges()
	active := true
	err = k.c.Journal.Segments(ctx, func(s Range) bool {
		if !slices.ContainsFunc(live, s.overlaps) && s.From < s.To {
			all = append(all, s)
			if !active && !s.overlaps(present) {
				old = append(old, s)
				more = more || !slices.ContainsFunc(k.drops, func(d Range) bool { return d.From <= s.From && s.To <= d.To })
			}
		}
		active = false
		return true
	})
	if more {
		old = all
	}
	return join(old), more, err
}

// join turns ranges from last to first into the fewest from first to last.
func join(ranges []Range) (joined []Range) {
	for _, r := range slices.Backward(ranges) {
		if n := len(joined); n > 0 && joined[n-1].To == r.From {
			joined[n-1].To = r.To
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}
