package bench

import (
	"fmt"
	"net"
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
