// Package e2e tests the real broker: the binary in a process of its own, killed, restarted and
// filled up, with real clients on loopback. Each test says in its name the scenario it excludes.
//
// The binary is bin/morrow, or what MORROW_BIN names; TestMain builds it if neither is there.
package e2e
