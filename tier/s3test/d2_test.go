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

	"github.com/morrowmq/morrow/tier"
)

// This file is D2 with real processes: whatever happens to the last part of a file on its way to the bucket, and whenever the broker is killed,
// nothing local goes before it is confirmed, and everything is read back.

// d2Records fill three segments of 1 MiB and a part of a fourth.
const d2Records = 3500

// d2Case is a fault, and the request it happens to.
type d2Case struct {
	fault  fault
	times  int
	method string
	suffix string
}

// topicOf is the topic of the n-th case.
func topicOf(n int) string { return fmt.Sprintf("case-%d", n) }

func (c d2Case) String() string {
	return fmt.Sprintf("%s %s: %d times %s", c.method, c.suffix, c.times, c.fault)
}

func d2Cases() (all []d2Case) {
	for _, suffix := range []string{".segment", "/manifest"} {
		for _, f := range []struct {
			fault fault
			times int
		}{{internal, 1}, {internal, 20}, {keepMum, 1}, {loseReply, 1}, {breakBody, 1}, {truncate, 1}, {stall, 1}} {
			all = append(all, d2Case{f.fault, f.times, http.MethodPut, suffix})
		}
		all = append(all, d2Case{notFound, 2, http.MethodHead, suffix})
	}
	return all
}

// d2 is one broker, and a topic for each case, so that all cases take the time of the longest.
type d2 struct {
	*installation
	cases []d2Case
	// stored says of which topics a segment has arrived since the faults began; killed, for which the broker was killed.
	mu             sync.Mutex
	stored, killed map[string]bool
	kill           chan string
}

// TestD2LastPartOfASegment runs the fault matrix, without kills, with a kill between an upload and its manifest, and with one between the manifest
// and the local deletion.
func TestD2LastPartOfASegment(t *testing.T) {
	t.Parallel()
	for _, kills := range []string{"no kill", "kill before the manifest", "kill after the manifest"} {
		t.Run(kills, func(t *testing.T) {
			t.Parallel()
			d := &d2{installation: install(t), cases: d2Cases(), stored: map[string]bool{}, killed: map[string]bool{}, kill: make(chan string, 100)}
			d.run(kills)
		})
	}
}

func (d *d2) run(kills string) {
	for n := range d.cases {
		d.create(topicOf(n), "segment.bytes", "1048576", "segment.ms", "2000", "local.retention.ms", "2000")
	}
	happened := make([]func() int, len(d.cases))
	for n, c := range d.cases {
		dir := "/" + d.id(topicOf(n)) + "/"
		skip := 2 // of the segments; of the manifest, the claim and the first commit
		if c.method == http.MethodHead {
			skip = 0
		}
		happened[n] = d.proxy.inject(c.fault, c.times, func(r *http.Request) bool {
			if r.Method != c.method || !strings.Contains(r.URL.Path, dir) || !strings.HasSuffix(r.URL.Path, c.suffix) {
				return false
			}
			skip--
			return skip < 0
		})
	}
	if kills != "no kill" {
		d.proxy.watch = func(r *http.Request, done bool) bool { return d.watch(r, done, kills == "kill after the manifest") }
	}
	stop := d.sample()
	ctx, cancel := context.WithCancel(d.Context())
	var killer sync.WaitGroup
	killer.Go(func() { d.keepKilling(ctx) })
	var producers sync.WaitGroup
	for n := range d.cases {
		producers.Go(func() { d.produce(topicOf(n), d2Records) })
	}
	producers.Wait()
	for n, c := range d.cases {
		d.await("everything of "+c.String()+" is in the bucket", 4*time.Minute, func() bool {
			m := d.manifest(topicOf(n))
			return m != nil && m.End == d2Records
		})
	}
	cancel()
	killer.Wait()
	for n, c := range d.cases {
		if happened[n]() == 0 {
			d.Errorf("%s did not happen: the test is void", c)
		}
		d.await("the local copy of "+c.String()+" is gone", time.Minute, func() bool { return d.localStart(topicOf(n)) == d2Records })
		d.readAll(topicOf(n), d2Records)
	}
	stop()
	if kills != "no kill" && len(d.killed) < len(d.cases)/2 {
		d.Errorf("killed at %d points of %d", len(d.killed), len(d.cases))
	}
	d.noOrphans()
}

// watch tells the killer when a topic's first segment since the faults began is stored, and its manifest is about to be, or has been committed.
func (d *d2) watch(r *http.Request, done, after bool) (cut bool) {
	if r.Method != http.MethodPut {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.cases {
		topic := topicOf(n)
		if !strings.Contains(r.URL.Path, "/"+d.id(topic)+"/") {
			continue
		}
		switch {
		case strings.HasSuffix(r.URL.Path, ".segment") && done:
			d.stored[topic] = true
		case strings.HasSuffix(r.URL.Path, "/manifest") && done == after && d.stored[topic] && !d.killed[topic]:
			d.killed[topic] = true
			d.kill <- topic
			return !after
		}
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
				if m == nil && c.fault == truncate && c.suffix == "/manifest" {
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

// noOrphans ages everything in the bucket, has it swept, and makes sure that only what is named is left.
func (d *d2) noOrphans() {
	d.Helper()
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
	err = d.bucket.List(d.Context(), cluster+"/", func(o tier.Object) error {
		if strings.HasSuffix(o.Key, ".segment") && !named[o.Key] {
			d.Errorf("%s is an orphan after the sweep", o.Key)
		}
		delete(named, o.Key)
		return nil
	})
	if err != nil || len(named) > 0 {
		d.Errorf("missing from the bucket: %v, %v", named, err)
	}
}

// TestD2bStoreDownForThreeTimesLocalRetention: local data stays, a metric says so, and on its return everything is uploaded.
func TestD2bStoreDownForThreeTimesLocalRetention(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.create("orders", "segment.bytes", "1048576", "segment.ms", "1000", "local.retention.ms", "3000")
	i.await("the store is in use", time.Minute, func() bool {
		v, _ := i.metric("morrow_tier_store_usable", "")
		return v == 1 || i.manifest("orders") != nil
	})
	i.proxy.inject(refuse, 1<<30, func(*http.Request) bool { return true })
	i.produce("orders", 5000)
	time.Sleep(9 * time.Second)
	if start := i.localStart("orders"); start != 0 {
		t.Errorf("the local log starts at %d while the store is down", start)
	}
	if lag, ok := i.metric("morrow_tier_copy_lag_bytes", `topic="orders"`); !ok || lag < 4<<20 {
		t.Errorf("lag is said to be %v bytes", lag)
	}
	i.proxy.heal()
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
