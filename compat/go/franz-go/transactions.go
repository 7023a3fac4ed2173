package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/compat/go/check"
)

// transactional is a producer with a transactional id.
type transactional struct{ cl *kgo.Client }

func (c *client) Transactional(_ context.Context, id string) (check.Transactional, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(c.bootstrap), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	return &transactional{cl}, err
}

func (t *transactional) Begin() error { return t.cl.BeginTransaction() }
func (t *transactional) Close()       { t.cl.Close() }

func (t *transactional) Produce(ctx context.Context, topic string, records ...check.Record) error {
	return translate(t.cl.ProduceSync(ctx, toRecords(topic, records)...).FirstErr())
}

func (t *transactional) End(ctx context.Context, commit bool) error {
	return t.cl.EndTransaction(ctx, kgo.TransactionEndTry(commit))
}

// Relay is a session of a group and a transactional producer in one client, which is how franz-go does this.
func (c *client) Relay(ctx context.Context, id, group, from, to string, n int, commit bool) error {
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(c.bootstrap), kgo.TransactionalID(id), kgo.ConsumerGroup(group), kgo.ConsumeTopics(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(maxWait),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.Begin(); err != nil {
		return err
	}
	for sent := 0; sent < n; {
		fetches := session.PollRecords(ctx, n-sent)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			if err := session.ProduceSync(ctx, &kgo.Record{Topic: to, Value: r.Value}).FirstErr(); err != nil {
				return err
			}
			sent++
		}
	}
	ended, err := session.End(ctx, kgo.TransactionEndTry(commit))
	if err == nil && ended != commit {
		return kgo.ErrAborting
	}
	return err
}
