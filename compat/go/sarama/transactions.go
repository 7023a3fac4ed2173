package main

import (
	"context"

	"github.com/IBM/sarama"

	"github.com/morrowmq/morrow/compat/go/check"
)

// transactional is a producer with a transactional id.
type transactional struct{ sarama.SyncProducer }

func (c *client) Transactional(_ context.Context, id string) (check.Transactional, error) {
	conf := config()
	conf.Producer.Idempotent = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Transaction.ID = id
	conf.Net.MaxOpenRequests = 1
	p, err := sarama.NewSyncProducer([]string{c.bootstrap}, conf)
	if err != nil {
		return nil, err
	}
	return &transactional{p}, nil
}

func (t *transactional) Begin() error { return t.BeginTxn() }
func (t *transactional) Close()       { _ = t.SyncProducer.Close() }

func (t *transactional) Produce(_ context.Context, topic string, records ...check.Record) error {
	return translate(t.SendMessages(toMessages(topic, records)))
}

func (t *transactional) End(_ context.Context, commit bool) error {
	if commit {
		return t.CommitTxn()
	}
	return t.AbortTxn()
}

// Relay reads by assignment: sarama takes the position of a group from whoever names it.
func (c *client) Relay(ctx context.Context, id, group, from, to string, n int, commit bool) error {
	source, err := c.Consume(ctx, from, check.Start{Offset: check.Beginning}, check.ConsumeOptions{ReadCommitted: true})
	if err != nil {
		return err
	}
	defer source.Close()
	p, err := c.Transactional(ctx, id)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Begin(); err != nil {
		return err
	}
	for range n {
		r, err := source.Next(ctx)
		if err != nil {
			return err
		}
		if err := p.Produce(ctx, to, check.Record{Value: r.Value}); err != nil {
			return err
		}
		next := &sarama.PartitionOffsetMetadata{Partition: r.Partition, Offset: r.Offset + 1}
		offsets := map[string][]*sarama.PartitionOffsetMetadata{from: {next}}
		if err := p.(*transactional).AddOffsetsToTxn(offsets, group); err != nil {
			return err
		}
	}
	return p.End(ctx, commit)
}
