package compact

import (
	"errors"
	"math"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// Job is what [Fill] and [Rewrite] work on.
type Job struct {
	Options segment.Options
	// Segments are closed, and nothing changes them meanwhile, though they may be removed. The
	// first one is the first of the log.
	Segments []*segment.Segment
	// SegmentBytes is up to which size segments are joined (segment.bytes), and IndexBytes how
	// large an index may be.
	SegmentBytes, IndexBytes int64
	// Pace is told how many bytes are about to be read or written; it waits if that is too fast.
	// Its error ends the job.
	Pace func(bytes int) error
	// Fits is told how large a draft is about to become; its error ends the job.
	Fits func(bytes int64) error
	// Swap puts a finished draft in the place of segments, which are neighbours. The draft is its
	// own from the call on.
	Swap func(draft *segment.Draft, old []*segment.Segment) error
}

// Result is what a job has done. Sizes are in bytes.
type Result struct {
	Read, Written int64
	// Before and After are the sizes of the segments that were replaced, and of those in their place.
	Before, After int64
	// Clean is the offset below which every record but the last of its key has gone: End, or the
	// first delivery that the gate keeps.
	Clean int64
}

// errStop ends a scan.
var errStop = errors.New("stop")

// Fill takes the last offset of every key in [from, to) into k, as far as there is room, and
// returns the offset up to which it has come. Hidden records, markers, and records of aborted
// transactions do not count.
func (j *Job) Fill(k *Keys, from, to int64, abortedTxns []segment.AbortedTxn) (end int64, read int64, err error) {
	aborted := newAborted(abortedTxns)
	d := record.GetDecompressor()
	defer d.Release()
	end = to
	visit := func(b record.Batch, pos int64) error {
		read += int64(len(b))
		if err := j.Pace(len(b)); err != nil {
			return err
		}
		if b.Hidden() || b.Control() {
			return nil
		}
		if _, ok := aborted.of(b); ok {
			return nil
		}
		err := b.Walk(d, func(v *record.View) error {
			offset := b.BaseOffset() + int64(v.OffsetDelta)
			if v.Key != nil && from <= offset && offset < to && !k.Put(v.Key, offset) {
				end = offset
				return errStop
			}
			return nil
		})
		return orCorrupt(err, pos)
	}
	for _, s := range j.Segments {
		if s.End() <= from || s.Base() >= to {
			continue
		}
		if err := s.Scan(from, to, visit); errors.Is(err, errStop) {
			return end, read, nil
		} else if err != nil {
			return 0, read, inSegment(s, err)
		}
	}
	return end, read, nil
}

// Pinned reports whether the first batch that ends above an offset is a delivery that must stay.
func (j *Job) Pinned(at, gate int64) (pinned bool, err error) {
	for _, s := range j.Segments {
		if s.End() <= at {
			continue
		}
		err := s.Scan(at, math.MaxInt64, func(b record.Batch, _ int64) error {
			pinned = b.Delivery() && b.EndOffset() > gate
			return errStop
		})
		if err != nil && !errors.Is(err, errStop) {
			return false, inSegment(s, err)
		}
		if err != nil {
			return pinned, nil
		}
	}
	return false, nil
}

// orCorrupt says where a batch lies that is whole but cannot be understood.
func orCorrupt(err error, pos int64) error {
	if errors.Is(err, record.ErrInvalid) || errors.Is(err, record.ErrTooLarge) || errors.Is(err, record.ErrCodec) {
		return &segment.CorruptError{Pos: pos, Err: err}
	}
	return err
}

// inSegment says in which segment damage lies, if that is not known.
func inSegment(s *segment.Segment, err error) error {
	if c, ok := errors.AsType[*segment.CorruptError](err); ok && c.File == "" {
		c.File = s.Name()
	}
	return err
}

// LastVisible is the end of the last visible batch that begins below an offset, segment.None if there is none.
func (j *Job) LastVisible(below int64) (end int64, err error) {
	end = segment.None
	for i := len(j.Segments) - 1; i >= 0 && end == segment.None; i-- {
		s := j.Segments[i]
		switch info := s.Info(); {
		case info.Base >= below || info.LastVisible == segment.None:
		case info.End <= below:
			end = info.LastVisible
		default:
			err = s.Visible(info.Base, func(b record.Batch, _ int64) bool {
				if b.BaseOffset() < below {
					end = b.EndOffset()
				}
				return b.BaseOffset() < below
			})
			if err != nil {
				return 0, err
			}
		}
	}
	return end, nil
}

// Rewrite writes what the rules leave of the segments. Neighbours that fit into one segment become
// one; a segment of which nothing goes stays as it is.
func (j *Job) Rewrite(r Rules) (Result, error) {
	w := rewriter{job: j, filter: newFilter(r)}
	defer w.filter.close()
	for _, s := range j.Segments {
		err := w.begin(s)
		if err == nil {
			err = w.copy(s)
		}
		if err != nil {
			return w.sum, errors.Join(inSegment(s, err), w.discard())
		}
	}
	w.sum.Clean = r.End
	if w.filter.pinned != segment.None {
		w.sum.Clean = min(r.End, w.filter.pinned)
	}
	err := w.finish()
	return w.sum, err
}

// rewriter is a Rewrite at work.
type rewriter struct {
	job    *Job
	filter *filter
	sum    Result

	old []*segment.Segment // that the draft is to replace
	// draft is nil as long as the only old segment is to stay as it is.
	draft   *segment.Draft
	aborted []segment.AbortedTxn // that end in old, as long as there is no draft
}

// begin goes on to the next segment, and finishes the draft if the two do not fit into one.
func (w *rewriter) begin(s *segment.Segment) error {
	if len(w.old) > 0 {
		if !w.joins(s.Info()) {
			if err := w.finish(); err != nil {
				return err
			}
		} else if err := w.begun(math.MaxInt64); err != nil {
			return err
		}
	}
	w.old = append(w.old, s)
	return nil
}

// joins reports whether a segment fits behind what is there.
func (w *rewriter) joins(next segment.Info) bool {
	size, room := w.old[0].Size(), w.old[0].Room
	if w.draft != nil {
		size, room = w.draft.Size(), w.draft.Room
	}
	index := w.job.IndexBytes - next.Size/int64(w.job.Options.IndexIntervalBytes+1)*indexEntry
	return (size == 0 || size+next.Size <= w.job.SegmentBytes) && room(next.Size, next.End, int(max(index, 0)))
}

// indexEntry is the most that an indexed batch takes in an index.
const indexEntry = 12

// begun makes sure that there is a draft, which holds what comes before position pos of the only old segment.
func (w *rewriter) begun(pos int64) error {
	if w.draft != nil {
		return nil
	}
	first := w.old[0]
	var err error
	if w.draft, err = segment.CreateDraft(w.job.Options, first.Base(), first.Info().Created); err != nil {
		return err
	}
	err = first.Scan(first.Base(), math.MaxInt64, func(b record.Batch, at int64) error {
		if at >= pos {
			return errStop
		}
		if err := w.read(b); err != nil {
			return err
		}
		return w.write(b)
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	for _, a := range w.aborted {
		w.draft.AddAborted(a)
	}
	return nil
}

func (w *rewriter) read(b record.Batch) error {
	w.sum.Read += int64(len(b))
	return w.job.Pace(len(b))
}

func (w *rewriter) write(b record.Batch) error {
	w.sum.Written += int64(len(b))
	if err := w.job.Fits(w.draft.Size() + int64(len(b))); err != nil {
		return err
	}
	if err := w.job.Pace(len(b)); err != nil {
		return err
	}
	return w.draft.Append(b)
}

// copy adds what remains of a segment.
func (w *rewriter) copy(s *segment.Segment) error {
	size := s.Size()
	return s.Scan(s.Base(), math.MaxInt64, func(b record.Batch, pos int64) error {
		if err := w.read(b); err != nil {
			return err
		}
		have := pos
		if w.draft != nil {
			have = w.draft.Size()
		}
		o, err := w.filter.apply(b, segment.MaxBytes-have-(size-pos))
		if err != nil {
			return orCorrupt(err, pos)
		}
		return w.add(o, pos)
	})
}

func (w *rewriter) add(o outcome, pos int64) error {
	if o.batch == nil || o.changed {
		if err := w.begun(pos); err != nil {
			return err
		}
	}
	switch {
	case w.draft == nil:
		if o.aborted != nil {
			w.aborted = append(w.aborted, *o.aborted)
		}
		return nil
	case o.batch == nil:
		return nil
	case o.aborted != nil:
		w.draft.AddAborted(*o.aborted)
	}
	return w.write(o.batch)
}

// finish puts the draft in place, if there is one.
func (w *rewriter) finish() error {
	draft, old := w.draft, w.old
	w.draft, w.old, w.aborted = nil, nil, nil
	if draft == nil {
		return nil
	}
	before, written := int64(0), int64(segment.None)
	for _, s := range old {
		i := s.Info()
		before, written = before+i.Size, max(written, i.Written)
	}
	if err := draft.Finish(written); err != nil {
		return errors.Join(err, draft.Discard())
	}
	if err := w.job.Swap(draft, old); err != nil {
		return err
	}
	w.sum.Before += before
	w.sum.After += draft.Size()
	return nil
}

// discard removes an unfinished draft.
func (w *rewriter) discard() error {
	if w.draft == nil {
		return nil
	}
	return w.draft.Discard()
}
