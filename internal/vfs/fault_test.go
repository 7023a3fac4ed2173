package vfs

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
)

func TestRuleCountsMatchingOperations(t *testing.T) {
	fsys := NewFault(NewMem())
	rule := fsys.Add(Rule{Ops: OpSync, Name: "*.log", After: 1, Times: 2, Err: syscall.ENOSPC})
	log, other := create(t, fsys, "0.log"), create(t, fsys, "0.index")
	must(t, log.Sync())
	must(t, other.Sync())
	wantErr(t, log.Sync(), syscall.ENOSPC)
	must(t, other.Sync())
	wantErr(t, log.Sync(), syscall.ENOSPC)
	must(t, log.Sync())
	if n := fsys.Fired(rule); n != 2 {
		t.Errorf("rule fired %d times", n)
	}
	if n := fsys.Mutations(); n != 8 {
		t.Errorf("counted %d mutations", n)
	}
}

func TestEndedRule(t *testing.T) {
	fsys := NewFault(NewMem())
	rule := fsys.Add(Rule{Ops: OpAll, Times: Forever})
	_, err := fsys.Create("f")
	wantErr(t, err, syscall.EIO)
	fsys.End(rule)
	must(t, create(t, fsys, "f").Close())
}

func TestEveryOperationCanFail(t *testing.T) {
	m := NewMem()
	fsys := NewFault(m)
	f := create(t, fsys, "f")
	ops := map[Op]func() error{
		OpCreate:   func() error { _, err := fsys.Create("new"); return err },
		OpOpen:     func() error { _, err := fsys.Open("f"); return err },
		OpRemove:   func() error { return fsys.Remove("f") },
		OpRename:   func() error { return fsys.Rename("f", "new") },
		OpLink:     func() error { return fsys.Link("f", "new") },
		OpMkdir:    func() error { return fsys.MkdirAll("new") },
		OpList:     func() error { _, err := fsys.List("."); return err },
		OpStat:     func() error { _, err := fsys.Stat("f"); return err },
		OpSyncDir:  func() error { return fsys.SyncDir(".") },
		OpUsage:    func() error { _, err := fsys.Usage("."); return err },
		OpLock:     func() error { _, err := fsys.Lock("new"); return err },
		OpRead:     func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		OpWrite:    func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		OpTruncate: func() error { return f.Truncate(100) },
		OpSync:     func() error { return f.Sync() },
		OpClose:    func() error { return f.Close() },
	}
	for i := range opNames {
		op := Op(1) << i
		fsys.Add(Rule{Ops: op})
		wantErr(t, ops[op](), syscall.EIO)
	}
	fsys.Add(Rule{Ops: OpRemove})
	wantErr(t, fsys.RemoveAll("f"), syscall.EIO)
	fsys.Add(Rule{Ops: OpStat})
	_, err := create(t, fsys, "g").Size()
	wantErr(t, err, syscall.EIO)
	wantExists(t, m, "new", false)
	if got := read(t, m, "f"); got != "" {
		t.Errorf("failed operations left %q", got)
	}
	if OpAll != 1<<len(opNames)-1 {
		t.Error("OpAll is not all")
	}
}

func TestPartialWrite(t *testing.T) {
	m := NewMem()
	fsys := NewFault(m)
	fsys.Add(Rule{Ops: OpWrite, Partial: true, Err: syscall.ENOSPC})
	f := create(t, fsys, "f")
	n, err := f.WriteAt([]byte("abcdef"), 0)
	wantErr(t, err, syscall.ENOSPC)
	if n != 3 || read(t, m, "f") != "abc" {
		t.Errorf("wrote %d bytes, file holds %q", n, read(t, m, "f"))
	}
}

func TestFailedSyncLosesWhatWasWritten(t *testing.T) {
	m := NewMem()
	fsys := NewFault(NewTrace(m, ""))
	f := create(t, fsys, "f")
	must(t, fsys.SyncDir("."))
	writeAt(t, f, 0, "lost")
	fsys.Add(Rule{Ops: OpSync})
	wantErr(t, f.Sync(), syscall.EIO)
	must(t, f.Sync()) // a retry lies
	if got := read(t, m, "f"); got != "lost" {
		t.Errorf("the page cache holds %q", got)
	}
	if got := read(t, m.Crash(rand.New(rand.NewPCG(1, 1))), "f"); got != "" {
		t.Errorf("after the crash there is %q", got)
	}
	writeAt(t, f, 0, "kept")
	must(t, f.Sync())
	if got := read(t, m.Crash(nil), "f"); got != "kept" {
		t.Errorf("after the next sync there is %q", got)
	}
}

func TestHeldSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		fsys := NewFault(m)
		release := make(chan struct{})
		fsys.Add(Rule{Ops: OpSync, Do: func() { <-release }})
		f := create(t, fsys, "f")
		synced := false
		go func() {
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			synced = true
		}()
		synctest.Wait()
		if synced {
			t.Error("sync did not wait")
		}
		writeAt(t, f, 0, "others go on")
		close(release)
		synctest.Wait()
		if !synced {
			t.Error("sync was not released")
		}
	})
}
