package protocol

import (
	"cmp"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn is the way to the descriptor of a connection, or nil.
func rawConn(c *net.TCPConn) syscall.RawConn {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// sendMore writes p and tells the system that more follows at once.
func sendMore(c syscall.RawConn, p []byte) (int, error) {
	sent := 0
	var sendErr error
	err := c.Write(func(fd uintptr) bool {
		for sent < len(p) {
			n, err := unix.SendmsgN(int(fd), p[sent:], nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				sendErr = os.NewSyscallError("sendmsg", err)
				return true
			default:
				sent += n
			}
		}
		return true
	})
	return sent, cmp.Or(err, sendErr)
}

// sendFile sends n bytes of f from pos. It does not use or move the file's
// offset, which all readers of a segment share.
func sendFile(c syscall.RawConn, f *os.File, pos, n int64) (int64, error) {
	file, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sent int64
	var waitErr, sendErr error
	// Control keeps f open meanwhile; Write waits for room in the socket
	// whenever its function returns false.
	err = file.Control(func(in uintptr) {
		waitErr = c.Write(func(out uintptr) (done bool) {
			done, sendErr = sendFileStep(int(out), int(in), &sent, pos, n)
			return done
		})
	})
	return sent, cmp.Or(err, waitErr, sendErr)
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
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	})
	return cmp.Or(err, os.NewSyscallError("setsockopt TCP_CONGESTION", setErr))
}
