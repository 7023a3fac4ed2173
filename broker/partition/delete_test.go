package partition

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestDeletedTopicLeavesNothingOnDisk is P5 for the directories: those of the topic and of its
// schedule go, and the others stay.
func TestDeletedTopicLeavesNothingOnDisk(t *testing.T) {
	w := newWorld(t)
	gone := w.create("gone", 1)
	w.create("kept", 1)
	w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{gone.ID}})
	w.follow()
	w.table.clean(context.Background())
	if got, want := w.directories(), "__schedule.kept-0 kept-0"; got != want {
		t.Errorf("directories are %q, expected %q", got, want)
	}
}

// TestTopicIsDeletedWhileItsScheduleIsAtWork is a spill, or a load, that the deletion overtakes:
// nobody is told of errors that mean nothing any more, and what is at work leaves nothing behind.
func TestTopicIsDeletedWhileItsScheduleIsAtWork(t *testing.T) {
	for _, c := range []struct {
		name string
		rule vfs.Rule
	}{
		{"spill", vfs.Rule{Ops: vfs.OpRead, Name: "*.log"}},
		{"load", vfs.Rule{Ops: vfs.OpMkdir, Name: "*-0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := vfs.NewMem()
				fault := vfs.NewFault(mem)
				w := &world{TB: t, fsys: fault, mem: mem, store: newMemStore("delay.index.memory", "1048576"), clock: time.Now, lines: &syncBuffer{}}
				w.open()
				w.create("gone", 1)
				p := w.partition("gone")
				rs := make([]rec, 25_000)
				for i := range rs {
					rs[i] = delayed("x", "1h")
				}
				w.append(p, rs...)
				w.append(p, rs...)
				w.commit()
				if c.name == "load" {
					w.open()
				}
				c.rule.Do = func() { time.Sleep(time.Minute) }
				rule := fault.Add(c.rule)
				stop := w.start()
				time.Sleep(2 * tendInterval)
				if fault.Fired(rule) == 0 {
					t.Fatal("nothing is at work: the test is void")
				}
				w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{w.topic("gone").ID}})
				time.Sleep(2 * time.Minute)
				stop()
				for _, dir := range []string{"/logs", "/scratch"} {
					if names, err := w.fsys.List(dir); err != nil || len(names) > 0 {
						t.Errorf("%s holds %v, %v", dir, names, err)
					}
				}
				if lines := w.lines.String(); strings.Contains(lines, "WARN") || strings.Contains(lines, "ERROR") {
					t.Errorf("logged: %s", lines)
				}
			})
		})
	}
}

// TestTopicIsDeletedWhileTheStoreIsSilent: its uploads are broken off, so that the broker can look after
// the next topic at once, and nobody is told of what that ends.
func TestTopicIsDeletedWhileTheStoreIsSilent(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("gone", 30, "remote.storage.enable", "true")
		w.start()
		time.Sleep(time.Minute)
		w.bucket.Add(buckettest.Rule{Under: fmt.Sprintf("c/%s/", tier.TopicID(w.topic("gone").ID)), Times: buckettest.Forever, Fault: buckettest.Stall})
		for n := range int32(30) {
			p, err := w.table.Get(w.topic("gone").ID, n)
			if err != nil {
				t.Fatal(err)
			}
			w.rolled(p, plain("x"))
		}
		time.Sleep(10 * time.Second)
		asked := time.Now()
		w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{w.topic("gone").ID}})
		if err := w.table.WaitVersion(t.Context(), w.store.Image().Version()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(asked); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if lines := w.lines.String(); strings.Contains(lines, "WARN") || strings.Contains(lines, "ERROR") {
			t.Errorf("logged: %s", lines)
		}
	})
}
