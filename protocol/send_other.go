//go:build !linux

package protocol

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// Only Linux has a sendfile with the semantics wanted here; elsewhere answers
// are copied.

func rawConn(*net.TCPConn) syscall.RawConn { return nil }

func sendMore(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func sendFile(syscall.RawConn, *os.File, int64, int64) (int64, error) {
	return 0, errors.ErrUnsupported
}

func setCongestion(*net.TCPConn, string) error {
	return errors.New("the congestion control of a connection can be chosen on Linux only")
}
