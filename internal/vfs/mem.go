package vfs

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory, for tests. It behaves like a POSIX one (a file lives until its last name
// and last handle are gone), and it remembers what is durable and what is not, so that
// [Mem.Crash] can tell what a power loss may leave.
//
// Names are slash-separated; "/a", "a" and "./a" are the same file.
type Mem struct {
	// mu guards everything below, including every node and every handle.
	mu       sync.Mutex
	root     *node
	capacity int64 // 0: unlimited
	used     int64
	// edits are the directory operations that SyncDir has not made durable yet, oldest first.
	edits []dirEdit
	seq   uint64
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty file system without a size limit.
func NewMem() *Mem { return &Mem{root: newDir()} }

// SetCapacity limits the space of all files together, in bytes; 0 lifts the limit. It may be less
// than what is used already: then nothing more can be written until files are removed.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// unlimited is the total that Usage reports without a limit.
const unlimited = 1 << 50

func (m *Mem) Usage(dir string) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.findLocked(dir); err != nil {
		return Usage{}, pathError("statfs", dir, err)
	}
	total := m.capacity
	if total == 0 {
		total = unlimited
	}
	return Usage{Total: total, Free: max(total-m.used, 0)}, nil
}

func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if base == "" || dir.entries[base] != nil {
		return nil, pathError("open", name, syscall.EEXIST)
	}
	n := &node{modTime: time.Now()}
	m.editLocked(dirChange{dir, base, n})
	return m.handleLocked(name, n), nil
}

func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if n.isDir() {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return m.handleLocked(name, n), nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		return pathError("remove", name, syscall.ENOENT)
	case len(n.entries) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.editLocked(dirChange{dir, base, nil})
	return nil
}

func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	if err != nil {
		return pathError("removeall", name, err)
	}
	if base == "" {
		return pathError("removeall", name, syscall.EINVAL)
	}
	m.removeAllLocked(dir, base)
	return nil
}

func (m *Mem) removeAllLocked(dir *node, base string) {
	n := dir.entries[base]
	if n == nil {
		return
	}
	for _, child := range sortedNames(n) {
		m.removeAllLocked(n, child)
	}
	m.editLocked(dirChange{dir, base, nil})
}

func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.renameLocked(oldName, newName)
	return linkError("rename", oldName, newName, err)
}

func (m *Mem) renameLocked(oldName, newName string) error {
	oldDir, oldBase, err := m.parentLocked(oldName)
	if err != nil {
		return err
	}
	newDir, newBase, err := m.parentLocked(newName)
	if err != nil {
		return err
	}
	n := oldDir.entries[oldBase]
	if n == nil {
		return syscall.ENOENT
	}
	if n.isDir() && strings.HasPrefix(clean(newName), clean(oldName)+"/") {
		return syscall.EINVAL
	}
	switch target := newDir.entries[newBase]; {
	case newBase == "":
		return syscall.EEXIST
	case target == nil:
	case target == n:
		return nil
	case target.isDir() && !n.isDir():
		return syscall.EISDIR
	case !target.isDir() && n.isDir():
		return syscall.ENOTDIR
	case len(target.entries) > 0:
		return syscall.ENOTEMPTY
	}
	m.editLocked(dirChange{newDir, newBase, n}, dirChange{oldDir, oldBase, nil})
	return nil
}

func (m *Mem) Link(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(oldName)
	if err != nil {
		return linkError("link", oldName, newName, err)
	}
	dir, base, err := m.parentLocked(newName)
	switch {
	case err != nil:
	case n.isDir():
		err = syscall.EPERM
	case base == "" || dir.entries[base] != nil:
		err = syscall.EEXIST
	default:
		m.editLocked(dirChange{dir, base, n})
	}
	return linkError("link", oldName, newName, err)
}

func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := m.root
	for _, base := range split(name) {
		n := dir.entries[base]
		if n == nil {
			n = newDir()
			m.editLocked(dirChange{dir, base, n})
			m.syncDirLocked(dir)
		}
		if !n.isDir() {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		dir = n
	}
	return nil
}

func (m *Mem) List(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return sortedNames(n), nil
}

func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(name)
	if err != nil {
		return Info{}, pathError("stat", name, err)
	}
	return Info{Size: n.content.size, ModTime: n.modTime, Dir: n.isDir()}, nil
}

func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked(name)
	if err != nil {
		return pathError("open", name, err)
	}
	if n.isDir() {
		m.syncDirLocked(n)
	}
	return nil
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err == nil && (base == "" || dir.entries[base] != nil && dir.entries[base].isDir()) {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n := dir.entries[base]
	if n == nil {
		n = &node{modTime: time.Now()}
		m.editLocked(dirChange{dir, base, n})
	}
	if n.locked {
		return nil, pathError("lock", name, ErrLocked)
	}
	n.locked = true
	return &memLock{m: m, n: n}, nil
}

type memLock struct {
	m *Mem
	n *node // nil once closed
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.n == nil {
		return os.ErrClosed
	}
	l.n.locked = false
	l.n = nil
	return nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

func linkError(op, oldName, newName string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: oldName, New: newName, Err: err}
}
