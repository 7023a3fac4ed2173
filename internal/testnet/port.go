package testnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are taken from below the range in which Linux picks the source ports of outgoing
// connections (32768 and up). A port from that range could be taken by a client's connection while
// the broker is down between two lives. Those right below it are left to what needs a port of a
// certain number, as the proxy of compat/judges/sarama.
const (
	minPort = 10000
	maxPort = 28999
)

// given are the addresses that this process was given: each only once, since a broker wants its own
// again after it was down.
var given sync.Map

// freeAddr returns a loopback host:port that nobody listens on at this moment.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	var err error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", minPort+rand.IntN(maxPort-minPort+1))
		if _, again := given.LoadOrStore(addr, true); again {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	tb.Fatalf("testnet: no free port: %v", err)
	return ""
}
