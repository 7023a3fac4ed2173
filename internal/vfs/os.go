package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the machine's file system.
type OS struct {
	// ReadOnly opens files for reading only, so that a tool can look at what it may not change.
	ReadOnly bool
}

var _ FS = OS{}

// Dir is the directory part of a name.
func Dir(name string) string { return filepath.Dir(name) }

// Join joins the parts of a name.
func Join(parts ...string) string { return filepath.Join(parts...) }

func (OS) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (o OS) Open(name string) (File, error) {
	if o.ReadOnly {
		return open(name, os.O_RDONLY)
	}
	return open(name, os.O_RDWR)
}

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) Remove(name string) error             { return os.Remove(name) }
func (OS) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }
func (OS) Link(oldName, newName string) error   { return os.Link(oldName, newName) }

func (o OS) MkdirAll(dir string) error {
	if st, err := os.Stat(dir); err == nil {
		if !st.IsDir() {
			return &os.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}

func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (OS) Stat(name string) (Info, error) {
	st, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	info := Info{Size: st.Size(), ModTime: st.ModTime(), Dir: st.IsDir()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		info.Device = uint64(sys.Dev) //nolint:unconvert // it has another type on other systems
	}
	return info, nil
}

func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

func (OS) Usage(dir string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Usage{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return Usage{Total: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize}, nil
}

func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", name, ErrLocked)
		}
		return nil, &os.PathError{Op: "flock", Path: name, Err: err}
	}
	return f, nil
}

// osFile is an *os.File with fdatasync for Sync.
type osFile struct{ f *os.File }

// OSFile gives the network layer the descriptor to send from with sendfile.
func (f osFile) OSFile() *os.File { return f.f }

func (f osFile) ReadAt(b []byte, pos int64) (int, error)  { return f.f.ReadAt(b, pos) }
func (f osFile) WriteAt(b []byte, pos int64) (int, error) { return f.f.WriteAt(b, pos) }
func (f osFile) Close() error                             { return f.f.Close() }
func (f osFile) Name() string                             { return f.f.Name() }
func (f osFile) Truncate(size int64) error                { return f.f.Truncate(size) }

func (f osFile) Size() (int64, error) {
	st, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.f.Name(), Err: err}
		}
	}
}
