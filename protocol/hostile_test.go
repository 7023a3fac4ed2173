package protocol

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A request that waits for others, with a frame padded to the limit, does not keep anyone's memory.
func TestRequestThatWaitsHoldsNoFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{RequestMaxBytes: 1 << 20, QueuedMaxBytes: 1 << 20}, routeFor(kmsg.Heartbeat, sleeping(time.Hour)), routeFor(kmsg.Produce, empty))
		c, other := b.connect(), b.connect()
		padded := frameOf(heartbeat("group"), 1)
		padded = append(padded, make([]byte, 1<<20+sizeBytes-len(padded))...)
		copy(padded, []byte{0, 0x10, 0, 0})
		c.write(padded)
		synctest.Wait()
		if n := b.metric("morrow_in_flight_request_bytes"); n != 0 {
			t.Errorf("%v bytes in flight", n)
		}
		other.call(produce(1000))
		c.receive(heartbeat(""), 1)
	})
}

// A few large frames that never end take all the memory that large frames may have; small ones are
// read all the same.
func TestLargeFramesThatStallLeaveRoomForSmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{RequestMaxBytes: 4 << 20, QueuedMaxBytes: 8 << 20}, routeFor(kmsg.Heartbeat, empty), routeFor(kmsg.Produce, empty))
		for range 5 {
			b.connect().write(frameOf(produce(5<<19), 1)[:100])
		}
		synctest.Wait()
		if n := b.metric("morrow_in_flight_request_bytes"); n > 6<<20 {
			t.Errorf("%v bytes in flight, expected at most three quarters of the limit", n)
		}
		began := time.Now()
		c := b.connect()
		c.call(heartbeat("group"))
		c.call(produce(1000))
		if waited := time.Since(began); waited > 0 {
			t.Errorf("small requests waited %s", waited)
		}
		c.call(produce(5 << 19)) // once the stalled ones are given up
		if waited := time.Since(began); waited > time.Minute {
			t.Errorf("a large request waited %s", waited)
		}
	})
}

// A client that sends its large frame so slowly that it is never given up otherwise loses its
// memory once another client needs it, and no sooner.
func TestLargeFramesThatTrickleDoNotKeepOthersWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const large = 5 << 19
		b := start(t, Config{RequestMaxBytes: 4 << 20, QueuedMaxBytes: 4 << 20}, routeFor(kmsg.Produce, empty))
		var ended sync.WaitGroup
		alone, slow := b.connect(), b.connect()
		ended.Go(func() { alone.trickle(produce(large)) })
		alone.receive(produce(0), 1) // it takes most of a minute, and nobody minds

		ended.Go(func() { slow.trickle(produce(large)) })
		time.Sleep(10 * time.Second)
		began := time.Now()
		b.connect().call(produce(large))
		if waited := time.Since(began); waited > 2*hurryCheck {
			t.Errorf("a large request waited %s", waited)
		}
		ended.Wait()
		b.wantLine("level=WARN", "Produce", "other requests wait for memory")
	})
}

// trickle sends a request at a MiB in 21 s, until it is sent or the connection closed.
func (c *client) trickle(req kmsg.Request) {
	for at, frame := 0, frameOf(req, 1); at < len(frame); at += 50_000 {
		if _, err := c.Write(frame[at:min(at+50_000, len(frame))]); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// Of several clients that send large frames slowly only as many lose their memory as another client needs.
func TestOnlyAsManySlowFramesAreGivenUpAsOthersNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const large = 3 << 19 // four of which are what large frames may have
		b := start(t, Config{RequestMaxBytes: 4 << 20, QueuedMaxBytes: 9 << 20}, routeFor(kmsg.Produce, empty))
		var ended sync.WaitGroup
		var slow []*client
		for range 4 {
			c := b.connect()
			slow = append(slow, c)
			ended.Go(func() { c.trickle(produce(large)) })
		}
		time.Sleep(10 * time.Second)
		for range 2 {
			began := time.Now()
			b.connect().call(produce(large))
			if waited := time.Since(began); waited > 2*hurryCheck {
				t.Errorf("a large request waited %s", waited)
			}
		}
		served := 0
		for _, c := range slow {
			if _, _, err := c.tryRead(); err == nil {
				served++
			}
		}
		ended.Wait()
		if served != 3 {
			t.Errorf("%d of 4 slow requests were served, want all but the one whose memory was needed", served)
		}
	})
}

func TestLargeFramesThatArriveInTimeAreNotHurried(t *testing.T) {
	for _, test := range []struct {
		arrived int
		took    time.Duration
		want    bool
	}{
		{0, hurryGrace, false},
		{0, hurryGrace + 1, true},
		{10 << 20, hurryGrace + 10*time.Second, false},
		{10 << 20, hurryGrace + 11*time.Second, true},
		{100 << 20, time.Minute, false},
	} {
		if got := hurried(test.arrived, test.took); got != test.want {
			t.Errorf("%d bytes in %s: %t, want %t", test.arrived, test.took, got, test.want)
		}
	}
}

// Requests decode to many times their size. A connection that pipelines them without waiting for
// answers is closed.
func TestUnansweredRequestsOfAConnectionAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, routeFor(kmsg.DescribeGroups, sleeping(time.Hour)))
		c := b.connect()
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version, req.Groups = 5, make([]string, maxElements/2)
		go func() {
			for range 3 {
				_, _ = c.Write(frameOf(req, 1))
			}
		}()
		c.wantClosed()
		b.wantLine("level=WARN", "DescribeGroups", "unanswered requests have more than 1000000 elements")
	})
}
