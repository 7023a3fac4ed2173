package vfs

import (
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

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
