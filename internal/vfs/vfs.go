// Package vfs is the seam between Morrow and the file system: everything the
// broker stores goes through an [FS], so that tests can crash it, fail its n-th
// operation, or fill it up.
//
// [OS] is the real one. The others are for tests: [Mem], in memory, tells what a crash may leave of it;
// [Fault] wraps another and fails chosen operations; [Trace] wraps another and writes down what is done to it.
// All are safe for concurrent use, and pass the same acceptance test.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"time"
)

// ErrLocked is returned by [FS.Lock] when another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// FS is a file system. Names are slash-separated paths as the caller built them;
// errors wrap [fs.ErrNotExist], [fs.ErrExist] or a syscall error (ENOSPC, EIO …).
//
// Durability: a new, renamed, linked or removed name survives a power loss only after
// [FS.SyncDir] of its directory returned; contents only after [File.Sync].
type FS interface {
	// Create makes a new file for reading and writing. It fails with
	// fs.ErrExist if the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a directory and all below it. A missing one is no error.
	RemoveAll(name string) error
	// Rename replaces newName, if it exists, in one step.
	Rename(oldName, newName string) error
	// Link gives a file a second name. It fails with fs.ErrExist if newName is taken.
	Link(oldName, newName string) error
	// MkdirAll makes a directory and its parents. The new names are durable when it returns.
	MkdirAll(dir string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (Info, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Usage tells how full the file system holding dir is.
	Usage(dir string) (Usage, error)
	// Lock takes an exclusive lock that ends with Close or with the process,
	// creating the file if needed. It fails with ErrLocked at once if it is taken.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt and WriteAt are safe for concurrent use on
// ranges that do not overlap. A write beyond the end extends the file with zeros.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Name is the name the file was opened with.
	Name() string
	// Size is the file's current length in bytes.
	Size() (int64, error)
	// Truncate cuts or extends (with zeros) the file to size bytes.
	Truncate(size int64) error
	// Sync makes contents and length durable (fdatasync). After an error the state of
	// everything written since the last successful Sync is unknown: never retry, never go on.
	Sync() error
}

// Info describes a file.
type Info struct {
	Size    int64
	ModTime time.Time
	Dir     bool
	Device  uint64 // the file system it is on; another one has another
}

// Usage is the space of a file system, in bytes. Free is what an unprivileged writer can use.
type Usage struct {
	Total, Free int64
}

// Exists reports whether a name exists.
func Exists(fsys FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// ReadFile reads a whole file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// WriteFile durably replaces a file in one step: readers and a crash see the
// old contents or the new, never a mixture. It writes name+".tmp", syncs, renames, and syncs the directory.
func WriteFile(fsys FS, name string, b []byte) (err error) {
	tmp := name + ".tmp"
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(Dir(name))
}
