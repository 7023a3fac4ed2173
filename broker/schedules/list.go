package schedules

import (
	"cmp"
	"context"
	"math"
	"net/url"
	"slices"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/delay"
)

const (
	// pageRecords is how many records a page has unless the client says otherwise; maxPage is the most.
	pageRecords, maxPage = 100, 10_000
)

// List returns a page of the pending records of a topic, those due first at its beginning, by the
// parameters of the route.
func (a *API) List(ctx context.Context, topic string, q url.Values) (answer Page, err error) {
	f, err := filter(q)
	if err != nil {
		return answer, err
	}
	limit, err := intParameter(q, "limit", pageRecords, maxPage)
	if err != nil {
		return answer, err
	}
	from, err := parseCursor(q.Get("cursor"))
	if err != nil {
		return answer, err
	}
	parts, err := a.topic(topic, q)
	if err != nil {
		return answer, err
	}
	records, next, done, err := page(ctx, parts, from, f, limit)
	if err != nil {
		return answer, err
	}
	answer = Page{Topic: topic, Records: records}
	if !done {
		answer.Next = next.String()
	}
	return answer, nil
}

// page merges the lists of partitions. What lies at or behind the place up to which some partition
// has been listed waits for the next page.
func page(ctx context.Context, parts []*partition.Partition, from position, f delay.Filter, limit int) (records []Entry, next position, done bool, err error) {
	records, done = []Entry{}, true
	next = position{due: math.MaxInt64}
	for _, p := range parts {
		listed, err := p.ListScheduled(ctx, from.in(p.Number()), f, limit)
		if err != nil {
			return nil, next, false, err
		}
		for _, e := range listed.Records {
			records = append(records, entry(p, e))
		}
		if at := (position{listed.Next.Due, p.Number(), listed.Next.Ticket}); !listed.Done && at.less(next) {
			next, done = at, false
		}
	}
	slices.SortFunc(records, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.DueMs, y.DueMs), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Ticket, y.Ticket))
	})
	n, _ := slices.BinarySearchFunc(records, next, func(e Entry, end position) int {
		if e.at().less(end) {
			return -1
		}
		return 1
	})
	if n = min(n, limit); n < len(records) {
		next, done = records[n].at(), false
	}
	return records[:n], next, done, nil
}

func entry(p *partition.Partition, e delay.Pending) Entry {
	shown := Entry{Partition: p.Number(), Ticket: e.Ticket, DueMs: e.Due, Bytes: e.Size, Key: e.Key, InFlight: e.InFlight}
	if e.Run >= 0 {
		shown.Run = &e.Run
	}
	return shown
}

func (e Entry) at() position { return position{e.DueMs, e.Partition, e.Ticket} }
