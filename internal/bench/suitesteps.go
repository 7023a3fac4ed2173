package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// acks measures how long one producer that waits for every acknowledgement waits.
func (r *suiteRun) acks(ctx context.Context) error {
	l := r.load(r.broker)
	l.RecordBytes, l.BatchBytes, l.InFlight = 4000, 4096, 1
	bare, rep, err := r.compareSyncs(ctx, "ack with fsync, one partition, 1 in flight", l, 1)
	if err != nil {
		return err
	}
	r.note(Goal{Name: rep.Load + ": p50", Unit: "ms", Relative: true, AtMost: 3}, rep.Latency.P50, bare.Latency.P50)
	r.note(Goal{Name: rep.Load + ": p99", Unit: "ms", Relative: true, AtMost: 4}, rep.Latency.P99, bare.Latency.P99)
	return nil
}

// manyAcks has many producers write small batches to many partitions: as fast as they are
// acknowledged, and at a rate that leaves the processors some rest.
func (r *suiteRun) manyAcks(ctx context.Context) error {
	const partitions, rate = 256, 10_000
	l := r.load(r.broker)
	l.RecordBytes, l.BatchBytes, l.Connections, l.InFlight = 1000, 1024, 64, 4
	name := fmt.Sprintf("ack with fsync, %d partitions, %d in flight", partitions, l.Connections*l.InFlight)
	bare, rep, err := r.compareSyncs(ctx, name, l, partitions)
	if err != nil {
		return err
	}
	r.note(Goal{Name: name + ": p99", Unit: "ms", Relative: true, AtMost: 12}, rep.Latency.P99, bare.Latency.P99)
	r.note(Goal{Name: name + ": p50", Unit: "ms", Relative: true}, rep.Latency.P50, bare.Latency.P50)
	r.note(Goal{Name: name + ": rate", Unit: "k/s"}, rep.RecordsPerSecond/1e3, 0)

	l.Topic, l.RecordsPerSecond = TopicName(), rate
	name = fmt.Sprintf("ack with fsync, %d partitions, %d k/s", partitions, rate/1000)
	if bare, rep, err = r.compareSyncs(ctx, name, l, partitions); err != nil {
		return err
	}
	r.note(Goal{Name: name + ": p99", Unit: "ms", Relative: true}, rep.Latency.P99, bare.Latency.P99)
	r.note(Goal{Name: name + ": p50", Unit: "ms", Relative: true}, rep.Latency.P50, bare.Latency.P50)
	return nil
}

// compareSyncs compares a load with bare appends of 4 KiB, each synced.
func (r *suiteRun) compareSyncs(ctx context.Context, name string, l Load, partitions int32) (bare Bare, rep Report, err error) {
	err = r.compare(func() (err error) {
		bare, err = AppendSync(r.dir, 4<<10, r.Step)
		return err
	}, func() (err error) {
		rep, err = r.produce(ctx, name, l, partitions, true)
		return err
	})
	return bare, rep, err
}

func (r *suiteRun) produceCached(ctx context.Context) error {
	rep, err := r.produceLarge(ctx, "produce 1 KiB records in 1 MB batches, page cache", false)
	if err == nil {
		r.note(Goal{Name: rep.Load + ", per server CPU-second", Unit: "GB", AtLeast: 1.2}, rep.Server.GBPerCPUSecond, 0)
	}
	return err
}

func (r *suiteRun) produceSynced(ctx context.Context) error {
	_, err := r.produceLarge(ctx, "produce 1 KiB records in 1 MB batches, fsync before ack", true)
	return err
}

func (r *suiteRun) produceLarge(ctx context.Context, name string, synced bool) (rep Report, err error) {
	var bare Bare
	err = r.compare(r.warmed(func() (err error) {
		bare, err = IdealProduce{RequestBytes: 1 << 20, InFlight: 5, Sync: synced, Congestion: r.congestion}.Run(r.dir, r.Step)
		return err
	}), r.warmed(func() (err error) {
		rep, err = r.produce(ctx, name, r.load(r.broker), 1, synced)
		return err
	}))
	if err == nil {
		r.note(Goal{Name: name, Unit: "GB/s", Relative: true, AtLeast: 0.8}, rep.BytesPerSecond/1e9, bare.BytesPerSecond/1e9)
	}
	return rep, err
}

func (r *suiteRun) produceSmall(ctx context.Context) error {
	if err := errors.Join(settle(r.dir), WarmPageCache(r.dir, r.WarmBytes)); err != nil {
		return err
	}
	l := r.load(r.broker)
	l.RecordBytes = 100
	rep, err := r.produce(ctx, "produce 100 B records in 1 MB batches", l, 1, false)
	if err == nil {
		r.note(Goal{Name: rep.Load + ", per server CPU-second", Unit: "M", AtLeast: 8}, rep.Server.MillionRecordsPerCPUSecond, 0)
	}
	return err
}

// produceUploading compares producing to a topic whose segments are uploaded meanwhile, to a
// directory on the same disk, with one whose segments are not. The bare machine is the broker
// itself here.
func (r *suiteRun) produceUploading(ctx context.Context) error {
	const name = "produce 1 KiB records in 1 MB batches, while uploading"
	segment, enable := "16777216", "true"
	plain := topicConfigs(false)
	plain["segment.bytes"] = &segment
	tiered := maps.Clone(plain)
	tiered["remote.storage.enable"] = &enable
	var without, with Report
	err := r.compare(r.warmed(func() (err error) {
		without, err = r.produceTo(ctx, "the same, without uploading", r.load(r.broker), 1, plain)
		return err
	}), r.warmed(func() (err error) {
		with, err = r.produceTo(ctx, name, r.load(r.broker), 1, tiered)
		return err
	}))
	if err == nil {
		r.note(Goal{Name: name, Unit: "GB/s", Relative: true, AtLeast: 0.9}, with.BytesPerSecond/1e9, without.BytesPerSecond/1e9)
	}
	return err
}

// fetch compares fetches of two sizes, and with both congestion controls.
func (r *suiteRun) fetch(ctx context.Context) (err error) {
	if r.fetchFile == nil {
		if r.fetchFile, err = newFetchFile(r.dir, r.FetchBytes); err != nil {
			return err
		}
	}
	err = r.fetchOf(ctx, r.broker, r.congestion, 8<<20, true)
	if err == nil {
		err = r.fetchOf(ctx, r.broker, r.congestion, 1<<20, false)
	}
	if err == nil && r.other != nil {
		err = r.fetchOf(ctx, r.other, r.otherCongestion, 8<<20, false)
	}
	return err
}

func (r *suiteRun) fetchOf(ctx context.Context, from Instance, congestion string, size int, isGoal bool) error {
	topic, err := r.filled(ctx, from)
	if err != nil {
		return err
	}
	l := r.load(from)
	l.Topic, l.FetchBytes = topic, int32(size)
	name := withCongestion(fmt.Sprintf("fetch %d MiB", size>>20), congestion)
	var bare Bare
	var rep Report
	err = r.compare(func() (err error) {
		bare, err = IdealFetch{AnswerBytes: size, Congestion: congestion}.run(r.fetchFile, r.Step)
		return err
	}, func() (err error) {
		rep, err = r.drive(ctx, name, RawFetch(l), 0, from)
		return err
	})
	if err != nil {
		return err
	}
	rate, cpu := Goal{Name: name, Unit: "GB/s", Relative: true}, Goal{Name: name + ": server CPU-seconds per GB", Unit: "s"}
	if isGoal {
		rate.AtLeast, cpu.AtMost = 0.8, 0.2
	}
	r.note(rate, rep.BytesPerSecond/1e9, bare.BytesPerSecond/1e9)
	r.note(cpu, rep.Server.CPUSecondsPerGB, 0)
	return nil
}

// filled returns a topic of FetchBytes, which stays until the suite ends.
func (r *suiteRun) filled(ctx context.Context, on Instance) (topic string, err error) {
	if topic, ok := r.fetchFrom[on]; ok {
		return topic, nil
	}
	l := r.load(on)
	if err := r.fill(ctx, l, 1, r.FetchBytes, time.Minute); err != nil {
		return "", err
	}
	r.fetchFrom[on] = l.Topic
	return l.Topic, nil
}

// fill creates a topic and produces size bytes, synced, or what can be produced within d.
func (r *suiteRun) fill(ctx context.Context, l Load, partitions int32, size int64, d time.Duration) error {
	if _, err := OpenTopic(ctx, l.Brokers, l.Topic, partitions, topicConfigs(true)); err != nil {
		return err
	}
	rep, err := Run(ctx, "fill", RawProduce(l), Extent{Records: size / int64(l.RecordBytes), Duration: d}, nil, NewMeter())
	if err == nil && rep.Errors > 0 {
		err = errors.New(rep.LastError)
	}
	return err
}

// startEmpty measures the start of a broker that has nothing.
func (r *suiteRun) startEmpty(ctx context.Context) error {
	for range 3 {
		dir := r.newDir()
		began := time.Now()
		i, err := r.Start(ctx, dir, nil)
		if err != nil {
			return err
		}
		r.note(Goal{Name: "start, empty", Unit: "s", AtMost: 0.2}, time.Since(began).Seconds(), 0)
		if err := errors.Join(i.Stop(), vfs.OS{}.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

// idle measures the memory of a broker with many partitions and nothing to do.
func (r *suiteRun) idle(ctx context.Context) (err error) {
	i, err := r.Start(ctx, r.newDir(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Stop()) }()
	if _, err := OpenTopic(ctx, []string{i.Addr()}, TopicName(), r.IdlePartitions, nil); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.Step):
	}
	u, err := Process(i.PID()).Usage(ctx)
	if err == nil {
		name := fmt.Sprintf("resident memory, idle with %d partitions", r.IdlePartitions)
		r.note(Goal{Name: name, Unit: "MiB", AtMost: 64}, float64(u.ResidentBytes)/(1<<20), 0)
	}
	return err
}

// startKilled kills a broker that has acknowledged much, and measures how long the next takes to
// start on what is there.
func (r *suiteRun) startKilled(ctx context.Context) error {
	const partitions, connections = 8, 4
	size, err := r.affordable()
	if err != nil {
		return err
	}
	dir := r.newDir()
	first, err := r.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	l := r.load(first)
	l.Connections = connections
	if err := r.fill(ctx, l, partitions, size, time.Minute); err != nil {
		return errors.Join(err, first.Kill())
	}
	before, err := findEnds(ctx, l.Brokers, l.Topic)
	if err := errors.Join(err, first.Kill()); err != nil {
		return err
	}
	began := time.Now()
	second, err := r.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := findEnds(ctx, []string{second.Addr()}, l.Topic)
	if err := errors.Join(err, second.Stop(), vfs.OS{}.RemoveAll(dir)); err != nil {
		return err
	}
	bytes := float64(total(before)) * float64(l.RecordBytes)
	if total(after) < total(before) {
		return fmt.Errorf("%d records were there before the crash, %d after it", total(before), total(after))
	}
	r.note(Goal{Name: fmt.Sprintf("start after kill -9 with %.0f GB", bytes/1e9), Unit: "s", AtMost: 2}, took.Seconds(), 0)
	return nil
}

// affordable is RecoverBytes, or what the disk has room for if that is less.
func (r *suiteRun) affordable() (int64, error) {
	u, err := vfs.OS{}.Usage(r.dir)
	return min(r.RecoverBytes, u.Free/2), err
}

func total(ends []end) (n int64) {
	for _, e := range ends {
		n += e.offset
	}
	return n
}
