package vfs

import (
	"io"
	"math"
	"path"
	"strings"
	"sync"
	"syscall"
)

// Op is a kind of file system operation; kinds can be combined.
type Op uint16

const (
	OpCreate Op = 1 << iota
	OpOpen
	OpRemove // and RemoveAll
	OpRename
	OpLink
	OpMkdir
	OpList
	OpStat // and File.Size
	OpSyncDir
	OpUsage
	OpLock
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpClose

	// OpMutate is everything that changes the disk, or makes a change durable.
	OpMutate = OpCreate | OpRemove | OpRename | OpLink | OpMkdir | OpSyncDir | OpWrite | OpTruncate | OpSync
	// OpAll is everything.
	OpAll Op = 1<<16 - 1
)

var opNames = [...]string{"create", "open", "remove", "rename", "link", "mkdir", "list", "stat", "syncdir",
	"usage", "lock", "read", "write", "truncate", "sync", "close"}

func (o Op) String() string {
	var names []string
	for i, name := range opNames {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Rule makes operations fail.
type Rule struct {
	// Ops are the kinds that match; 0 means OpMutate.
	Ops Op
	// Name is a pattern (see path.Match) for the last part of the file's name, the new
	// one of a rename or link; empty matches all.
	Name string
	// After is how many matching operations succeed before the first one that fails.
	After int
	// Times is how many fail then: 0 means one, Forever all.
	Times int
	// Err is what they fail with; nil means EIO.
	Err error
	// Partial lets a failing write store its first half.
	Partial bool
	// Do, if set, runs instead of failing, without locks: the operation waits for it and then goes on. It
	// may block, or take a crash copy of the file system.
	Do func()
}

// Forever as Rule.Times means for as long as the rule exists.
const Forever = math.MaxInt

// Fault wraps a file system and fails the operations that its rules say. To try a failure at every point:
//
//	for n, failed := 0, true; failed; n++ {
//		fsys := vfs.NewFault(vfs.NewMem())
//		rule := fsys.Add(vfs.Rule{After: n})
//		… run, reopen without the rule, compare …
//		failed = fsys.Fired(rule) > 0
//	}
//
// A failed operation does nothing, with two exceptions: a partial write, and a failed Sync on Mem, after which
// what was not durable never becomes so, although a later Sync succeeds, as on Linux.
type Fault struct {
	fsys FS
	// mu guards what is below. It is not held while fsys works.
	mu    sync.Mutex
	rules []*activeRule
	next  RuleID
	ops   int
}

// RuleID names a rule of a Fault.
type RuleID int

type activeRule struct {
	Rule
	id          RuleID
	seen, fired int
}

var _ FS = (*Fault)(nil)

// NewFault wraps fsys, without a rule.
func NewFault(fsys FS) *Fault { return &Fault{fsys: fsys} }

// Add adds a rule. The first rule that applies to an operation decides; others count it all the same.
func (f *Fault) Add(r Rule) RuleID {
	if r.Ops == 0 {
		r.Ops = OpMutate
	}
	if r.Err == nil {
		r.Err = syscall.EIO
	}
	if r.Times == 0 {
		r.Times = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.rules = append(f.rules, &activeRule{Rule: r, id: f.next})
	return f.next
}

// End ends a rule.
func (f *Fault) End(id RuleID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.ruleLocked(id); r != nil {
		r.Times = 0
	}
}

// Fired tells how often a rule applied.
func (f *Fault) Fired(id RuleID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.ruleLocked(id); r != nil {
		return r.fired
	}
	return 0
}

// Mutations is how many operations of OpMutate were asked for so far.
func (f *Fault) Mutations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

func (f *Fault) ruleLocked(id RuleID) *activeRule {
	for _, r := range f.rules {
		if r.id == id {
			return r
		}
	}
	return nil
}

// check is called before every operation. The returned rule, if any, says that it must fail.
func (f *Fault) check(op Op, name string) *Rule {
	f.mu.Lock()
	if op&OpMutate != 0 {
		f.ops++
	}
	var hit *activeRule
	for _, r := range f.rules {
		if !r.matches(op, name) {
			continue
		}
		r.seen++
		if hit == nil && r.seen > r.After && r.fired < r.Times {
			r.fired++
			hit = r
		}
	}
	f.mu.Unlock()
	switch {
	case hit == nil:
		return nil
	case hit.Do != nil:
		hit.Do()
		return nil
	default:
		return &hit.Rule
	}
}

func (r *Rule) matches(op Op, name string) bool {
	if r.Ops&op == 0 {
		return false
	}
	if r.Name == "" {
		return true
	}
	ok, err := path.Match(r.Name, path.Base(name))
	return ok && err == nil
}

func (f *Fault) fail(op Op, name string) error {
	if r := f.check(op, name); r != nil {
		return pathError(op.String(), name, r.Err)
	}
	return nil
}

func (f *Fault) Create(name string) (File, error) { return f.open(OpCreate, name, f.fsys.Create) }
func (f *Fault) Open(name string) (File, error)   { return f.open(OpOpen, name, f.fsys.Open) }

func (f *Fault) open(op Op, name string, open func(string) (File, error)) (File, error) {
	if err := f.fail(op, name); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *Fault) Remove(name string) error {
	if err := f.fail(OpRemove, name); err != nil {
		return err
	}
	return f.fsys.Remove(name)
}

func (f *Fault) RemoveAll(name string) error {
	if err := f.fail(OpRemove, name); err != nil {
		return err
	}
	return f.fsys.RemoveAll(name)
}

func (f *Fault) Rename(oldName, newName string) error {
	if err := f.fail(OpRename, newName); err != nil {
		return err
	}
	return f.fsys.Rename(oldName, newName)
}

func (f *Fault) Link(oldName, newName string) error {
	if err := f.fail(OpLink, newName); err != nil {
		return err
	}
	return f.fsys.Link(oldName, newName)
}

func (f *Fault) MkdirAll(dir string) error {
	if err := f.fail(OpMkdir, dir); err != nil {
		return err
	}
	return f.fsys.MkdirAll(dir)
}

func (f *Fault) List(dir string) ([]string, error) {
	if err := f.fail(OpList, dir); err != nil {
		return nil, err
	}
	return f.fsys.List(dir)
}

func (f *Fault) Stat(name string) (Info, error) {
	if err := f.fail(OpStat, name); err != nil {
		return Info{}, err
	}
	return f.fsys.Stat(name)
}

func (f *Fault) SyncDir(dir string) error {
	if err := f.fail(OpSyncDir, dir); err != nil {
		return err
	}
	return f.fsys.SyncDir(dir)
}

func (f *Fault) Usage(dir string) (Usage, error) {
	if err := f.fail(OpUsage, dir); err != nil {
		return Usage{}, err
	}
	return f.fsys.Usage(dir)
}

func (f *Fault) Lock(name string) (io.Closer, error) {
	if err := f.fail(OpLock, name); err != nil {
		return nil, err
	}
	return f.fsys.Lock(name)
}

type faultFile struct {
	File
	f *Fault
}

func (f *faultFile) ReadAt(b []byte, pos int64) (int, error) {
	if err := f.f.fail(OpRead, f.Name()); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, pos)
}

func (f *faultFile) WriteAt(b []byte, pos int64) (n int, err error) {
	r := f.f.check(OpWrite, f.Name())
	if r == nil {
		return f.File.WriteAt(b, pos)
	}
	if r.Partial {
		n, err = f.File.WriteAt(b[:len(b)/2], pos)
		if err != nil {
			return n, err
		}
	}
	return n, pathError("write", f.Name(), r.Err)
}

func (f *faultFile) Size() (int64, error) {
	if err := f.f.fail(OpStat, f.Name()); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.f.fail(OpTruncate, f.Name()); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Sync() error {
	if err := f.f.fail(OpSync, f.Name()); err != nil {
		if m, ok := f.File.(forgetter); ok {
			m.forget()
		}
		return err
	}
	return f.File.Sync()
}

// forgetter is a file that can lose what it has not made durable.
type forgetter interface{ forget() }

// Close closes the file even if it is made to fail, as Linux does.
func (f *faultFile) Close() error {
	failed := f.f.fail(OpClose, f.Name())
	if err := f.File.Close(); err != nil {
		return err
	}
	return failed
}
