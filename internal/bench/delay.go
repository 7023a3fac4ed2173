package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// DelayLoad is records that are to be delivered later. Their due times are sent as
// morrow-deliver-at: a broker that does not know that header delivers at once, and the report says
// so.
type DelayLoad struct {
	// Load says where and how; RecordsPerSecond bounds the rate of inserts.
	Load
	// Records is how many are inserted.
	Records int64
	// Delay is the shortest delay; delays are spread evenly over [Delay, Delay+Spread).
	Delay, Spread time.Duration
	// Burst has delays count from the start of the run and not from each insert: all records are
	// due in that one Spread.
	Burst bool
	// Patience is how long after the last due time records are waited for.
	Patience time.Duration
}

// Check returns an error that names a field and what was expected of it.
func (l *DelayLoad) Check() error {
	switch {
	case l.Records < 1 || l.Records > 1<<30:
		return fmt.Errorf("invalid records %d: must be between 1 and %d", l.Records, 1<<30)
	case l.Delay < 0 || l.Spread < 0 || l.Patience < 0:
		return fmt.Errorf("invalid delay %v, spread %v or patience %v: must not be negative", l.Delay, l.Spread, l.Patience)
	case l.Acks == 0:
		return fmt.Errorf("invalid acks 0: what is not acknowledged cannot be lost")
	}
	return l.Load.Check()
}

// DelayReport is what a DelayLoad met. Lateness is by the consumer's clock, which is the one that
// due times were worked out with, so a fetch is part of it.
type DelayReport struct {
	Load string `json:"load"`

	// Inserted were acknowledged, Failed were not.
	Inserted         int64   `json:"inserted"`
	Failed           int64   `json:"failed"`
	LastError        string  `json:"last_error,omitempty"`
	InsertSeconds    float64 `json:"insert_s"`
	InsertsPerSecond float64 `json:"inserts_per_s"`
	InsertLatency    Latency `json:"insert_latency"`

	// Delivered were consumed once or more. Lost were inserted and not consumed, Twice consumed
	// again, Early before they were due.
	Delivered int64 `json:"delivered"`
	Lost      int64 `json:"lost"`
	Twice     int64 `json:"twice"`
	Early     int64 `json:"early"`
	// Disordered were due before a record consumed earlier from their partition, or as that and
	// inserted before it.
	Disordered int64 `json:"disordered"`
	// Lateness is of the records that were not early.
	Lateness Latency `json:"lateness"`
	// FirstLate is the lateness of the first record that came, LastLate how long after the last due
	// time the last one came: both in milliseconds, and negative if they were early.
	FirstLate float64 `json:"first_late_ms"`
	LastLate  float64 `json:"last_late_ms"`
	// DeliverySeconds is from the first to the last delivery.
	DeliverySeconds     float64 `json:"delivery_s"`
	DeliveriesPerSecond float64 `json:"deliveries_per_s"`

	Server *ServerUsage `json:"server,omitempty"`
}

// Delay inserts a load's records into a topic that is new, and consumes until all have come, or
// none is to be expected any more. The report is valid also with an error. Server may be nil.
func Delay(ctx context.Context, l DelayLoad, server Server, m *Meter) (DelayReport, error) {
	r := &delayRun{DelayLoad: l, acked: newIDSet(l.Records), seen: newIDSet(l.Records), meter: m, ordered: map[int32]delivery{}}
	before, err := usage(ctx, server)
	if err != nil {
		return r.report(), err
	}
	m.measuring.Store(true)
	err = r.run(ctx)
	report := r.report()
	if server != nil && err == nil {
		after, err := usage(context.WithoutCancel(ctx), server)
		if err != nil {
			return report, err
		}
		done := Report{Records: report.Inserted, Bytes: report.Inserted * int64(l.RecordBytes)}
		report.Server = done.serverUsage(before, after)
	}
	return report, err
}

// delayRun is one run of a DelayLoad.
type delayRun struct {
	DelayLoad
	began       time.Time
	meter       *Meter
	acked, seen *idSet
	inserted    atomic.Int64
	lastDue     atomic.Int64 // nanoseconds since the epoch
	insertTime  time.Duration
	lateness    Histogram

	// The following belong to the consumer.
	delivered, twice, early, disordered int64
	first, last                         time.Time
	firstLate                           time.Duration
	ordered                             map[int32]delivery
}

// delivery is a place in the order of a partition.
type delivery struct{ due, ticket int64 }

func (d delivery) before(e delivery) bool {
	return d.due < e.due || d.due == e.due && d.ticket < e.ticket
}

func (r *delayRun) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready, inserted := make(chan struct{}), make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		defer stop() // a producer need not go on either
		return r.consume(ctx, ready, inserted)
	})
	select {
	case <-ready:
	case <-ctx.Done():
		return g.Wait()
	}
	r.began = time.Now()
	err := r.insert(ctx)
	r.insertTime = time.Since(r.began)
	if err != nil {
		stop()
		_ = g.Wait() // it has only been stopped
		return notOurs(ctx, err)
	}
	if r.Burst && r.insertTime > r.Delay {
		stop()
		_ = g.Wait()
		return fmt.Errorf("%d records took %v to insert, but were due %v after the start: a longer delay is needed", r.Records, r.insertTime.Round(time.Millisecond), r.Delay)
	}
	close(inserted)
	return g.Wait()
}

// insert produces all records and waits until they were answered.
func (r *delayRun) insert(ctx context.Context) error {
	var g errgroup.Group
	for c := range r.Connections {
		g.Go(func() error {
			cl, err := kgo.NewClient(r.producing()...)
			if err != nil {
				return err
			}
			defer cl.Close()
			values, rng := newValues(r.RecordBytes, uint64(c+1)), rand.New(rand.NewPCG(uint64(c), 2))
			pace := newPace(r.RecordsPerSecond/float64(r.Connections), time.Now())
			pool := sync.Pool{New: func() any { b := make([]byte, r.RecordBytes); return &b }}
			for id := int64(c); id < r.Records && ctx.Err() == nil; id += int64(r.Connections) {
				since := pace.next(ctx)
				due := r.due(since, rng)
				buf := pool.Get().(*[]byte)
				value := *buf
				copy(value, values.next())
				binary.BigEndian.PutUint64(value, uint64(id))
				binary.BigEndian.PutUint64(value[8:], uint64(due))
				at := kgo.RecordHeader{Key: "morrow-deliver-at", Value: strconv.AppendInt(nil, due, 10)}
				cl.Produce(ctx, &kgo.Record{Value: value, Headers: []kgo.RecordHeader{at}}, func(rec *kgo.Record, err error) {
					pool.Put(buf)
					if err != nil {
						r.meter.Fail(err)
						return
					}
					r.acked.set(id)
					r.inserted.Add(1)
					r.meter.Done(1, len(rec.Value), time.Since(since))
				})
			}
			return cl.Flush(ctx)
		})
	}
	return g.Wait()
}

// due picks when a record is due, in milliseconds since the epoch.
func (r *delayRun) due(now time.Time, rng *rand.Rand) int64 {
	at := now.Add(r.Delay)
	if r.Burst {
		at = r.began.Add(r.Delay)
	}
	if r.Spread > 0 {
		at = at.Add(time.Duration(rng.Int64N(int64(r.Spread))))
	}
	for {
		last := r.lastDue.Load()
		if at.UnixNano() <= last || r.lastDue.CompareAndSwap(last, at.UnixNano()) {
			return at.UnixMilli()
		}
	}
}

// consume reads the topic until everything inserted has come, or patience is at its end.
func (r *delayRun) consume(ctx context.Context, ready chan<- struct{}, inserted <-chan struct{}) error {
	cl, err := kgo.NewClient(r.options(
		kgo.ConsumeTopics(r.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(r.FetchBytes), kgo.FetchMaxPartitionBytes(r.FetchBytes), kgo.FetchMaxWait(100*time.Millisecond),
	)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	close(ready)
	for ctx.Err() == nil {
		select {
		case <-inserted:
			if r.delivered >= r.inserted.Load() || time.Since(time.Unix(0, r.lastDue.Load())) > r.Patience {
				return nil
			}
		default:
		}
		polling, stop := context.WithTimeout(ctx, 200*time.Millisecond)
		fs := cl.PollFetches(polling)
		stop()
		now := time.Now()
		for _, e := range fs.Errors() {
			if polling.Err() == nil {
				return e.Err
			}
		}
		fs.EachRecord(func(rec *kgo.Record) { r.arrived(rec, now) })
	}
	return nil
}

// arrived judges one record that was consumed.
func (r *delayRun) arrived(rec *kgo.Record, now time.Time) {
	if len(rec.Value) < 16 {
		return
	}
	id, due := int64(binary.BigEndian.Uint64(rec.Value)), int64(binary.BigEndian.Uint64(rec.Value[8:]))
	if id < 0 || id >= r.Records {
		return
	}
	if !r.seen.set(id) {
		r.twice++
		return
	}
	r.delivered++
	if r.first.IsZero() {
		r.first, r.firstLate = now, now.Sub(time.UnixMilli(due))
	}
	r.last = now
	at := delivery{due, rec.Offset}
	for _, h := range rec.Headers {
		if h.Key == "morrow-ticket" {
			at.ticket, _ = strconv.ParseInt(string(h.Value), 10, 64)
		}
	}
	if at.before(r.ordered[rec.Partition]) {
		r.disordered++
	} else {
		r.ordered[rec.Partition] = at
	}
	if late := now.Sub(time.UnixMilli(due)); late < 0 {
		r.early++
	} else {
		r.lateness.Observe(late)
	}
}

func (r *delayRun) report() DelayReport {
	_, _, failed := r.meter.Progress()
	d := DelayReport{
		Load:     "delay",
		Inserted: r.inserted.Load(), Failed: failed,
		InsertSeconds: r.insertTime.Seconds(), InsertsPerSecond: per(float64(r.inserted.Load()), r.insertTime.Seconds()),
		InsertLatency: r.meter.latency.summary(),
		Delivered:     r.delivered, Twice: r.twice, Early: r.early, Disordered: r.disordered,
		Lateness:        r.lateness.summary(),
		DeliverySeconds: r.last.Sub(r.first).Seconds(),
	}
	if d.Delivered > 0 {
		d.FirstLate, d.LastLate = ms(r.firstLate), ms(r.last.Sub(time.Unix(0, r.lastDue.Load())))
	}
	d.DeliveriesPerSecond = per(float64(d.Delivered), d.DeliverySeconds)
	d.Lost = r.acked.without(r.seen)
	if err := r.meter.err(); err != nil {
		d.LastError = err.Error()
	}
	return d
}

// idSet is a set of numbers from 0. It is safe for concurrent use.
type idSet struct{ words []atomic.Uint64 }

func newIDSet(n int64) *idSet { return &idSet{make([]atomic.Uint64, (n+63)/64)} }

// set adds a number and reports whether it is new.
func (b *idSet) set(i int64) bool {
	bit := uint64(1) << (i % 64)
	return b.words[i/64].Or(bit)&bit == 0
}

// without counts the numbers that are not in other.
func (b *idSet) without(other *idSet) (n int64) {
	for i := range b.words {
		n += int64(bits.OnesCount64(b.words[i].Load() &^ other.words[i].Load()))
	}
	return n
}
