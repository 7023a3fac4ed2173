//go:build !linux

package bench

import (
	"errors"
	"io"
	"net"
	"os"
)

// setCongestion is Linux's; empty changes nothing.
func setCongestion(_ net.Conn, name string) error {
	if name == "" {
		return nil
	}
	return errors.New("set congestion control: not supported on this system")
}

// congestion is unknown.
func congestion(net.Conn) string { return "" }

// sendFile sends head and then size bytes of f from pos, which must be there.
func sendFile(c net.Conn, head []byte, f *os.File, pos, size int64) error {
	if _, err := c.Write(head); err != nil {
		return err
	}
	_, err := io.Copy(c, io.NewSectionReader(f, pos, size))
	return err
}
