package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/log/record"
)

// fetchVersion is the last version of Fetch before compact lengths and topic ids; every broker has
// it, and its answers can be read as they pass.
const fetchVersion = 11

// fetchMaxWaitMillis is how long the broker may wait for data.
const fetchMaxWaitMillis = 500

// RawFetch reads partitions from their beginning, one fetch at a time on each connection, and drops
// what it reads after a look at each batch's header. At the end of a partition it begins again; an
// empty one is left alone.
func RawFetch(l Load) Drive {
	return func(ctx context.Context, m *Meter) error {
		layout, err := findLayout(ctx, l.Brokers, l.Topic)
		if err != nil {
			return notOurs(ctx, err)
		}
		g, fetching := errgroup.WithContext(ctx)
		for _, lane := range layout.lanes(l.Connections) {
			g.Go(func() error {
				f := fetcher{load: &l, meter: m}
				return notOurs(fetching, f.run(fetching, lane))
			})
		}
		if err := g.Wait(); err != nil || ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("topic %s is empty", l.Topic)
	}
}

// fetcher is one connection of RawFetch.
type fetcher struct {
	load  *Load
	meter *Meter
	wire  *wire
}

// position is how far one partition was read.
type position struct {
	partition int32
	offset    int64
}

// run fetches from the partitions of a lane in turn until ctx ends, or none of them holds anything.
func (f *fetcher) run(ctx context.Context, lane lane) error {
	w, err := dial(ctx, lane.addr, f.load.Congestion)
	if err != nil {
		return err
	}
	defer w.close()
	f.wire = w
	if v, err := w.version(kmsg.Fetch, fetchVersion); err != nil || v != fetchVersion {
		return errors.Join(err, fmt.Errorf("the broker does not offer version %d of Fetch", fetchVersion))
	}
	positions := make([]position, len(lane.partitions))
	for i, p := range lane.partitions {
		positions[i].partition = p
	}
	for id := uint32(0); ctx.Err() == nil && len(positions) > 0; id++ {
		i := int(id) % len(positions)
		empty, err := f.fetch(id, &positions[i])
		if err != nil {
			return err
		}
		if empty {
			positions = slices.Delete(positions, i, i+1)
		}
	}
	return nil
}

// fetch reads once from a position and moves it on, back to the beginning if there was nothing. It
// reports whether there is nothing at the beginning either.
func (f *fetcher) fetch(id uint32, at *position) (empty bool, err error) {
	frame := encode(f.request(*at), fetchVersion)
	binary.BigEndian.PutUint32(frame[8:], id)
	start := time.Now()
	if _, err := f.wire.conn.Write(frame); err != nil {
		return false, fmt.Errorf("send fetch request: %w", err)
	}
	got, err := f.answer()
	if err != nil {
		return false, fmt.Errorf("fetch from partition %d at %d: %w", at.partition, at.offset, err)
	}
	if got.bytes == 0 {
		empty = at.offset == 0
		at.offset = 0
		return empty, nil
	}
	f.meter.Done(got.records, got.bytes, time.Since(start))
	at.offset = got.next
	return false, nil
}

func (f *fetcher) request(at position) kmsg.Request {
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition = at.partition
	part.FetchOffset = at.offset
	part.CurrentLeaderEpoch = -1
	part.PartitionMaxBytes = f.load.FetchBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = f.load.Topic
	topic.Partitions = append(topic.Partitions, part)
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MaxWaitMillis = fetchMaxWaitMillis
	req.MinBytes = 0
	req.MaxBytes = f.load.FetchBytes
	req.SessionEpoch = -1
	req.Topics = append(req.Topics, topic)
	return req
}

// fetched is what one answer held.
type fetched struct {
	records, bytes int
	next           int64 // offset after the last whole batch
}

// answer reads an answer about one partition.
func (f *fetcher) answer() (got fetched, err error) {
	n, err := f.wire.frame()
	if err != nil {
		return got, err
	}
	// Without transactions, what stands before the records is short.
	head, err := f.wire.in.Peek(min(n, 1024))
	if err != nil {
		return got, err
	}
	b := kbin.Reader{Src: head}
	size, err := f.head(&b)
	if err != nil {
		return got, err
	}
	start := len(head) - len(b.Src)
	if size < 0 || size > n-start {
		return got, errors.New("malformed answer")
	}
	if _, err := f.wire.in.Discard(start); err != nil {
		return got, err
	}
	if got, err = skipBatches(f.wire.in, size); err != nil {
		return got, err
	}
	_, err = f.wire.in.Discard(n - start - size)
	return got, err
}

// head reads everything up to the records, and returns their size.
func (f *fetcher) head(b *kbin.Reader) (size int, err error) {
	b.Int32() // throttle time
	code := b.Int16()
	b.Int32() // session id
	if err := kerr.ErrorForCode(code); err != nil {
		return 0, err
	}
	topics := b.Int32()
	b.Span(int(b.Int16())) // name
	partitions := b.Int32()
	b.Int32() // partition
	code = b.Int16()
	b.Span(8 + 8 + 8) // high watermark, last stable offset, log start
	if aborted := b.Int32(); aborted > 0 {
		b.Span(16 * int(aborted))
	}
	b.Int32() // preferred replica
	size = max(0, int(b.Int32()))
	if !b.Ok() || topics != 1 || partitions != 1 {
		return 0, errors.New("the answer is not about the partition that was asked")
	}
	return size, kerr.ErrorForCode(code)
}

// skipBatches reads size bytes of batches and keeps nothing but what their headers say. The last
// may be cut short.
func skipBatches(in *bufio.Reader, size int) (got fetched, err error) {
	for size >= record.HeaderLen {
		head, err := in.Peek(record.HeaderLen)
		if err != nil {
			return got, err
		}
		n, err := record.FrameLen(head)
		if err != nil {
			return got, err
		}
		if n > size {
			break
		}
		batch := record.Batch(head)
		got.next = batch.EndOffset()
		got.records += int(batch.Count())
		got.bytes += n
		if _, err := in.Discard(n); err != nil {
			return got, err
		}
		size -= n
	}
	_, err = in.Discard(size)
	return got, err
}
