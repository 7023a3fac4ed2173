package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/internal/testnet"
)

// dial connects to a broker; the connection is closed when the test ends.
func dial(t *testing.T, b *testnet.Broker) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(deadline(t, 20*time.Second), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// resident is the memory of a process in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Fscan(bytes.NewReader(stat), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestConnectionsThatDoNothingCostLittleAndStopNobody opens a thousand idle connections, some that
// send half a frame and no more, and some that ask for everything and read nothing, and has another
// client go on beside them.
func TestConnectionsThatDoNothingCostLittleAndStopNobody(t *testing.T) {
	const idle, half, deaf, most = 1000, 50, 20, 160 << 20
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	cl := client(t, b, kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx := deadline(t, time.Minute)
	for range 20 { // something to be fetched
		if err := cl.ProduceSync(ctx, kgo.SliceRecord(make([]byte, 900_000))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	before := resident(t, b.PID())
	for range idle {
		dial(t, b)
	}
	large := []byte{0x02, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1} // a produce of 32 MiB, of which that is all
	for range half {
		if _, err := dial(t, b).Write(large); err != nil {
			t.Fatal(err)
		}
	}
	for range deaf {
		askAndDoNotRead(t, dial(t, b))
	}
	for range 50 {
		if err := cl.ProduceSync(ctx, kgo.StringRecord("beside them")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if got := consume(t, b, "orders", 70); len(got) != 70 {
		t.Errorf("consumed %d records", len(got))
	}
	grown := resident(t, b.PID()) - before
	t.Logf("the broker grew by %d MiB", grown>>20)
	if grown > most {
		t.Errorf("that is more than %d MiB", most>>20)
	}
}

// awaitLine waits until the broker's log holds a text; what it has written may still be on its way.
func awaitLine(t *testing.T, b *testnet.Broker, text string) {
	t.Helper()
	for ctx := deadline(t, 20*time.Second); !strings.Contains(b.Logs(), text); time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("no line of the log has %q", text)
		}
	}
}

// askAndDoNotRead pipelines fetches of everything.
func askAndDoNotRead(t *testing.T, conn net.Conn) {
	t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionEpoch = 11, 50<<20, -1
	topic, partition := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	partition.PartitionMaxBytes = 50 << 20
	topic.Topic, topic.Partitions = "orders", append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	for range 30 {
		if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConnectionsBeyondTheLimitsAreRefusedAndLogged opens more connections than an address may have.
func TestConnectionsBeyondTheLimitsAreRefusedAndLogged(t *testing.T) {
	b := start(t, "--set", "max.connections.per.ip=5")
	var open []net.Conn
	for range 5 {
		open = append(open, dial(t, b))
	}
	if _, err := ask(t, open[4]); err != nil {
		t.Fatalf("a connection within the limit: %v", err)
	}
	if _, err := ask(t, dial(t, b)); err == nil {
		t.Error("a connection beyond the limit was served")
	}
	for _, conn := range slices.Clone(open[:2]) {
		conn.Close()
	}
	for ctx := deadline(t, 20*time.Second); ; {
		if _, err := ask(t, dial(t, b)); err == nil {
			break
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatal("still refused after others have left")
		}
		time.Sleep(10 * time.Millisecond)
	}
	awaitLine(t, b, "max.connections.per.ip")
}

// TestConnectionsBeyondTheMaximumWaitForOthersToLeave opens more connections than the broker keeps.
func TestConnectionsBeyondTheMaximumWaitForOthersToLeave(t *testing.T) {
	b := start(t, "--set", "max.connections=3")
	var open []net.Conn
	for range 3 {
		conn := dial(t, b)
		if _, err := ask(t, conn); err != nil {
			t.Fatalf("a connection within the limit: %v", err)
		}
		open = append(open, conn)
	}
	served := make(chan error, 1)
	waits := dial(t, b)
	go func() {
		_, err := ask(t, waits)
		served <- err
	}()
	awaitLine(t, b, "config=max.connections limit=3")
	select {
	case err := <-served:
		t.Fatalf("a connection beyond the limit was served: %v", err)
	default:
	}
	open[0].Close()
	if err := <-served; err != nil {
		t.Errorf("not served after another has left: %v", err)
	}
}

// TestConnectionsThatComeTooFastAreServedLater opens connections as fast as it can, and gets them
// at the configured rate.
func TestConnectionsThatComeTooFastAreServedLater(t *testing.T) {
	const perSecond, most = 20, 60
	b := start(t, "--set", fmt.Sprintf("max.connection.creation.rate=%d", perSecond))
	began := time.Now()
	open := make([]net.Conn, most)
	for i := range open {
		open[i] = dial(t, b)
	}
	for _, conn := range open {
		if _, err := ask(t, conn); err != nil {
			t.Fatal(err)
		}
	}
	// The waiting for the broker's start used some of the first second's worth.
	if took := time.Since(began); took < (most-perSecond)*time.Second/perSecond-100*time.Millisecond {
		t.Errorf("%d connections were served in %s", most, took)
	}
	awaitLine(t, b, "config=max.connection.creation.rate limit=20")
	const name = `morrow_connections_throttled_seconds_total{reason="max.connection.creation.rate"} `
	lines := scrape(deadline(t, 20*time.Second), t, b)
	i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, name) })
	if i < 0 {
		t.Fatal("no metric says how long connections waited")
	}
	if waited, err := strconv.ParseFloat(strings.TrimPrefix(lines[i], name), 64); err != nil || waited <= 0 {
		t.Errorf("connections waited for %v s by the metric (%v)", waited, err)
	}
}

// TestGarbageOnThePortGetsOneClearLine talks to the Kafka port in other languages.
func TestGarbageOnThePortGetsOneClearLine(t *testing.T) {
	for name, test := range map[string]struct{ sent, want string }{
		"HTTP":    {"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", "it looks like HTTP"},
		"TLS":     {"\x16\x03\x01\x00\xf5\x01\x00\x00\xf1\x03\x03 and what else is in a hello", "it looks like TLS"},
		"nothing": {"SSH-2.0-OpenSSH_9.9\r\n", "more than socket.request.max.bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			conn := dial(t, b)
			if _, err := io.WriteString(conn, test.sent); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Error("it was answered")
			}
			b.Stop()
			if lines := b.Logs(); strings.Count(lines, "connection closed") != 1 || !strings.Contains(lines, test.want) {
				t.Errorf("the log lacks one line with %q", test.want)
			}
		})
	}
}

// ask asks for the versions served.
func ask(t *testing.T, conn net.Conn) ([]byte, error) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience * 20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(conn, answer)
	return answer, err
}
