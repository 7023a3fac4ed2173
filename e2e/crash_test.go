package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// TestAcknowledgedRecordsSurviveRandomKill9 kills the broker at random moments while idempotent producers
// write, and restarts it, again and again. In the end every acknowledged record must be there exactly
// once, no record twice, and each producer's records in the order it sent them.
func TestAcknowledgedRecordsSurviveRandomKill9(t *testing.T) {
	t.Parallel()
	const producers, partitions = 4, 3
	t.Logf("seed %d, %d rounds", *seed, *rounds)
	rng := rand.New(rand.NewPCG(uint64(*seed), 0))
	b := start(t)
	createTopic(t, b, "crash", partitions, map[string]string{"segment.bytes": "1048576"})

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	writers := make([]*writer, producers)
	for i := range writers {
		writers[i] = newWriter(t, b, uint32(i), partitions, rng.Uint64())
		load.Go(func() { writers[i].run(ctx) })
	}
	for round := range *rounds {
		time.Sleep(time.Duration(50+rng.IntN(400)) * time.Millisecond)
		b.Kill9()
		b.Restart()
		if round%10 == 9 {
			t.Logf("round %d: %d acknowledged", round+1, acknowledged(writers))
		}
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	load.Wait()
	for _, w := range writers {
		if w.err != nil {
			t.Fatalf("producer %d: %v", w.id, w.err)
		}
	}
	n := acknowledged(writers)
	if n < *rounds {
		t.Fatalf("only %d records were acknowledged in %d rounds: the test is void", n, *rounds)
	}
	verify(t, b, writers)
	t.Logf("%d acknowledged records, all there once and in order after %d kills", n, *rounds)
}

// writer is an idempotent producer that counts upwards.
type writer struct {
	id         uint32
	partitions int32
	rng        *rand.Rand
	cl         *kgo.Client

	mu    sync.Mutex
	acked map[int32][]uint64 // guarded by mu: by partition
	err   error              // guarded by mu
}

func newWriter(t *testing.T, b *testnet.Broker, id uint32, partitions int32, seed uint64) *writer {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	cl := client(t, b,
		kgo.DefaultProduceTopic("crash"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[int(id)%len(codecs)]),
		kgo.ProducerLinger(time.Millisecond),
		kgo.MaxBufferedRecords(500),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
	)
	return &writer{id: id, partitions: partitions, rng: rand.New(rand.NewPCG(seed, uint64(id))), cl: cl, acked: make(map[int32][]uint64)}
}

// run writes until ctx ends and waits for what it has sent.
func (w *writer) run(ctx context.Context) {
	for n := uint64(0); ctx.Err() == nil; n++ {
		value := make([]byte, 12+w.rng.IntN(300))
		binary.BigEndian.PutUint32(value, w.id)
		binary.BigEndian.PutUint64(value[4:], n)
		w.cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Partition: w.rng.Int32N(w.partitions), Value: value}, w.done)
		if w.rng.IntN(8) == 0 {
			time.Sleep(time.Millisecond) // many small batches: more to lose than a few large ones
		}
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience*30*time.Second)
	defer cancel()
	if err := w.cl.Flush(flush); err != nil {
		w.mu.Lock()
		w.err = fmt.Errorf("flush: %w", err)
		w.mu.Unlock()
	}
}

func (w *writer) done(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
		return
	}
	w.acked[r.Partition] = append(w.acked[r.Partition], binary.BigEndian.Uint64(r.Value[4:]))
}

func acknowledged(writers []*writer) int {
	n := 0
	for _, w := range writers {
		w.mu.Lock()
		for _, acked := range w.acked {
			n += len(acked)
		}
		w.mu.Unlock()
	}
	return n
}

// verify reads everything and holds it against what was acknowledged.
func verify(t *testing.T, b *testnet.Broker, writers []*writer) {
	t.Helper()
	ends, err := kadm.NewClient(client(t, b)).ListEndOffsets(deadline(t, 20*time.Second), "crash")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
	type stream struct {
		producer  uint32
		partition int32
	}
	seen := make(map[stream][]uint64)
	each(t, b, "crash", total, func(r *kgo.Record) {
		s := stream{binary.BigEndian.Uint32(r.Value), r.Partition}
		n := binary.BigEndian.Uint64(r.Value[4:])
		if have := seen[s]; len(have) > 0 && have[len(have)-1] >= n {
			t.Fatalf("producer %d, partition %d: record %d at offset %d follows record %d", s.producer, s.partition, n, r.Offset, have[len(have)-1])
		}
		seen[s] = append(seen[s], n)
	})
	for _, w := range writers {
		for p, acked := range w.acked {
			there := seen[stream{w.id, p}] // ascending
			for _, n := range acked {
				if _, ok := slices.BinarySearch(there, n); !ok {
					t.Errorf("producer %d, partition %d: acknowledged record %d is gone", w.id, p, n)
				}
			}
		}
	}
}
