package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/log/record"
)

// maxProduce is the last version of Produce that names topics; later ones need ids.
const maxProduce = 12

// produceTimeoutMillis is how long the broker may wait for replicas.
const produceTimeoutMillis = 30_000

// RawProduce sends one batch, encoded beforehand, again and again: each request holds one, and the partitions of a
// connection take turns. Batches are without a producer id, so nothing is a duplicate.
func RawProduce(l Load) Drive {
	return func(ctx context.Context, m *Meter) error {
		batch, err := l.batch(1)
		if err != nil {
			return err
		}
		layout, err := findLayout(ctx, l.Brokers, l.Topic)
		if err != nil {
			return notOurs(ctx, err)
		}
		lanes := layout.lanes(l.Connections)
		g, ctx := errgroup.WithContext(ctx)
		for _, lane := range lanes {
			g.Go(func() error {
				p := producer{load: &l, batch: batch, meter: m, perSecond: l.RecordsPerSecond / float64(int(batch.Count())*len(lanes))}
				return notOurs(ctx, p.run(ctx, lane))
			})
		}
		return g.Wait()
	}
}

// notOurs is err, or nil if it is only what the end of ctx makes of things.
func notOurs(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// producer is one connection of RawProduce.
type producer struct {
	load      *Load
	batch     record.Batch
	meter     *Meter
	perSecond float64 // requests

	frames  [][]byte // one per partition
	version int16
}

func (p *producer) run(ctx context.Context, lane lane) error {
	w, err := dial(ctx, lane.addr, p.load.Congestion)
	if err != nil {
		return err
	}
	defer w.close()
	if p.version, err = w.version(kmsg.Produce, maxProduce); err != nil {
		return err
	}
	for _, partition := range lane.partitions {
		p.frames = append(p.frames, encode(p.request(partition), p.version))
	}
	// under way holds the time from which each request counts; it is full when enough are.
	underWay := make(chan time.Time, p.load.InFlight)
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	g.Go(func() error { return p.send(ctx, w, underWay) })
	if p.load.Acks != 0 {
		g.Go(func() error { return p.receive(ctx, w, underWay) })
	}
	return g.Wait()
}

func (p *producer) request(partition int32) kmsg.Request {
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition = partition
	part.Records = p.batch
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = p.load.Topic
	topic.Partitions = append(topic.Partitions, part)
	req := kmsg.NewPtrProduceRequest()
	req.Acks = p.load.Acks
	req.TimeoutMillis = produceTimeoutMillis
	req.Topics = append(req.Topics, topic)
	return req
}

func (p *producer) send(ctx context.Context, w *wire, underWay chan<- time.Time) error {
	pace := newPace(p.perSecond, time.Now())
	for id := uint32(0); p.load.Batches == 0 || int(id) < p.load.Batches; id++ {
		since := pace.next(ctx)
		if p.load.Acks != 0 {
			select {
			case underWay <- since:
			case <-ctx.Done():
				return nil
			}
		}
		frame := p.frames[int(id)%len(p.frames)]
		binary.BigEndian.PutUint32(frame[8:], id)
		if _, err := w.conn.Write(frame); err != nil {
			return notOurs(ctx, fmt.Errorf("send produce request: %w", err))
		}
		if p.load.Acks == 0 {
			p.meter.Done(int(p.batch.Count()), len(p.batch), time.Since(since))
		}
	}
	return nil
}

func (p *producer) receive(ctx context.Context, w *wire, underWay <-chan time.Time) error {
	resp := kmsg.NewPtrProduceResponse()
	for n := 0; p.load.Batches == 0 || n < p.load.Batches; n++ {
		*resp = kmsg.ProduceResponse{Version: p.version}
		if err := w.receive(resp); err != nil {
			return notOurs(ctx, fmt.Errorf("receive produce answer: %w", err))
		}
		since := <-underWay
		if err := produceError(resp); err != nil {
			p.meter.Fail(err)
			continue
		}
		p.meter.Done(int(p.batch.Count()), len(p.batch), time.Since(since))
	}
	return nil
}

// produceError is what the broker says about the one partition of a request.
func produceError(resp *kmsg.ProduceResponse) error {
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return errors.New("the answer is not about the partition that was asked")
	}
	p := &resp.Topics[0].Partitions[0]
	err := kerr.ErrorForCode(p.ErrorCode)
	if err != nil && p.ErrorMessage != nil {
		return fmt.Errorf("%w (%s)", err, *p.ErrorMessage)
	}
	return err
}
