package s3test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/proxytest"
)

// This file is the short form of D1: delays that are longer than local retention, with a real
// process and a real store. The long form, in virtual time, is in broker/partition.

// promised is what a producer was told of delayed records, and what a consumer has seen.
type promised struct {
	*installation
	topic string

	mu    sync.Mutex
	acked map[int64]bool  // by ticket
	seen  map[int64]int64 // by ticket: the offset of its delivery
}

// promise makes a tiered topic of D1, a few seconds for each of its minutes, and consumes it.
func (i *installation) promise(topic string, configs ...string) *promised {
	p := &promised{installation: i, topic: topic, acked: map[int64]bool{}, seen: map[int64]int64{}}
	i.create(topic, append([]string{"segment.bytes", "262144", "segment.ms", "1000", "local.retention.ms", "3000", "retention.ms", "600000"}, configs...)...)
	i.lookUp("__schedule." + topic)
	c := i.connect(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	i.background(func() { c.PollFetches(i.Context()).EachRecord(p.see) })
	return p
}

// schedule produces n records of 1 KiB with a delay. All are acknowledged.
func (p *promised) schedule(n int, by time.Duration) {
	p.Helper()
	ctx := p.within(time.Minute)
	var wg sync.WaitGroup
	for k := range n {
		wg.Add(1)
		r := &kgo.Record{Topic: p.topic, Value: payload(p.topic, k), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: strconv.AppendInt(nil, by.Milliseconds(), 10)}}}
		p.client.Produce(ctx, r, func(r *kgo.Record, err error) {
			defer wg.Done()
			if err != nil {
				p.Errorf("schedule: %v", err)
				return
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.acked[r.Offset] = true
		})
	}
	wg.Wait()
}

// see judges a record that a consumer was given.
func (p *promised) see(r *kgo.Record) {
	headers := map[string]int64{}
	for _, h := range r.Headers {
		headers[h.Key], _ = strconv.ParseInt(string(h.Value), 10, 64)
	}
	ticket, ok := headers["morrow-ticket"]
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, twice := p.seen[ticket]; twice && at != r.Offset {
		p.Errorf("%s: ticket %d was delivered at %d and at %d", p.topic, ticket, at, r.Offset)
	}
	if _, whole := whole(r.Value); !whole || r.Timestamp.UnixMilli() < headers["morrow-due"] {
		p.Errorf("%s: ticket %d, due at %d, was delivered at %d, whole: %v", p.topic, ticket, headers["morrow-due"], r.Timestamp.UnixMilli(), whole)
	}
	p.seen[ticket] = r.Offset
}

// waiting counts what was acknowledged and not seen.
func (p *promised) waiting() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ticket := range p.acked {
		if _, ok := p.seen[ticket]; !ok {
			n++
		}
	}
	return n
}

// last is the largest ticket.
func (p *promised) last() (last int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ticket := range p.acked {
		last = max(last, ticket)
	}
	return last
}

// rolling produces ordinary records now and then, so that segments roll, until the test ends.
func (p *promised) rolling() {
	c, n := p.connect(), 0
	p.background(func() {
		c.Produce(p.Context(), &kgo.Record{Topic: p.topic, Value: payload(p.topic, n)}, nil)
		n++
		time.Sleep(100 * time.Millisecond)
	})
}

// evicted waits until the local log has passed all tickets, and a run's records are no more on the local disk.
func (p *promised) evicted() {
	p.Helper()
	p.await("the local log of "+p.topic+" has passed what waits: the test is void", time.Minute, func() bool {
		return p.localStart(p.topic) > p.last()
	})
	p.await("records of runs of "+p.topic+" are in the bucket only: the test is void", time.Minute, func() bool {
		m := p.manifest("__schedule." + p.topic)
		if m == nil {
			return false
		}
		evicted := errors.New("evicted")
		err := m.EachSegment(p.Context(), p.bucket, func(e *tier.Entry) error {
			name := filepath.Join(p.DataDir(), "logs", p.id("__schedule."+p.topic)+"-0", fmt.Sprintf("%020d.log", e.Base))
			if _, err := os.Stat(name); err != nil && e.VisibleEnd > e.Base && e.Bytes > 100_000 {
				return evicted
			}
			return nil
		})
		return errors.Is(err, evicted)
	})
}

// away is how long before records are due the store goes away.
const away = 35 * time.Second

// onlyInBucket makes three topics whose pending records are in the bucket only, more than away
// before they are due, and kills the broker. Where this machine is too slow for that, it is done
// with other topics, and more time.
func (i *installation) onlyInBucket() (orders, short, lost *promised, due time.Time) {
	i.Helper()
	for lead, name := 85*time.Second, ""; ; lead, name = 2*lead, name+"-again" {
		orders, short, lost = i.promise("orders"+name), i.promise("short"+name, "retention.ms", "5000"), i.promise("lost"+name)
		all := []*promised{orders, short, lost}
		for _, p := range all {
			p.rolling()
		}
		due = time.Now().Add(lead)
		for _, p := range all {
			p.schedule(400, lead)
		}
		for _, p := range all {
			p.evicted()
		}
		i.Kill9()
		i.Restart()
		i.Logf("evicted, and killed, %v before it is due", time.Until(due))
		if time.Until(due) > away {
			return orders, short, lost, due
		}
		if lead > 5*time.Minute {
			i.Fatal("this machine is too slow")
		}
	}
}

// delivered waits until everything was seen.
func (p *promised) delivered(d time.Duration) {
	p.Helper()
	p.await(fmt.Sprintf("everything of %s is delivered", p.topic), d, func() bool { return p.waiting() == 0 })
}

// TestD1DelayLongerThanLocalRetention: what waits in the bucket only is delivered, also with all
// retention shorter than the delay (b), across an outage of the store at the due time (c), kill -9
// (f), and a lost object (g).
func TestD1DelayLongerThanLocalRetention(t *testing.T) {
	t.Parallel()
	i := install(t, "delay.spill.distance.bytes: 1048576", "delay.replay.bytes: 1048576")
	plain := i.promise("plain", "remote.storage.enable", "false")
	orders, short, lost, due := i.onlyInBucket()
	// What is delivered stays until it has been read.
	i.alter(short.topic, "retention.ms", "-1")

	// An object of a run is lost.
	back := i.loseRun("__schedule." + lost.topic)
	// The store is away across the due time. Ten seconds after that, something without the tier falls due.
	plain.schedule(50, time.Until(due.Add(10*time.Second)))
	time.Sleep(time.Until(due.Add(-away))) // before anything is brought back
	i.proxy.Inject(proxytest.Refuse, 1<<30, func(*http.Request) bool { return true })
	time.Sleep(time.Until(due.Add(12 * time.Second)))
	plain.delivered(20 * time.Second)
	if n := orders.waiting() + short.waiting(); n == 0 {
		t.Error("nothing waits for the store: the test is void")
	}
	for _, p := range []*promised{orders, short} {
		i.await("a metric says that "+p.topic+" waits for the store", 20*time.Second, func() bool {
			n, _ := i.metric("morrow_schedule_stopped_sources", `topic="`+p.topic+`"`)
			return n > 0 || p.waiting() == 0
		})
	}
	i.proxy.Heal()
	healed := time.Now()
	orders.delivered(time.Minute)
	short.delivered(time.Minute)
	t.Logf("delivered %v after the store was back", time.Since(healed))
	if lost.waiting() == 0 {
		t.Error("the lost run was delivered: the test is void")
	}
	i.await("a metric tells the lost run", 20*time.Second, func() bool {
		n, _ := i.metric("morrow_schedule_stopped_sources", `topic="`+lost.topic+`"`)
		return n > 0
	})
	back()
	lost.delivered(time.Minute)
}

// loseRun removes the objects of a schedule log that hold records and are not local any more. The
// function it returns puts them back.
func (i *installation) loseRun(topic string) (back func()) {
	i.Helper()
	lost := map[string][]byte{}
	m := i.manifest(topic)
	err := m.EachSegment(i.Context(), i.bucket, func(e *tier.Entry) error {
		if e.VisibleEnd == e.Base {
			return nil
		}
		r, _, err := i.bucket.Get(i.Context(), m.Key(e), 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		if lost[m.Key(e)], err = io.ReadAll(r); err != nil {
			return err
		}
		return i.bucket.Delete(i.Context(), m.Key(e))
	})
	if err != nil || len(lost) == 0 {
		i.Fatalf("objects of %s: %d, %v", topic, len(lost), err)
	}
	return func() {
		for key, data := range lost {
			if _, err := i.bucket.Put(i.Context(), key, bucket.BytesBody(i.bucket.Checksum(), data), bucket.PutOptions{IfNoneMatch: true}); err != nil {
				i.Error(err)
			}
		}
	}
}
