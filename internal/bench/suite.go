package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Suite compares a broker with the bare machine and with the project's goals. Every repetition
// measures broker and machine in turn, so that what else the machine does meets both.
type Suite struct {
	// Dir is on the disk to be measured. All that is written there is removed when Run returns.
	Dir string
	// Start starts a broker on a data directory and returns when it is ready. configs are broker configs.
	Start func(ctx context.Context, dataDir string, configs map[string]string) (Instance, error)

	// Repetitions are made while no more than Within has passed, one at least.
	Repetitions int
	Within      time.Duration
	Step        time.Duration // of each measurement

	// WarmBytes are written and removed before each measurement that fills the page cache; see [WarmPageCache].
	WarmBytes int64
	// FetchBytes is the size of the topic, and of the bare file, that fetches read.
	FetchBytes int64
	// RecoverBytes is what lies in the log when the broker is killed, to see how long it takes to start again.
	RecoverBytes int64
	// IdlePartitions is how many partitions an idle broker has whose memory is looked at.
	IdlePartitions int32

	// Delays says that the broker knows delays. DueRecords are due at once then, PendingRecords
	// pending when the broker is killed.
	Delays                     bool
	DueRecords, PendingRecords int64

	// Tiers says that the broker can tier a topic.
	Tiers bool

	// Only selects the steps with this text in their names; empty selects all.
	Only string

	// Began is told what is measured next, and after how many of how many steps. It may be nil.
	Began func(what string, step, steps int)
}

// Instance is a broker process that the suite has started.
type Instance interface {
	Addr() string // host:port for clients
	PID() int
	// Kill ends the process at once, as a crash would, Stop as it wishes to end; both return when it is gone.
	Kill() error
	Stop() error
}

// SuiteReport is what a suite found.
type SuiteReport struct {
	Congestion  string   `json:"congestion"` // of client and broker, unless a row says otherwise
	Repetitions int      `json:"repetitions"`
	Rows        []Row    `json:"rows"`
	Loads       []Report `json:"loads"` // every measurement of the broker, in order
}

// suiteRun is a suite while it runs.
type suiteRun struct {
	*Suite
	dir       string
	broker    Instance            // uses congestion
	other     Instance            // uses otherCongestion; nil if the system has only one
	fetchFrom map[Instance]string // topics
	fetchFile *scratch            // what bare fetches read; nil: not made yet
	dirs      int                 // made so far
	turns     int                 // of compare

	repetitions int // made so far

	congestion, otherCongestion string

	order   []Goal // as they were first measured
	samples map[string][]sample
	loads   []Report
}

// suiteWarmup passes before each measurement of the broker.
const suiteWarmup = 200 * time.Millisecond

// Run measures everything. With an error, the report holds what was measured until then.
func (s *Suite) Run(ctx context.Context) (report SuiteReport, err error) {
	r := &suiteRun{Suite: s, samples: map[string][]sample{}, fetchFrom: map[Instance]string{}}
	r.dir = vfs.Join(s.Dir, TopicName())
	if err := (vfs.OS{}).MkdirAll(r.dir); err != nil {
		return report, err
	}
	defer func() {
		for _, i := range []Instance{r.broker, r.other} {
			if i != nil {
				err = errors.Join(err, i.Stop())
			}
		}
		if r.fetchFile != nil {
			err = errors.Join(err, r.fetchFile.Close())
		}
		err = errors.Join(err, vfs.OS{}.RemoveAll(r.dir))
	}()
	err = r.all(ctx)
	report = SuiteReport{Congestion: r.congestion, Repetitions: r.repetitions, Loads: r.loads}
	for _, g := range r.order {
		report.Rows = append(report.Rows, g.judge(r.samples[g.Name]))
	}
	return report, err
}

// all takes the steps in order.
func (r *suiteRun) all(ctx context.Context) error {
	first := []suiteStep{
		{"start brokers", r.startBrokers},
	}
	repeated := []suiteStep{
		{"acks of one partition", r.acks},
		{"acks of many partitions", r.manyAcks},
		{"produce to the page cache", r.produceCached},
		{"produce with syncs", r.produceSynced},
		{"produce small records", r.produceSmall},
		{"fetch", r.fetch},
	}
	last := []suiteStep{
		{"start empty", r.startEmpty},
		{"idle partitions", r.idle},
		{"start after kill -9", r.startKilled},
	}
	if r.Tiers {
		repeated = append(repeated, suiteStep{"produce while uploading", r.produceUploading})
	}
	if r.Delays {
		repeated = append(repeated, suiteStep{"delayed inserts", r.delayInserts})
		last = append(last,
			suiteStep{"lateness of delayed records", r.delayLateness},
			suiteStep{"deliveries of delayed records", r.delayDeliveries},
			suiteStep{"burst of delayed records", r.delayBurst},
			suiteStep{"start with delayed records", r.startPending},
		)
	}
	if repeated, last = r.selected(repeated), r.selected(last); len(repeated)+len(last) == 0 {
		return fmt.Errorf("no step has %q in its name", r.Only)
	}
	p := suiteProgress{of: len(first) + r.Repetitions*len(repeated) + len(last), began: r.Began}
	start := time.Now()
	if err := p.take(ctx, first); err != nil {
		return err
	}
	for r.repetitions < r.Repetitions && (r.repetitions == 0 || time.Since(start) < r.Within) {
		if err := p.take(ctx, repeated); err != nil {
			return err
		}
		r.repetitions++
	}
	p.done = p.of - len(last)
	return p.take(ctx, last)
}

// selected are the steps that Only selects.
func (s *Suite) selected(steps []suiteStep) (selected []suiteStep) {
	for _, step := range steps {
		if strings.Contains(step.name, s.Only) {
			selected = append(selected, step)
		}
	}
	return selected
}

// suiteProgress is how far a suite has come.
type suiteProgress struct {
	done, of int
	began    func(what string, step, steps int) // may be nil
}

// take takes steps.
func (p *suiteProgress) take(ctx context.Context, steps []suiteStep) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.began != nil {
			p.began(s.name, p.done, p.of)
		}
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		p.done++
	}
	return nil
}

type suiteStep struct {
	name string
	run  func(context.Context) error
}

// note keeps one measurement of a goal.
func (r *suiteRun) note(g Goal, broker, bare float64) {
	if _, ok := r.samples[g.Name]; !ok {
		r.order = append(r.order, g)
	}
	r.samples[g.Name] = append(r.samples[g.Name], sample{broker, bare})
}

func (r *suiteRun) startBrokers(ctx context.Context) (err error) {
	usable := Congestions()
	r.congestion = usable[0]
	if r.broker, err = r.start(ctx, r.congestion); err != nil {
		return err
	}
	if len(usable) > 1 {
		r.otherCongestion = usable[1]
		if r.other, err = r.start(ctx, r.otherCongestion); err != nil {
			return err
		}
	}
	return nil
}

// start starts a broker in a directory of its own.
func (r *suiteRun) start(ctx context.Context, congestion string) (Instance, error) {
	configs := map[string]string{}
	if congestion != "" {
		configs["tcp.congestion"] = congestion
	}
	return r.Start(ctx, r.newDir(), configs)
}

func (r *suiteRun) newDir() string {
	r.dirs++
	return vfs.Join(r.dir, strconv.Itoa(r.dirs))
}

// load is one connection to one partition, with records of 1 KiB in batches of 1 MB, unless changed.
func (r *suiteRun) load(to Instance) Load {
	return Load{
		Brokers: []string{to.Addr()}, Topic: TopicName(), RecordBytes: 1024, BatchBytes: 1_000_000, Acks: -1,
		Connections: 1, InFlight: 5, FetchBytes: 8 << 20, Congestion: r.congestion,
	}
}

// topicConfigs are those of the suite's topics: synced before every acknowledgement or left to the
// page cache, and gone from the disk as soon as they are deleted.
func topicConfigs(synced bool) map[string]*string {
	messages, delay := "1", "0"
	if !synced {
		messages = strconv.FormatInt(math.MaxInt64, 10)
	}
	return map[string]*string{"flush.messages": &messages, "file.delete.delay.ms": &delay}
}

// produce measures a load on a topic of its own.
func (r *suiteRun) produce(ctx context.Context, name string, l Load, partitions int32, synced bool) (rep Report, err error) {
	return r.produceTo(ctx, name, l, partitions, topicConfigs(synced))
}

// produceTo is produce with configs of the topic.
func (r *suiteRun) produceTo(ctx context.Context, name string, l Load, partitions int32, configs map[string]*string) (rep Report, err error) {
	before, err := vfs.OS{}.Usage(r.dir)
	if err != nil {
		return rep, err
	}
	topic, err := OpenTopic(ctx, l.Brokers, l.Topic, partitions, configs)
	if err != nil {
		return rep, err
	}
	defer func() {
		err = errors.Join(err, topic.Delete(context.WithoutCancel(ctx)), r.awaitFree(ctx, before.Free))
	}()
	return r.drive(ctx, name, RawProduce(l), scratchMax, r.broker)
}

// warmed has the page cache warmed before a measurement.
func (r *suiteRun) warmed(measure func() error) func() error {
	return func() error { return errors.Join(WarmPageCache(r.dir, r.WarmBytes), measure()) }
}

// awaitFree waits until about as much is free as once was: brokers remove files after they have
// answered. It gives up after some seconds, since others use the disk too.
func (r *suiteRun) awaitFree(ctx context.Context, once int64) error {
	const about = 64 << 20
	for range 50 {
		now, err := vfs.OS{}.Usage(r.dir)
		if err != nil || now.Free >= once-about || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

// compare takes two measurements, of the bare machine and of the broker, each on a disk that has
// settled. Which is first changes from call to call.
func (r *suiteRun) compare(bare, broker func() error) error {
	r.turns++
	order := []func() error{bare, broker}
	if r.turns%2 == 0 {
		slices.Reverse(order)
	}
	for _, measure := range order {
		if err := errors.Join(settle(r.dir), measure()); err != nil {
			return err
		}
	}
	return nil
}

// drive measures one load for a step, or until maxBytes if that is not 0. An error that the broker
// answered is one of the suite's.
func (r *suiteRun) drive(ctx context.Context, name string, d Drive, maxBytes int64, on Instance) (Report, error) {
	rep, err := Run(ctx, name, d, Extent{Warmup: suiteWarmup, Duration: r.Step, Bytes: maxBytes}, Process(on.PID()), NewMeter())
	if err != nil {
		return rep, err
	}
	if rep.Errors > 0 {
		return rep, fmt.Errorf("%d requests failed, the last with: %s", rep.Errors, rep.LastError)
	}
	r.loads = append(r.loads, rep)
	return rep, ctx.Err()
}
