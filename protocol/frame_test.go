package protocol

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawFrame is a frame of the preamble given and what follows it. A negative size
// means the right one.
func rawFrame(size int, key, version int16, rest string) []byte {
	if size < 0 {
		size = minFrameBytes + len(rest)
	}
	p := binary.BigEndian.AppendUint32(nil, uint32(size))
	p = binary.BigEndian.AppendUint16(p, uint16(key))
	p = binary.BigEndian.AppendUint16(p, uint16(version))
	return append(append(p, 0, 0, 0, 1), rest...)
}

func TestBadFrameClosesItsConnectionWithOneLine(t *testing.T) {
	const maxBytes = 1 << 20
	for _, test := range []struct {
		name  string
		frame []byte
		kind  string
		line  []string
	}{
		{"no size", []byte{0, 0, 0, 0}, "size", []string{"less than a request header"}},
		{"negative size", rawFrame(0xffff_fff0, 12, 4, ""), "size", []string{"less than a request header", "key=12", "api=Heartbeat", "version=4"}},
		{"too large", rawFrame(maxBytes+1, 0, 9, ""), "size", []string{"1048577 bytes", "socket.request.max.bytes (1048576)", "api=Produce"}},
		{"http", []byte("GET /metrics HTTP/1.1\r\n\r\n"), "size", []string{"looks like HTTP"}},
		{"tls", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "size", []string{"looks like TLS"}},
		{"unknown key", rawFrame(-1, 12345, 0, ""), "unsupported", []string{"key=12345", "not served"}},
		{"negative key", rawFrame(-1, -2, 0, ""), "unsupported", []string{"not served"}},
		{"key without route", rawFrame(-1, 52, 0, ""), "unsupported", []string{"key=52", "api=Vote"}},
		{"version above the range", rawFrame(-1, 12, 5, ""), "unsupported", []string{"version=5", "expected 0 to 4"}},
		{"negative version", rawFrame(-1, 12, -1, ""), "unsupported", []string{"version=-1", "expected 0 to 4"}},
		{"version advertised but not served", rawFrame(-1, 0, 2, ""), "unsupported", []string{"api=Produce", "version=2", "expected 3 to 13"}},
		{"no client id", rawFrame(-1, 12, 0, ""), "malformed", []string{"header is cut short", "api=Heartbeat", "version=0"}},
		{"client id beyond the end", rawFrame(-1, 12, 0, "\x00\x05abcd"), "malformed", []string{"header is cut short"}},
		{"header tags beyond the end", rawFrame(-1, 12, 4, "\xff\xff\x05"), "malformed", []string{"cut short"}},
		{"too many header tags", rawFrame(-1, 12, 4, "\xff\xff\xff\xff\xff\xff\x0f"), "malformed", []string{"tagged fields"}},
		{"body cut short", rawFrame(-1, 12, 0, "\xff\xff\x00\x01g\x00"), "malformed", []string{"cut short"}},
		{"array beyond the end", rawFrame(-1, 0, 3, "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff"), "malformed", []string{"elements"}},
		{"varint that does not end", rawFrame(-1, 12, 4, "\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "malformed", []string{"cut short"}},
		{"null where there must be a name", rawFrame(-1, 12, 0, "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff"), "malformed", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				served := Route{Key: 0, Min: 0, Serve: 3, Max: 13, Start: empty}
				b := start(t, Config{RequestMaxBytes: maxBytes}, routeFor(kmsg.Heartbeat, empty), served)
				other, c := b.connect(), b.connect()
				c.call(heartbeat(""))
				go func() { _, _ = c.Write(test.frame) }() // the server does not read all of it
				c.wantClosed()
				other.call(heartbeat(""))
				synctest.Wait()
				if n := b.metric("morrow_connections_closed_total", test.kind); n != 1 {
					t.Errorf("%v connections counted as %s", n, test.kind)
				}
				b.wantLine(append(test.line, "level=WARN", "peer=10.0.0.1:2", "listener=TEST")...)
			})
		})
	}
}

// A client that speaks something else, and tries again and again, does not fill the log.
func TestManyBadConnectionsAreFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, empty))
		bad := func(times int) {
			for range times {
				c := b.connect()
				go func() { _, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }()
				c.wantClosed()
			}
			synctest.Wait()
		}
		bad(100)
		if n := len(b.log.lines()); n != 10 {
			t.Errorf("%d lines of 100", n)
		}
		time.Sleep(10 * time.Second)
		bad(1)
		if lines := b.log.lines(); len(lines) != 11 || !strings.Contains(lines[10], "looks like HTTP") || !strings.Contains(lines[10], "omitted=90") {
			t.Errorf("%d lines: %s", len(lines), lines[len(lines)-1])
		}
		if n := b.metric("morrow_connections_closed_total", "size"); n != 101 {
			t.Errorf("%v connections are counted", n)
		}
	})
}

// What a frame claims to contain is not allocated for.
func TestLyingFrameAllocatesNoMoreThanItself(t *testing.T) {
	const size = 4 << 20
	b := startTCP(t, Config{}, routeFor(kmsg.Produce, empty))
	body := bytes.Repeat([]byte{1}, size)
	// After client id, transactional id, acks and timeout: as many topics as fit.
	copy(body, "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00")
	binary.BigEndian.PutUint32(body[10:], size-100)
	c := b.connect()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.write(rawFrame(-1, 0, 3, string(body)))
	c.wantClosed()
	runtime.ReadMemStats(&after)
	// The client's side of this test holds the frame three times.
	if n := after.TotalAlloc - before.TotalAlloc; n > 5*size {
		t.Errorf("%d bytes allocated for a frame of %d", n, size)
	}
}

func TestSmallFramesInOneSegmentAreAllServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, empty), routeFor(kmsg.Produce, empty))
		var p []byte
		for i := range int32(20) {
			p = append(p, frameOf(heartbeat(strings.Repeat("g", int(i)*20)), 2*i)...)
			p = append(p, frameOf(produce(100*int(i)), 2*i+1)...)
		}
		c := b.connect()
		go func() { _, _ = c.Write(p) }()
		for i := range int32(20) {
			c.receive(heartbeat(""), 2*i)
			c.receive(produce(0), 2*i+1)
		}
	})
}

func TestFrameMayArriveByteByByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, empty))
		c := b.connect()
		p := frameOf(heartbeat("group"), 7)
		for i := range p {
			c.write(p[i : i+1])
			synctest.Wait()
		}
		c.receive(heartbeat(""), 7)
	})
}

func TestNewServerRefusesRoutesThatMakeNoSense(t *testing.T) {
	for _, test := range []struct {
		routes []Route
		want   string
	}{
		{[]Route{{Key: 999, Start: empty}}, "key 999"},
		{[]Route{{Key: -1, Start: empty}}, "key -1"},
		{[]Route{{Key: 4, Start: empty}}, "key 4"},
		{[]Route{{Key: 0}}, "no handler"},
		{[]Route{{Key: 0, Min: 5, Max: 3, Start: empty}}, "ascending range"},
		{[]Route{{Key: 0, Min: 0, Serve: 9, Max: 3, Start: empty}}, "ascending range"},
		{[]Route{{Key: 0, Min: 0, Max: 99, Start: empty}}, "ascending range"},
		{[]Route{{Key: 0, Start: empty}, {Key: 0, Start: empty}}, "two routes for Produce"},
		{[]Route{{Key: 18, Max: 4, Start: empty}}, "two routes for ApiVersions"},
	} {
		if _, err := NewServer(Config{}, test.routes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("routes %+v: error %v, want one with %q", test.routes, err, test.want)
		}
	}
}

func TestNewServerRefusesLimitsThatMakeNoSense(t *testing.T) {
	for want, cfg := range map[string]Config{
		"socket.request.max.bytes": {RequestMaxBytes: -1},
		"queued.max.request.bytes": {RequestMaxBytes: 2000, QueuedMaxBytes: 1000},
		"max.connections.per.ip":   {MaxConnectionsPerIP: -1},
		"write timeout":            {WriteTimeout: -1},
	} {
		if _, err := NewServer(cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("config %+v: error %v, want one with %q", cfg, err, want)
		}
	}
}

// The reader meets any bytes whatever with a live server: it must neither crash
// nor hang nor leave anything behind, and answer another connection afterwards.
func FuzzConnection(f *testing.F) {
	f.Add([]byte{})
	f.Add(frameOf(heartbeat("group"), 1))
	f.Add(append(frameOf(kmsg.NewPtrApiVersionsRequest(), 1), frameOf(produce(1000), 2)...))
	f.Add(frameOf(produce(10), 1)[:30])
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	for _, key := range []int16{0, 1, 2, 3, 8, 11, 19, 75} {
		req := kmsg.RequestForKey(key)
		req.SetVersion(req.MaxVersion())
		f.Add(frameOf(req, int32(key)))
		f.Add(rawFrame(-1, key, req.MaxVersion(), "\x00\x01x\x00\xff\xff\xff\xff\x0f"))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		synctest.Test(t, func(t *testing.T) {
			var routes []Route
			for key := range shapes {
				if key != kmsg.ApiVersions {
					routes = append(routes, routeFor(key, empty))
				}
			}
			b := start(t, Config{RequestMaxBytes: 1 << 16}, routes...)
			c := b.connect()
			var writer sync.WaitGroup
			writer.Go(func() {
				_, _ = c.Write(input)
				time.Sleep(time.Second)
				_ = c.Close()
			})
			for {
				if _, _, err := c.tryRead(); err != nil {
					break
				}
			}
			writer.Wait()
			synctest.Wait()
			if n := b.metric("morrow_in_flight_request_bytes"); n != 0 {
				t.Errorf("%v bytes in flight", n)
			}
			if n := b.metric("morrow_request_panics_total"); n != 0 {
				t.Errorf("%v panics: %s", n, b.log.lines())
			}
			b.connect().call(heartbeat(""))
		})
	})
}

func TestFrameClassesWasteAtMostAQuarter(t *testing.T) {
	last := -1
	for size := 1; size < 1<<27; size += 1 + size/97 {
		class, capacity := frameClass(size)
		if capacity < size || size > 1<<minClassBits && capacity > size+size/4 {
			t.Fatalf("frame of %d bytes has a buffer of %d", size, capacity)
		}
		if class < last || class >= frameClasses {
			t.Fatalf("frame of %d bytes has class %d after %d", size, class, last)
		}
		if again, c := frameClass(capacity); again != class || c != capacity {
			t.Fatalf("buffer of %d bytes is of class %d with %d bytes, not %d", capacity, again, c, class)
		}
		last = class
	}
	if class, _ := frameClass(1 << 27); class != frameClasses-1 {
		t.Errorf("the largest frame has class %d of %d", class, frameClasses)
	}
	if class, _ := frameClass(1<<27 + 1); class < frameClasses {
		t.Errorf("a frame that is too large has class %d", class)
	}
}

// Requests hold memory from before they are read until they are answered, and
// those who wait for some get it in order.
func TestRequestsInFlightAreBoundedByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := int64(len(frameOf(produce(1000), 0)) - sizeBytes)
		var started []string
		answer := make(chan struct{})
		b := start(t, Config{RequestMaxBytes: int32(size), QueuedMaxBytes: 2*size + 10}, routeFor(kmsg.Produce, func(_ context.Context, r *Request) Reply {
			started = append(started, r.Conn.RemoteAddr().String())
			return func(context.Context) (Answer, error) {
				<-answer
				return Answer{Message: r.Message.ResponseKind()}, nil
			}
		}))
		var clients []*client
		for range 5 {
			c := b.connect()
			clients = append(clients, c)
			go func() { _, _ = c.Write(frameOf(produce(1000), 0)) }()
			synctest.Wait()
			if n := b.metric("morrow_in_flight_request_bytes"); n > float64(2*size) {
				t.Errorf("%v bytes in flight", n)
			}
		}
		for i, c := range clients {
			if want := min(5, 2+i); len(started) != want {
				t.Fatalf("%d requests started after %d answers, want %d", len(started), i, want)
			}
			answer <- struct{}{}
			c.receive(produce(0), 0)
			synctest.Wait()
		}
		for i, peer := range started {
			if want := fmt.Sprintf("10.0.0.1:%d", i+1); peer != want {
				t.Errorf("request %d is of %s, want %s", i, peer, want)
			}
		}
	})
}

func TestReleasedRequestMakesRoomBeforeItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := int32(len(frameOf(produce(1000), 0)) - sizeBytes)
		b := start(t, Config{RequestMaxBytes: size, QueuedMaxBytes: int64(size)}, routeFor(kmsg.Produce, func(ctx context.Context, r *Request) Reply {
			r.Release()
			return sleeping(1)(ctx, r)
		}))
		c, other := b.connect(), b.connect()
		c.write(frameOf(produce(1000), 1))
		other.write(frameOf(produce(1000), 2))
		synctest.Wait()
		c.receive(produce(0), 1)
		other.receive(produce(0), 2)
	})
}
