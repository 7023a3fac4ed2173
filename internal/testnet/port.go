package testnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports are taken from below the range in which Linux picks the source ports of outgoing connections (32768 and up).
// A port from that range could be taken by a client's connection while the broker is down between two lives.
const (
	minPort = 10000
	maxPort = 32767
)

// freeAddr returns a loopback host:port that nobody listens on at this moment.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	var err error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", minPort+rand.IntN(maxPort-minPort+1))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	tb.Fatalf("testnet: no free port: %v", err)
	return ""
}
