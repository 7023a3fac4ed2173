package bench

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	idealRequest = 64  // bytes of a fetch request
	idealHead    = 100 // bytes before the records of an answer
)

// IdealFetch is the least a broker must do for a fetch, over loopback: receive a request, and send
// part of a file with sendfile. One request is under way at a time; the file is read from front to
// back, again and again.
type IdealFetch struct {
	AnswerBytes int
	Congestion  string
}

// newFetchFile makes a file in dir to be fetched from, and writes it to the disk, so that it is
// only read from then on.
func newFetchFile(dir string, size int64) (*scratch, error) {
	file, err := newScratch(dir)
	if err != nil {
		return nil, err
	}
	for chunk := make([]byte, 1<<20); file.pos < size && err == nil; {
		err = file.append(chunk)
	}
	if err = errors.Join(err, file.Sync()); err != nil {
		return nil, errors.Join(err, file.remove())
	}
	return file, nil
}

// Run measures for d, with a file in dir of fileBytes, AnswerBytes at least.
func (f IdealFetch) Run(dir string, fileBytes int64, d time.Duration) (b Bare, err error) {
	file, err := newFetchFile(dir, fileBytes)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, file.remove()) }()
	return f.run(file, d)
}

// run measures for d.
func (f IdealFetch) run(file *scratch, d time.Duration) (b Bare, err error) {
	client, server, err := loopback(f.Congestion)
	if err != nil {
		return b, err
	}
	defer closeAll(client, server)

	var h Histogram
	var bytes int64
	cpu, start := self().CPUSeconds, time.Now()
	var g errgroup.Group
	g.Go(closing(server, func() error { return f.serve(server, file) }))
	g.Go(closing(client, func() (err error) {
		bytes, err = f.read(client, &h, start.Add(d))
		return err
	}))
	err = g.Wait()
	b = newBare(&h, bytes, time.Since(start))
	b.CPUSecondsPerGB = per(self().CPUSeconds-cpu, float64(bytes)/1e9)
	b.Congestion = congestion(client)
	return b, err
}

func (f IdealFetch) serve(c *net.TCPConn, file *scratch) error {
	request, head, pos := make([]byte, idealRequest), make([]byte, idealHead), int64(0)
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return ignoreEOF(err)
		}
		if pos+int64(f.AnswerBytes) > file.pos {
			pos = 0
		}
		if err := sendFile(c, head, file.osFile(), pos, int64(f.AnswerBytes)); err != nil {
			return err
		}
		pos += int64(f.AnswerBytes)
	}
}

func (f IdealFetch) read(c *net.TCPConn, h *Histogram, deadline time.Time) (bytes int64, err error) {
	request, in := make([]byte, idealRequest), bufio.NewReaderSize(c, readBuffer)
	for bytes == 0 || time.Now().Before(deadline) {
		began := time.Now()
		if _, err := c.Write(request); err != nil {
			return bytes, err
		}
		if _, err := in.Discard(idealHead + f.AnswerBytes); err != nil {
			return bytes, err
		}
		h.Observe(time.Since(began))
		bytes += int64(f.AnswerBytes)
	}
	return bytes, nil
}
