package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestNoDeliveryIsLostOrRepeatedByCrashesOfOneBroker is D3 for one broker, at a fifth of its length: records due all the time and
// many at one instant, while the broker is killed, stopped and down across due times.
func TestNoDeliveryIsLostOrRepeatedByCrashesOfOneBroker(t *testing.T) {
	t.Parallel()
	const uniform, instant, partitions = 10_000, 2_000, 3
	b := start(t)
	createTopic(t, b, "timers", partitions, nil)
	cl := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(2*time.Millisecond))
	ctx := deadline(t, 3*time.Minute)

	l := newLedger()
	begin := time.Now().Add(5 * time.Second)
	const length = 20 * time.Second
	for i := range uniform + instant {
		due := begin.Add(length * time.Duration(i) / uniform).UnixMilli()
		if i >= uniform {
			due = begin.Add(length / 2).UnixMilli()
		}
		id := fmt.Sprintf("t%05d", i)
		cl.Produce(ctx, l.record("timers", id, int32(i%partitions), due), func(r *kgo.Record, err error) {
			if err != nil {
				l.complain("produce %s: %v", id, err)
				return
			}
			l.promise(id, r, due)
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if late := time.Since(begin); late > -time.Second {
		t.Fatalf("the records were produced %v after the first was to be due", late)
	}
	l.consume(t, b, "timers")

	at := func(d time.Duration) { time.Sleep(time.Until(begin.Add(d))) }
	at(-time.Second)
	b.Kill9()
	b.Restart()
	at(time.Second)
	b.Kill9()
	b.Restart()
	at(5 * time.Second)
	pause(t, b.PID(), 3*time.Second)
	at(length/2 + 30*time.Millisecond) // in the middle of the burst
	b.Kill9()
	at(length/2 + 3*time.Second) // down across due times
	b.Restart()
	at(length - 500*time.Millisecond)
	b.Kill9()
	b.Restart()
	l.await(t, b, "timers")
	if counts := l.verify(t); counts[pending] != uniform+instant {
		t.Errorf("%d records were acknowledged", counts[pending])
	}
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
