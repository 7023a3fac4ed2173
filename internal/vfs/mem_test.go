package vfs

import (
	"strings"
	"syscall"
	"testing"
)

func TestFullDisk(t *testing.T) {
	m := NewMem()
	m.SetCapacity(2 * pageSize)
	f := create(t, m, "f")
	n, err := f.WriteAt(make([]byte, 3*pageSize), 100)
	wantErr(t, err, syscall.ENOSPC)
	if n != 2*pageSize-100 {
		t.Errorf("wrote %d bytes before the disk was full", n)
	}
	wantFree(t, m, 0)
	writeAt(t, f, 0, "space that is used already can be overwritten")

	must(t, f.Truncate(pageSize))
	wantFree(t, m, pageSize)
	must(t, m.Remove("f"))
	wantFree(t, m, pageSize) // still open
	must(t, f.Close())
	wantFree(t, m, 2*pageSize)
}

func TestFullDiskRecovers(t *testing.T) {
	m := NewMem()
	f := create(t, m, "f")
	writeAt(t, f, 0, strings.Repeat("x", 3*pageSize))
	m.SetCapacity(pageSize)
	wantFree(t, m, 0)
	_, err := f.WriteAt([]byte("x"), 3*pageSize)
	wantErr(t, err, syscall.ENOSPC)
	m.SetCapacity(4 * pageSize)
	writeAt(t, f, 3*pageSize, "x")
}

func TestHolesTakeNoSpace(t *testing.T) {
	m := NewMem()
	m.SetCapacity(pageSize)
	f := create(t, m, "f")
	must(t, f.Truncate(1<<30))
	writeAt(t, f, 1<<29, "x")
	wantFree(t, m, 0)
	must(t, f.Truncate(10))
	wantFree(t, m, pageSize)
}

func TestRenameFreesTheReplacedFile(t *testing.T) {
	m := NewMem()
	m.SetCapacity(10 * pageSize)
	for range 20 {
		must(t, WriteFile(m, "f", []byte("x")))
	}
	wantFree(t, m, 9*pageSize)
	must(t, m.RemoveAll("f"))
	wantFree(t, m, 10*pageSize)
}

func TestRenameChecksKinds(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("d/e"))
	must(t, m.MkdirAll("empty"))
	must(t, create(t, m, "f").Close())
	wantErr(t, m.Rename("f", "d"), syscall.EISDIR)
	wantErr(t, m.Rename("d", "f"), syscall.ENOTDIR)
	wantErr(t, m.Rename("empty", "d"), syscall.ENOTEMPTY)
	wantErr(t, m.Rename("d", "d/e/inside"), syscall.EINVAL)
	wantErr(t, m.Link("d", "g"), syscall.EPERM)
	must(t, m.Rename("d", "empty"))
	wantExists(t, m, "empty/e", true)
}

func wantFree(t *testing.T, m *Mem, want int64) {
	t.Helper()
	u, err := m.Usage(".")
	if err != nil || u.Free != want {
		t.Errorf("%d bytes are free, want %d; %v", u.Free, want, err)
	}
}
