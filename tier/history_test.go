package tier_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestEveryHistoryComesToRest: whatever has happened to the log, the store, the process and the
// configuration, once the store works again everything that is closed and wanted is remote, what
// has expired is gone, and then there is nothing more to do. At no time does the tier go round in
// circles, nor is there a hole in the manifest, nor is anything evicted that is not in the bucket.
func TestEveryHistoryComesToRest(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tier.SetPageEntries(t, 2+int(seed%4))
				w := newWorld(t)
				newHistory(w, rand.New(rand.NewPCG(seed, 2024))).run()
				w.stop()
				w.checkBucket()
			})
		})
	}
}

// history is what happens to one partition, as chance will have it.
type history struct {
	*world
	rnd   *rand.Rand
	drops bool // it is the log of a schedule: runs leave it from the middle

	localGate int64 // what the log start may not pass; the gate of what is remote is at or below it
	dropping  [][2]int64
	lives     int
	said      []string

	steps, requests pulse
}

func newHistory(w *world, rnd *rand.Rand) *history {
	h := &history{world: w, rnd: rnd, drops: rnd.IntN(2) == 0}
	h.steps, h.requests = pulse{t: w.t, of: "looks at the configuration"}, pulse{t: w.t, of: "requests"}
	if rnd.IntN(2) == 0 {
		w.option = func(o *tier.Options) { o.Instance = "cluster" }
	}
	w.before = func(string, string) { h.requests.beat() }
	w.asked = h.steps.beat
	if rnd.IntN(2) == 0 {
		w.log.gate = 0
	} else {
		h.localGate = math.MaxInt64
	}
	return h
}

// pulse notices a tier that is busy without end: in virtual time, no time would pass.
type pulse struct {
	t  *testing.T
	of string

	mu     sync.Mutex
	second int64
	beats  int
	most   int
}

// In a second a step that fails is repeated ten times or so, and a hundred segments are uploaded at once.
const mostBeats = 1000

func (p *pulse) beat() {
	p.mu.Lock()
	if now := time.Now().Unix(); p.second != now {
		p.second, p.beats = now, 0
	}
	p.beats++
	p.most = max(p.most, p.beats)
	n := p.beats
	p.mu.Unlock()
	if n == mostBeats {
		p.t.Errorf("more than %d %s in a second: it goes round in circles", n, p.of)
	}
	if n >= mostBeats {
		time.Sleep(time.Hour) // so that the test ends
	}
}

func (h *history) run() {
	defer func() {
		if h.t.Failed() {
			h.t.Logf("schedule: %t; history: %s", h.drops, strings.Join(h.said, "; "))
		}
	}()
	h.log.fill(1 + h.rnd.IntN(12))
	h.start()
	for range 20 + h.rnd.IntN(40) {
		h.event()
		h.boundHolds()
		h.rangeIsWhole()
		if h.t.Failed() {
			return
		}
	}
	h.say("the end")
	h.bucket.Heal()
	h.bucket.DeliverLate()
	h.redrop()
	h.atRest()
	h.openGate()
	h.redrop()
	h.atRest()
	h.noOrphans()
}

func (h *history) say(format string, args ...any) {
	h.said = append(h.said, fmt.Sprintf("%s "+format, append([]any{time.Now().Format("15:04:05.000")}, args...)...))
}

// event is one thing that happens.
func (h *history) event() {
	switch h.rnd.IntN(21) {
	case 0, 1, 2, 3:
		h.append(1 + h.rnd.IntN(3))
	case 4:
		h.append(10 + h.rnd.IntN(20))
	case 5, 6:
		h.evictSome()
	case 7:
		h.retain()
	case 8:
		o := h.log.Offsets()
		h.log.deleteUpTo(o.Reported + h.rnd.Int64N(o.End-o.Reported+1))
		h.retain()
	case 9, 10:
		h.moveGate()
	case 11, 12:
		if h.drops {
			h.drop()
		} else {
			h.rewrite()
		}
	case 13:
		h.reconfigure()
	case 14, 15:
		h.fault()
	case 16:
		h.say("heal")
		h.bucket.Heal()
		h.bucket.DeliverLate()
	case 17:
		h.restart()
	case 18:
		h.diskFault()
	default:
		d := time.Duration(h.rnd.Int64N(int64(time.Second)))
		if h.rnd.IntN(2) == 0 {
			d *= time.Duration(1 + h.rnd.IntN(600))
		}
		h.say("%v pass", d)
		time.Sleep(d)
	}
}

func (h *history) append(n int) {
	h.say("append %d", n)
	for range n {
		h.log.timed(time.Now(), h.rnd.IntN(4) == 0)
	}
	h.p.Notify()
}

// evictSome is local retention: what is confirmed goes.
func (h *history) evictSome() {
	if !h.config.Load().Copy {
		return
	}
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	n := h.rnd.IntN(len(h.log.segments) + 1)
	confirmed := h.p.Confirmed()
	for i := 0; i < n; i++ {
		if h.log.segments[i].End > confirmed {
			n = i
		}
	}
	h.say("evict %d segments", n)
	h.log.segments = h.log.segments[n:]
}

// retain is what the log does by itself: what has expired goes, uploaded or not, as far as its gate lets it.
func (h *history) retain() {
	c := h.config.Load()
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	size := int64(0)
	for _, s := range h.log.segments {
		size += s.Size
	}
	n, start := 0, h.log.start
	for i, s := range h.log.segments {
		old := c.RetentionMs >= 0 && time.Since(h.log.youngest(s)) > time.Duration(c.RetentionMs)*time.Millisecond
		large := c.RetentionBytes >= 0 && size-s.Size >= c.RetentionBytes
		if s.End > h.localGate || !old && !large && s.End > h.log.reported {
			break
		}
		n, size, start = i+1, size-s.Size, s.End
		if n < len(h.log.segments) {
			start = h.log.segments[n].Base // there may be a hole before it
		}
	}
	h.log.segments, h.log.start = h.log.segments[n:], max(start, h.log.start)
	h.say("log removes %d segments, starts at %d", n, h.log.start)
}

func (h *history) moveGate() {
	if h.localGate == math.MaxInt64 {
		return
	}
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	h.localGate += h.rnd.Int64N(h.log.end - h.localGate + 1)
	h.log.gate = h.rnd.Int64N(h.localGate + 1)
	if h.rnd.IntN(4) == 0 {
		h.log.gate = 0 // its schedule is being loaded
	}
	h.say("gate %d, remote %d", h.localGate, h.log.gate)
}

func (h *history) openGate() {
	h.say("gate opens")
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	h.localGate, h.log.gate = math.MaxInt64, math.MaxInt64
}

// drop lets some segments go that the schedule has finished with, wherever they lie.
func (h *history) drop() {
	h.log.mu.Lock()
	from := h.log.start
	if h.rnd.IntN(2) == 0 {
		from += h.rnd.Int64N(h.log.end - h.log.start + 1)
	}
	to := from + h.rnd.Int64N(h.log.end-from+1)/(1+h.rnd.Int64N(4))
	if from >= to {
		h.log.mu.Unlock()
		return
	}
	h.say("drop %d to %d", from, to)
	h.log.dropRange(from, to)
	in := func(s fakeSegment) bool { return s.Base >= from && s.End <= to }
	h.log.segments = slices.DeleteFunc(slices.Clone(h.log.segments), in)
	first := h.log.end
	if len(h.log.segments) > 0 {
		first = h.log.segments[0].Base
	}
	if from <= h.log.start {
		start := min(to, first)
		if h.p.Confirmed() <= start {
			start = first
		}
		h.log.start = max(h.log.start, start)
		h.say("log starts at %d", h.log.start)
	}
	h.log.mu.Unlock()
	h.dropping = append(h.dropping, [2]int64{from, to})
	h.redrop()
}

// redrop tells the tier what was dropped, until it has understood.
func (h *history) redrop() {
	h.dropping = slices.DeleteFunc(h.dropping, func(d [2]int64) bool {
		return h.p.Drop(h.t.Context(), d[0], d[1], nothing) == nil
	})
}

// rewrite is what a cleaner does to what is only here: the same bytes in other files.
func (h *history) rewrite() {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	if len(h.log.segments) < 2 {
		return
	}
	i := h.rnd.IntN(len(h.log.segments) - 1)
	a, b := h.log.segments[i], h.log.segments[i+1]
	a.Generation++
	merged := []fakeSegment{a}
	if a.End == b.Base && h.rnd.IntN(2) == 0 {
		a.data = append(slices.Clone(a.data), b.data...)
		a.End, a.Size = b.End, int64(len(a.data))
		merged[0] = a
		b = fakeSegment{}
	}
	if b.End > 0 {
		merged = append(merged, b)
	}
	h.say("rewrite %d to %d", a.Base, a.End)
	h.log.segments = slices.Concat(h.log.segments[:i], merged, h.log.segments[i+2:])
}

func (h *history) reconfigure() {
	c := tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1}
	switch h.rnd.IntN(5) {
	case 0:
		c.Copy = false
	case 1:
		c.Copy, c.Discard = false, true
	case 2:
		c.RetentionMs = 1000 * h.rnd.Int64N(3600)
	case 3:
		c.RetentionBytes = h.rnd.Int64N(100_000)
	}
	h.say("config %+v", c)
	h.configure(c)
	h.p.Notify()
}

// fault leaves out half manifests: one whose local copy is lost, too, needs a person.
func (h *history) fault() {
	faults := []buckettest.Fault{buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Vanish, buckettest.Stall}
	ops := []buckettest.Op{buckettest.OpPut, buckettest.OpHead, buckettest.OpGet, buckettest.OpDelete, buckettest.OpAll}
	r := buckettest.Rule{Ops: ops[h.rnd.IntN(len(ops))], After: h.rnd.IntN(20), Times: 1 + h.rnd.IntN(4), Fault: faults[h.rnd.IntN(len(faults))]}
	if h.rnd.IntN(4) == 0 {
		r.Fault, r.Times = buckettest.Refuse, buckettest.Forever
	}
	h.say("%v of %v, %d times after %d", r.Fault, r.Ops, r.Times, r.After)
	h.bucket.Add(r)
}

// diskFault has the tier's own files not written for a while.
func (h *history) diskFault() {
	r := vfs.Rule{Name: "*-3.*", After: h.rnd.IntN(6), Times: 1 + h.rnd.IntN(4), Err: syscall.ENOSPC, Partial: h.rnd.IntN(2) == 0}
	h.say("disk is full, %d times after %d", r.Times, r.After)
	h.world.fault.Add(r)
}

// restart begins another life: in an orderly way, after a crash, or on another broker that takes over.
func (h *history) restart() {
	h.lives++
	power := rand.New(rand.NewPCG(h.rnd.Uint64(), 0))
	crash, takeover := h.rnd.IntN(3) > 0, h.rnd.IntN(3) == 0
	if crash {
		h.crash(power)
	}
	h.stop()
	if takeover {
		h.disk = vfs.NewMem()
		h.epoch++
	}
	h.say("restart; crash: %t, takeover: %t", crash, takeover)
	h.start()
	h.p.Notify()
}

// rangeIsWhole fails if the manifest in the bucket has a hole.
func (h *history) rangeIsWhole() {
	m, err := h.readManifest()
	if err != nil {
		return // none, or half of one
	}
	at := m.Start
	for _, p := range m.Pages {
		if p.Base != at {
			h.t.Errorf("page [%d, %d) after %d", p.Base, p.End, at)
		}
		at = p.End
	}
	for _, e := range m.Tail {
		if e.Base != at {
			h.t.Errorf("entry [%d, %d) after %d", e.Base, e.End, at)
		}
		at = e.End
	}
	if at != m.End {
		h.t.Errorf("range ends at %d instead of %d", at, m.End)
	}
	o := h.log.Offsets()
	if o.LocalStart > max(m.End, o.Start) && !h.log.Dropped(max(m.End, o.Start), o.LocalStart) {
		h.t.Errorf("offsets from %d to %d are nowhere", m.End, o.LocalStart)
	}
	if end := min(m.Start, o.LocalStart); o.Start < end && !h.log.Dropped(o.Start, end) {
		h.t.Errorf("offsets from %d to %d are nowhere, remote are %d to %d", o.Start, end, m.Start, m.End)
	}
}

// atRest lets time pass, and expects that then everything has been done, and nothing is done any more.
func (h *history) atRest() {
	h.t.Helper()
	h.settle()
	if ms := h.config.Load().RetentionMs; ms > 0 { // until there is nothing that goes on expiring
		time.Sleep(time.Duration(ms) * time.Millisecond)
	}
	h.settle()
	if err := errors.Join(h.p.Err(), h.tier.Admitted()); err != nil {
		h.t.Errorf("a step still fails: %v", err)
	}
	o, c := h.log.Offsets(), h.config.Load()
	if got, want := h.p.Confirmed(), h.log.closedEnd(); c.Copy && got < want {
		h.t.Errorf("confirmed %d of %d", got, want)
	}
	h.nothingIsDue(o, c)
	before := len(h.bucket.Requests())
	for range 60 {
		h.p.Notify()
		time.Sleep(10 * time.Second)
	}
	for _, r := range h.bucket.Requests()[before:] {
		if strings.Contains(r, dir) && r != "get "+dir+"manifest" {
			h.t.Errorf("at rest there is nothing to do, and it sends: %s", r)
			break
		}
	}
}

// nothingIsDue fails if anything is still remote that is to go.
func (h *history) nothingIsDue(o tier.LocalOffsets, c *tier.Config) {
	h.t.Helper()
	m, err := h.readManifest()
	if errors.Is(err, bucket.ErrNotFound) {
		return
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if len(m.Garbage) > 0 {
		h.t.Errorf("garbage: %+v", m.Garbage)
	}
	var all []tier.Entry
	if err := m.EachSegment(h.calm(), h.bucket, func(e *tier.Entry) error { all = append(all, *e); return nil }); err != nil {
		h.t.Fatal(err)
	}
	size := h.log.Size()
	for _, e := range all {
		if e.End <= o.LocalStart {
			size += e.Bytes
		}
	}
	if len(all) == 0 || all[0].End > o.Gate {
		return
	}
	switch e := all[0]; {
	case c.Discard && o.Gate >= m.End:
		h.t.Errorf("%d to %d is remote although tiering is switched off", m.Start, m.End)
	case e.End <= o.Start:
		h.t.Errorf("%d to %d is below the log start %d", e.Base, e.End, o.Start)
	case !c.Discard && c.RetentionMs >= 0 && e.RetentionTime < time.Now().UnixMilli()-c.RetentionMs-60_000:
		h.t.Errorf("%d to %d is too old", e.Base, e.End)
	case !c.Discard && c.RetentionBytes >= 0 && e.End <= o.LocalStart && size-e.Bytes >= c.RetentionBytes:
		h.t.Errorf("%d to %d is too much: %d bytes", e.Base, e.End, size)
	}
}

// closedEnd is where the last closed segment ends.
func (l *fakeLog) closedEnd() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return l.start
	}
	return l.segments[len(l.segments)-1].End
}

// youngest is the time of the last record of a segment. The caller has the lock.
func (l *fakeLog) youngest(s fakeSegment) time.Time {
	for i := len(l.all) - 1; i >= 0; i-- {
		if l.all[i].BaseOffset() < s.End {
			return time.UnixMilli(l.all[i].MaxTimestamp())
		}
	}
	return time.Time{}
}

// deleteUpTo moves what clients are told to be the start; bytes go later.
func (l *fakeLog) deleteUpTo(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reported = max(l.reported, offset)
}

// dropRange records that nothing in [from, to) is needed. The caller has the lock.
func (l *fakeLog) dropRange(from, to int64) {
	var rest [][2]int64
	for _, d := range l.dropped {
		if d[0] <= to && from <= d[1] {
			from, to = min(from, d[0]), max(to, d[1])
		} else {
			rest = append(rest, d)
		}
	}
	l.dropped = append(rest, [2]int64{from, to})
}
