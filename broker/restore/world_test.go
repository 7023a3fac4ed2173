package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
	"github.com/morrowmq/morrow/tier/tiertest"
)

var now = time.UnixMilli(1_800_000_000_000)

// lost is a broker whose partitions are in a bucket and nowhere else.
type lost struct {
	testing.TB
	bucket  *buckettest.Bucket
	cluster string
	logs    *log.Set
	tier    *tier.Tier
	stop    func()
	// sourceEnd is the end of the log whose schedule the next log holds.
	sourceEnd int64
}

// source is a log that holds the schedule of another.
type source struct {
	tiertest.Local
	sourceEnd int64
}

func (s source) Offsets() tier.LocalOffsets {
	o := s.Local.Offsets()
	o.SourceEnd = s.sourceEnd
	return o
}

func newLost(t testing.TB, bucket *buckettest.Bucket, clusterID string) *lost {
	t.Helper()
	w := &lost{TB: t, bucket: bucket, cluster: clusterID, sourceEnd: tier.NoOffset}
	var err error
	if w.logs, err = log.Open(log.SetConfig{FS: vfs.NewMem(), Dir: "logs", Now: func() time.Time { return now }, JournalMaxBytes: -1}); err != nil {
		t.Fatal(err)
	}
	w.tier, err = tier.Open(tier.Options{
		Bucket: bucket, Cluster: clusterID, Name: "the lost one", FS: vfs.NewMem(), Dir: "tier", Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.tier.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := errors.Join(<-done, w.tier.Close(), w.logs.Close()); err != nil {
			t.Error(err)
		}
	}
	return w
}

// topic is a topic of the lost broker.
type topic struct {
	id       cluster.TopicID
	name     string
	schedule cluster.TopicID
	config   map[string]string
	count    int32
	epoch    int32
}

// tiered puts a partition into the bucket: the batches, each in a segment of its own, and one that is lost.
func (w *lost) tiered(p topic, number int32, batches ...record.Batch) {
	w.Helper()
	var l *log.Log
	l, err := w.logs.Create(log.ID{Topic: p.id, Partition: number}, log.Options{
		Config: log.DefaultConfig(), Synced: func(end int64) { l.AdvanceHighWatermark(end) },
	})
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range batches {
		w.append(l, p.epoch, b)
		if err := l.Roll(); err != nil {
			w.Fatal(err)
		}
	}
	confirmed := l.Offsets().LogEnd
	w.append(l, p.epoch, plain("lost"))
	w.logs.Sync()
	id := tier.PartitionID{Topic: tier.TopicID(p.id), Name: p.name, Partition: number}
	remote, err := w.tier.Partition(id, source{tiertest.Local{Log: l}, w.sourceEnd}, p.epoch, func() tier.Config {
		return tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1, Topic: p.config, Partitions: p.count, Schedule: tier.TopicID(p.schedule)}
	})
	if err != nil {
		w.Fatal(err)
	}
	for remote.Confirmed() < confirmed {
		time.Sleep(time.Millisecond)
	}
}

func (w *lost) append(l *log.Log, epoch int32, b record.Batch) {
	w.Helper()
	g := log.Group{
		Pieces: []record.Batch{b}, ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(),
		BaseSequence: b.BaseSequence(), LastSequence: b.LastSequence(), Span: b.LastOffsetDelta() + 1,
	}
	if b.Transactional() {
		g.Verification = l.Verify(g.ProducerID, g.ProducerEpoch, g.BaseSequence, g.LastSequence, false)
	}
	if _, err := l.Append(epoch, now, g); err != nil {
		w.Fatal(err)
	}
}

func build(a record.Attributes, id int64, sequence int32, values ...string) record.Batch {
	var w record.Builder
	w.Reset(a, now.UnixMilli())
	w.SetProducer(id, 0, sequence)
	for i, v := range values {
		w.Add(int32(i), now.UnixMilli(), nil, []byte(v))
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

func plain(values ...string) record.Batch { return build(0, -1, -1, values...) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Fatalf("got  %s\nwant %s", g, w)
	}
}
