package check

import (
	"strconv"
	"time"
)

// transactional returns a producer whose transactional id is the name of the topic.
func (e *env) transactional() *producer {
	p, err := e.client.Transactional(e.ctx, e.topic)
	e.ok(err, "start a transactional producer")
	e.closers = append(e.closers, p.Close)
	return &producer{e, p}
}

// producer ends the check when a step fails.
type producer struct {
	env *env
	p   Transactional
}

func (p *producer) begin(records ...Record) {
	p.env.ok(p.p.Begin(), "begin")
	p.env.ok(p.p.Produce(p.env.ctx, p.env.topic, records...), "produce in a transaction")
}

func (p *producer) end(commit bool) { p.env.ok(p.p.End(p.env.ctx, commit), "end a transaction") }

// records are records with these values.
func records(values []string) []Record {
	all := make([]Record, len(values))
	for i, v := range values {
		all[i] = Record{Value: v}
	}
	return all
}

// readAll returns the values that a reader with opts sees, up to a record produced here, outside of
// any transaction.
func (e *env) readAll(opts ConsumeOptions) []string {
	const marker = "end of the check"
	e.produce(marker)
	c := e.consume(Start{Offset: Beginning}, opts)
	var got []string
	for {
		v := e.read(c, 1)[0].Value
		if v == marker {
			return got
		}
		got = append(got, v)
	}
}

func txnCommit(e *env) {
	e.createTopic(1)
	p := e.transactional()
	p.begin(records(numbered(1, 5))...)
	dirty := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	e.equal("values of the open transaction", values(e.read(dirty, 5)), numbered(1, 5))

	e.produce("outside")
	clean := e.consume(Start{Offset: Beginning}, ConsumeOptions{ReadCommitted: true})
	e.nothing(clean, time.Second)
	p.end(true)
	e.equal("values of the committed transaction", values(e.read(clean, 6)), append(numbered(1, 5), "outside"))
}

func txnAbort(e *env) {
	e.createTopic(1)
	p := e.transactional()
	p.begin(records(numbered(1, 5))...)
	p.end(false)
	p.begin(records(numbered(6, 10))...)
	p.end(true)
	e.equal("committed values", e.readAll(ConsumeOptions{ReadCommitted: true}), numbered(6, 10))
	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	e.equal("all values", values(e.read(c, 10)), numbered(1, 10))
}

func txnOffsets(e *env) {
	from := e.topic + ".from"
	e.ok(e.client.CreateTopic(e.ctx, from, 1, nil), "create topic")
	e.createTopic(1)
	_, err := e.client.Produce(e.ctx, from, durable, records(numbered(1, 5))...)
	e.ok(err, "produce")

	e.ok(e.client.Relay(e.ctx, e.topic, e.topic, from, e.topic, 5, false), "relay and abort")
	if committed, err := e.client.Committed(e.ctx, e.topic, from); err == nil && committed >= 0 {
		e.fail("the aborted transaction committed offset %d", committed)
	}
	e.ok(e.client.Relay(e.ctx, e.topic, e.topic, from, e.topic, 5, true), "relay and commit")
	e.await("the position is committed", func() bool { // the markers are written after the answer
		committed, err := e.client.Committed(e.ctx, e.topic, from)
		return err == nil && committed == 5
	})
	e.equal("copies", e.readAll(ConsumeOptions{ReadCommitted: true}), numbered(1, 5))
}

func txnDelayed(e *env) {
	e.createTopic(1)
	const delay = time.Second
	later := func(value string) Record {
		return Record{Value: value, Headers: map[string]string{"morrow-delay": delay.String()}}
	}
	p := e.transactional()
	p.begin(later("dropped"))
	p.end(false)
	before := time.Now().Truncate(time.Millisecond)
	p.begin(later("kept"), Record{Value: "at once"})
	p.end(true)

	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{ReadCommitted: true})
	got := e.read(c, 2)
	e.equal("values", values(got), []string{"at once", "kept"})
	due, err := strconv.ParseInt(got[1].Headers["morrow-due"], 10, 64)
	e.ok(err, "morrow-due")
	if at := time.UnixMilli(due); at.Before(before.Add(delay)) || got[1].Time.Before(at) {
		e.fail("early: produced at %d, due %d, delivered at %d", before.UnixMilli(), due, got[1].Time.UnixMilli())
	}
	e.nothing(c, delay)
}
