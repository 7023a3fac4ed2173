package tiertest_test

import (
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/tiertest"
)

func TestFakeBucket(t *testing.T) {
	tiertest.TestBucket(t, 0, func(*testing.T) bucket.Bucket { return tiertest.NewBucket() })
}

func TestDir(t *testing.T) {
	for name, fsys := range map[string]func() (vfs.FS, string){
		"os":     func() (vfs.FS, string) { return vfs.OS{}, t.TempDir() },
		"memory": func() (vfs.FS, string) { return vfs.NewMem(), "/bucket" },
	} {
		t.Run(name, func(t *testing.T) {
			tiertest.TestBucket(t, 0, func(t *testing.T) bucket.Bucket {
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
