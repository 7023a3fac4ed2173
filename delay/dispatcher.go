package delay

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Target is a partition that this broker leads.
type Target interface {
	Source
	// Deliver appends the batches of a delivery, in order and in one step: in its append section it
	// checks that it still leads, asks [Schedule.AdmitDelivery] with its clock, appends, and calls
	// [Schedule.ApplyDelivery]. It returns the offset after the last. It does not wait for the
	// commit. Any error means that nothing was appended.
	Deliver(ctx context.Context, d *Delivery) (end int64, err error)
	// Wait returns when everything below end is committed, or with an error if that cannot be.
	Wait(ctx context.Context, end int64) error
}

// DispatcherConfig is what a dispatcher needs. The zero value will do.
type DispatcherConfig struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Now is the wall clock, time.Now if nil.
	Now func() time.Time
	// CacheBytes bounds what is kept of decoded batches because it will be due soon; 0 means 64 MiB.
	CacheBytes int
	// Parallel is how many partitions are worked on at once, and how many bursts besides; 0 means
	// half of the processors.
	Parallel int
}

// Dispatcher delivers what is due, for all partitions of a broker.
//
// Goroutines: Run's own waits for the next due time of all partitions. A partition that has
// something due gets a goroutine until it has not; they take turns, a window of records each. A
// partition that is stuck in a call loses its turn to the others.
type Dispatcher struct {
	c       DispatcherConfig
	metrics *metrics
	// express and bulk are the turns: who holds one may work. Larger windows than the first of a
	// burst have turns of their own, so that they do not delay what is due now and then.
	express, bulk chan *workspace
	// loans counts the turns of bulk that others have got beside those that last too long.
	loans atomic.Int32
	cache cache
	// stepped is the last jump of the wall clock, nil if there was none.
	stepped atomic.Pointer[clockStep]
	// poked tells Run that the head of the queue changed.
	poked chan struct{}

	// mu guards queue, running and the lines' fields. A schedule's lock may be taken under it,
	// never the reverse.
	mu sync.Mutex
	// queue holds the idle lines by when to look at them.
	queue queue
	// running is the context of Run while it runs.
	running context.Context
	lines   sync.WaitGroup
}

// NewDispatcher returns a dispatcher that does nothing until Run is called.
func NewDispatcher(c DispatcherConfig) *Dispatcher {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Parallel == 0 {
		c.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	d := &Dispatcher{c: c, cache: cache{maxBytes: c.CacheBytes}, metrics: newMetrics(c.Registerer), express: make(chan *workspace, c.Parallel), bulk: make(chan *workspace, c.Parallel), poked: make(chan struct{}, 1)}
	for range c.Parallel {
		d.express <- new(workspace)
		d.bulk <- new(workspace)
	}
	return d
}

func (d *Dispatcher) now() int64 { return d.c.Now().UnixMilli() }

// clockStep is a jump of the wall clock.
type clockStep struct {
	at time.Time
	by time.Duration
}

// ClockStep returns when Run last saw the wall clock jump, and by how much; zero if it never did.
func (d *Dispatcher) ClockStep() (at time.Time, by time.Duration) {
	if s := d.stepped.Load(); s != nil {
		return s.at, s.by
	}
	return at, 0
}

// maxStep bounds every wait while something is pending, so that a step of the wall clock is noticed.
const maxStep = 100 * time.Millisecond

// Run delivers until ctx ends. It returns when all its goroutines have.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.mu.Lock()
	d.running = ctx
	d.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var clock clockWatch
	last := d.now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-d.poked:
		case <-timer.C:
		}
		if jump := clock.look(d.c.Now(), time.Now()); jump != 0 {
			d.metrics.clockSteps.Inc()
			d.stepped.Store(&clockStep{d.c.Now(), jump})
			d.c.Logger.Warn("the wall clock jumped; delayed records are due by the new time", "by", jump)
		}
		now := d.now()
		if now < last { // by however little, and however long ago the last look was
			d.requeue()
		}
		last = now
		if next := d.start(now); next == math.MaxInt64 {
			timer.Stop()
		} else {
			ms := min(max(1, next-d.now()), maxStep.Milliseconds())
			timer.Reset(time.Duration(ms) * time.Millisecond)
		}
	}
	d.mu.Lock()
	d.running = nil
	d.mu.Unlock()
	d.lines.Wait()
	return ctx.Err()
}

// start gives every line that is due at now its goroutine, and returns when the next is due.
func (d *Dispatcher) start(now int64) (next int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 && d.queue[0].at <= now && d.running.Err() == nil {
		l := heap.Pop(&d.queue).(*Line)
		ctx, cancel := context.WithCancel(d.running)
		l.cancel, l.done = cancel, make(chan struct{})
		d.lines.Go(func() {
			l.run(ctx)
			l.idle()
		})
	}
	if len(d.queue) == 0 {
		return math.MaxInt64
	}
	return d.queue[0].at
}

// requeue decides anew when to look at each idle line, after the wall clock went back: those that
// rest would rest until it shows the old time.
func (d *Dispatcher) requeue() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.queue {
		l.at = l.next()
	}
	heap.Init(&d.queue)
}

func (d *Dispatcher) poke() {
	select {
	case d.poked <- struct{}{}:
	default:
	}
}

// Line is the way from one schedule to its partition's log.
type Line struct {
	d        *Dispatcher
	schedule *Schedule
	target   Target
	log      *slog.Logger

	// Guarded by Dispatcher.mu:

	// at is when to look again, and index where the line is in the queue, -1 if it runs.
	at    int64
	index int
	// cancel ends the goroutine, done is closed when it ended; nil while idle.
	cancel   context.CancelFunc
	done     chan struct{}
	detached bool
	// stop rests the whole line, near only what is in the partition's log. They are written by the goroutine.
	stop, near stop

	// The following belongs to the goroutine, and while the line is idle to whoever has Dispatcher.mu.

	// readers are those of runs that have something due soon. Their stops are guarded as the line's are.
	readers []*reader
	// appended is what may not be committed, oldest first.
	appended []appended
	shelf    shelf
	lateness latenessRecorder
	// warmed is where [Line.warm] goes on in its next turn; 0 if it has nothing to do.
	warmed int64
}

// Attach begins to deliver what is due in a schedule, which must have been applied to the end of
// the log. Name is for the logs.
func (d *Dispatcher) Attach(name string, s *Schedule, t Target) *Line {
	l := &Line{d: d, schedule: s, target: t, log: d.c.Logger.With("partition", name), index: -1, shelf: shelf{cache: &d.cache}}
	s.forgetReaders()
	s.beginCounting()
	s.onEarlier(l.wake)
	d.mu.Lock()
	defer d.mu.Unlock()
	l.enqueue(s.NextDue())
	return l
}

// Detach stops delivering. When it returns, no call of the target is running and none will come.
func (l *Line) Detach() {
	l.schedule.onEarlier(func(int64) {})
	l.d.mu.Lock()
	l.detached = true
	if l.index >= 0 {
		heap.Remove(&l.d.queue, l.index)
	}
	done := l.done
	if done != nil {
		l.cancel()
	}
	l.d.mu.Unlock()
	if done != nil {
		<-done
	}
	l.shelf.clear()
}

// Stopped returns why nothing, or not everything that is due, is delivered at the moment; nil if all is well.
func (l *Line) Stopped() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	err := errors.Join(l.stop.err, l.near.err)
	for _, d := range l.readers {
		err = errors.Join(err, d.stop.err)
	}
	return err
}

// Lateness tells how long after their due time records were appended since the line was attached.
func (l *Line) Lateness() Lateness { return l.lateness.snapshot() }

// wake is told that something is due earlier than all before.
func (l *Line) wake(due int64) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	due = warmAt(due, l.d.now())
	if l.index >= 0 && l.stop.err == nil && due < l.at {
		l.at = due
		heap.Fix(&l.d.queue, l.index)
		if l.index == 0 {
			l.d.poke()
		}
	}
}

// enqueue makes the line idle until a time.
func (l *Line) enqueue(next int64) {
	l.at = next
	heap.Push(&l.d.queue, l)
	if l.index == 0 {
		l.d.poke()
	}
}

// keepCached is how long a line may be idle without losing what it has read.
const keepCached = 10 * time.Second

// idle ends the goroutine's time and puts the line back into the queue.
func (l *Line) idle() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.cancel()
	close(l.done)
	l.cancel, l.done = nil, nil
	if l.detached {
		return
	}
	next := l.next()
	if next > l.d.now()+keepCached.Milliseconds() {
		l.shelf.clear()
		l.readers = nil
	}
	l.enqueue(next)
}

// queue is a heap of lines by when to look at them.
type queue []*Line

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	l := x.(*Line)
	l.index = len(*q)
	*q = append(*q, l)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	l := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	l.index = -1
	return l
}
