package s3test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/proxytest"
)

// This file is D2 with real processes: whatever happens to the last part of a file on its way to
// the bucket, and whenever the broker is killed, nothing local goes before it is confirmed, and
// everything is read back.

// d2Case is a fault, and the request it happens to.
type d2Case struct {
	fault   proxytest.Fault
	times   int
	request request
	skip    int // so many such requests go well first
}

// request is a kind of request.
type request struct {
	name string
	is   func(*http.Request) bool
}

func requestOf(method, suffix string) request {
	return request{method + " " + suffix, func(r *http.Request) bool {
		return r.Method == method && strings.HasSuffix(r.URL.Path, suffix)
	}}
}

var (
	putSegment   = requestOf(http.MethodPut, ".segment")
	putManifest  = requestOf(http.MethodPut, "/manifest")
	headSegment  = requestOf(http.MethodHead, ".segment")
	headManifest = requestOf(http.MethodHead, "/manifest")
)

// topicOf is the topic of the n-th case.
func topicOf(n int) string { return fmt.Sprintf("case-%d", n) }

func (c d2Case) String() string {
	if c.times == 0 {
		return c.request.name
	}
	return fmt.Sprintf("%s: %d times %s", c.request.name, c.times, c.fault)
}

func d2Cases() (all []d2Case) {
	for _, x := range []struct{ put, head request }{{putSegment, headSegment}, {putManifest, headManifest}} {
		for _, f := range []struct {
			fault proxytest.Fault
			times int
		}{{proxytest.Internal, 1}, {proxytest.Internal, 20}, {proxytest.KeepMum, 1}, {proxytest.LoseReply, 1}, {proxytest.BreakBody, 1}, {proxytest.Truncate, 1}, {proxytest.Stall, 1}} {
			all = append(all, d2Case{f.fault, f.times, x.put, 2}) // of the manifest, the claim and the first commit go well
		}
		all = append(all, d2Case{proxytest.NotFound, 2, x.head, 0})
	}
	return all
}

// d2 is one broker, and a topic for each case, so that all cases take the time of the longest.
type d2 struct {
	*installation
	cases   []d2Case
	configs []string // of the topics, beside those that all have
	records int      // produced to each topic
	// closeLater has segments closed by their age only when everything was produced, however long
	// that takes.
	closeLater bool
	// portions are how many records have been produced in all when everything is waited for to be
	// in the bucket.
	portions []int
	// stored says of which topics a segment has arrived since the faults began; killed, for which
	// the broker was killed.
	mu             sync.Mutex
	stored, killed map[string]bool
	kill           chan string
}

func newD2(i *installation, cases []d2Case, records int, configs ...string) *d2 {
	return &d2{
		installation: i, cases: cases, records: records, portions: []int{records}, configs: configs,
		stored: map[string]bool{}, killed: map[string]bool{}, kill: make(chan string, 100),
	}
}

// TestD2LastPartOfASegment runs the fault matrix, without kills, with a kill between an upload and
// its manifest, and with one between the manifest and the local deletion.
func TestD2LastPartOfASegment(t *testing.T) {
	t.Parallel()
	for _, kills := range []string{"no kill", "kill before the manifest", "kill after the manifest"} {
		t.Run(kills, func(t *testing.T) {
			t.Parallel()
			// Twice a segment and a part of another. The second time something is committed after
			// what goes well.
			d := newD2(install(t), d2Cases(), 3500, "segment.bytes", "1048576")
			d.portions = []int{1750, 3500}
			if kills != "no kill" {
				d.proxy.Watch = func(r *http.Request, done bool) bool { return d.watch(r, done, kills == "kill after the manifest") }
			}
			d.run()
			if kills != "no kill" && len(d.killed) < len(d.cases)/2 {
				d.Errorf("killed at %d points of %d", len(d.killed), len(d.cases))
			}
			d.noOrphans()
		})
	}
}

// run produces to all topics while their faults happen, and makes sure that nothing is lost.
func (d *d2) run() {
	for n := range d.cases {
		d.create(topicOf(n), append([]string{"segment.ms", "2000", "local.retention.ms", "2000"}, d.configs...)...)
	}
	happened := make([]func() int, len(d.cases))
	for n, c := range d.cases {
		dir, skip := "/"+d.id(topicOf(n))+"/", c.skip
		happened[n] = d.proxy.Inject(c.fault, c.times, func(r *http.Request) bool {
			if !strings.Contains(r.URL.Path, dir) || !c.request.is(r) {
				return false
			}
			skip--
			return skip < 0
		})
	}
	stop := d.sample()
	ctx, cancel := context.WithCancel(d.Context())
	var killer sync.WaitGroup
	killer.Go(func() { d.keepKilling(ctx) })
	from := 0
	for _, end := range d.portions {
		var producers sync.WaitGroup
		for n := range d.cases {
			producers.Go(func() { d.produceFrom(topicOf(n), from, end) })
		}
		producers.Wait()
		if d.closeLater {
			d.closeSegments()
		}
		for n, c := range d.cases {
			d.await(fmt.Sprintf("all %d of %s are in the bucket", end, c), 4*time.Minute, func() bool {
				m := d.manifest(topicOf(n))
				return m != nil && m.End == int64(end)
			})
		}
		from = end
	}
	cancel()
	killer.Wait()
	for n, c := range d.cases {
		if c.times > 0 && happened[n]() == 0 {
			d.Errorf("%s did not happen: the test is void", c)
		}
		d.await("the local copy of "+c.String()+" is gone", time.Minute, func() bool { return d.localStart(topicOf(n)) == int64(d.records) })
		d.readAll(topicOf(n), d.records)
	}
	stop()
}

// closeSegments has the segments of all topics closed as soon as they are idle. The broker may be
// killed meanwhile.
func (d *d2) closeSegments() {
	d.Helper()
	for n := range d.cases {
		d.await("the segments of "+topicOf(n)+" may be closed", time.Minute, func() bool {
			ctx, cancel := context.WithTimeout(d.Context(), 10*time.Second)
			defer cancel()
			age := "1000"
			done, err := d.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "segment.ms", Value: &age}}, topicOf(n))
			return err == nil && done[0].Err == nil
		})
	}
}

// topicIn is the topic whose object a request is about, "" if it is of none.
func (d *d2) topicIn(r *http.Request) string {
	for n := range d.cases {
		if strings.Contains(r.URL.Path, "/"+d.id(topicOf(n))+"/") {
			return topicOf(n)
		}
	}
	return ""
}

// watch tells the killer when a topic's first segment since the faults began is stored, and its
// manifest is about to be, or has been committed.
func (d *d2) watch(r *http.Request, done, after bool) (cut bool) {
	topic := d.topicIn(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case topic == "":
	case putSegment.is(r) && done:
		d.stored[topic] = true
	case putManifest.is(r) && done == after && d.stored[topic] && !d.killed[topic]:
		d.killed[topic] = true
		d.kill <- topic
		return !after
	}
	return false
}

// keepKilling kills the broker at each point, those that come together at once.
func (d *d2) keepKilling(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kill:
		}
		d.Kill9()
		for len(d.kill) > 0 {
			<-d.kill
		}
		d.Restart()
	}
}

// sample looks ten times a second whether anything local is gone that the bucket does not name.
func (d *d2) sample() (stop func()) {
	ctx, cancel := context.WithCancel(d.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			c := d.cases[n%len(d.cases)]
			topic := topicOf(n % len(d.cases))
			start := d.localStart(topic) // first, since the bucket only gets more
			if start > 0 {
				m := d.manifest(topic)
				for try := 0; m == nil && try < 5; try++ { // it is being replaced, or this machine is busy
					time.Sleep(200 * time.Millisecond)
					m = d.manifest(topic)
				}
				if m == nil && c.fault == proxytest.Truncate && c.request.name == putManifest.name {
					continue // the store has just spoilt it, and is given the local copy
				}
				if m == nil || m.End < start {
					d.Errorf("%s: the local log starts at %d, the bucket has %+v", c, start, m)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// noOrphans ages everything in the bucket, has it swept, and makes sure that only what is named is
// left, and no unfinished upload. Only the gateway's objects can be made older.
func (d *d2) noOrphans() {
	d.Helper()
	if gatewayDir == "" {
		return
	}
	d.proxy.Heal()
	age(d.T, d.prefix)
	old := time.Now().Add(-48 * time.Hour)
	err := filepath.WalkDir(filepath.Join(gatewayDir, bucketName, d.prefix), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chtimes(path, old, old)
	})
	if err != nil {
		d.Fatal(err)
	}
	d.sweep()
	cluster := d.cluster()
	named := map[string]bool{}
	for n := range d.cases {
		m := d.manifest(topicOf(n))
		err := m.EachSegment(d.Context(), d.bucket, func(e *tier.Entry) error {
			named[m.Key(e)] = true
			return nil
		})
		if err != nil {
			d.Fatal(err)
		}
	}
	err = d.bucket.List(d.Context(), cluster+"/", func(o bucket.Object) error {
		if strings.HasSuffix(o.Key, ".segment") && !named[o.Key] {
			d.Errorf("%s is an orphan after the sweep", o.Key)
		}
		delete(named, o.Key)
		return nil
	})
	if err != nil || len(named) > 0 {
		d.Errorf("missing from the bucket: %v, %v", named, err)
	}
	if left := unfinished(d.T, d.prefix); len(left) > 0 {
		d.Errorf("uploads that nobody ends: %v", left)
	}
}

// TestD2bStoreDownForThreeTimesLocalRetention: local data stays, a metric says so, and on its
// return everything is uploaded.
func TestD2bStoreDownForThreeTimesLocalRetention(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.create("orders", "segment.bytes", "1048576", "segment.ms", "1000", "local.retention.ms", "3000")
	i.await("the store is in use", time.Minute, func() bool {
		v, _ := i.metric("morrow_tier_store_usable", "")
		return v == 1 || i.manifest("orders") != nil
	})
	i.proxy.Inject(proxytest.Refuse, 1<<30, func(*http.Request) bool { return true })
	i.produce("orders", 5000)
	time.Sleep(9 * time.Second)
	if start := i.localStart("orders"); start != 0 {
		t.Errorf("the local log starts at %d while the store is down", start)
	}
	i.await("a metric says how much is not in the bucket", time.Minute, func() bool {
		lag, ok := i.metric("morrow_tier_copy_lag_bytes", `topic="orders"`)
		return ok && lag >= 4<<20
	})
	i.proxy.Heal()
	i.await("everything is in the bucket", time.Minute, func() bool { m := i.manifest("orders"); return m != nil && m.End == 5000 })
	i.await("the local copy is gone", time.Minute, func() bool { return i.localStart("orders") == 5000 })
	i.readAll("orders", 5000)
}

// TestD2cTieringSwitchedOnLater: all of what a topic holds already becomes remote, not only what comes then.
func TestD2cTieringSwitchedOnLater(t *testing.T) {
	t.Parallel()
	i := install(t)
	const n = 30_000
	i.create("orders", "remote.storage.enable", "false", "segment.bytes", "1048576", "segment.ms", "3000")
	i.produce("orders", n)
	i.alter("orders", "remote.storage.enable", "true", "local.retention.ms", "1000")
	i.await("everything is in the bucket", 2*time.Minute, func() bool { m := i.manifest("orders"); return m != nil && m.Start == 0 && m.End == n })
	i.await("the local copy is gone", time.Minute, func() bool { return i.localStart("orders") == n })
	i.readAll("orders", n)
}
