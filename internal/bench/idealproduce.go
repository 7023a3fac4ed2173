package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// idealAck is about as long as an answer to a produce request.
const idealAck = 64

// IdealProduce is the least a broker must do for a produce request, over loopback: receive it,
// check a CRC, append it to a file, acknowledge it.
type IdealProduce struct {
	RequestBytes, InFlight int
	// Sync acknowledges a request only after an fdatasync, which all requests that were appended
	// meanwhile share.
	Sync       bool
	Congestion string
}

// Run measures for d, with a file in dir.
func (p IdealProduce) Run(dir string, d time.Duration) (b Bare, err error) {
	file, err := newScratch(dir)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, file.remove()) }()
	client, server, err := loopback(p.Congestion)
	if err != nil {
		return b, err
	}
	defer closeAll(client, server)

	var h Histogram
	var bytes int64
	underWay := make(chan time.Time, p.InFlight-1) // and one that receive holds
	cpu, start := self().CPUSeconds, time.Now()
	var g errgroup.Group
	g.Go(closing(server, func() error { return p.serve(server, file) }))
	g.Go(func() error { return p.send(client, underWay, start.Add(d)) })
	g.Go(closing(client, func() (err error) {
		bytes, err = p.receive(client, underWay, &h)
		return err
	}))
	err = g.Wait()
	b = newBare(&h, bytes, time.Since(start))
	b.CPUSecondsPerGB = per(self().CPUSeconds-cpu, float64(bytes)/1e9)
	b.Congestion = congestion(client)
	return b, err
}

// closing closes a connection when its user has ended, so that the peer ends too.
func closing(c net.Conn, use func() error) func() error {
	return func() error {
		defer c.Close()
		return use()
	}
}

// send sends requests, one at least, until the deadline or until the file is full, and says that no
// more follow.
func (p IdealProduce) send(c *net.TCPConn, underWay chan<- time.Time, deadline time.Time) error {
	defer close(underWay)
	frame := make([]byte, 4+p.RequestBytes)
	binary.BigEndian.PutUint32(frame, uint32(p.RequestBytes))
	for sent := 0; sent == 0 || time.Now().Before(deadline) && sent < scratchMax; sent += p.RequestBytes {
		underWay <- time.Now()
		if _, err := c.Write(frame); err != nil {
			return err
		}
	}
	return nil
}

func (p IdealProduce) receive(c *net.TCPConn, underWay <-chan time.Time, h *Histogram) (bytes int64, err error) {
	in, ack := bufio.NewReader(c), make([]byte, idealAck)
	for since := range underWay {
		if _, err := io.ReadFull(in, ack); err != nil {
			_ = c.Close() // which ends the sender
			for range underWay {
			}
			return bytes, err
		}
		h.Observe(time.Since(since))
		bytes += int64(p.RequestBytes)
	}
	return bytes, nil
}

// serve answers until the client closes.
func (p IdealProduce) serve(c *net.TCPConn, file *scratch) error {
	appended := make(chan struct{}, p.InFlight)
	var g errgroup.Group
	g.Go(func() error {
		defer close(appended)
		in, body, table := bufio.NewReaderSize(c, 64<<10), make([]byte, p.RequestBytes), crc32.MakeTable(crc32.Castagnoli)
		for {
			if err := readFrame(in, body); err != nil {
				return ignoreEOF(err)
			}
			body[0] = byte(crc32.Checksum(body, table))
			if err := file.append(body); err != nil {
				return err
			}
			if p.Sync {
				appended <- struct{}{}
			} else if _, err := c.Write(body[:idealAck]); err != nil {
				return err
			}
		}
	})
	g.Go(func() error {
		acks := make([]byte, idealAck*p.InFlight)
		for range appended {
			n := 1 + drain(appended)
			err := file.Sync()
			if err == nil {
				_, err = c.Write(acks[:n*idealAck])
			}
			if err != nil {
				return errors.Join(err, c.Close()) // which ends the reader
			}
		}
		return nil
	})
	return g.Wait()
}

// drain takes what is in a channel now.
func drain(c <-chan struct{}) (n int) {
	for {
		select {
		case _, ok := <-c:
			if !ok {
				return n
			}
			n++
		default:
			return n
		}
	}
}

// readFrame reads a length and that many bytes, which must fill body.
func readFrame(in *bufio.Reader, body []byte) error {
	head, err := in.Peek(4)
	if err != nil {
		return err
	}
	if int(binary.BigEndian.Uint32(head)) != len(body) {
		return errors.New("unexpected length of a request")
	}
	if _, err := in.Discard(4); err != nil {
		return err
	}
	_, err = io.ReadFull(in, body)
	return err
}

// ignoreEOF takes the client's end, which may come as a reset, for the end.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// loopback makes a connection whose both sides use a congestion control.
func loopback(congestion string) (client, server *net.TCPConn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	addr, _ := l.Addr().(*net.TCPAddr)
	if client, err = net.DialTCP("tcp", nil, addr); err != nil {
		return nil, nil, err
	}
	accepted, err := l.Accept()
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	server, _ = accepted.(*net.TCPConn)
	if err := errors.Join(setCongestion(client, congestion), setCongestion(server, congestion)); err != nil {
		return nil, nil, errors.Join(err, client.Close(), server.Close())
	}
	return client, server, nil
}
