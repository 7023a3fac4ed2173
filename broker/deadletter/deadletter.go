// Package deadletter writes the records that share groups have given up on to their
// dead-letter topics (KIP-1191).
//
// It has no goroutines and no locks: package share calls it, one call at a time.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// The headers of a record in a dead-letter topic, after those of the record it is
// about: where that lies, which group gave it up after how many deliveries, and why.
// The values are texts.
const (
	HeaderTopic         = "__dlq.errors.topic"
	HeaderPartition     = "__dlq.errors.partition"
	HeaderOffset        = "__dlq.errors.offset"
	HeaderGroup         = "__dlq.errors.group"
	HeaderDeliveryCount = "__dlq.errors.delivery.count"
	HeaderMessage       = "__dlq.errors.message"
)

// What the header message says, in Kafka's words, and ours for a record that
// retention had removed.
const (
	rejected  = "Offset rejected by client."
	exhausted = "Offset delivery count exceeded the threshold."
	removed   = " The record itself is not in its topic any more."
)

// batchBytes is about how much is appended at once.
const batchBytes = 256 << 10

// Writer implements [share.Letters].
type Writer struct {
	Store      cluster.Store
	Partitions *partition.Table
	Now        func() time.Time
}

var _ share.Letters = (*Writer)(nil)

// ErrNoTopic means that there is no dead-letter topic, and the broker may not create one.
var ErrNoTopic = errors.New("the dead-letter topic does not exist, and auto.create.topics.enable is false")

// Bury implements [share.Letters]. A record goes to the partition with the number
// of its own, modulo how many the topic has. Offsets at which there is no record
// are passed over.
func (w *Writer) Bury(ctx context.Context, k share.Key, topic string, dead []share.Dead) error {
	source, err := w.Partitions.Get(k.Topic, k.Partition)
	if err != nil {
		return fmt.Errorf("partition %d of the records: %w", k.Partition, err)
	}
	target, err := w.target(ctx, topic, k.Partition)
	if err != nil {
		return err
	}
	f := funeral{
		source: source, target: target, group: k.Group, now: w.Now,
		copying: w.Store.Image().GroupConfig(k.Group).Bool("errors.deadletterqueue.copy.record.enable"),
	}
	f.builder.Reset(0, w.Now().UnixMilli())
	for _, d := range dead {
		if err := f.add(ctx, d); err != nil {
			return err
		}
	}
	if err := f.append(ctx); err != nil || f.last == nil {
		return err
	}
	return f.last.Wait(ctx)
}

// target finds the partition of a dead-letter topic, and creates the topic if that
// may be done.
func (w *Writer) target(ctx context.Context, topic string, number int32) (*partition.Partition, error) {
	t, ok := w.Store.Image().Topic(topic)
	if !ok {
		if !w.Store.Image().BrokerConfig().Bool("auto.create.topics.enable") {
			return nil, fmt.Errorf("%w: %s", ErrNoTopic, topic)
		}
		n := cluster.NewTopic{Name: topic, Partitions: -1, ReplicationFactor: -1}
		img, err := w.Store.Apply(ctx, cluster.CreateTopics{Topics: []cluster.NewTopic{n}})
		if err != nil && !errors.Is(err, cluster.TopicExists) {
			return nil, fmt.Errorf("create dead-letter topic %s: %w", topic, err)
		}
		if err := w.Partitions.WaitVersion(ctx, img.Version()); err != nil {
			return nil, err
		}
		if t, ok = w.Store.Image().Topic(topic); !ok {
			return nil, fmt.Errorf("%w: %s", ErrNoTopic, topic)
		}
	}
	p, err := w.Partitions.Get(t.ID, number%int32(len(t.Partitions)))
	if err != nil {
		return nil, fmt.Errorf("dead-letter topic %s: %w", topic, err)
	}
	return p, nil
}

// funeral is one call of Bury.
type funeral struct {
	source, target *partition.Partition
	group          string
	copying        bool
	now            func() time.Time

	batch   record.Batch // of the source, read last
	builder record.Builder
	last    *partition.Pending // the last append; nil before the first
}

// add adds one record to what is to be appended.
func (f *funeral) add(ctx context.Context, d share.Dead) error {
	switch err := f.read(ctx, d.Offset); {
	case outOfRange(err):
		f.write(nil, d, removed)
	case err != nil:
		return fmt.Errorf("read the record at offset %d: %w", d.Offset, err)
	default:
		if err := f.copy(d); err != nil {
			return fmt.Errorf("read the record at offset %d: %w", d.Offset, err)
		}
	}
	if f.builder.Len() >= batchBytes {
		return f.append(ctx)
	}
	return nil
}

// read makes sure that batch is the one that an offset lies in.
func (f *funeral) read(ctx context.Context, offset int64) (err error) {
	if f.batch == nil || offset < f.batch.BaseOffset() || offset > f.batch.LastOffset() {
		f.batch, err = f.source.BatchAt(ctx, offset)
	}
	return err
}

func outOfRange(err error) bool {
	_, ok := errors.AsType[*log.OutOfRangeError](err)
	return ok
}

// copy writes the record of an offset, if the batch holds one that clients see.
func (f *funeral) copy(d share.Dead) error {
	if f.batch.Hidden() || f.batch.Control() {
		return nil
	}
	dec := record.GetDecompressor()
	defer dec.Release()
	return f.batch.Walk(dec, func(v *record.View) error {
		if f.batch.BaseOffset()+int64(v.OffsetDelta) == d.Offset {
			f.write(v, d, "")
		}
		return nil
	})
}

// write adds a record about v, nil for one that is gone.
func (f *funeral) write(v *record.View, d share.Dead, note string) {
	var key, value []byte
	var headers []record.Header
	if v != nil && f.copying {
		key, value = v.Key, v.Value
		for k, h := range v.Headers {
			headers = append(headers, record.Header{Key: string(k), Value: h})
		}
	}
	why := exhausted
	if d.Rejected {
		why = rejected
	}
	topic := f.source.Topic().Name
	for _, h := range [][2]string{
		{HeaderTopic, topic},
		{HeaderPartition, strconv.Itoa(int(f.source.Number()))},
		{HeaderOffset, strconv.FormatInt(d.Offset, 10)},
		{HeaderGroup, f.group},
		{HeaderDeliveryCount, strconv.Itoa(int(d.Count))},
		{HeaderMessage, why + note},
	} {
		headers = append(headers, record.Header{Key: h[0], Value: []byte(h[1])})
	}
	f.builder.Add(int32(f.builder.Count()), f.now().UnixMilli(), key, value, headers...)
}

// append appends what was added.
func (f *funeral) append(ctx context.Context) error {
	if f.builder.Count() == 0 {
		return nil
	}
	b, err := f.builder.Finish()
	if err != nil {
		return err
	}
	pending, err := f.target.Append(ctx, b, nil, f.now())
	if err != nil {
		return fmt.Errorf("append to %s: %w", f.target, err)
	}
	f.last = &pending
	f.builder.Reset(0, f.now().UnixMilli())
	return nil
}
