package testnet

import "syscall"

// dieWithParent asks the kernel to kill the broker when the test binary dies, however it dies.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
