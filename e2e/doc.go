// Package e2e tests the real broker: the binary in a process of its own, killed, restarted and
// filled up, with real clients on loopback. Each test says in its name the scenario it excludes.
//
// The binary is what MORROW_BIN names; without it TestMain builds one. Most of a test is waiting,
// so those that take long are parallel, unless they look at how fast something is, or at the free
// space of the disk.
package e2e
