//go:build !linux

package bench

import (
	"errors"
	"net"
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
