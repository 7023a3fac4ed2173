package tier_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestAnOutageIsTwoLinesInTheLog, whatever number of partitions and tries there are: that it began,
// and that it is over. Another kind of failure is news, and so is that it lasts, once an hour.
func TestAnOutageIsTwoLinesInTheLog(t *testing.T) {
	inWorld(t, func(w *world) {
		var lines bytes.Buffer
		w.option = func(o *tier.Options) {
			o.Logger = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelInfo}))
		}
		w.log.fill(2)
		w.start()
		w.settle()
		var logs []*fakeLog
		for n := range int32(20) {
			id := orders
			id.Partition = 100 + n
			l := newFakeLog(w.t)
			l.fill(1)
			if _, err := w.tier.Partition(id, l, 0, w.current); err != nil {
				w.t.Fatal(err)
			}
			logs = append(logs, l)
		}
		w.settle()
		said := func(what string) int { return strings.Count(lines.String(), what) }
		outage := func(kind error, lasts time.Duration) {
			w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Err: kind, Times: buckettest.Forever})
			for _, l := range logs {
				l.fill(1)
			}
			time.Sleep(lasts)
			w.bucket.Heal()
		}
		lines.Reset()
		outage(bucket.ErrUnknown, 30*time.Minute)
		w.settle()
		if fails, works := said("the store fails"), said("the store works again"); fails != 1 || works != 1 || said("level=WARN") != 1 {
			w.t.Errorf("an outage of half an hour: %d and %d in\n%s", fails, works, lines.String())
		}
		lines.Reset()
		outage(bucket.ErrUnknown, 30*time.Minute)
		outage(bucket.ErrDenied, 150*time.Minute)
		w.settle()
		if fails, works := said("the store fails"), said("the store works again"); fails != 4 || works != 1 || said("check the credentials") != 3 {
			w.t.Errorf("one of two kinds, three hours long: %d and %d in\n%s", fails, works, lines.String())
		}
	})
}

// TestPartitionThatStoppedSaysSoOnce, and that it goes on.
func TestPartitionThatStoppedSaysSoOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		var lines bytes.Buffer
		w.option = func(o *tier.Options) { o.Logger = slog.New(slog.NewTextHandler(&lines, nil)) }
		w.log.fill(3)
		w.start()
		w.settle()
		manifest := w.object(dir + "manifest")
		w.must(w.bucket.Delete(w.calm(), dir+"manifest"))
		w.log.fill(1)
		w.p.Notify()
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if n := strings.Count(lines.String(), "a step failed"); n != 1 || !strings.Contains(lines.String(), "put it back") {
			w.t.Errorf("%d lines:\n%s", n, lines.String())
		}
		w.replaceObject(dir+"manifest", manifest)
		w.settle()
		w.confirmedAll()
		if n := strings.Count(lines.String(), "the partition goes on"); n != 1 {
			w.t.Errorf("%d lines:\n%s", n, lines.String())
		}
	})
}
