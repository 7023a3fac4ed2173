package vfs

import (
	"io"
	"os"
	"path"
	"slices"
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

// node is a file or directory. Names point to nodes; a file may have several.
type node struct {
	// entries are a directory's names as they are, durable as a power loss leaves them at least. Both are nil
	// for a file.
	entries map[string]*node
	durable map[string]durableEntry

	content content
	names   int
	handles int
	locked  bool
	modTime time.Time
}

// durableEntry is a name on disk; node is nil if its removal is what became durable.
type durableEntry struct {
	node *node
	seq  uint64
}

// dirEdit is one directory operation: all its changes take effect, or none.
type dirEdit struct {
	seq     uint64
	changes []dirChange
}

// dirChange makes a name stand for a node, or for nothing.
type dirChange struct {
	dir  *node
	name string
	node *node
}

func newDir() *node {
	return &node{entries: map[string]*node{}, durable: map[string]durableEntry{}, modTime: time.Now()}
}

func (n *node) isDir() bool { return n.entries != nil }

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
	if err == syscall.ENOENT {
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

// editLocked carries out a directory operation and remembers that it is not durable.
func (m *Mem) editLocked(changes ...dirChange) {
	m.seq++
	m.edits = append(m.edits, dirEdit{m.seq, changes})
	for _, c := range changes {
		old := c.dir.entries[c.name]
		if c.node != nil {
			c.dir.entries[c.name] = c.node
			c.node.names++
		} else {
			delete(c.dir.entries, c.name)
		}
		if old != nil {
			old.names--
			m.reclaimLocked(old)
		}
		c.dir.modTime = time.Now()
	}
}

// syncDirLocked makes the pending operations on a directory durable. A rename between two directories becomes
// so as a whole, as it does in a journal.
func (m *Mem) syncDirLocked(dir *node) {
	m.edits = slices.DeleteFunc(m.edits, func(e dirEdit) bool {
		touches := slices.ContainsFunc(e.changes, func(c dirChange) bool { return c.dir == dir })
		if touches {
			e.persist()
		}
		return touches
	})
}

// persist makes an operation durable, except where a later one on the same name already is.
func (e dirEdit) persist() {
	for _, c := range e.changes {
		if c.dir.durable[c.name].seq < e.seq {
			c.dir.durable[c.name] = durableEntry{c.node, e.seq}
		}
	}
}

// reclaimLocked gives back the space of a file that has neither names nor handles left.
func (m *Mem) reclaimLocked(n *node) {
	if n.names == 0 && n.handles == 0 {
		m.used -= n.content.allocated()
	}
}

func (m *Mem) findLocked(name string) (*node, error) {
	n := m.root
	for _, base := range split(name) {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[base]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parentLocked returns the directory that holds name, and name's last part, which is empty for the root.
func (m *Mem) parentLocked(name string) (dir *node, base string, err error) {
	dirName, base := path.Split(clean(name))
	dir, err = m.findLocked(dirName)
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, base, err
}

func clean(name string) string { return path.Clean("/" + name) }

func split(name string) []string {
	return strings.FieldsFunc(clean(name), func(r rune) bool { return r == '/' })
}

func sortedNames(n *node) []string {
	names := make([]string, 0, len(n.entries))
	for name := range n.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
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
