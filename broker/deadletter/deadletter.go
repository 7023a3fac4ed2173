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

// batchBytes bounds what is appended at once, but for a record that is larger.
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
	for len(dead) > 0 {
		n, err := f.some(ctx, dead)
		if err != nil {
			return err
		}
		dead = dead[n:]
	}
	if err := f.append(); err != nil || f.last == nil {
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

	builder record.Builder
	codec   record.Codec       // of what is copied
	last    *partition.Pending // the last append; nil before the first
}

// some writes the first of the dead, with those that lie in the same batch, and
// returns how many.
func (f *funeral) some(ctx context.Context, dead []share.Dead) (n int, err error) {
	b, err := f.source.BatchAt(ctx, dead[0].Offset)
	switch {
	case outOfRange(err):
		return 1, f.write(nil, dead[0], removed)
	case err != nil:
		return 0, fmt.Errorf("read the record at offset %d: %w", dead[0].Offset, err)
	}
	for n < len(dead) && dead[n].Offset <= b.LastOffset() {
		n++
	}
	if b.Hidden() || b.Control() {
		return n, nil // no record that a client could have been given
	}
	f.codec = b.Attributes().Codec()
	return n, f.copy(b, dead[:n])
}

func outOfRange(err error) bool {
	_, ok := errors.AsType[*log.OutOfRangeError](err)
	return ok
}

// copy writes those of the dead that a batch holds.
func (f *funeral) copy(b record.Batch, dead []share.Dead) error {
	dec := record.GetDecompressor()
	defer dec.Release()
	err := b.Walk(dec, func(v *record.View) error {
		offset := b.BaseOffset() + int64(v.OffsetDelta)
		for len(dead) > 0 && dead[0].Offset < offset {
			dead = dead[1:]
		}
		if len(dead) == 0 || dead[0].Offset != offset {
			return nil
		}
		return f.write(v, dead[0], "")
	})
	if err != nil {
		return fmt.Errorf("copy records from offset %d: %w", b.BaseOffset(), err)
	}
	return nil
}

// write adds a record about v, nil for one that is gone, and appends what was added
// before if there is no room for it beside that.
func (f *funeral) write(v *record.View, d share.Dead, note string) error {
	headers := f.headers(d, note)
	size := 0
	for _, h := range headers {
		size += len(h.Key) + len(h.Value) + 10
	}
	if v != nil && f.copying {
		size += len(v.Raw)
	}
	if f.builder.Count() > 0 && int64(f.builder.Len()+size) > min(batchBytes, f.target.Topic().Config.MaxMessageBytes) {
		if err := f.append(); err != nil {
			return err
		}
	}
	now := f.now().UnixMilli()
	if f.builder.Count() == 0 {
		f.builder.Reset(record.Attributes(0).WithCodec(f.codec), now)
	}
	if v != nil && f.copying {
		f.builder.AddEdited(v, int32(f.builder.Count()), now, nil, headers...)
	} else {
		f.builder.Add(int32(f.builder.Count()), now, nil, nil, headers...)
	}
	return nil
}

// headers say what has become of a record.
func (f *funeral) headers(d share.Dead, note string) []record.Header {
	why := exhausted
	if d.Rejected {
		why = rejected
	}
	return []record.Header{
		{Key: HeaderTopic, Value: []byte(f.source.Topic().Name)},
		{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(f.source.Number()), 10)},
		{Key: HeaderOffset, Value: strconv.AppendInt(nil, d.Offset, 10)},
		{Key: HeaderGroup, Value: []byte(f.group)},
		{Key: HeaderDeliveryCount, Value: strconv.AppendInt(nil, int64(d.Count), 10)},
		{Key: HeaderMessage, Value: []byte(why + note)},
	}
}

// append appends what was added. Headers of the records may be those of delays:
// they were honoured when the records were produced, or were never to be.
func (f *funeral) append() error {
	if f.builder.Count() == 0 {
		return nil
	}
	b, err := f.builder.Finish()
	if err != nil {
		return err
	}
	pending, err := f.target.AppendOwn(b, f.now())
	if err != nil {
		return fmt.Errorf("append to %s: %w", f.target, err)
	}
	f.last = &pending
	f.builder.Reset(0, 0)
	return nil
}
