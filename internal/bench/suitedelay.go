package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/internal/vfs"
)

// delayPartitions are those of the steps that use several.
const delayPartitions = 8

// delayInserts compares produces of delayed records with those of others.
func (r *suiteRun) delayInserts(ctx context.Context) error {
	const name = "delayed inserts, 1 KiB records in 1 MB batches"
	plain, delayed := r.load(r.broker), r.load(r.broker)
	delayed.Header = Delays(time.Hour, time.Hour)
	var others, inserts Report
	err := r.compare(r.warmed(func() (err error) {
		others, err = r.produce(ctx, "plain produce beside "+name, plain, 1, true)
		return err
	}), r.warmed(func() (err error) {
		inserts, err = r.produce(ctx, name, delayed, 1, true)
		return err
	}))
	if err != nil {
		return err
	}
	r.note(Goal{Name: name + ", against plain produce", Unit: "k/s", Relative: true, AtLeast: 0.8}, inserts.RecordsPerSecond/1e3, others.RecordsPerSecond/1e3)
	cpu := Goal{Name: name + ", per server CPU-second, against plain produce", Unit: "M", Relative: true}
	r.note(cpu, inserts.Server.MillionRecordsPerCPUSecond, others.Server.MillionRecordsPerCPUSecond)
	return nil
}

// delayLateness measures how late records come at two rates.
func (r *suiteRun) delayLateness(ctx context.Context) error {
	for _, at := range []struct {
		rate, p99 float64
	}{{20_000, 10}, {100_000, 20}} {
		d := DelayLoad{Load: r.load(r.broker), Delay: r.Step, Spread: r.Step, Patience: time.Minute}
		d.RecordBytes, d.RecordsPerSecond = 256, at.rate
		d.Records = max(1, int64(3*at.rate*r.Step.Seconds()))
		rep, err := r.delay(ctx, d)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("lateness at %.0f k due/s", at.rate/1e3)
		r.note(Goal{Name: name + ": p99", Unit: "ms", AtMost: at.p99}, rep.Lateness.P99, 0)
		r.note(Goal{Name: name + ": p50", Unit: "ms"}, rep.Lateness.P50, 0)
		r.note(Goal{Name: name + ": server CPU-seconds per million", Unit: "s"}, rep.Server.CPUSecondsPerMillionRecords, 0)
	}
	return nil
}

// delay drives a load of delayed records on a topic of its own. Records that were not delivered as
// promised are an error.
func (r *suiteRun) delay(ctx context.Context, d DelayLoad) (rep DelayReport, err error) {
	topic, err := OpenTopic(ctx, d.Brokers, d.Topic, 1, topicConfigs(true))
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, topic.Delete(context.WithoutCancel(ctx))) }()
	rep, err = Delay(ctx, d, Process(r.broker.PID()), NewMeter())
	if err == nil && (rep.Failed > 0 || rep.Lost > 0 || rep.Twice > 0 || rep.Early > 0) {
		err = fmt.Errorf("of %d delayed records %d were refused, %d lost, %d delivered twice and %d early", d.Records, rep.Failed, rep.Lost, rep.Twice, rep.Early)
	}
	return rep, err
}

// delayDeliveries measures how fast a broker makes records durable that are all due at once, in
// several partitions. Nobody consumes them: a client would cost more than the broker.
func (r *suiteRun) delayDeliveries(ctx context.Context) error {
	due, m, err := r.burst(ctx, delayPartitions, 0, func() {})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("deliveries of %.2g M due at once in %d partitions", float64(m.inserted)/1e6, delayPartitions)
	r.note(Goal{Name: name, Unit: "k/s", AtLeast: 500}, per(float64(m.inserted)/1e3, m.last.Sub(due).Seconds()), 0)
	r.note(Goal{Name: name + ", per server CPU-second", Unit: "M"}, per(float64(m.inserted)/1e6, m.cpuSeconds), 0)
	return nil
}

// delayBurst measures how a broker delivers what is due within one second in one partition, and
// what others notice of it.
func (r *suiteRun) delayBurst(ctx context.Context) error {
	l := r.load(r.broker)
	l.RecordsPerSecond = 2000
	topic, err := OpenTopic(ctx, l.Brokers, l.Topic, 1, topicConfigs(true))
	if err != nil {
		return err
	}
	defer func() { _ = topic.Delete(context.WithoutCancel(ctx)) }()
	const neighbour = "produce and fetch beside a burst"
	quiet, err := r.drive(ctx, neighbour+": before", EndToEnd(l), 0, r.broker)
	if err != nil {
		return err
	}
	// The neighbour is measured from a moment before the first is due, for as long as that goes on.
	var g errgroup.Group
	var busy Report
	driving, stop := context.WithCancel(ctx)
	due, m, err := r.burst(ctx, 1, time.Second, func() {
		g.Go(func() (err error) {
			busy, err = Run(driving, neighbour, EndToEnd(l), Extent{Warmup: suiteWarmup}, nil, NewMeter())
			return err
		})
	})
	stop()
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	name := fmt.Sprintf("%.2g M due within a second in one partition", float64(m.inserted)/1e6)
	r.note(Goal{Name: name + ": first after", Unit: "ms", AtMost: 50}, ms(m.first.Sub(due)), 0)
	r.note(Goal{Name: name + ": last after", Unit: "s", AtMost: 5}, m.last.Sub(due.Add(time.Second)).Seconds(), 0)
	r.note(Goal{Name: neighbour + ": rate", Unit: "k/s", Relative: true, AtLeast: 0.9}, busy.RecordsPerSecond/1e3, quiet.RecordsPerSecond/1e3)
	r.note(Goal{Name: neighbour + ": p50", Unit: "ms", Relative: true}, busy.Latency.P50, quiet.Latency.P50)
	return nil
}

// burstMeasure is what was seen of a burst.
type burstMeasure struct {
	inserted    int64
	first, last time.Time // when something, and when everything could be fetched
	cpuSeconds  float64   // of the broker, from before the first was due until all had been delivered
}

// burst inserts records that are due from a time on, within spread, and watches them being
// delivered. begins is called a moment before the first is due.
func (r *suiteRun) burst(ctx context.Context, partitions int32, spread time.Duration, begins func()) (due time.Time, m burstMeasure, err error) {
	l := r.load(r.broker)
	l.RecordBytes = 100
	topic, err := OpenTopic(ctx, l.Brokers, l.Topic, partitions, topicConfigs(true))
	if err != nil {
		return due, m, err
	}
	defer func() { err = errors.Join(err, topic.Delete(context.WithoutCancel(ctx))) }()
	// A slow machine inserts some hundred thousand a second.
	due = time.Now().Add(2*time.Second + time.Duration(r.DueRecords)*10*time.Microsecond).Truncate(time.Millisecond)
	l.Header = DueWithin(due, spread)
	if m.inserted, err = l.insert(ctx, partitions, r.DueRecords); err != nil {
		return due, m, err
	}
	if time.Since(due) > -suiteWarmup {
		return due, m, fmt.Errorf("%d records could not be inserted before they were due", m.inserted)
	}
	if !sleepUntil(ctx, due.Add(-suiteWarmup)) {
		return due, m, ctx.Err()
	}
	begins()
	before, err := Process(r.broker.PID()).Usage(ctx)
	if err != nil {
		return due, m, err
	}
	if err := m.watch(ctx, &l, 2*m.inserted); err != nil {
		return due, m, err
	}
	after, err := Process(r.broker.PID()).Usage(ctx)
	m.cpuSeconds = after.CPUSeconds - before.CPUSeconds
	if m.first.Before(due) {
		err = errors.Join(err, fmt.Errorf("the first record could be fetched %v before it was due", due.Sub(m.first)))
	}
	return due, m, err
}

// watch waits until the ends of a topic's partitions add up to end.
func (m *burstMeasure) watch(ctx context.Context, l *Load, end int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(l.options()...)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for {
		asked := time.Now()
		listed, err := adm.ListEndOffsets(ctx, l.Topic)
		if err := errors.Join(err, listed.Error()); err != nil {
			return fmt.Errorf("wait for %d deliveries: %w", end/2, err)
		}
		sum := int64(0)
		listed.Each(func(o kadm.ListedOffset) { sum += o.Offset })
		if sum > 0 && m.first.IsZero() {
			m.first = time.Now()
		}
		if sum >= end {
			m.last = time.Now()
			return nil
		}
		sleepUntil(ctx, asked.Add(5*time.Millisecond))
	}
}

// insert produces a little more than n records to the partitions of a topic, by batches encoded
// beforehand, and says how many.
func (l *Load) insert(ctx context.Context, partitions int32, n int64) (int64, error) {
	l.Connections = int(min(4, partitions))
	b, err := l.batch(1)
	if err != nil {
		return 0, err
	}
	// Each connection sends to its partitions in turn.
	turn := int64(b.Count()) * int64(partitions)
	turns := (n + turn - 1) / turn
	l.Batches = int(turns) * int(partitions) / l.Connections
	m := NewMeter()
	if err := RawProduce(*l)(ctx, m); err != nil {
		return 0, err
	}
	return turns * turn, errors.Join(m.err(), ctx.Err())
}

// startPending kills a broker that has much pending, and measures how long the next takes until
// every partition delays again.
func (r *suiteRun) startPending(ctx context.Context) error {
	dir := r.newDir()
	first, err := r.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	l := r.load(first)
	l.RecordBytes, l.Header = 16, Delays(time.Hour, 24*time.Hour)
	_, err = OpenTopic(ctx, l.Brokers, l.Topic, delayPartitions, topicConfigs(true))
	inserted := int64(0)
	if err == nil {
		inserted, err = l.insert(ctx, delayPartitions, r.PendingRecords)
	}
	if err := errors.Join(err, first.Kill()); err != nil {
		return err
	}
	began := time.Now()
	second, err := r.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	ready := time.Since(began)
	l.Brokers, l.Connections, l.Batches, l.BatchBytes = []string{second.Addr()}, 1, delayPartitions, 1
	for err = l.once(ctx); err != nil && time.Since(began) < time.Minute && ctx.Err() == nil; err = l.once(ctx) {
		time.Sleep(10 * time.Millisecond)
	}
	loaded := time.Since(began)
	u, usageErr := Process(second.PID()).Usage(ctx)
	if err := errors.Join(err, usageErr, second.Stop(), vfs.OS{}.RemoveAll(dir)); err != nil {
		return err
	}
	name := fmt.Sprintf("start after kill -9 with %.2g M pending", float64(inserted)/1e6)
	r.note(Goal{Name: name, Unit: "s"}, ready.Seconds(), 0)
	r.note(Goal{Name: name + ": every partition delays again", Unit: "s", AtMost: 5}, loaded.Seconds(), 0)
	r.note(Goal{Name: name + ": resident memory per pending", Unit: "B"}, float64(u.ResidentBytes)/float64(inserted), 0)
	return nil
}

// once sends the batches of a load, and returns the error that the broker answered to any.
func (l *Load) once(ctx context.Context) error {
	m := NewMeter()
	return errors.Join(RawProduce(*l)(ctx, m), m.err())
}

// sleepUntil returns false if ctx ends first.
func sleepUntil(ctx context.Context, t time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Until(t)):
		return true
	}
}
