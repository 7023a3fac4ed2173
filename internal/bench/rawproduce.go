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

// lingering is how long answers are waited for that are under way when the load ends.
const lingering = 10 * time.Second

// RawProduce sends one batch, encoded beforehand, again and again: each request holds one, and the
// partitions of a connection take turns. Batches are without a producer id, so nothing is a
// duplicate. What is refused with an error that passes is sent again, as a client would. When ctx
// ends it sends no more, and counts what is answered to what is under way: the meter then knows how
// much the broker has stored.
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
	// refused are to be sent again; it has room for all that can be under way. answered is closed
	// when all batches of the load have been.
	refused  chan rawRequest
	answered chan struct{}
}

// rawRequest is a request of one batch.
type rawRequest struct {
	frame int
	since time.Time // from when its latency counts
}

// retryBackoff is how long a refused request waits.
const retryBackoff = 50 * time.Millisecond

func (p *producer) run(ctx context.Context, lane lane) error {
	w, err := dial(ctx, lane.addr, p.load.Congestion)
	if err != nil {
		return err
	}
	defer w.close()
	w.linger(ctx, lingering)
	if p.version, err = w.version(kmsg.Produce, maxProduce); err != nil {
		return err
	}
	for _, partition := range lane.partitions {
		p.frames = append(p.frames, encode(p.request(partition), p.version))
	}
	if p.load.Acks == 0 {
		return p.send(ctx, w, nil)
	}
	// With the one whose answer is being waited for, it is full when enough are under way.
	underWay := make(chan rawRequest, p.load.InFlight-1)
	p.refused, p.answered = make(chan rawRequest, p.load.InFlight+1), make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.send(ctx, w, underWay) })
	g.Go(func() error { return p.receive(ctx, w, underWay) })
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

// send sends until ctx ends and then closes underWay. What fails ends the connection.
func (p *producer) send(ctx context.Context, w *wire, underWay chan<- rawRequest) error {
	if underWay != nil {
		defer close(underWay)
	}
	pace := newPace(p.perSecond, time.Now())
	sent := 0
	for id := uint32(0); ; id++ {
		r, ok := p.next(ctx, pace, &sent)
		if !ok {
			return nil
		}
		if underWay != nil {
			select {
			case underWay <- r:
			case <-ctx.Done():
				return nil
			}
		}
		frame := p.frames[r.frame]
		binary.BigEndian.PutUint32(frame[8:], id)
		if _, err := w.conn.Write(frame); err != nil {
			w.close()
			return notOurs(ctx, fmt.Errorf("send produce request: %w", err))
		}
		if underWay == nil {
			p.meter.Done(int(p.batch.Count()), len(p.batch), time.Since(r.since))
		}
	}
}

// next returns what to send next: a request that was refused, or a new one, of which sent are
// counted. It returns false when there will be no more.
func (p *producer) next(ctx context.Context, pace *pace, sent *int) (r rawRequest, ok bool) {
	refused := func(r rawRequest) (rawRequest, bool) { return r, sleepUntil(ctx, time.Now().Add(retryBackoff)) }
	select {
	case r = <-p.refused:
		return refused(r)
	default:
	}
	if p.load.Batches == 0 || *sent < p.load.Batches {
		r = rawRequest{frame: *sent % len(p.frames), since: pace.next(ctx)}
		*sent++
		return r, ctx.Err() == nil
	}
	if p.load.Acks == 0 {
		return r, false
	}
	select {
	case r = <-p.refused:
		return refused(r)
	case <-p.answered:
	case <-ctx.Done():
	}
	return r, false
}

// receive reads the answer to every request that was sent. What fails ends the connection.
func (p *producer) receive(ctx context.Context, w *wire, underWay <-chan rawRequest) error {
	resp := kmsg.NewPtrProduceResponse()
	answered := 0
	for r := range underWay {
		*resp = kmsg.ProduceResponse{Version: p.version}
		if err := w.receive(resp); err != nil {
			w.close()
			return notOurs(ctx, fmt.Errorf("receive produce answer: %w", err))
		}
		switch err := produceError(resp); {
		case err == nil:
			p.meter.Done(int(p.batch.Count()), len(p.batch), time.Since(r.since))
		case kerr.IsRetriable(err):
			p.meter.Retry()
			p.refused <- r
			continue
		default:
			p.meter.Fail(err)
		}
		if answered++; answered == p.load.Batches {
			close(p.answered)
		}
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
