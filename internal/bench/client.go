package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/log/record"
)

// maxIdempotentInFlight is how many produce requests an idempotent producer may have under way (KAFKA-5494).
const maxIdempotentInFlight = 5

// Produce sends records through franz-go, with as many clients as the load has connections. The producers are
// idempotent where acks and requests in flight allow it.
func Produce(l Load) Drive {
	return l.eachProducer(func(ctx context.Context, cl *kgo.Client, seed uint64, m *Meter) error {
		values := newValues(l.RecordBytes, seed)
		return l.produce(ctx, cl, m, values.next, func(r *kgo.Record, since time.Time) {
			m.Done(1, len(r.Value), time.Since(since))
		})
	})
}

// Consume reads a topic through franz-go, from its beginning to the end it had at first, again and
// again. Every client reads all partitions of its share, and latencies are those of polls.
func Consume(l Load) Drive {
	return func(ctx context.Context, m *Meter) error {
		ends, err := findEnds(ctx, l.Brokers, l.Topic)
		if err != nil {
			return notOurs(ctx, err)
		}
		clients := min(l.Connections, len(ends))
		g, ctx := errgroup.WithContext(ctx)
		for i := range clients {
			share := map[int32]int64{}
			for j := i; j < len(ends); j += clients {
				share[ends[j].partition] = ends[j].offset
			}
			g.Go(func() error {
				for ctx.Err() == nil {
					if err := l.consumeTo(ctx, share, m); err != nil {
						return notOurs(ctx, err)
					}
				}
				return nil
			})
		}
		return g.Wait()
	}
}

// EndToEnd produces, and consumes what it produces. Latencies count from when a record was to be
// sent until a consumer was given it.
func EndToEnd(l Load) Drive {
	return func(ctx context.Context, m *Meter) error {
		g, ctx := errgroup.WithContext(ctx)
		ready := make(chan struct{})
		g.Go(func() error { return notOurs(ctx, l.consumeStamped(ctx, m, ready)) })
		g.Go(func() error {
			select {
			case <-ready:
			case <-ctx.Done():
				return nil
			}
			return l.eachProducer(func(ctx context.Context, cl *kgo.Client, seed uint64, m *Meter) error {
				values := newValues(l.RecordBytes, seed)
				return l.produce(ctx, cl, m, values.next, func(*kgo.Record, time.Time) {})
			})(ctx, m)
		})
		return g.Wait()
	}
}

func (l *Load) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(l.Brokers...),
		kgo.ClientID(clientID),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, more...)
}

func (l *Load) producing() []kgo.Opt {
	opts := l.options(
		kgo.DefaultProduceTopic(l.Topic),
		kgo.ProducerBatchMaxBytes(int32(max(l.BatchBytes, l.RecordBytes+1024))),
		kgo.ProducerBatchCompression(l.compression()),
		kgo.ProducerLinger(l.Linger),
		kgo.MaxBufferedRecords(1<<18),
		kgo.MaxBufferedBytes(2*(l.InFlight+1)*(l.BatchBytes+l.RecordBytes)), // more would only wait
		kgo.RecordDeliveryTimeout(patience),
	)
	switch l.Acks {
	case -1:
		opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()))
	case 0:
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()))
	default:
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
	}
	if l.Acks != -1 || l.InFlight > maxIdempotentInFlight {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(l.InFlight))
	}
	return opts
}

func (l *Load) compression() kgo.CompressionCodec {
	switch l.Codec {
	case record.Gzip:
		return kgo.GzipCompression()
	case record.Snappy:
		return kgo.SnappyCompression()
	case record.LZ4:
		return kgo.Lz4Compression()
	case record.Zstd:
		return kgo.ZstdCompression()
	}
	return kgo.NoCompression()
}

// eachProducer runs work with each of the load's clients until it returns.
func (l *Load) eachProducer(work func(ctx context.Context, cl *kgo.Client, seed uint64, m *Meter) error) Drive {
	return func(ctx context.Context, m *Meter) error {
		g, ctx := errgroup.WithContext(ctx)
		for i := range l.Connections {
			g.Go(func() error {
				cl, err := kgo.NewClient(l.producing()...) // options of its own: clients write to some
				if err != nil {
					return err
				}
				defer cl.Close()
				return notOurs(ctx, work(ctx, cl, uint64(i+1), m))
			})
		}
		return g.Wait()
	}
}

// produce sends records until ctx ends, at the load's rate, and tells acked of every one that was
// acknowledged. Values begin with the time, in nanoseconds since the epoch, from which their
// latency counts.
func (l *Load) produce(ctx context.Context, cl *kgo.Client, m *Meter, value func() []byte, acked func(*kgo.Record, time.Time)) error {
	pace := newPace(l.RecordsPerSecond/float64(l.Connections), time.Now())
	pool := sync.Pool{New: func() any { return &kgo.Record{Value: make([]byte, l.RecordBytes)} }}
	for ctx.Err() == nil {
		since := pace.next(ctx)
		r, _ := pool.Get().(*kgo.Record)
		*r = kgo.Record{Value: r.Value}
		copy(r.Value, value())
		binary.BigEndian.PutUint64(r.Value, uint64(since.UnixNano()))
		cl.Produce(ctx, r, func(r *kgo.Record, err error) {
			switch {
			case err == nil:
				acked(r, since)
			case ctx.Err() == nil:
				m.Fail(err)
			}
			pool.Put(r)
		})
	}
	return nil
}

// end is where a partition ended.
type end struct {
	partition int32
	offset    int64
}

// findEnds returns where the partitions that hold anything end.
func findEnds(ctx context.Context, brokers []string, topic string) (ends []end, err error) {
	t := &Topic{Name: topic, brokers: brokers}
	err = t.withAdmin(func(adm *kadm.Client) error {
		starts, err := adm.ListStartOffsets(ctx, topic)
		if err != nil {
			return err
		}
		listed, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		for _, o := range listed.Offsets().Sorted() {
			if s, _ := starts.Lookup(topic, o.Partition); o.At > s.Offset {
				ends = append(ends, end{o.Partition, o.At})
			}
		}
		return listed.Error()
	})
	if err == nil && len(ends) == 0 {
		err = fmt.Errorf("topic %s is empty", topic)
	}
	return ends, err
}

// consumeTo reads partitions from their beginnings until all have reached the offsets of ends.
func (l *Load) consumeTo(ctx context.Context, ends map[int32]int64, m *Meter) error {
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for p, offset := range ends {
		from[p], left[p] = kgo.NewOffset().AtStart(), offset
	}
	cl, err := kgo.NewClient(l.options(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.Topic: from}),
		kgo.FetchMaxBytes(l.FetchBytes), kgo.FetchMaxPartitionBytes(l.FetchBytes),
	)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(left) > 0 {
		start := time.Now()
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		records, bytes := 0, 0
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				bytes += len(r.Key) + len(r.Value)
			}
			records += len(p.Records)
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= left[p.Partition] {
				delete(left, p.Partition)
			}
		})
		m.Done(records, bytes, time.Since(start))
	}
	return nil
}

// consumeStamped reads from the end on, and closes ready once it can miss nothing that is produced
// from then on.
func (l *Load) consumeStamped(ctx context.Context, m *Meter, ready chan<- struct{}) error {
	t := &Topic{Name: l.Topic, brokers: l.Brokers}
	from := map[int32]kgo.Offset{}
	err := t.withAdmin(func(adm *kadm.Client) error {
		listed, err := adm.ListEndOffsets(ctx, l.Topic)
		if err != nil {
			return err
		}
		listed.Each(func(o kadm.ListedOffset) { from[o.Partition] = kgo.NewOffset().At(o.Offset) })
		return listed.Error()
	})
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(l.options(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.Topic: from}))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	close(ready)
	for ctx.Err() == nil {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		now := time.Now()
		fs.EachRecord(func(r *kgo.Record) {
			if len(r.Value) >= 8 {
				m.Done(1, len(r.Value), now.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(r.Value)))))
			}
		})
	}
	return nil
}
