package delay

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// partition is a partition in memory, as the broker's would use this package.
type partition struct {
	rules *Rules
	now   func() time.Time

	mu      sync.Mutex
	batches []record.Batch
	// start and end are the log's; what lies below start was deleted.
	start, end int64
	schedule   *Schedule
	reads      atomic.Int64
	// wait, deliver and unread take the place of, or come before, what they are named for.
	wait    func(ctx context.Context, end int64) error
	deliver func() error
	unread  func(offset int64) error
	// looking, if not nil, is called before a batch is read.
	looking func()
	// early collects deliveries that were appended before they were due.
	early []string
}

func newPartition(rules *Rules) *partition {
	return &partition{rules: rules, now: time.Now, schedule: NewSchedule(0)}
}

// produce takes the way of a produce request, and returns the base offset.
func (p *partition) produce(b record.Batch) (int64, error) {
	sp := p.rules.Splitter(b, p.schedule.Receive(p.now().UnixMilli()))
	defer sp.Release()
	if _, err := record.Check(b, record.CheckOptions{Now: p.now().UnixMilli(), BeforeMax: 1 << 62, AfterMax: 1 << 62}, nil, sp.Visit()); err != nil {
		return 0, err
	}
	plan, err := sp.Plan(b)
	if err != nil {
		return 0, err
	}
	for {
		if err := plan.Prepare(context.Background(), p.schedule, p); err != nil {
			return 0, err
		}
		base, err := p.append(plan)
		if !errors.Is(err, ErrChanged) {
			return base, err
		}
	}
}

// produceIn produces in a producer's transaction.
func (p *partition) produceIn(producer int64, rs ...record.Record) (int64, error) {
	now := p.now().UnixMilli()
	var w record.Builder
	w.Reset(record.Transactional, now)
	w.SetProducer(producer, 0, 0)
	for i, r := range rs {
		w.Add(int32(i), now, r.Key, r.Value, r.Headers...)
	}
	b, err := w.Finish()
	if err != nil {
		return 0, err
	}
	return p.produce(b)
}

// decide appends the end of a producer's transaction.
func (p *partition) decide(producer int64, commit bool) error {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	now := p.now().UnixMilli()
	var w record.Builder
	w.Reset(record.Transactional|record.Control, now)
	w.SetProducer(producer, 0, -1)
	w.Add(0, now, key, nil)
	b, err := w.Finish()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.store(p.end, b); err != nil {
		return err
	}
	defer p.commit()
	return p.schedule.Apply(p.batches[len(p.batches)-1])
}

func (p *partition) append(plan *Plan) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.schedule.Admit(plan); err != nil {
		return 0, err
	}
	base := p.end
	for _, b := range plan.Stamp(p.schedule.Receive(p.now().UnixMilli())) {
		if err := p.store(base, b); err != nil {
			return 0, err
		}
	}
	changes, err := plan.Changes(base)
	if err != nil {
		return 0, err
	}
	p.schedule.Make(changes)
	p.commit()
	return base, nil
}

// store appends a copy of b at base plus its own base offset, which it sets in b too. The caller holds mu.
func (p *partition) store(base int64, b record.Batch) error {
	b.SetBaseOffset(base + b.BaseOffset())
	b = append(record.Batch(nil), b...)
	if b.BaseOffset() != p.end {
		return fmt.Errorf("batch at %d, log ends at %d", b.BaseOffset(), p.end)
	}
	if err := b.CheckCRC(); err != nil {
		return err
	}
	p.batches = append(p.batches, b)
	p.end = b.EndOffset()
	return nil
}

// commit moves the high watermark to the end, unless commits are held back. The caller holds mu.
func (p *partition) commit() {
	if p.wait == nil {
		p.schedule.AdvanceHighWatermark(p.end)
	}
}

func (p *partition) noteEarly(d *Delivery) {
	now := p.now().UnixMilli()
	for _, b := range d.Batches {
		_ = b.Walk(nil, func(v *record.View) error {
			if e, err := delivered(v); err != nil || e.Due > now || v.CreateTime() < e.Due {
				p.early = append(p.early, fmt.Sprintf("%v at %d, stamped %d: %v", e, now, v.CreateTime(), err))
			}
			return nil
		})
	}
}

func (p *partition) BatchAt(_ context.Context, offset int64, buf []byte) (record.Batch, error) {
	if p.looking != nil {
		p.looking()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads.Add(1)
	if p.unread != nil {
		if err := p.unread(offset); err != nil {
			return nil, err
		}
	}
	i := sort.Search(len(p.batches), func(i int) bool { return p.batches[i].EndOffset() > offset })
	if i == len(p.batches) || p.batches[i].BaseOffset() > offset {
		return nil, fmt.Errorf("offset %d: %w", offset, ErrGone)
	}
	return append(buf[:0], p.batches[i]...), nil
}

func (p *partition) Scan(_ context.Context, from, to int64, visit func(record.Batch) error) error {
	p.mu.Lock()
	batches, start := p.batches, p.start
	p.mu.Unlock()
	if from < start {
		return fmt.Errorf("scan from offset %d, the log starts at %d: %w", from, start, ErrGone)
	}
	for _, b := range batches {
		if b.EndOffset() > from && b.BaseOffset() < to {
			if err := visit(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *partition) OffsetForTimestamp(_ context.Context, ms int64) (int64, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		if !b.Hidden() && b.MaxTimestamp() >= ms {
			return b.BaseOffset(), true, nil
		}
	}
	return 0, false, nil
}

func (p *partition) Deliver(_ context.Context, d *Delivery) (int64, error) {
	if p.deliver != nil {
		if err := p.deliver(); err != nil {
			return 0, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.schedule.AdmitDelivery(d, p.now().UnixMilli()); err != nil {
		return 0, err
	}
	base := p.end
	for _, b := range d.Batches {
		if err := p.store(base, b); err != nil {
			return 0, err
		}
	}
	p.schedule.ApplyDelivery(d)
	p.noteEarly(d)
	p.commit()
	return p.end, nil
}

func (p *partition) Wait(ctx context.Context, end int64) error {
	if p.wait != nil {
		return p.wait(ctx, end)
	}
	return nil
}

// visible decodes what consumers see.
func (p *partition) visible() []record.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	var rs []record.Record
	for _, b := range p.batches {
		if b.Hidden() {
			continue
		}
		r, err := b.Decode()
		if err != nil {
			panic(err)
		}
		rs = append(rs, r...)
	}
	return rs
}
