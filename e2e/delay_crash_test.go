package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

var delayFull = flag.Bool("delay.full", false, "run the scenarios of crashes and of levels at their full size, a few minutes")

// crashes is the size of D3.
type crashes struct {
	// uniform records are due evenly over length, instant ones at a third of it.
	uniform, instant int
	length           time.Duration
	// lead is how long before the first is due everything has been produced, and the broker is killed.
	lead time.Duration
	// down is for how long it is not there, paused for how long it stands still, across due times.
	down, paused time.Duration
}

// TestNoDeliveryIsLostOrRepeatedByCrashesOfOneBroker is D3 for one broker: records due all the time
// and many at one instant, while the broker is killed, stopped and down across due times.
func TestNoDeliveryIsLostOrRepeatedByCrashesOfOneBroker(t *testing.T) {
	t.Parallel()
	const partitions = 3
	c := crashes{uniform: 10_000, instant: 2_000, length: 20 * time.Second, lead: time.Second, down: time.Second, paused: 3 * time.Second}
	if *delayFull {
		c = crashes{uniform: 100_000, instant: 10_000, length: time.Minute, lead: 5 * time.Second, down: 3 * time.Second, paused: 30 * time.Second}
	}
	b := start(t)
	var l *ledger
	var topic string
	begin := ahead(t, 4*time.Second+3*c.lead, func(produced time.Time) error {
		topic, l = fmt.Sprint("timers-", produced.UnixMilli()), newLedger()
		createTopic(t, b, topic, partitions, nil)
		return l.produceAll(t, b, topic, c.uniform+c.instant, partitions, func(i int) time.Time {
			if i >= c.uniform {
				return produced.Add(c.lead + c.length/3)
			}
			return produced.Add(c.lead + c.length*time.Duration(i)/time.Duration(c.uniform))
		})
	}).Add(c.lead)
	l.consume(t, b, topic)

	at := func(d time.Duration) { time.Sleep(time.Until(begin.Add(d))) }
	at(-c.lead)
	b.Kill9()
	b.Restart()
	at(time.Second)
	b.Kill9()
	b.Restart()
	at(c.length/3 + 30*time.Millisecond) // in the middle of the burst
	b.Kill9()
	at(c.length/3 + c.down)
	b.Restart()
	at(c.length * 2 / 5)
	pause(t, b.PID(), c.paused)
	at(c.length - time.Second)
	b.Kill9()
	b.Restart()
	l.await(t, b, topic)
	if counts := l.verify(t); counts[pending] != c.uniform+c.instant {
		t.Errorf("%d records were acknowledged", counts[pending])
	}
}

// produceAll produces n records to a topic, each due at a time, from a client of its own.
func (l *ledger) produceAll(t *testing.T, b *testnet.Broker, topic string, n, partitions int, due func(i int) time.Time, opts ...kgo.Opt) error {
	t.Helper()
	cl := client(t, b, append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(2 * time.Millisecond)}, opts...)...)
	defer cl.Close()
	ctx := deadline(t, 2*time.Minute)
	for i := range n {
		id, at := fmt.Sprintf("t%06d", i), due(i).UnixMilli()
		cl.Produce(ctx, l.record(topic, id, int32(i%partitions), at), l.produced(id, at))
	}
	return cl.Flush(ctx)
}

// TestNoDeliveryIsLostOrRepeatedByALongDowntime is D3's broker that is down while everything falls
// due: when it is back each record is delivered once, in each partition in order of due time.
func TestNoDeliveryIsLostOrRepeatedByALongDowntime(t *testing.T) {
	t.Parallel()
	const partitions = 4
	records, instant := 20_000, 2_000 // instant of them are due at once
	if *delayFull {
		records = 200_000
	}
	b := start(t)
	const length = 4 * time.Second
	var l *ledger
	var topic string
	// Until the records are produced none may be due. They are not produced in the order in which they are.
	begin := ahead(t, 15*time.Second, func(begin time.Time) error {
		topic, l = fmt.Sprint("timers-", begin.UnixMilli()), newLedger()
		b.Restart() // it is down if this is not the first time
		createTopic(t, b, topic, partitions, nil)
		err := l.produceAll(t, b, topic, records, partitions, func(i int) time.Time {
			if i < instant {
				return begin.Add(length / 2)
			}
			return begin.Add(length * time.Duration(i*7919%records) / time.Duration(records))
		})
		b.Kill9()
		return err
	})
	time.Sleep(time.Until(begin.Add(length)))
	type front struct{ due, ticket int64 }
	fronts := make([]front, partitions)
	l.order = append(l.order, func(r *kgo.Record) error {
		due, _ := strconv.ParseInt(header(r, "morrow-due"), 10, 64) // the ledger has judged it
		ticket, _ := strconv.ParseInt(header(r, "morrow-ticket"), 10, 64)
		f := &fronts[r.Partition]
		if due < f.due || due == f.due && ticket < f.ticket {
			return fmt.Errorf("ticket %d, due at %d, is delivered after ticket %d, due at %d", ticket, due, f.ticket, f.due)
		}
		*f = front{due, ticket}
		return nil
	})
	b.Restart()
	l.consume(t, b, topic)
	l.await(t, b, topic)
	if counts := l.verify(t); counts[pending] != records {
		t.Errorf("%d records were acknowledged", counts[pending])
	}
}

// TestNoDeliveryIsLostOrRepeatedByCachesThatWereCut is the end of D3: the broker is killed, all
// indexes, summaries and snapshots of its logs are cut at the next 512 bytes, and it goes on, while
// records fall due, until every cut was made. Runs are spilled all the time.
func TestNoDeliveryIsLostOrRepeatedByCachesThatWereCut(t *testing.T) {
	t.Parallel()
	const partitions, block = 2, 512
	records, segment, lead := 4_000, 1<<18, 5*time.Second
	if *delayFull {
		records, segment, lead = 40_000, 1<<20, 40*time.Second
	}
	b := start(t, "--config", writeFile(t, "morrow.yaml", "delay.spill.distance.bytes: 1048576\n"))
	var l *ledger
	var topic string
	ahead(t, lead, func(begin time.Time) error {
		topic, l = fmt.Sprint("timers-", begin.UnixMilli()), newLedger()
		createTopic(t, b, topic, partitions, map[string]string{"index.interval.bytes": "256", "segment.bytes": strconv.Itoa(segment)})
		return l.produceAll(t, b, topic, records, partitions, func(i int) time.Time {
			return begin.Add(10 * time.Second * time.Duration(i%1000) / 1000)
		}, kgo.ProducerBatchMaxBytes(700), kgo.ProducerBatchCompression(kgo.NoCompression()))
	})
	l.consume(t, b, topic)
	cuts, files := 0, 0
	b.Kill9()
	for at := (largestCache(t, b.DataDir()) - 1) / block * block; at >= 0; at -= block {
		files += cutCaches(t, b.DataDir(), at)
		b.Restart()
		time.Sleep(100 * time.Millisecond)
		b.Kill9()
		cuts++
	}
	b.Restart()
	l.await(t, b, topic)
	counts := l.verify(t)
	t.Logf("%d cuts of %d files, %d records", cuts, files, counts[pending])
	if counts[pending] != records || cuts < 3 || files < 2*cuts {
		t.Errorf("the test is void: %d records were acknowledged, %d cuts were made, of %d files", counts[pending], cuts, files)
	}
}

// cutCaches cuts the caches of all logs that are longer, and returns how many it has cut.
func cutCaches(t *testing.T, dir string, at int64) (files int) {
	t.Helper()
	for name, size := range caches(t, dir) {
		if size > at {
			if err := os.Truncate(name, at); err != nil {
				t.Fatal(err)
			}
			files++
		}
	}
	return files
}

func largestCache(t *testing.T, dir string) (size int64) {
	t.Helper()
	for _, s := range caches(t, dir) {
		size = max(size, s)
	}
	return size
}

// caches are the files of all logs that may be damaged, with their sizes.
func caches(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	for _, kind := range []string{"index", "timeindex", "txnindex", "summary", "snapshot"} {
		names, err := filepath.Glob(filepath.Join(dir, "logs", "*", "*."+kind))
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			// The first snapshot of a log is no cache: what it was made of may have been removed.
			if first := i == 0 || filepath.Dir(names[i-1]) != filepath.Dir(name); first && kind == "snapshot" {
				continue
			}
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			sizes[name] = info.Size()
		}
	}
	return sizes
}

// pause stops a process for a while.
func pause(t *testing.T, pid int, d time.Duration) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
