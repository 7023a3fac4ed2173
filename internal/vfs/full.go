package vfs

import (
	"errors"
	"syscall"
)

// IsFull reports whether err says that the file system has no space left, or
// the writer's quota none. Whoever gets it can go on when space is back, unlike
// after other failed writes.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
