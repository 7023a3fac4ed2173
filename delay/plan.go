package delay

import (
	"fmt"
	"math"
	"strconv"

	"github.com/morrowmq/morrow/log/record"
)

// maxPieces is the most sub-batches that one batch is split into.
const maxPieces = 4096

// Plan is how one producer's batch is stored: as it is, hidden as a whole, or as an atomic group of
// pieces, each wholly visible or wholly hidden, with the original's offsets and sequences.
//
// The order of use is Prepare, outside the partition's append section; then inside it, after
// duplicates were told, [Schedule.Admit] unless the plan is Free, Stamp, the append, and
// [Schedule.Make] of its Changes. A Plan is valid until its [Splitter] is released.
type Plan struct {
	splitter *Splitter
	batch    record.Batch
	pieces   []piece
	// built holds the pieces, one after another, if they are not the batch itself.
	built   []byte
	batches []record.Batch
	// rebuild: the batch cannot be stored with its own payload.
	rebuild bool
	// scheduled is how many records will be pending, received when they came.
	scheduled int
	receive   int64
	resolution
}

// piece is a range of records with one visibility.
type piece struct {
	first, end int32 // record indexes, half-open
	hidden     bool
	// from and to delimit the piece in Plan.built.
	from, to int
}

// Plan divides a batch: the one whose records were visited, or the same records in another
// compression. [record.Check] must have passed. The error is a *[record.RecordErrors].
func (s *Splitter) Plan(b record.Batch) (*Plan, error) {
	p := &s.plan
	p.reset()
	p.batch = b
	if err := p.divide(); err != nil {
		return nil, err
	}
	p.rebuild = len(p.pieces) > 1
	for i := range s.items {
		p.rebuild = p.rebuild || s.items[i].rewrite
		if s.items[i].kind == itemDelayed {
			p.scheduled++
		}
	}
	return p, nil
}

func (p *Plan) reset() {
	built := p.built[:0]
	if cap(built) > maxKeptBuffer {
		built = nil
	}
	clear(p.batches)
	*p = Plan{splitter: p.splitter, pieces: p.pieces[:0], built: built, batches: p.batches[:0], resolution: p.resolution}
	p.resolution.reset()
}

// maxKeptBuffer is the largest buffer kept for the next batch.
const maxKeptBuffer = 4 << 20

// Plain reports whether the batch is stored untouched and visible.
func (p *Plan) Plain() bool { return len(p.splitter.items) == 0 }

// Free reports, once the plan is prepared, whether it may be appended whatever the schedule holds:
// nothing is cancelled or replaced, and no delay.max.pending bounds what is added.
func (p *Plan) Free() bool {
	return p.empty() && p.splitter.rules.maxPending == math.MaxInt64
}

// divide finds the pieces.
func (p *Plan) divide() error {
	items, count := p.splitter.items, p.batch.Count()
	next := int32(0)
	for i := 0; i < len(items); {
		first, end := items[i].index, items[i].index+1
		for i++; i < len(items) && items[i].index == end; i++ {
			end++
		}
		if next < first {
			p.pieces = append(p.pieces, piece{first: next, end: first})
		}
		p.pieces = append(p.pieces, piece{first: first, end: end, hidden: true})
		next = end
		if len(p.pieces) > maxPieces {
			return refuseRecord(first, fmt.Sprintf("batch alternates between delayed and ordinary records more than %d times, expected batches with fewer of either kind in between", maxPieces))
		}
	}
	if next < count {
		p.pieces = append(p.pieces, piece{first: next, end: count})
	}
	return nil
}

func refuseRecord(index int32, reason string) *record.RecordErrors {
	return &record.RecordErrors{Err: record.ErrInvalid, Records: []record.RecordError{{Index: index, Reason: reason}}, Count: 1}
}

// build makes the pieces' batches. Base offsets count from the first record of the original, as do sequences.
func (p *Plan) build() error {
	p.built = p.built[:0]
	if !p.rebuild {
		return nil
	}
	s := p.splitter
	w := &s.builder
	nextItem, nextPiece := 0, 0
	err := p.batch.Walk(nil, func(v *record.View) error {
		pc := &p.pieces[nextPiece]
		if v.Index == pc.first {
			w.ResetLike(p.batch)
			w.SetAttributes(p.batch.Attributes() &^ record.LogAppendTime)
		}
		if pc.hidden {
			p.addHidden(v, &s.items[nextItem])
			nextItem++
		} else {
			w.AddView(v)
		}
		if v.Index+1 < pc.end {
			return nil
		}
		nextPiece++
		return p.finish(pc)
	})
	return err
}

func (p *Plan) finish(pc *piece) error {
	b, err := p.splitter.builder.Finish()
	if err != nil {
		return err
	}
	pc.from = len(p.built)
	p.built = append(p.built, b...)
	pc.to = len(p.built)
	return nil
}

// addHidden adds a record to the piece being built, with its headers as the log needs them.
func (p *Plan) addHidden(v *record.View, it *item) {
	w, r := &p.splitter.builder, p.splitter.rules
	if !it.rewrite && it.target == 0 && !it.done {
		w.AddView(v)
		return
	}
	var extra [2]record.Header
	add := extra[:0]
	if it.kind == itemDelayed && it.rewrite {
		name := HeaderDeliverAt
		if it.relative {
			name = HeaderDelay
		}
		add = append(add, record.Header{Key: name, Value: strconv.AppendInt(nil, it.value, 10)})
	}
	if it.target > 0 {
		add = append(add, record.Header{Key: HeaderFinishes, Value: appendFinishes(nil, p.targets[it.target-1])})
	}
	drop := func(key []byte) bool {
		m := r.headers.meaning(key)
		return it.done && m != noMeaning || it.rewrite && m.schedules()
	}
	w.AddEdited(v, v.OffsetDelta, v.CreateTime(), drop, add...)
}

// Stamp returns what to append: the pieces of one atomic group, all but the last marked continued,
// the hidden ones stamped with the time at which the broker received them. Receive must not go back
// within a partition; delays count from it. The batches belong to the plan.
func (p *Plan) Stamp(receive int64) []record.Batch {
	p.batches, p.receive = p.batches[:0], receive
	for i := range p.pieces {
		pc := &p.pieces[i]
		b := p.batch
		if p.rebuild {
			b = record.Batch(p.built[pc.from:pc.to:pc.to])
		}
		a, timestamp := b.Attributes()&^(record.LogAppendTime|record.Own), b.MaxTimestamp()
		if pc.hidden {
			a, timestamp = a|record.Hidden|record.LogAppendTime, receive
		}
		if i+1 < len(p.pieces) {
			a |= record.Continued
		}
		if !p.Plain() {
			b.Stamp(a, timestamp)
		}
		p.batches = append(p.batches, b)
	}
	return p.batches
}
