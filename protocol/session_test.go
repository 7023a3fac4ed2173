package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAnswersLeaveInOrderWhileLaterRequestsHaveStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var events []string
		event := func(s string) { mu.Lock(); defer mu.Unlock(); events = append(events, s) }
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, func(_ context.Context, r *Request) Reply {
			group := r.Message.(*kmsg.HeartbeatRequest).Group
			event("start " + group)
			return func(context.Context) (Answer, error) {
				if group == "slow" {
					time.Sleep(time.Hour)
				}
				event("reply " + group)
				return Answer{Message: r.Message.ResponseKind()}, nil
			}
		}))
		c := b.connect()
		for _, group := range []string{"slow", "a", "b"} {
			c.send(heartbeat(group))
		}
		for id := range int32(3) {
			c.receive(heartbeat(""), id+1)
		}
		want := []string{"start slow", "start a", "start b", "reply slow", "reply a", "reply b"}
		if !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
	})
}

func TestRequestTellsWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan *Request, 1)
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, func(ctx context.Context, r *Request) Reply {
			got <- r
			return empty(ctx, r)
		}))
		c := b.connect()
		c.call(heartbeat("g"))
		r := <-got
		if r.Key != 12 || r.Version != 4 || r.CorrelationID != 1 || r.ClientID != "tester" || !r.Received.Equal(time.Now()) {
			t.Errorf("request is %+v", r)
		}
		if r.Conn.Listener != "TEST" || r.Conn.RemoteAddr().String() != "10.0.0.1:1" || !strings.Contains(r.Conn.ID(), "10.0.0.1:1-1") {
			t.Errorf("connection is %q from %s on %s", r.Conn.ID(), r.Conn.RemoteAddr(), r.Conn.Listener)
		}
	})
}

func TestNothingIsAnsweredWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, empty), routeFor(kmsg.Produce, func(_ context.Context, r *Request) Reply {
			if len(r.Message.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records) == 1 {
				return nil
			}
			return func(context.Context) (Answer, error) { return Answer{}, nil }
		}))
		c := b.connect()
		c.send(produce(1))
		c.send(produce(2))
		c.call(heartbeat("")) // its answer is the first
	})
}

func TestReaderStopsAtMaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, release := 0, make(chan struct{})
		b := start(t, Config{MaxInFlight: 3}, routeFor(kmsg.Heartbeat, func(_ context.Context, r *Request) Reply {
			started++
			return func(context.Context) (Answer, error) {
				<-release
				return Answer{Message: r.Message.ResponseKind()}, nil
			}
		}))
		c := b.connect()
		go func() {
			for range 10 {
				if _, err := c.Write(frameOf(heartbeat(""), 0)); err != nil {
					t.Error(err)
				}
			}
		}()
		synctest.Wait()
		if started != 3 {
			t.Errorf("%d requests started, want 3", started)
		}
		for i := range 10 {
			release <- struct{}{}
			c.receive(heartbeat(""), 0)
			synctest.Wait()
			if want := min(10, 4+i); started != want {
				t.Errorf("%d requests started after %d answers, want %d", started, i+1, want)
			}
		}
	})
}

// Answers that are ready leave in one write, but none waits for a later request.
func TestAnswersThatAreReadyLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, func(ctx context.Context, r *Request) Reply {
			group := r.Message.(*kmsg.HeartbeatRequest).Group
			if group != "unknown" {
				r.Ready = func() bool { return group != "slow" }
			}
			if group == "failing" {
				return func(context.Context) (Answer, error) { return Answer{}, errors.New("failed") }
			}
			return func(ctx context.Context) (Answer, error) {
				if group != "fast" {
					<-release
				}
				return Answer{Message: r.Message.ResponseKind()}, nil
			}
		}))
		c := b.connect()
		groups := []string{"slow", "fast", "fast", "unknown", "fast", "slow", "fast", "failing"}
		for _, g := range groups {
			c.send(heartbeat(g))
		}
		size := 0
		read := func(answers int) {
			t.Helper()
			synctest.Wait()
			p := make([]byte, 1000)
			n, err := c.Read(p) // what was written at once
			if size == 0 {
				size = n / answers
			}
			if n != answers*size || err != nil {
				t.Fatalf("%d bytes arrived together, error %v, want %d answers of %d", n, err, answers, size)
			}
		}
		release <- struct{}{} // the first
		read(3)
		release <- struct{}{} // unknown
		read(2)
		release <- struct{}{} // the second slow one
		read(2)
		c.wantClosed()
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{IdleTimeout: time.Minute}, routeFor(kmsg.Heartbeat, empty))
		c := b.connect()
		for range 5 {
			time.Sleep(50 * time.Second)
			c.call(heartbeat(""))
		}
		began := time.Now()
		c.wantClosed()
		if idle := time.Since(began); idle != time.Minute {
			t.Errorf("closed after %s, want a minute", idle)
		}
		b.wantClosedFor("idle")
	})
}

func TestConnectionThatWaitsForAnAnswerIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{IdleTimeout: time.Minute}, routeFor(kmsg.Heartbeat, sleeping(time.Hour)))
		c := b.connect()
		c.call(heartbeat(""))
		began := time.Now()
		c.wantClosed()
		if idle := time.Since(began); idle != time.Minute {
			t.Errorf("closed %s after the answer, want a minute", idle)
		}
	})
}

func TestIdleTimeoutCanBeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{IdleTimeout: -1}, routeFor(kmsg.Heartbeat, empty))
		c := b.connect()
		time.Sleep(1000 * time.Hour)
		c.call(heartbeat(""))
	})
}

// sleeping answers after a while, or fails if ctx ends first.
func sleeping(d time.Duration) Handler {
	return func(_ context.Context, r *Request) Reply {
		return func(ctx context.Context) (Answer, error) {
			if !sleep(ctx, d) {
				return Answer{}, context.Cause(ctx)
			}
			return Answer{Message: r.Message.ResponseKind()}, nil
		}
	}
}

func TestFrameThatStallsIsGivenUp(t *testing.T) {
	for _, sent := range []int{1, 6, 13, 2000} {
		t.Run(fmt.Sprint(sent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{FrameTimeout: 10 * time.Second}, routeFor(kmsg.Produce, empty))
				c := b.connect()
				time.Sleep(time.Minute) // not idle for so long that it matters
				c.write(frameOf(produce(3000), 1)[:sent])
				began := time.Now()
				c.wantClosed()
				if d := time.Since(began); d < 5*time.Second || d > 10*time.Second {
					t.Errorf("closed after %s, want 5 to 10 s", d)
				}
				synctest.Wait()
				if n := b.metric("morrow_in_flight_request_bytes"); n != 0 {
					t.Errorf("%v bytes in flight", n)
				}
				b.wantLine("level=WARN", "peer=10.0.0.1:1", "did not arrive within 10s")
			})
		})
	}
}

func TestLargeFrameMayArriveSlowlyButSteadily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{FrameTimeout: 10 * time.Second}, routeFor(kmsg.Produce, empty))
		c := b.connect()
		req := produce(8 << 20)
		for p := frameOf(req, 1); len(p) > 0; {
			n := min(len(p), 1<<19)
			c.write(p[:n])
			p = p[n:]
			time.Sleep(2 * time.Second)
		}
		c.receive(req, 1)
	})
}

func TestPeerThatDoesNotReadIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []error
		b := start(t, Config{WriteTimeout: 10 * time.Second}, routeFor(kmsg.Heartbeat, func(_ context.Context, r *Request) Reply {
			return func(ctx context.Context) (Answer, error) {
				ends = append(ends, ctx.Err())
				return Answer{Message: r.Message.ResponseKind()}, nil
			}
		}))
		c := b.connect()
		c.send(heartbeat(""))
		c.send(heartbeat(""))
		for _, open := range []float64{1, 0} {
			time.Sleep(9 * time.Second)
			synctest.Wait()
			if n := b.metric("morrow_connections"); n != open {
				t.Errorf("%v connections are open, want %v", n, open)
			}
		}
		if len(ends) != 2 || ends[0] != nil || ends[1] == nil {
			t.Errorf("replies were called with contexts in states %v, want live, then ended", ends)
		}
		b.wantLine("level=WARN", "does not read its answers")
	})
}

func TestLongPollEndsWhenThePeerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var replies []error
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, func(context.Context, *Request) Reply {
			return func(ctx context.Context) (Answer, error) {
				<-ctx.Done()
				replies = append(replies, ctx.Err())
				return Answer{}, ctx.Err()
			}
		}))
		c := b.connect()
		c.send(heartbeat("a"))
		c.send(heartbeat("b"))
		synctest.Wait()
		c.Close()
		synctest.Wait()
		if len(replies) != 2 {
			t.Errorf("%d replies were called, want both", len(replies))
		}
		b.wantClosedFor("peer")
		if lines := b.log.lines(); len(lines) != 0 {
			t.Errorf("a client that leaves is no news: %q", lines)
		}
	})
}

// wantClosedFor checks the reason counted for the one connection that has ended.
func (b *broker) wantClosedFor(reason string) {
	b.t.Helper()
	b.stop()
	b.wait()
	if n := b.metric("morrow_connections_closed_total", reason); n != 1 {
		b.t.Errorf("%v connections ended for %q, want 1", n, reason)
	}
}

func TestErrorClosesTheConnectionWithOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, func(context.Context, *Request) Reply {
			return func(context.Context) (Answer, error) { return Answer{}, errors.New("disk on fire") }
		}))
		c := b.connect()
		c.send(heartbeat("a"))
		c.wantClosed()
		b.wantLine("level=WARN", "peer=10.0.0.1:1", "disk on fire")
	})
}

func TestPanicClosesTheConnectionOnly(t *testing.T) {
	panicking := map[string]Handler{
		"start": func(context.Context, *Request) Reply { panic("oh no") },
		"reply": func(context.Context, *Request) Reply {
			return func(context.Context) (Answer, error) { panic("oh no") }
		},
		"ready": func(ctx context.Context, r *Request) Reply {
			r.Ready = func() bool { panic("oh no") }
			return empty(ctx, r)
		},
		"encoding": answering(func(*Request) kmsg.Response { return panickingResponse{} }),
		"file": answeringBody(func() *Body {
			b := &Body{}
			b.File(panickingFile{}, 0, 1)
			b.Write([]byte("what must not take its place"))
			return b
		}),
	}
	for where, handler := range panicking {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{}, routeFor(kmsg.Heartbeat, handler), routeFor(kmsg.Metadata, empty))
				other, c := b.connect(), b.connect()
				c.send(heartbeat(""))
				if p, _ := io.ReadAll(c); len(p) > 9 { // the header before a file
					t.Errorf("%q arrived", p)
				}
				other.call(kmsg.NewPtrMetadataRequest())
				synctest.Wait()
				if n := b.metric("morrow_request_panics_total"); n != 1 {
					t.Errorf("%v panics counted", n)
				}
				if n := b.metric("morrow_in_flight_request_bytes"); n != 0 {
					t.Errorf("%v bytes in flight", n)
				}
				b.wantLine("level=ERROR", "oh no", "session_test.go", "api=Heartbeat", "version=4")
			})
		})
	}
}

// panickingResponse cannot be encoded.
type panickingResponse struct{ kmsg.Response }

func (panickingResponse) SetVersion(int16) { panic("oh no") }

// panickingFile cannot be read.
type panickingFile struct{}

func (panickingFile) ReadAt([]byte, int64) (int, error) { panic("oh no") }

func TestMetricsCountRequestsAndErrorCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{},
			routeFor(kmsg.Heartbeat, answering(func(r *Request) kmsg.Response {
				return &kmsg.HeartbeatResponse{ErrorCode: 25}
			})),
			routeFor(kmsg.Metadata, answering(func(r *Request) kmsg.Response {
				return &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{
					{ErrorCode: 3},
					{Partitions: []kmsg.MetadataResponseTopicPartition{{ErrorCode: 5}, {}, {ErrorCode: 5}}},
				}}
			})),
			routeFor(kmsg.Fetch, func(context.Context, *Request) Reply {
				return func(context.Context) (Answer, error) {
					body := &Body{}
					body.Write(make([]byte, 100))
					return Answer{Body: body, Errors: []int16{0, 1}}, nil
				}
			}))
		c := b.connect()
		c.call(heartbeat(""))
		c.call(heartbeat(""))
		c.call(kmsg.NewPtrMetadataRequest())
		c.send(kmsg.NewPtrFetchRequest())
		c.read()
		synctest.Wait()
		for _, want := range []struct {
			n      float64
			name   string
			labels []string
		}{
			{2, "morrow_requests_total", []string{"Heartbeat"}},
			{2, "morrow_request_seconds", []string{"Heartbeat"}},
			{2, "morrow_request_errors_total", []string{"Heartbeat", "UNKNOWN_MEMBER_ID"}},
			{1, "morrow_request_errors_total", []string{"Metadata", "UNKNOWN_TOPIC_OR_PARTITION"}},
			{2, "morrow_request_errors_total", []string{"Metadata", "LEADER_NOT_AVAILABLE"}},
			{1, "morrow_request_errors_total", []string{"Fetch"}},
			{1, "morrow_request_errors_total", []string{"Fetch", "OFFSET_OUT_OF_RANGE"}},
			{1, "morrow_connections", []string{"TEST"}},
			{0, "morrow_in_flight_request_bytes", nil},
		} {
			if n := b.metric(want.name, want.labels...); n != want.n {
				t.Errorf("%s%v is %v, want %v", want.name, want.labels, n, want.n)
			}
		}
	})
}
