package tier

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/morrowmq/morrow/internal/pace"
)

// courtesy lets producers go first: an upload reads each segment twice and may write it to the very
// disk that producers write to, as fast as it can if nothing holds it back. While logs are written
// to, what waits to be uploaded is therefore spread over some time: its rate is what waits divided
// by the spread. So a burst is stored first and uploaded after it; under a constant load, uploads
// fall behind by the spread and then keep up, whatever the load; and when nobody writes, nothing
// holds them back.
type courtesy struct {
	appended func() int64 // bytes written to logs so far; nil: nobody is to go first
	waiting  func() int64 // bytes to be uploaded
	limit    *rate.Limiter

	mu     sync.Mutex
	spread time.Duration // guarded by mu, as is the rest; 0: nobody is to go first
	looked time.Time     // the last time that it was looked at
	seen   int64         // what appended said then
}

const (
	// courtesyInterval is how often it is looked at who writes, while something is uploaded.
	courtesyInterval = 100 * time.Millisecond
	// A look that is longer ago than this says nothing about the writers of this moment.
	courtesyMemory = time.Second
	// Logs that grow slower than busyRate are at rest.
	busyRate = 1 << 20
	// readsPerUpload is how often each byte of an upload passes wait: when it is sealed, and when it is sent.
	readsPerUpload = 2
)

// politeRate is what uploads may take in any case, in bytes per second. Tests make it small.
var politeRate = int64(32 << 20)

func newCourtesy(spread time.Duration, appended, waiting func() int64) *courtesy {
	return &courtesy{appended: appended, waiting: waiting, spread: spread, limit: pace.NewLimiter(0)}
}

// wait waits until n more bytes of an upload may be read.
func (c *courtesy) wait(ctx context.Context, n int) error {
	if c.appended == nil {
		return nil
	}
	c.look(time.Now())
	return pace.Wait(ctx, c.limit, n)
}

// look sets the limit anew if that is due.
func (c *courtesy) look(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := now.Sub(c.looked)
	if passed < courtesyInterval {
		return
	}
	total := c.appended()
	busy := isBusy(total-c.seen, passed)
	c.looked, c.seen = now, total
	var waiting int64
	if busy {
		waiting = c.waiting()
	}
	c.limit.SetLimitAt(now, pace.Limit(politeLimit(busy, waiting, c.spread)))
}

// isBusy decides whether logs are being written to, from what was appended in the time that passed.
// Of a long time it is not known when in it that was: perhaps just now.
func isBusy(appended int64, passed time.Duration) bool {
	if passed > courtesyMemory {
		return appended > 0
	}
	return float64(appended) >= busyRate*passed.Seconds()
}

// politeLimit decides how many bytes a second uploads may read; 0: nothing holds them back.
func politeLimit(busy bool, waiting int64, spread time.Duration) int64 {
	if !busy || spread <= 0 {
		return 0
	}
	return readsPerUpload * max(politeRate, int64(float64(waiting)/spread.Seconds()))
}

func (c *courtesy) setSpread(spread time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spread, c.looked = spread, time.Time{}
}

// waitingBytes is what waits to be uploaded, of all partitions. Only those that have moved since
// the last time are looked at.
func (t *Tier) waitingBytes() (sum int64) {
	for _, p := range t.all() {
		if p.moved.Swap(false) {
			p.measureWaiting()
		}
		sum += p.waitingBytes.Load()
	}
	return sum
}

// measureWaiting sets waitingBytes. What cannot be told now is told the next time.
func (p *Partition) measureWaiting() {
	var sum int64
	if p.config().Copy {
		if err := p.eachClosed(p.copiedEnd(), func(s LocalSegment) { sum += s.Size }); err != nil {
			p.moved.Store(true)
			return
		}
	}
	p.waitingBytes.Store(sum)
}

// politeReader reads a segment that is to be uploaded, as fast as courtesy allows.
type politeReader struct {
	ctx context.Context
	r   io.ReaderAt
	c   *courtesy
}

func (r politeReader) ReadAt(b []byte, pos int64) (int, error) {
	if err := r.c.wait(r.ctx, len(b)); err != nil {
		return 0, err
	}
	return r.r.ReadAt(b, pos)
}
