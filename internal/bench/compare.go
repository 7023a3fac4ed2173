package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Peer is a broker that takes part in a comparison.
type Peer struct {
	Name    string
	Brokers []string // host:port of some
	Server  Server   // where its processor time and memory are found; nil: nobody knows
}

// Comparison puts the same loads on several brokers, in turn, several times over, so that what else
// the machine does meets all of them. Every load has a topic of its own, which is deleted again. A
// repetition before the first is a rehearsal and does not count: some brokers are slow until their
// code has been compiled.
type Comparison struct {
	Peers       []Peer
	Repetitions int
	Step        time.Duration  // of each measurement
	FillBytes   int64          // size of the topic that is consumed
	Match       *regexp.Regexp // only loads whose name matches; nil: all

	// Dir is a directory on the brokers' disk, where WarmBytes are written and removed before each
	// measurement once the disk is done with the one before; see [WarmPageCache]. Empty: nothing is.
	Dir       string
	WarmBytes int64

	// Began is told what is measured next, and after how many of how many steps. It may be nil.
	Began func(what string, step, steps int)
}

// Compared is one figure of all peers, in their order: medians of all repetitions. A figure that is
// not known is 0.
type Compared struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Lower  bool      `json:"lower_is_better"`
	Values []float64 `json:"values"`
}

// figure is one value of a report.
type figure struct {
	what, unit string
	lower      bool // is better
	of         func(*Report) float64
}

// comparedLoad is one load of a comparison, and what is looked at.
type comparedLoad struct {
	name       string
	partitions int32
	synced     bool
	fill       bool // the topic is filled first
	drive      func(Load) Drive
	change     func(*Load)
	figures    []figure
}

var (
	rateGB   = figure{"", "GB/s", false, func(r *Report) float64 { return r.BytesPerSecond / 1e9 }}
	rateKilo = figure{"", "k/s", false, func(r *Report) float64 { return r.RecordsPerSecond / 1e3 }}
	median50 = figure{": p50", "ms", true, func(r *Report) float64 { return r.Latency.P50 }}
	tail99   = figure{": p99", "ms", true, func(r *Report) float64 { return r.Latency.P99 }}
	cpuPerGB = figure{": CPU", "s/GB", true, func(r *Report) float64 {
		if r.Server == nil {
			return 0
		}
		return r.Server.CPUSecondsPerGB
	}}
	cpuPerMillion = figure{": CPU", "s/M", true, func(r *Report) float64 {
		if r.Server == nil {
			return 0
		}
		return r.Server.CPUSecondsPerMillionRecords
	}}
	resident = figure{": resident", "MiB", true, func(r *Report) float64 {
		if r.Server == nil {
			return 0
		}
		return float64(r.Server.ResidentBytes) / (1 << 20)
	}}
)

// comparedLoads are what brokers are compared by.
var comparedLoads = []comparedLoad{
	{
		name: "produce 1 MB batches, page cache", partitions: 1, drive: RawProduce,
		figures: []figure{rateGB, tail99, cpuPerGB},
	},
	{
		name: "produce 1 MB batches, fsync before ack", partitions: 1, synced: true, drive: RawProduce,
		figures: []figure{rateGB, tail99, cpuPerGB},
	},
	{
		name: "produce 4 KiB batches, 64 partitions, page cache", partitions: 64, drive: RawProduce,
		change:  func(l *Load) { l.RecordBytes, l.BatchBytes, l.Connections, l.InFlight = 1000, 4096, 16, 4 },
		figures: []figure{rateKilo, median50, tail99, cpuPerMillion},
	},
	{
		name: "produce 4 KiB batches, 64 partitions, fsync before ack", partitions: 64, synced: true, drive: RawProduce,
		change:  func(l *Load) { l.RecordBytes, l.BatchBytes, l.Connections, l.InFlight = 1000, 4096, 16, 4 },
		figures: []figure{rateKilo, median50, tail99, cpuPerMillion},
	},
	{
		name: "produce one record at a time, fsync before ack", partitions: 1, synced: true, drive: RawProduce,
		change:  func(l *Load) { l.RecordBytes, l.BatchBytes, l.InFlight = 1000, 1024, 1 },
		figures: []figure{median50, tail99},
	},
	{
		name: "fetch 8 MiB", partitions: 1, fill: true, drive: RawFetch,
		figures: []figure{rateGB, cpuPerGB},
	},
	{
		name: "end to end, 5,000 records/s of 1 KiB, 8 partitions, page cache", partitions: 8, drive: EndToEnd,
		change:  func(l *Load) { l.RecordsPerSecond = 5000 },
		figures: []figure{median50, tail99, cpuPerMillion},
	},
	{
		name: "end to end, 1,000 records/s of 1 KiB, 8 partitions, fsync before ack", partitions: 8, synced: true, drive: EndToEnd,
		change:  func(l *Load) { l.RecordsPerSecond = 1000 },
		figures: []figure{median50, tail99, cpuPerMillion, resident},
	},
}

// Run measures everything. With an error, it returns what is complete.
func (c *Comparison) Run(ctx context.Context) (rows []Compared, err error) {
	loads := slices.Clone(comparedLoads)
	if c.Match != nil {
		loads = slices.DeleteFunc(loads, func(l comparedLoad) bool { return !c.Match.MatchString(l.name) })
	}
	samples := make([][][]Report, len(loads)) // by load, peer, repetition
	for i := range samples {
		samples[i] = make([][]Report, len(c.Peers))
	}
	step, steps := 0, (1+c.Repetitions)*len(loads)*len(c.Peers)
	for repetition := range 1 + c.Repetitions {
		for i, l := range loads {
			for turn := range c.Peers {
				p := (turn + repetition) % len(c.Peers)
				if c.Began != nil {
					c.Began(c.Peers[p].Name+": "+l.name, step, steps)
				}
				r, err := c.measure(ctx, &c.Peers[p], &l)
				if err != nil {
					return compared(loads, samples), fmt.Errorf("%s: %s: %w", c.Peers[p].Name, l.name, err)
				}
				if repetition > 0 {
					samples[i][p] = append(samples[i][p], r)
				}
				step++
			}
		}
	}
	return compared(loads, samples), nil
}

// measure puts one load on one peer.
func (c *Comparison) measure(ctx context.Context, p *Peer, l *comparedLoad) (r Report, err error) {
	load := Load{
		Brokers: p.Brokers, Topic: TopicName(), RecordBytes: 1024, BatchBytes: 1_000_000, Acks: -1,
		Connections: 1, InFlight: 5, FetchBytes: 8 << 20,
	}
	if l.change != nil {
		l.change(&load)
	}
	topic, err := OpenTopic(ctx, load.Brokers, load.Topic, l.partitions, topicConfigs(l.synced))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, topic.Delete(context.WithoutCancel(ctx))) }()
	if err := topic.awaitLeaders(ctx); err != nil {
		return r, err
	}
	if l.fill {
		filling := Extent{Records: c.FillBytes / int64(load.RecordBytes), Duration: time.Minute}
		if _, err := Run(ctx, "fill", RawProduce(load), filling, nil, NewMeter()); err != nil {
			return r, err
		}
	}
	if err := c.settled(); err != nil {
		return r, err
	}
	r, err = Run(ctx, l.name, l.drive(load), l.extent(c.Step), p.Server, NewMeter())
	if err == nil && r.Errors > 0 {
		err = fmt.Errorf("%d requests failed, the last with: %s", r.Errors, r.LastError)
	}
	return r, errors.Join(err, ctx.Err())
}

// settled gives every measurement the same disk and memory to begin with.
func (c *Comparison) settled() error {
	if c.Dir == "" {
		return nil
	}
	return errors.Join(settle(c.Dir), WarmPageCache(c.Dir, c.WarmBytes))
}

// extent has all brokers write the same at most: whoever is faster does not meet the limits of the
// page cache alone.
func (l *comparedLoad) extent(step time.Duration) Extent {
	e := Extent{Warmup: step / 4, Duration: step}
	if !l.fill {
		e.Bytes = scratchMax
	}
	return e
}

// awaitLeaders waits until the leaders of the topic serve it: some brokers name one in the metadata
// before it knows.
func (t *Topic) awaitLeaders(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return t.withAdmin(func(adm *kadm.Client) error {
		for {
			listed, err := adm.ListEndOffsets(ctx, t.Name)
			if err = errors.Join(err, listed.Error()); err == nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// compared turns reports into rows; a load that not every peer has done has none.
func compared(loads []comparedLoad, samples [][][]Report) (rows []Compared) {
	for i, l := range loads {
		if slices.ContainsFunc(samples[i], func(of []Report) bool { return len(of) == 0 }) {
			continue
		}
		for _, f := range l.figures {
			row := Compared{Name: l.name + f.what, Unit: f.unit, Lower: f.lower}
			for _, reports := range samples[i] {
				var values []float64
				for n := range reports {
					values = append(values, f.of(&reports[n]))
				}
				row.Values = append(row.Values, median(values))
			}
			rows = append(rows, row)
		}
	}
	return rows
}
