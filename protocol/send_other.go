//go:build !linux

package protocol

import (
	"errors"
	"net"
	"os"
)

func sendMore(c *net.TCPConn, p []byte) (int, error) { return c.Write(p) }

// sendFile copies: only Linux has a sendfile with the semantics needed here.
func sendFile(c *net.TCPConn, f *os.File, pos, n int64) (int64, error) {
	buf := copyPool.Get().(*[]byte)
	defer copyPool.Put(buf)
	var sent int64
	for sent < n {
		k, err := f.ReadAt((*buf)[:min(n-sent, copyBytes)], pos+sent)
		if k == 0 {
			return sent, errors.Join(errShortFile, err)
		}
		w, err := c.Write((*buf)[:k])
		sent += int64(w)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func setCongestion(*net.TCPConn, string) error {
	return errors.New("the congestion control of a connection can be chosen on Linux only")
}
