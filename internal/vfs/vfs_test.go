package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestFS is what every file system must do.
func TestFS(t *testing.T) {
	kinds := map[string]func(dir string) (FS, string){
		"OS":    func(dir string) (FS, string) { return OS{}, dir },
		"Mem":   func(string) (FS, string) { return NewMem(), "/" },
		"Fault": func(string) (FS, string) { return NewFault(NewMem()), "." },
		"Trace": func(string) (FS, string) { return NewTrace(NewMem(), ""), "a/b" },
	}
	for kind, open := range kinds {
		for name, test := range acceptance {
			t.Run(kind+"/"+name, func(t *testing.T) {
				fsys, dir := open(t.TempDir())
				must(t, fsys.MkdirAll(dir))
				test(t, fsys, dir)
			})
		}
	}
}

var acceptance = map[string]func(t *testing.T, fsys FS, dir string){
	"write and read": func(t *testing.T, fsys FS, dir string) {
		f := create(t, fsys, Join(dir, "f"))
		if f.Name() != Join(dir, "f") {
			t.Errorf("name is %q", f.Name())
		}
		writeAt(t, f, 0, "hello world")
		writeAt(t, f, 6, "there")
		writeAt(t, f, 9000, "end")
		must(t, f.Sync())
		size, err := f.Size()
		if err != nil || size != 9003 {
			t.Fatalf("size is %d, %v", size, err)
		}
		b := make([]byte, 11)
		if n, err := f.ReadAt(b, 0); n != 11 || err != nil || string(b) != "hello there" {
			t.Errorf("read %q, %v", b[:n], err)
		}
		b = make([]byte, 100)
		if n, err := f.ReadAt(b, 8990); n != 13 || !errors.Is(err, io.EOF) || string(b[:n]) != strings.Repeat("\x00", 10)+"end" {
			t.Errorf("read %q, %v", b[:n], err)
		}
		if n, err := f.ReadAt(b, 9003); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read %d bytes at the end, %v", n, err)
		}
		must(t, f.Close())
	},
	"truncate": func(t *testing.T, fsys FS, dir string) {
		f := create(t, fsys, Join(dir, "f"))
		defer f.Close()
		writeAt(t, f, 0, strings.Repeat("x", 10000))
		must(t, f.Truncate(5000))
		must(t, f.Truncate(12000))
		want := strings.Repeat("x", 5000) + strings.Repeat("\x00", 7000)
		if got := read(t, fsys, Join(dir, "f")); got != want {
			t.Errorf("after cutting and extending the file has %d bytes, first zero at %d", len(got), strings.IndexByte(got, 0))
		}
		must(t, f.Truncate(0))
		if got := read(t, fsys, Join(dir, "f")); got != "" {
			t.Errorf("after truncating there is %q", got)
		}
	},
	"errors": func(t *testing.T, fsys FS, dir string) {
		f := create(t, fsys, Join(dir, "f"))
		_, err := fsys.Create(Join(dir, "f"))
		wantErr(t, err, fs.ErrExist)
		_, err = fsys.Create(Join(dir, "missing", "f"))
		wantErr(t, err, fs.ErrNotExist)
		_, err = fsys.Open(Join(dir, "missing"))
		wantErr(t, err, fs.ErrNotExist)
		_, err = fsys.Open(Join(dir, "f", "g"))
		wantErr(t, err, syscall.ENOTDIR)
		_, err = fsys.Open(dir)
		wantErr(t, err, syscall.EISDIR)
		_, err = fsys.Stat(Join(dir, "missing"))
		wantErr(t, err, fs.ErrNotExist)
		_, err = fsys.List(Join(dir, "missing"))
		wantErr(t, err, fs.ErrNotExist)
		_, err = fsys.Usage(Join(dir, "missing"))
		wantErr(t, err, fs.ErrNotExist)
		wantErr(t, fsys.SyncDir(Join(dir, "missing")), fs.ErrNotExist)
		wantErr(t, fsys.Remove(Join(dir, "missing")), fs.ErrNotExist)
		wantErr(t, fsys.Rename(Join(dir, "missing"), Join(dir, "f")), fs.ErrNotExist)
		wantErr(t, fsys.Link(Join(dir, "missing"), Join(dir, "g")), fs.ErrNotExist)
		wantErr(t, fsys.Link(Join(dir, "f"), Join(dir, "f")), fs.ErrExist)
		wantErr(t, fsys.MkdirAll(Join(dir, "f")), syscall.ENOTDIR)
		must(t, fsys.RemoveAll(Join(dir, "missing")))
		must(t, f.Close())
		wantErr(t, f.Close(), fs.ErrClosed)
		_, err = f.WriteAt([]byte("x"), 0)
		wantErr(t, err, fs.ErrClosed)
		_, err = f.ReadAt([]byte("x"), 0)
		wantErr(t, err, fs.ErrClosed)
	},
	"names": func(t *testing.T, fsys FS, dir string) {
		must(t, fsys.MkdirAll(Join(dir, "d", "e")))
		must(t, fsys.MkdirAll(Join(dir, "d", "e")))
		for _, name := range []string{"c", "a", "b"} {
			must(t, create(t, fsys, Join(dir, "d", name)).Close())
		}
		names, err := fsys.List(Join(dir, "d"))
		if err != nil || !slices.Equal(names, []string{"a", "b", "c", "e"}) {
			t.Errorf("listed %q, %v", names, err)
		}
		st, err := fsys.Stat(Join(dir, "d"))
		if err != nil || !st.Dir {
			t.Errorf("stat of a directory: %+v, %v", st, err)
		}
		if err := fsys.Remove(Join(dir, "d")); err == nil {
			t.Error("removed a directory that is not empty")
		}
		must(t, fsys.SyncDir(Join(dir, "d")))
		must(t, fsys.Rename(Join(dir, "d"), Join(dir, "moved")))
		wantExists(t, fsys, Join(dir, "d"), false)
		wantExists(t, fsys, Join(dir, "moved", "a"), true)
		must(t, fsys.RemoveAll(Join(dir, "moved")))
		wantExists(t, fsys, Join(dir, "moved"), false)
		must(t, fsys.MkdirAll(Join(dir, "empty")))
		must(t, fsys.Remove(Join(dir, "empty")))
	},
	"rename replaces": func(t *testing.T, fsys FS, dir string) {
		a, b := Join(dir, "a"), Join(dir, "b")
		must(t, WriteFile(fsys, a, []byte("new")))
		must(t, WriteFile(fsys, b, []byte("old")))
		old, err := fsys.Open(b)
		must(t, err)
		defer old.Close()
		must(t, fsys.Rename(a, b))
		wantExists(t, fsys, a, false)
		if got := read(t, fsys, b); got != "new" {
			t.Errorf("name holds %q", got)
		}
		got := make([]byte, 3)
		if _, err := old.ReadAt(got, 0); err != nil || string(got) != "old" {
			t.Errorf("open file holds %q, %v", got, err)
		}
	},
	"link": func(t *testing.T, fsys FS, dir string) {
		a, b := Join(dir, "a"), Join(dir, "b")
		must(t, WriteFile(fsys, a, []byte("one")))
		must(t, fsys.Link(a, b))
		f, err := fsys.Open(b)
		must(t, err)
		writeAt(t, f, 0, "two")
		must(t, f.Close())
		if got := read(t, fsys, a); got != "two" {
			t.Errorf("the first name holds %q", got)
		}
		must(t, fsys.Remove(a))
		if got := read(t, fsys, b); got != "two" {
			t.Errorf("the second name holds %q", got)
		}
		must(t, fsys.Link(b, a))
		must(t, fsys.Rename(a, b)) // the same file: nothing happens
		wantExists(t, fsys, a, true)
	},
	"removed but open": func(t *testing.T, fsys FS, dir string) {
		f := create(t, fsys, Join(dir, "f"))
		writeAt(t, f, 0, "still here")
		must(t, fsys.Remove(Join(dir, "f")))
		must(t, create(t, fsys, Join(dir, "f")).Close())
		b := make([]byte, 10)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "still here" {
			t.Errorf("read %q, %v", b, err)
		}
		must(t, f.Sync())
		must(t, f.Close())
	},
	"lock": func(t *testing.T, fsys FS, dir string) {
		l, err := fsys.Lock(Join(dir, "lock"))
		must(t, err)
		_, err = fsys.Lock(Join(dir, "lock"))
		wantErr(t, err, ErrLocked)
		must(t, l.Close())
		l, err = fsys.Lock(Join(dir, "lock"))
		must(t, err)
		must(t, l.Close())
	},
	"usage": func(t *testing.T, fsys FS, dir string) {
		u, err := fsys.Usage(dir)
		if err != nil || u.Free <= 0 || u.Total < u.Free {
			t.Errorf("usage is %+v, %v", u, err)
		}
	},
	"replace a file": func(t *testing.T, fsys FS, dir string) {
		name := Join(dir, "f")
		must(t, create(t, fsys, name+".tmp").Close()) // left by a crash
		for _, content := range []string{"first", "second, longer", ""} {
			must(t, WriteFile(fsys, name, []byte(content)))
			if got := read(t, fsys, name); got != content {
				t.Errorf("read %q instead of %q", got, content)
			}
		}
		wantExists(t, fsys, name+".tmp", false)
	},
	"concurrent use": func(t *testing.T, fsys FS, dir string) {
		f := create(t, fsys, Join(dir, "shared"))
		defer f.Close()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				own := Join(dir, string(rune('a'+i)))
				for j := range 20 {
					writeAt(t, f, int64(i*1000+j*50), strings.Repeat(string(rune('a'+i)), 50))
					if err := WriteFile(fsys, own, bytes.Repeat([]byte{byte(i)}, j)); err != nil {
						t.Error(err)
					}
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range 8 {
			if got := read(t, fsys, Join(dir, "shared"))[i*1000 : (i+1)*1000]; got != strings.Repeat(string(rune('a'+i)), 1000) {
				t.Errorf("writer %d: %q", i, got)
			}
		}
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error is %v, want %v", got, want)
	}
}

func wantExists(t *testing.T, fsys FS, name string, want bool) {
	t.Helper()
	got, err := Exists(fsys, name)
	if err != nil || got != want {
		t.Errorf("%s exists: %t, %v", name, got, err)
	}
}

func create(t *testing.T, fsys FS, name string) File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	return f
}

// writeAt may be called from any goroutine.
func writeAt(t *testing.T, f File, pos int64, s string) {
	t.Helper()
	if n, err := f.WriteAt([]byte(s), pos); n != len(s) || err != nil {
		t.Errorf("wrote %d of %d bytes: %v", n, len(s), err)
	}
}

func read(t *testing.T, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}
