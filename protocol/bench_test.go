package protocol

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Answers like those of a fetch, one at a time, sent from a file or copied. The
// system's congestion control matters on loopback: see the sub-benchmarks.
func BenchmarkFetch(b *testing.B) {
	file, _ := randomFile(b, 8<<20)
	for _, size := range []int{64 << 10, 1 << 20, 8 << 20} {
		for _, way := range []string{"sendfile", "copy"} {
			for _, congestion := range []string{"cubic", "bbr"} {
				b.Run(fmt.Sprintf("%s/%dKiB/%s", way, size>>10, congestion), func(b *testing.B) {
					var f io.ReaderAt = file
					if way == "copy" {
						f = file.File
					}
					s := startTCP(b, Config{TCPCongestion: congestion}, routeFor(kmsg.Fetch, answeringBody(func() *Body {
						body := &Body{}
						body.Write(make([]byte, 100))
						body.File(f, 0, int64(size))
						return body
					})))
					c := s.dial(b)
					defer c.Close()
					req, sink := frameOf(fetch(), 1), make([]byte, 1<<20)
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := c.Write(req); err != nil {
							b.Fatal(err)
						}
						skipAnswer(b, c, sink)
					}
				})
			}
		}
	}
}

// skipAnswer reads an answer and forgets it.
func skipAnswer(b *testing.B, c io.Reader, sink []byte) {
	if _, err := io.ReadFull(c, sink[:4]); err != nil {
		b.Fatal(err)
	}
	for left := int(binary.BigEndian.Uint32(sink)); left > 0; {
		n, err := c.Read(sink[:min(left, len(sink))])
		if err != nil {
			b.Fatal(err)
		}
		left -= n
	}
}

// Produces, five in flight, of which nothing is done but reading them.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{0, 1 << 10, 16 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			resp := &kmsg.ProduceResponse{}
			s := startTCP(b, Config{}, routeFor(kmsg.Produce, func(_ context.Context, r *Request) Reply {
				r.Ready = func() bool { return true }
				return func(context.Context) (Answer, error) { return Answer{Message: resp}, nil }
			}))
			c := s.dial(b)
			defer c.Close()
			req, sink := frameOf(produce(size), 1), make([]byte, 1<<10)
			in := bufio.NewReader(c)
			b.SetBytes(int64(len(req)))
			b.ReportAllocs()
			sent, received := 0, 0
			for b.Loop() {
				for ; sent < received+5; sent++ {
					if _, err := c.Write(req); err != nil {
						b.Fatal(err)
					}
				}
				skipAnswer(b, in, sink)
				received++
			}
		})
	}
}

// What an idle connection costs.
func BenchmarkIdleConnection(b *testing.B) {
	const connections = 2000
	for b.Loop() {
		s := startTCP(b, Config{}, routeFor(kmsg.Heartbeat, empty))
		conns := make([]net.Conn, connections)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range conns {
			conns[i] = s.dial(b)
		}
		eventually(b, "all connected", func() bool { return s.metric("morrow_connections") == connections })
		time.Sleep(100 * time.Millisecond)
		runtime.GC()
		runtime.ReadMemStats(&after)
		heap := float64(after.HeapAlloc) - float64(before.HeapAlloc)
		stack := float64(after.StackInuse) - float64(before.StackInuse)
		b.ReportMetric(heap/connections, "heap-B/conn")
		b.ReportMetric(stack/connections, "stack-B/conn")
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// The guard against lying lengths, on what is sent most.
func BenchmarkShape(b *testing.B) {
	partitions := kmsg.NewFetchRequestTopic()
	for i := range int32(100) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = i
		partitions.Partitions = append(partitions.Partitions, p)
	}
	large := fetch()
	large.Topics = append(large.Topics, partitions)
	for name, req := range map[string]kmsg.Request{"produce": produce(1 << 20), "fetch of 100 partitions": large} {
		b.Run(name, func(b *testing.B) {
			body := req.AppendTo(nil)
			s := parseShape(shapes[kmsg.Key(req.Key())])
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.check(body, req.GetVersion(), true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
