package protocol

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// diskFile is a file as internal/vfs has it.
type diskFile struct{ *os.File }

func (f diskFile) OSFile() *os.File { return f.File }

// randomFile returns a file of n random bytes, and the bytes.
func randomFile(t testing.TB, n int) (diskFile, []byte) {
	t.Helper()
	p := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(p)
	name := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(name, p, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return diskFile{f}, p
}

// answeringBody answers with the body build makes.
func answeringBody(build func() *Body) Handler {
	return func(context.Context, *Request) Reply {
		return func(context.Context) (Answer, error) { return Answer{Body: build()}, nil }
	}
}

// fetch is a request in a flexible version.
func fetch() *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.Version = 12
	return r
}

// Bodies of every kind of part arrive whole over every kind of connection.
func TestBodyArrivesWhole(t *testing.T) {
	file, content := randomFile(t, 5<<20)
	kinds := map[string]func(testing.TB, Config, ...Route) *broker{
		"pipe": start,
		"tcp":  startTCP,
		"tls":  startTLS,
	}
	for name, start := range kinds {
		for _, osFile := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/os file %t", name, osFile), func(t *testing.T) {
				var want []byte
				released := make(chan int, 100)
				build := func() *Body {
					want = nil
					b := &Body{}
					add := func(p []byte) { b.Write(p); want = append(want, p...) }
					addFile := func(pos, n int) {
						var f io.ReaderAt = bytes.NewReader(content)
						if osFile {
							f = file
						}
						b.File(f, int64(pos), int64(n))
						want = append(want, content[pos:pos+n]...)
					}
					add([]byte("head"))
					addFile(10, 3_000_000)
					add(nil)
					addFile(0, 0)
					add([]byte("a few bytes between"))
					addFile(5<<20-1, 1)
					addFile(0, 100)
					add(content[:200_000])
					addFile(4<<20, 1<<20)
					add([]byte("tail"))
					b.OnRelease(func() { released <- 2 })
					b.OnRelease(func() { released <- 1 })
					if int(b.Size()) != len(want) {
						t.Errorf("size %d, want %d", b.Size(), len(want))
					}
					return b
				}
				b := start(t, Config{}, routeFor(kmsg.Fetch, answeringBody(build)), routeFor(kmsg.Heartbeat, empty))
				c := b.connect()
				for range 3 {
					id := c.send(fetch())
					got, p := c.read()
					if got != id {
						t.Fatalf("answer to request %d, want %d", got, id)
					}
					if !bytes.Equal(p, append([]byte{0}, want...)) { // no tags in the header
						t.Fatalf("%d bytes arrived, want %d, or others", len(p), len(want)+1)
					}
					for i := range 2 {
						if n := <-released; n != i+1 {
							t.Errorf("release %d came at %d", n, i+1)
						}
					}
					c.call(heartbeat(""))
				}
			})
		}
	}
}

func startTLS(t testing.TB, cfg Config, routes ...Route) *broker {
	l := tlsListener(t)
	b := startOn(t, l, cfg, routes...)
	b.dial = func(t testing.TB) net.Conn { return dialTLS(t, l.Addr().String()) }
	return b
}

// A file that is shorter than promised cannot be answered with: the size of the
// answer is on its way already.
func TestShortFileClosesTheConnection(t *testing.T) {
	file, content := randomFile(t, 1000)
	for name, f := range map[string]io.ReaderAt{"sendfile": file, "copy": bytes.NewReader(content)} {
		t.Run(name, func(t *testing.T) {
			released := make(chan bool, 1)
			b := startTCP(t, Config{}, routeFor(kmsg.Fetch, answeringBody(func() *Body {
				b := &Body{}
				b.Write([]byte("head"))
				b.File(f, 500, 501)
				b.OnRelease(func() { released <- true })
				return b
			})))
			c := b.connect()
			c.send(fetch())
			if _, _, err := c.tryRead(); err == nil {
				t.Error("an answer arrived")
			}
			<-released
			want := []string{"level=WARN", "shorter than the range"}
			if name == "sendfile" {
				want = append(want, file.Name()) // whoever looks for the disk at fault starts there
			}
			b.wantLine(want...)
		})
	}
}

func TestBodyIsReleasedWhenThePeerIsGone(t *testing.T) {
	file, _ := randomFile(t, 4<<20)
	begun, released := make(chan bool, 2), make(chan bool, 2)
	inReply, peerGone := make(chan bool), make(chan bool)
	b := startTCP(t, Config{}, routeFor(kmsg.Fetch, func(context.Context, *Request) Reply {
		begun <- true
		return func(context.Context) (Answer, error) {
			inReply <- true
			<-peerGone
			body := &Body{}
			body.File(file, 0, 4<<20)
			body.OnRelease(func() { released <- true })
			return Answer{Body: body}, nil
		}
	}))
	c := b.connect()
	c.send(fetch())
	c.send(fetch())
	<-begun
	<-begun // else nobody would read it once the first answer finds the peer gone
	<-inReply
	c.Close()
	peerGone <- true
	<-inReply
	peerGone <- true
	<-released
	<-released
}

// Sending from a file neither uses nor moves its offset, and many can send from
// one file at once.
func TestSendingFromAFileLeavesItsOffset(t *testing.T) {
	file, content := randomFile(t, 1<<20)
	if _, err := file.Seek(123, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b := startTCP(t, Config{}, routeFor(kmsg.Fetch, answeringBody(func() *Body {
		b := &Body{}
		b.File(file, 1000, 1_000_000)
		return b
	})))
	arrived := make(chan []byte)
	for range 4 {
		c := b.connect()
		c.send(fetch())
		go func() {
			_, p, _ := c.tryRead()
			arrived <- p
		}()
	}
	for range 4 {
		if p := <-arrived; len(p) != 1_000_001 || !bytes.Equal(p[1:], content[1000:1_001_000]) {
			t.Errorf("%d bytes arrived, or others", len(p))
		}
	}
	if pos, err := file.Seek(0, io.SeekCurrent); pos != 123 || err != nil {
		t.Errorf("offset is %d, error %v", pos, err)
	}
}

func TestPeerThatStopsReadingAFileIsGivenUp(t *testing.T) {
	file, _ := randomFile(t, 1<<20)
	b := startTCP(t, Config{WriteTimeout: 100 * time.Millisecond, SendBuffer: 1 << 16}, routeFor(kmsg.Fetch, answeringBody(func() *Body {
		b := &Body{}
		for range 64 {
			b.File(file, 0, 1<<20)
		}
		return b
	})))
	b.connect().send(fetch())
	eventually(t, "connection closed", func() bool { return b.metric("morrow_connections_closed_total", "write") == 1 })
	b.wantLine("level=WARN", "does not read its answers")
}

func TestCongestionControlCanBeChosen(t *testing.T) {
	b := startTCP(t, Config{TCPCongestion: "reno"}, routeFor(kmsg.Heartbeat, empty))
	b.connect().call(heartbeat(""))

	b = startTCP(t, Config{TCPCongestion: "no such thing"}, routeFor(kmsg.Heartbeat, empty))
	b.connect().wantClosed()
	b.wantLine("TCP_CONGESTION")
}
