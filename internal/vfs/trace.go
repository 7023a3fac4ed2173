package vfs

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// Trace wraps a file system and writes down every operation of OpMutate, one line each, so that a test can
// pin the order of writes, syncs and renames:
//
//	create 0/00000000000000000000.log
//	write 0/00000000000000000000.log 0+126
//	sync 0/00000000000000000000.log
//	rename 0/facts.tmp 0/facts
//	syncdir 0
//
// An operation that failed has its error at the end of the line.
type Trace struct {
	fsys   FS
	prefix string

	mu    sync.Mutex // guards lines
	lines strings.Builder
}

var _ FS = (*Trace)(nil)

// NewTrace wraps fsys. The directory dir is left out of the names written down.
func NewTrace(fsys FS, dir string) *Trace { return &Trace{fsys: fsys, prefix: dir} }

// Take returns the lines written since the last Take, each ending in a newline.
func (t *Trace) Take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.lines.String()
	t.lines.Reset()
	return s
}

// note writes one line, and returns err.
func (t *Trace) note(err error, op Op, args ...any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprint(&t.lines, op)
	for _, a := range args {
		if name, ok := a.(string); ok {
			a = t.short(name)
		}
		fmt.Fprintf(&t.lines, " %v", a)
	}
	if err != nil {
		fmt.Fprintf(&t.lines, ": %v", err)
	}
	t.lines.WriteByte('\n')
	return err
}

func (t *Trace) short(name string) string {
	short := strings.TrimPrefix(strings.TrimPrefix(name, t.prefix), "/")
	if short == "" {
		return "."
	}
	return short
}

func (t *Trace) Create(name string) (File, error) {
	f, err := t.fsys.Create(name)
	_ = t.note(err, OpCreate, name) // err is returned with the file
	return t.file(f, err)
}

func (t *Trace) Open(name string) (File, error) {
	f, err := t.fsys.Open(name)
	return t.file(f, err)
}

func (t *Trace) file(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &traceFile{f, t}, nil
}

func (t *Trace) Remove(name string) error {
	return t.note(t.fsys.Remove(name), OpRemove, name)
}

func (t *Trace) RemoveAll(name string) error {
	return t.note(t.fsys.RemoveAll(name), OpRemove, name)
}

func (t *Trace) Rename(oldName, newName string) error {
	return t.note(t.fsys.Rename(oldName, newName), OpRename, oldName, newName)
}

func (t *Trace) Link(oldName, newName string) error {
	return t.note(t.fsys.Link(oldName, newName), OpLink, oldName, newName)
}

func (t *Trace) MkdirAll(dir string) error {
	return t.note(t.fsys.MkdirAll(dir), OpMkdir, dir)
}

func (t *Trace) SyncDir(dir string) error {
	return t.note(t.fsys.SyncDir(dir), OpSyncDir, dir)
}

func (t *Trace) List(dir string) ([]string, error)         { return t.fsys.List(dir) }
func (t *Trace) Stat(name string) (Info, error)            { return t.fsys.Stat(name) }
func (t *Trace) Usage(dir string) (Usage, error)           { return t.fsys.Usage(dir) }
func (t *Trace) Lock(name string) (c io.Closer, err error) { return t.fsys.Lock(name) }

type traceFile struct {
	File
	t *Trace
}

func (f *traceFile) WriteAt(b []byte, pos int64) (int, error) {
	n, err := f.File.WriteAt(b, pos)
	return n, f.t.note(err, OpWrite, f.Name(), span{pos, len(b)})
}

func (f *traceFile) Truncate(size int64) error {
	return f.t.note(f.File.Truncate(size), OpTruncate, f.Name(), size)
}

func (f *traceFile) Sync() error {
	return f.t.note(f.File.Sync(), OpSync, f.Name())
}

// forget passes on what a Fault around the trace did to a Sync.
func (f *traceFile) forget() {
	if m, ok := f.File.(forgetter); ok {
		m.forget()
	}
}

// span prints as position+length.
type span struct {
	pos int64
	len int
}

func (s span) String() string { return fmt.Sprintf("%d+%d", s.pos, s.len) }
