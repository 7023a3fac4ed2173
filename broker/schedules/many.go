package schedules

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log/record"
)

const (
	// manyRecords is how many records are cancelled by one request unless the client says
	// otherwise; maxMany is the most.
	manyRecords, maxMany = 10_000, 1_000_000
	// step is how many are listed, and cancelled in one batch, at a time.
	step = 1000
)

// CancelMany cancels what passes filters, step by step, those due first at the beginning. What it
// counts as cancelled is committed when it answers. An error says how many were before it.
func (a *API) CancelMany(ctx context.Context, topic string, c CancelMany) (answer CancelledMany, err error) {
	f, limit, err := c.check()
	if err != nil {
		return answer, err
	}
	number := int32(-1)
	if c.Partition != nil {
		number = *c.Partition
	}
	parts, err := a.partitionsOf(topic, number)
	if err != nil {
		return answer, err
	}
	answer = CancelledMany{Topic: topic, DryRun: c.DryRun, Done: true}
	for _, p := range parts {
		var at delay.Entry
		for done := false; !done; {
			left := int(min(int64(step), int64(limit)-answer.Matched))
			if left <= 0 {
				answer.Done = false
				return answer, nil
			}
			page, err := p.ListScheduled(ctx, at, f, left)
			if err != nil {
				return answer, answer.after(err)
			}
			found := page.Records
			at, done = page.Next, page.Done
			answer.Matched += int64(len(found))
			if c.DryRun {
				continue
			}
			n, err := a.cancelThese(ctx, p, found)
			answer.Cancelled += n
			if err != nil {
				return answer, answer.after(err)
			}
			answer.TooLate += int64(len(found)) - n
		}
	}
	return answer, nil
}

func (c *CancelMany) check() (f delay.Filter, limit int, err error) {
	f = delay.Filter{KeyPrefix: c.KeyPrefix, Until: math.MaxInt64}
	if c.FromMs != nil {
		f.From = *c.FromMs
	}
	if c.UntilMs != nil {
		f.Until = *c.UntilMs
	}
	some := c.Partition != nil || c.KeyPrefix != "" || c.FromMs != nil || c.UntilMs != nil
	switch {
	case c.Partition != nil && *c.Partition < 0:
		return f, 0, rest.BadRequest("partition is %d, expected a number from 0", *c.Partition)
	case !some && !c.All:
		return f, 0, rest.BadRequest("expected a filter (partition, key_prefix, from_ms, until_ms), or all to confirm that everything is meant")
	case c.Limit < 0 || c.Limit > maxMany:
		return f, 0, rest.BadRequest("limit is %d, expected a number from 1 to %d", c.Limit, maxMany)
	case c.Limit == 0:
		return f, manyRecords, checkRange(f)
	}
	return f, c.Limit, checkRange(f)
}

// after says of an error what had been done before it.
func (c *CancelledMany) after(err error) error {
	e := *kinds.Classify(err)
	if c.Cancelled > 0 {
		e.Message = rest.Refuse(0, "", "after %d were cancelled: %s", c.Cancelled, e.Message).Message
	}
	return &e
}

// cancelThese cancels records of a partition that were just pending, and returns how many were
// cancelled. A batch with a cancel that came too late is refused as a whole; it is tried again
// without.
func (a *API) cancelThese(ctx context.Context, p *partition.Partition, these []delay.Pending) (int64, error) {
	tickets := make([]int64, len(these))
	for i, e := range these {
		tickets[i] = e.Ticket
	}
	slices.Sort(tickets) // they are looked up in the log
	for len(tickets) > 0 {
		now := a.now()
		var w record.Builder
		w.Reset(0, now.UnixMilli())
		for i, ticket := range tickets {
			w.Add(int32(i), now.UnixMilli(), nil, nil, cancelHeader(ticket))
		}
		b, err := w.Finish()
		if err != nil {
			return 0, err
		}
		stored, err := p.Steer(ctx, b, now)
		bad, refused := errors.AsType[*record.RecordErrors](err)
		switch {
		case refused && len(bad.Records) > 0:
			tickets = without(tickets, bad.Records)
		case err != nil:
			return 0, err
		default:
			waiting, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer stop()
			if err := stored.Wait(waiting); err != nil {
				return 0, err // nothing is known
			}
			return int64(len(tickets)), nil
		}
	}
	return 0, nil
}

// without drops the tickets whose cancels were refused.
func without(tickets []int64, refused []record.RecordError) []int64 {
	for _, r := range refused {
		tickets[r.Index] = -1
	}
	return slices.DeleteFunc(tickets, func(ticket int64) bool { return ticket < 0 })
}
