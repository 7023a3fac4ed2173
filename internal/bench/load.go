package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// Load is what is asked of a broker, and how.
type Load struct {
	Brokers []string // host:port of some
	Topic   string   // must exist

	// RecordBytes is the size of a record's value. BatchBytes bounds a batch before compression; it
	// holds one record at least.
	RecordBytes, BatchBytes int
	Codec                   record.Codec
	Acks                    int16 // -1: all, 1: the leader, 0: none

	// Connections is how many there are in all, each driven on its own; each broker that leads a
	// partition of the topic gets one at least. InFlight is how many produce requests are under way
	// on each.
	Connections, InFlight int

	// FetchBytes is how much one fetch asks for.
	FetchBytes int32

	// RecordsPerSecond bounds the rate of all connections together; 0 means none. Latencies count
	// from when a record was to be sent, so that a server that stalls is charged for what waited.
	RecordsPerSecond float64

	// Linger is how long a client waits for more records before it sends a batch that is not full. The
	// latencies that it measures include that.
	Linger time.Duration

	// Batches is how many RawProduce sends on each connection before it ends by itself; 0 means without end.
	Batches int

	// Header makes the header of each record, for RawProduce; nil for none.
	Header func(*rand.Rand) record.Header

	// Congestion is the TCP congestion control of what the client sends; empty leaves it to the
	// system. Raw drives only.
	Congestion string
}

// Check returns an error that names a field and what was expected of it.
func (l *Load) Check() error {
	for _, f := range []struct {
		name           string
		value, min, to int64
	}{
		{"record size", int64(l.RecordBytes), 16, 1 << 30},
		{"batch bytes", int64(l.BatchBytes), 1, 1 << 30},
		{"acks", int64(l.Acks), -1, 1},
		{"connections", int64(l.Connections), 1, 10_000},
		{"in flight", int64(l.InFlight), 1, 10_000},
		{"fetch bytes", int64(l.FetchBytes), 1, 1 << 30},
	} {
		if f.value < f.min || f.value > f.to {
			return fmt.Errorf("invalid %s %d: must be between %d and %d", f.name, f.value, f.min, f.to)
		}
	}
	if l.RecordsPerSecond < 0 {
		return fmt.Errorf("invalid rate %v: must not be negative", l.RecordsPerSecond)
	}
	if l.Linger < 0 {
		return fmt.Errorf("invalid linger %v: must not be negative", l.Linger)
	}
	return nil
}

// Delays is a [Load.Header] that has records delayed by least, or by up to spread more.
func Delays(least, spread time.Duration) func(*rand.Rand) record.Header {
	return func(rng *rand.Rand) record.Header {
		d := least
		if spread > 0 {
			d += time.Duration(rng.Int64N(int64(spread)))
		}
		return record.Header{Key: "morrow-delay", Value: strconv.AppendInt(nil, d.Milliseconds(), 10)}
	}
}

// DueWithin is a [Load.Header] that has records due at a time, or up to spread later.
func DueWithin(t time.Time, spread time.Duration) func(*rand.Rand) record.Header {
	return func(rng *rand.Rand) record.Header {
		at := t
		if spread > 0 {
			at = t.Add(time.Duration(rng.Int64N(int64(spread))))
		}
		return record.Header{Key: "morrow-deliver-at", Value: strconv.AppendInt(nil, at.UnixMilli(), 10)}
	}
}

// values makes record values that compress to about a half: one half of each is noise, the other repeats.
type values struct {
	noise []byte
	value []byte
	rnd   *rand.Rand
}

func newValues(recordBytes int, seed uint64) *values {
	v := &values{
		noise: make([]byte, recordBytes+1<<16),
		value: make([]byte, recordBytes),
		rnd:   rand.New(rand.NewPCG(seed, 1)),
	}
	for i := range v.noise {
		v.noise[i] = byte(v.rnd.Uint32())
	}
	for i := range v.value {
		v.value[i] = "a value that repeats itself. "[i%29]
	}
	return v
}

// next returns the next value. It is overwritten by the one after it.
func (v *values) next() []byte {
	half := (len(v.value) + 1) / 2
	copy(v.value[:half], v.noise[v.rnd.IntN(len(v.noise)-half):])
	return v.value
}

// batch encodes one batch of the load, with offsets from 0 and without a producer.
func (l *Load) batch(seed uint64) (record.Batch, error) {
	overhead := 32 // of a record: no key, no headers
	if l.Header != nil {
		overhead += 32
	}
	values, now := newValues(l.RecordBytes, seed), time.Now().UnixMilli()
	rng := rand.New(rand.NewPCG(seed, 2))
	var headers []record.Header
	var w record.Builder
	w.Reset(record.Attributes(0).WithCodec(l.Codec), now)
	for i := int32(0); i == 0 || w.Len()+l.RecordBytes+overhead <= l.BatchBytes; i++ {
		if l.Header != nil {
			headers = append(headers[:0], l.Header(rng))
		}
		w.Add(i, now, nil, values.next(), headers...)
	}
	return w.Finish()
}
