package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashProcess returns what a killed process leaves: everything as it was written, durable or not, and no
// locks. Handles of m go on working on m, and do not reach the copy.
func (m *Mem) CrashProcess() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cloneLocked()
}

// Crash returns what a power loss may leave: all that was synced and, as rnd decides, some of what was not.
//
// Every directory operation since the last SyncDir has happened or not, each for itself (a rename
// as a whole). Of every file, each 512-byte sector is as it was at some moment since the last Sync,
// and so is the length, each for itself: a long write may be torn anywhere, a later write may be
// there without an earlier one, and a file may be longer than its data, ending in zeros. With a nil
// rnd nothing survives that was not synced.
//
// Handles of m go on working on m, and do not reach the copy.
func (m *Mem) Crash(rnd *rand.Rand) *Mem {
	m.mu.Lock()
	after := m.cloneLocked()
	m.mu.Unlock()

	keep := newChooser(rnd)
	for _, e := range after.edits {
		if keep.upTo(1) == 1 {
			e.persist()
		}
	}
	after.edits, after.used = nil, 0
	seen := map[*node]bool{}
	after.root.crash(rnd, seen)
	for n := range seen {
		after.used += n.content.allocated()
	}
	return after
}

// crash makes a directory, and all below it, what a power loss leaves.
func (n *node) crash(rnd *rand.Rand, seen map[*node]bool) {
	clear(n.entries)
	for _, name := range slices.Sorted(maps.Keys(n.durable)) {
		child := n.durable[name].node
		if child == nil {
			delete(n.durable, name)
			continue
		}
		n.entries[name] = child
		if !seen[child] {
			seen[child] = true
			child.names = 0
			if child.isDir() {
				child.crash(rnd, seen)
			} else {
				child.content.crash(newChooser(rnd))
			}
		}
		child.names++
	}
}

// crash replays, for each sector, some of the writes that touched it.
func (c *content) crash(keep chooser) {
	writes := c.writes
	*c = content{size: c.durableSize, pages: c.durable}
	if k := keep.upTo(len(writes)); k > 0 {
		c.size = writes[k-1].size
	}
	touched := map[int64][]int{}
	for i, w := range writes {
		for s := w.pos / sectorSize; s*sectorSize < w.end; s++ {
			touched[s] = append(touched[s], i)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(touched)) {
		for _, i := range touched[s][:keep.upTo(len(touched[s]))] {
			w := writes[i]
			pos, end := max(w.pos, s*sectorSize), min(w.end, (s+1)*sectorSize)
			if w.data == nil {
				c.put(pos, end, nil)
			} else {
				c.put(pos, end, w.data[pos-w.pos:end-w.pos])
			}
		}
	}
	size := c.size
	c.size = int64(len(c.pages)) * pageSize
	c.resize(size)
	c.writes = nil
	c.durable, c.durableSize = slices.Clone(c.pages), c.size
}

// chooser decides how much of something survives. Random choices alone would hardly ever keep
// all of a file, or nothing, which happens often in reality; so those are decided first.
type chooser struct {
	rnd  *rand.Rand
	mode int
}

const (
	keepNothing = iota
	keepAll
	keepSome
)

func newChooser(rnd *rand.Rand) chooser {
	if rnd == nil {
		return chooser{mode: keepNothing}
	}
	return chooser{rnd, min(rnd.IntN(4), keepSome)}
}

// upTo returns a number from 0 to n.
func (c chooser) upTo(n int) int {
	switch c.mode {
	case keepNothing:
		return 0
	case keepAll:
		return n
	default:
		return c.rnd.IntN(n + 1)
	}
}

// cloneLocked copies the whole file system, with what is durable and what is not.
func (m *Mem) cloneLocked() *Mem {
	c := cloner{}
	clone := &Mem{root: c.node(m.root), capacity: m.capacity, seq: m.seq}
	for _, e := range m.edits {
		changes := make([]dirChange, len(e.changes))
		for i, ch := range e.changes {
			changes[i] = dirChange{c.node(ch.dir), ch.name, c.node(ch.node)}
		}
		clone.edits = append(clone.edits, dirEdit{e.seq, changes})
	}
	for _, n := range c {
		if n.names > 0 {
			clone.used += n.content.allocated()
		}
	}
	return clone
}

// cloner maps the nodes of one file system to those of its copy.
type cloner map[*node]*node

func (c cloner) node(n *node) *node {
	if n == nil {
		return nil
	}
	if copied := c[n]; copied != nil {
		return copied
	}
	copied := &node{content: n.content.clone(), names: n.names, modTime: n.modTime}
	c[n] = copied
	if n.isDir() {
		copied.entries = make(map[string]*node, len(n.entries))
		for name, child := range n.entries {
			copied.entries[name] = c.node(child)
		}
		copied.durable = make(map[string]durableEntry, len(n.durable))
		for name, e := range n.durable {
			copied.durable[name] = durableEntry{c.node(e.node), e.seq}
		}
	}
	return copied
}

// clone copies the pages too, since each file system writes to its own in place. The bytes of
// writes never change and are shared.
func (c *content) clone() content {
	copied := *c
	copied.writes = slices.Clone(c.writes)
	copied.durable = make([]*page, len(c.durable))
	for i, p := range c.durable {
		if p != nil {
			q := *p
			copied.durable[i] = &q
		}
	}
	copied.pages = make([]*page, len(c.pages))
	for i, p := range c.pages {
		switch {
		case p == nil:
		case i < len(c.durable) && c.durable[i] == p:
			copied.pages[i] = copied.durable[i]
		default:
			q := *p
			copied.pages[i] = &q
		}
	}
	return copied
}
