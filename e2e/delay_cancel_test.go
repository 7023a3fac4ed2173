package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestAnswersToCancelsThatRaceDeliveriesMatchWhatConsumersSee cancels thousands of records at about
// the moment they fall due, over the protocol and over the API. What is said to be cancelled is
// never seen; what is refused is seen once.
func TestAnswersToCancelsThatRaceDeliveriesMatchWhatConsumersSee(t *testing.T) {
	const records, workers = 12_000, 24
	const length = 9 * time.Second
	b := start(t)
	cl := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx := deadline(t, 2*time.Minute)
	type target struct {
		id     string
		record *kgo.Record
		due    time.Time
	}
	var l *ledger
	var topic string
	targets := make([]target, records)
	ahead(t, 3*time.Second, func(begin time.Time) error {
		topic, l = fmt.Sprint("race-", begin.UnixMilli()), newLedger()
		createTopic(t, b, topic, 2, nil)
		for i := range targets {
			due := begin.Add(length * time.Duration(i) / records)
			id := fmt.Sprintf("r%05d", i)
			targets[i] = target{id, l.record(topic, id, int32(i%2), due.UnixMilli()), due}
			cl.Produce(ctx, targets[i].record, l.produced(id, due.UnixMilli()))
		}
		return cl.Flush(ctx)
	})
	l.consume(t, b, topic)
	var next, won, lost atomic.Int64
	var group sync.WaitGroup
	for w := range workers {
		own := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
		rng := rand.New(rand.NewPCG(uint64(*seed), uint64(w)))
		group.Go(func() {
			took := time.Duration(0) // by the last cancel
			for i := next.Add(1) - 1; i < records; i = next.Add(1) - 1 {
				target := &targets[i]
				early := time.Duration(rng.Int64N(int64(10*time.Millisecond+2*took))) - time.Millisecond
				if time.Until(target.due) < early {
					continue // this machine cannot cancel as fast as records fall due
				}
				time.Sleep(time.Until(target.due) - early)
				cancel := func() error { return cancelRecord(ctx, own, target.record) }
				if i%4 == 0 {
					cancel = func() error {
						return api(ctx, b, http.MethodDelete, fmt.Sprintf("/%s/%d/%d", topic, target.record.Partition, target.record.Offset), nil, nil)
					}
				}
				began := time.Now()
				err := cancel()
				took = time.Since(began)
				switch {
				case err == nil:
					won.Add(1)
					l.settle(target.id, cancelled, target.record.Offset, target.due.UnixMilli())
				case errors.Is(err, errRefused):
					lost.Add(1)
				default:
					l.complain("cancel %s: %v", target.id, err)
				}
			}
		})
	}
	group.Wait()
	l.await(t, b, topic)
	l.verify(t)
	t.Logf("%d cancelled in time, %d too late", won.Load(), lost.Load())
	if won.Load() < 30 || lost.Load() < 30 {
		t.Errorf("%d cancelled in time, %d too late: there was no race", won.Load(), lost.Load())
	}
}

// cancelRecord sends a strict cancel. The error is errRefused if it was refused; any other means
// that nothing is known.
func cancelRecord(ctx context.Context, cl *kgo.Client, r *kgo.Record) error {
	err := cl.ProduceSync(ctx, cancelOf(r)).FirstErr()
	if errors.Is(err, kerr.InvalidRecord) {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// cancelOf is a record that cancels another.
func cancelOf(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Headers: []kgo.RecordHeader{{Key: "morrow-cancel", Value: strconv.AppendInt(nil, r.Offset, 10)}}}
}
