//go:build !linux

package testnet

import "syscall"

// dieWithParent has no counterpart outside Linux: there, a test binary that is killed leaves its
// broker running.
func dieWithParent() *syscall.SysProcAttr { return nil }
