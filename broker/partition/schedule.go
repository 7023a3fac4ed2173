package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log/record"
)

// ErrNoSchedule means that the topic never delays: it is internal.
var ErrNoSchedule = errors.New("the topic belongs to the broker; nothing is delayed in it")

// loadedSchedule is the partition's schedule, which knows of everything that was written, once it
// is loaded; the error is ErrNoSchedule or ErrLoading.
func (p *Partition) loadedSchedule() (*delay.Schedule, error) {
	switch {
	case p.topic.Load().Rules == nil:
		return nil, ErrNoSchedule
	case !p.loaded.Load(): // before that, p.schedule may be written
		return nil, ErrLoading
	}
	p.mu.settle()
	return p.schedule, nil
}

// ListScheduled lists pending records: see [delay.Schedule.List]. Other errors are ErrNoSchedule
// and ErrLoading.
func (p *Partition) ListScheduled(ctx context.Context, position delay.Entry, f delay.Filter, limit int) (delay.Page, error) {
	s, err := p.loadedSchedule()
	if err != nil {
		return delay.Page{Next: position, Done: true}, err
	}
	return s.List(ctx, position, f, limit)
}

// CountScheduled counts pending records by when they are due: see [delay.Schedule.Timeline]. The
// error is ErrNoSchedule or ErrLoading.
func (p *Partition) CountScheduled(bounds []int64) ([]int64, error) {
	s, err := p.loadedSchedule()
	if err != nil {
		return nil, err
	}
	return s.Timeline(bounds), nil
}

// FindScheduled reads a pending record. Errors: ErrNoSchedule, ErrLoading, and those of [delay.Schedule.Find].
func (p *Partition) FindScheduled(ctx context.Context, ticket int64) (delay.Found, error) {
	s, err := p.loadedSchedule()
	if err != nil {
		return delay.Found{}, err
	}
	return s.Find(ctx, source{p}, ticket)
}

// ScheduleSources lists where the partition's delayed records come from, and why one has stopped,
// if it has. The error is ErrNoSchedule or ErrLoading. Of a schedule that could not be loaded only
// that is known.
func (p *Partition) ScheduleSources() ([]delay.SourceState, error) {
	_, err := p.loadedSchedule()
	if why := p.unloadable.Load(); errors.Is(err, ErrLoading) && why != nil {
		return []delay.SourceState{{Run: -1, NextDue: math.MaxInt64, Stopped: fmt.Errorf("what is pending is not known: %w", *why)}}, nil
	}
	if err != nil {
		return nil, err
	}
	return p.attached().Sources(), nil
}

// Lateness tells how long after their due time records were appended here since the broker started;
// ok is false if the partition has no schedule, or it is not loaded yet.
func (p *Partition) Lateness() (l delay.Lateness, ok bool) {
	if _, err := p.loadedSchedule(); err != nil {
		return l, false
	}
	return p.attached().Lateness(), true
}

// attached is the line, which is there once the schedule is loaded.
func (p *Partition) attached() *delay.Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.line
}

// Steer appends a batch of cancels, and of delayed records that take the place of cancelled ones,
// by the path of Append and with its errors: the outcome is decided in log order. It is for
// operators: what a record had to pass when it was produced does not count again
// (max.message.bytes, its timestamp, delay.enable, delay.max.pending). ErrNoSchedule if the topic
// never delays.
func (p *Partition) Steer(ctx context.Context, b record.Batch, now time.Time) (Pending, error) {
	rules := p.topic.Load().steering
	if rules == nil {
		return Pending{}, ErrNoSchedule
	}
	splitter := rules.Splitter(b, now.UnixMilli())
	defer splitter.Release()
	d := record.GetDecompressor()
	defer d.Release()
	any := record.CheckOptions{Now: now.UnixMilli(), BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}
	if _, err := record.Check(b, any, d, splitter.Visit()); err != nil {
		return Pending{}, err
	}
	plan, err := splitter.Plan(b)
	if err != nil {
		return Pending{}, err
	}
	return p.appendDelayed(ctx, b, plan, nil, now)
}
