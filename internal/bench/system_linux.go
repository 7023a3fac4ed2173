package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// setCongestion chooses the congestion control of what a connection sends; empty changes nothing.
func setCongestion(c net.Conn, name string) error {
	if name == "" {
		return nil
	}
	return onSocket(c, func(fd int) error {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); err != nil {
			return fmt.Errorf("set congestion control %s: %w", name, err)
		}
		return nil
	})
}

// congestion returns the congestion control a connection has.
func congestion(c net.Conn) (name string) {
	_ = onSocket(c, func(fd int) (err error) {
		name, err = unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		return err
	})
	return name
}

// sendFile sends head and then size bytes of f from pos, which must be there, without copying them.
func sendFile(c net.Conn, head []byte, f *os.File, pos, size int64) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	end := pos + size
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		for sendErr == nil && (len(head) > 0 || pos < end) {
			var n int
			if len(head) > 0 {
				n, sendErr = unix.SendmsgN(int(fd), head, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
				head = head[max(n, 0):]
			} else {
				_, sendErr = unix.Sendfile(int(fd), int(f.Fd()), &pos, int(end-pos))
			}
			switch {
			case errors.Is(sendErr, unix.EAGAIN):
				sendErr = nil
				return false
			case errors.Is(sendErr, unix.EINTR):
				sendErr = nil
			}
		}
		return true
	})
	return errors.Join(err, sendErr)
}

func onSocket(c net.Conn, do func(fd int) error) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := raw.Control(func(fd uintptr) { doErr = do(int(fd)) }); err != nil {
		return err
	}
	return doErr
}
