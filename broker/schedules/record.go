package schedules

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log/record"
)

// patience is how long an answer waits for a commit.
const patience = 30 * time.Second

// Show returns a pending record and its contents.
func (a *API) Show(ctx context.Context, name Name) (answer Record, err error) {
	p, ticket, err := a.record(name)
	if err != nil {
		return answer, err
	}
	f, err := p.FindScheduled(ctx, ticket)
	if err != nil {
		return answer, err
	}
	answer = Record{
		Topic:        p.Topic().Name,
		Entry:        entry(p, f.Pending),
		ProducedAtMs: f.ProducedAt,
		RecordKey:    nullable(f.Record.Key), Value: nullable(f.Record.Value),
		Headers: []Header{},
	}
	for _, h := range f.Record.Headers {
		answer.Headers = append(answer.Headers, Header{h.Key, nullable(h.Value)})
	}
	return answer, nil
}

// Cancel cancels one record.
func (a *API) Cancel(ctx context.Context, name Name) (answer Cancelled, err error) {
	p, ticket, err := a.record(name)
	if err != nil {
		return answer, err
	}
	now := a.now()
	var w record.Builder
	w.Reset(0, now.UnixMilli())
	w.Add(0, now.UnixMilli(), nil, nil, cancelHeader(ticket))
	stored, err := a.steer(ctx, p, &w, now)
	if err != nil {
		return answer, err
	}
	return Cancelled{Topic: p.Topic().Name, Partition: p.Number(), Ticket: ticket, Offset: stored.BaseOffset}, nil
}

// Move cancels a record and stores it anew with another due time, in one batch: either both happen or neither.
func (a *API) Move(ctx context.Context, name Name, m Move) (answer Moved, err error) {
	p, ticket, err := a.record(name)
	if err != nil {
		return answer, err
	}
	now := a.now()
	at, err := m.due(now.UnixMilli())
	if err != nil {
		return answer, err
	}
	f, err := p.FindScheduled(ctx, ticket)
	if errors.Is(err, delay.ErrNotPending) {
		return answer, rest.Refuse(http.StatusConflict, "not_pending", "%v", err)
	}
	if err != nil {
		return answer, err
	}
	var w record.Builder
	w.Reset(record.Attributes(0).WithCodec(f.Codec), f.ProducedAt)
	w.Add(0, f.ProducedAt, nil, nil, cancelHeader(ticket))
	headers := append(f.Record.Headers, record.Header{Key: delay.HeaderDeliverAt, Value: decimal(at)})
	if f.Key != "" {
		headers = append(headers, record.Header{Key: delay.HeaderKey, Value: []byte(f.Key)})
	}
	w.Add(1, f.ProducedAt, f.Record.Key, f.Record.Value, headers...)
	stored, err := a.steer(ctx, p, &w, now)
	if err != nil {
		return answer, err
	}
	return Moved{Topic: p.Topic().Name, Partition: p.Number(), OldTicket: ticket, Ticket: stored.BaseOffset + 1, DueMs: at}, nil
}

// due is the time that is meant. It lies in the future, if only just, so that what is moved to now
// is still a delivery, with a ticket.
func (m *Move) due(now int64) (int64, error) {
	switch {
	case (m.DueMs == nil) == (m.DelayMs == nil):
		return 0, rest.BadRequest("expected either due_ms or delay_ms")
	case m.DueMs != nil:
		return max(*m.DueMs, now+1), nil
	case *m.DelayMs > delay.LastDue:
		return 0, rest.BadRequest("delay_ms is %d, expected at most %d", *m.DelayMs, int64(delay.LastDue))
	default:
		return now + max(*m.DelayMs, 1), nil
	}
}

// steer appends a batch and waits until it is committed. A cancel that came too late is a conflict.
func (a *API) steer(ctx context.Context, p *partition.Partition, w *record.Builder, now time.Time) (partition.Pending, error) {
	b, err := w.Finish()
	if err != nil {
		return partition.Pending{}, err
	}
	stored, err := p.Steer(ctx, b, now)
	if bad, ok := errors.AsType[*record.RecordErrors](err); ok && len(bad.Records) > 0 {
		if bad.Records[0].Index == 0 {
			return stored, rest.Refuse(http.StatusConflict, "not_pending", "%s", bad.Records[0].Reason)
		}
		return stored, rest.BadRequest("%s", bad.Records[0].Reason)
	}
	if err != nil {
		return stored, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return stored, stored.Wait(ctx)
}

func cancelHeader(ticket int64) record.Header {
	return record.Header{Key: delay.HeaderCancel, Value: decimal(ticket)}
}

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
