package bucket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func openFile(t *testing.T, fsys vfs.FS) *bucket.Dir {
	t.Helper()
	b, err := bucket.OpenDir(fsys, "/b", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sum(b []byte) bucket.Body { return bucket.BytesBody(bucket.CRC64NVME, b) }

// TestDir: the acceptance test, on a real disk and in memory.
func TestDir(t *testing.T) {
	for name, fsys := range map[string]func() (vfs.FS, string){
		"os":     func() (vfs.FS, string) { return vfs.OS{}, t.TempDir() },
		"memory": func() (vfs.FS, string) { return vfs.NewMem(), "/bucket" },
	} {
		t.Run(name, func(t *testing.T) {
			buckettest.TestBucket(t, 0, func(t *testing.T) bucket.Bucket {
				f, dir := fsys()
				b, err := bucket.OpenDir(f, dir, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				return b
			})
		})
	}
}

// TestDirPutIsDurableInThisOrder pins the steps of a new object and of a replacement.
func TestDirPutIsDurableInThisOrder(t *testing.T) {
	trace := vfs.NewTrace(vfs.NewMem(), "/b")
	b := openFile(t, trace)
	trace.Take()
	names := regexp.MustCompile(`\.tmp/\w+`)
	for _, c := range []struct {
		o    func(bucket.Object) bucket.PutOptions
		want string
	}{
		{func(bucket.Object) bucket.PutOptions { return bucket.PutOptions{IfNoneMatch: true} }, `
create .tmp/x
write .tmp/x 0+4
sync .tmp/x
mkdir k
link .tmp/x k/a
syncdir k
remove .tmp/x
`},
		{func(o bucket.Object) bucket.PutOptions { return bucket.PutOptions{IfMatch: o.ETag} }, `
create .tmp/x
write .tmp/x 0+4
sync .tmp/x
lock .locks/08
mkdir k
rename .tmp/x k/a
syncdir k
`},
	} {
		old, err := b.Head(t.Context(), "k/a")
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			t.Fatal(err)
		}
		trace.Take()
		if _, err := b.Put(t.Context(), "k/a", sum([]byte("data")), c.o(old)); err != nil {
			t.Fatal(err)
		}
		got := "\n" + names.ReplaceAllString(trace.Take(), ".tmp/x")
		if want := c.want; !sameSteps(got, want) {
			t.Errorf("steps:%swant:%s", got, want)
		}
	}
}

// sameSteps compares traces; which lock file it is does not matter.
func sameSteps(got, want string) bool {
	strip := func(s string) string {
		var lines []string
		for line := range strings.Lines(s) {
			if !strings.HasPrefix(line, "lock ") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	return strip(got) == strip(want)
}

// TestDirSweep fails every operation of the disk once; afterwards an object is whole or not
// there, and what was said to be there is, even after a power loss.
func TestDirSweep(t *testing.T) {
	one, two := bytes.Repeat([]byte("one"), 300_000), bytes.Repeat([]byte("two"), 300_000)
	for n, failed := 0, true; failed; n++ {
		mem := vfs.NewMem()
		first := openFile(t, mem)
		old, err := first.Put(t.Context(), "k/manifest", sum(one), bucket.PutOptions{IfNoneMatch: true})
		if err != nil {
			t.Fatal(err)
		}
		fault := vfs.NewFault(mem)
		rule := fault.Add(vfs.Rule{After: n, Ops: vfs.OpAll, Partial: n%2 == 0})
		b, openErr := bucket.OpenDir(fault, "/b", time.Now())
		var errNew, errReplace error
		if openErr == nil {
			_, errNew = b.Put(t.Context(), "k/new", sum(two), bucket.PutOptions{IfNoneMatch: true})
			_, errReplace = b.Put(t.Context(), "k/manifest", sum(two), bucket.PutOptions{IfMatch: old.ETag})
		}
		failed = fault.Fired(rule) > 0
		after := openFile(t, mem.Crash(rand.New(rand.NewPCG(uint64(n), 0))))
		got, there := fileObject(t, after, "k/new")
		if there && !bytes.Equal(got, two) || openErr == nil && errNew == nil && !there {
			t.Fatalf("operation %d: put said %v, %d bytes, there: %v", n, errNew, len(got), there)
		}
		got, there = fileObject(t, after, "k/manifest")
		if !there || !bytes.Equal(got, one) && !bytes.Equal(got, two) || openErr == nil && errReplace == nil && !bytes.Equal(got, two) {
			t.Fatalf("operation %d: replace said %v, %d bytes, there: %v", n, errReplace, len(got), there)
		}
		for _, err := range []error{errNew, errReplace} {
			var be *bucket.Error
			if err != nil && (!errors.As(err, &be) || errors.Is(err, bucket.ErrExists) || errors.Is(err, bucket.ErrPrecondition)) {
				t.Fatalf("operation %d: %v", n, err)
			}
		}
	}
}

func fileObject(t *testing.T, b bucket.Bucket, key string) ([]byte, bool) {
	t.Helper()
	r, _, err := b.Get(t.Context(), key, 0, -1)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data, true
}

func TestDirErrorsHaveAKind(t *testing.T) {
	for errno, kind := range map[error]error{
		syscall.ENOSPC: bucket.ErrFull, syscall.EDQUOT: bucket.ErrFull, syscall.EACCES: bucket.ErrDenied, syscall.EROFS: bucket.ErrDenied, syscall.EIO: bucket.ErrUnknown,
	} {
		fault := vfs.NewFault(vfs.NewMem())
		b := openFile(t, fault)
		fault.Add(vfs.Rule{Ops: vfs.OpWrite, Err: errno})
		_, err := b.Put(t.Context(), "k", sum([]byte("x")), bucket.PutOptions{})
		if !errors.Is(err, kind) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	b := openFile(t, vfs.NewMem())
	for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", ".tmp/x", "a/.b"} {
		if _, err := b.Put(t.Context(), key, sum(nil), bucket.PutOptions{}); !errors.Is(err, bucket.ErrConfig) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

// TestDirListsATopicWithoutReadingTheDirectoryOfAll: to delete many topics takes no longer
// the more of them there are.
func TestDirListsBelowAPrefixWithoutReadingTheDirectoryOfAll(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	b := openFile(t, fault)
	for _, key := range []string{"cluster/one/0/a", "cluster/one/deleted", "cluster/two/0/b"} {
		if _, err := b.Put(t.Context(), key, sum(nil), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	all := fault.Add(vfs.Rule{Ops: vfs.OpList, Name: "cluster", Times: vfs.Forever})
	var keys []string
	err := b.List(t.Context(), "cluster/one/", func(o bucket.Object) error {
		keys = append(keys, o.Key)
		return nil
	})
	if got := strings.Join(keys, " "); err != nil || got != "cluster/one/0/a cluster/one/deleted" || fault.Fired(all) > 0 {
		t.Errorf("listed %s, %v; the directory of all was read %d times", got, err, fault.Fired(all))
	}
}

// TestDirLooksAtTheBytes: a file that was damaged on disk does not have the checksum it was stored with.
func TestDirLooksAtTheBytes(t *testing.T) {
	mem := vfs.NewMem()
	b := openFile(t, mem)
	for _, size := range []int{100, 3 << 20} {
		key := fmt.Sprint("k", size)
		put, err := b.Put(t.Context(), key, sum(bytes.Repeat([]byte("x"), size)), bucket.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := mem.Open("/b/" + key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("y"), 50); err != nil {
			t.Fatal(err)
		}
		head, err := openFile(t, mem).Head(t.Context(), key)
		if err != nil || head.Sum == put.Sum || head.ETag == put.ETag {
			t.Errorf("%d bytes: %+v, %v", size, head, err)
		}
	}
}

func TestDirForgetsDeadWriters(t *testing.T) {
	mem := vfs.NewMem()
	openFile(t, mem)
	if err := vfs.WriteFile(mem, "/b/.tmp/left", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for later, want := range map[time.Duration]bool{time.Hour: true, 25 * time.Hour: false} {
		if _, err := bucket.OpenDir(mem, "/b", time.Now().Add(later)); err != nil {
			t.Fatal(err)
		}
		if ok, _ := vfs.Exists(mem, "/b/.tmp/left"); ok != want && later > 2*time.Hour {
			t.Errorf("after %v: there: %v", later, ok)
		}
	}
}
