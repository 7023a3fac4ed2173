package protocol

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sendMore writes p and tells the system that more follows at once.
func sendMore(c *net.TCPConn, p []byte) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	sent := 0
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		for sent < len(p) {
			n, err := unix.SendmsgN(int(fd), p[sent:], nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				failed = os.NewSyscallError("sendmsg", err)
				return true
			default:
				sent += n
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return sent, err
}

// sendFile sends n bytes of f from pos. It does not use or move the file's
// offset, which all readers of a segment share.
func sendFile(c *net.TCPConn, f *os.File, pos, n int64) (int64, error) {
	conn, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	file, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sent int64
	var failed error
	// Control keeps f open while it is being sent.
	err = file.Control(func(in uintptr) {
		failed = conn.Write(func(out uintptr) bool {
			var done bool
			done, err = sendFileStep(int(out), int(in), &sent, pos, n)
			return done
		})
		if failed == nil {
			failed = err
		}
	})
	if err == nil {
		err = failed
	}
	return sent, err
}

// sendFileStep sends until n bytes are sent, or out would block, for which it
// returns false.
func sendFileStep(out, in int, sent *int64, pos, n int64) (bool, error) {
	for *sent < n {
		at := pos + *sent
		k, err := unix.Sendfile(out, in, &at, int(n-*sent))
		switch {
		case err == unix.EAGAIN:
			return false, nil
		case err == unix.EINTR:
		case err != nil:
			return true, os.NewSyscallError("sendfile", err)
		case k == 0:
			return true, errShortFile
		default:
			*sent += int64(k)
		}
	}
	return true, nil
}

// setCongestion chooses the congestion control of a connection.
func setCongestion(c *net.TCPConn, name string) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	})
	if err == nil {
		err = os.NewSyscallError("setsockopt TCP_CONGESTION", failed)
	}
	return err
}
