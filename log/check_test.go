package log

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// checkDir checks the log in a directory and returns what was reported.
func checkDir(fsys vfs.FS, dir string) (Checked, []segment.Problem, error) {
	var problems []segment.Problem
	c, err := Check(CheckOptions{FS: fsys, Dir: dir, Report: func(p segment.Problem) { problems = append(problems, p) }})
	return c, problems, err
}

// TestCheckAgreesWithRecovery appends, rolls, retains and stops at random. Whether the log is open,
// was closed, or its process was killed, there is nothing to report; after a power loss caches may
// be damaged, and no more.
func TestCheckAgreesWithRecovery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := vfs.NewMem()
		m := &modelLog{}
		set, l := reopened(t, fsys, m)
		lost := false // power: caches may be damaged until they are made again
		expect := func() {
			c, problems, err := checkDir(fsys, l.dir)
			must(t, err)
			for _, p := range problems {
				if !p.Cache || !lost {
					t.Fatalf("log of offsets [%d, %d), durable up to %d: %v, checked %+v", l.localStart, l.end, l.durableEnd, p, c)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "groups") {
					if err := m.append(l, drawGroup(t, m), now); !errors.Is(err, ErrTooLarge) {
						must(t, err)
					}
				}
			},
			"sync":       func(*rapid.T) { set.Sync() },
			"keep":       func(*rapid.T) { set.Keep(now) },
			"checkpoint": func(t *rapid.T) { must(t, l.Checkpoint()) },
			"roll":       func(t *rapid.T) { must(t, l.Roll()) },
			"retain": func(t *rapid.T) {
				_, err := l.Retain(now.Add(time.Hour), Floor{Gate: forever})
				must(t, err)
			},
			"restart": func(t *rapid.T) {
				must(t, set.Close())
				expect()
				fsys = fsys.CrashProcess()
				set, l = reopened(t, fsys, m)
			},
			"kill": func(t *rapid.T) {
				fsys = fsys.CrashProcess()
				expect()
				set, l = reopened(t, fsys, m)
			},
			"power loss": func(t *rapid.T) {
				fsys = fsys.Crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
				lost = true
				expect()
				set, l = reopened(t, fsys, m)
				expect()
			},
			"": func(*rapid.T) { expect() },
		})
	})
}

// reopened opens the log of a file system, with small segments, and lets the model forget what was lost.
func reopened(t *rapid.T, fsys *vfs.Mem, m *modelLog) (*Set, *Log) {
	set, err := Open(SetConfig{FS: fsys, Dir: "data", Now: func() time.Time { return now }, JournalMaxBytes: -1})
	must(t, err)
	l, err := tryOpenLog(set, testID, func(c *Config) {
		c.SegmentBytes, c.IndexIntervalBytes, c.RetentionMs, c.RetentionBytes = 4<<10, 300, -1, 8<<10
		c.Preallocate = true
	})
	must(t, err)
	must(t, m.recovered(l))
	m.durable = 0 // what is lost is not for this test
	return set, l
}

// checkedLog writes a log of several segments to a new file system, and closes it.
func checkedLog(t *testing.T) (fsys *vfs.Mem, dir string, segments []string) {
	t.Helper()
	fsys = vfs.NewMem()
	set := openSet(t, fsys, "data")
	l := openLog(t, set)
	for range 3 {
		for range 4 {
			if _, err := l.Append(1, now, plain(batch(now.UnixMilli(), 0, "value"))); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fsys.List(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, segment.LogSuffix) {
			segments = append(segments, l.path(n))
		}
	}
	return fsys, l.dir, segments
}

func TestCheckFindsDamage(t *testing.T) {
	fsys, dir, segments := checkedLog(t)
	if len(segments) != 4 {
		t.Fatalf("segments %v", segments)
	}
	cut := func(n int64) func(*vfs.Mem, string) error {
		return func(fsys *vfs.Mem, name string) error {
			f, err := fsys.Open(name)
			if err != nil {
				return err
			}
			size, err := f.Size()
			return errors.Join(err, f.Truncate(size-n), f.Close())
		}
	}
	remove := func(fsys *vfs.Mem, name string) error { return fsys.Remove(name) }
	scribble := func(fsys *vfs.Mem, name string) error {
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{0xff}, 30)
		return errors.Join(err, f.Close())
	}
	for _, test := range []struct {
		name, file string
		change     func(*vfs.Mem, string) error
		want       string // in the only problem
		cache      bool
	}{
		{"middle of a segment", segments[1], scribble, "position 0: batch checksum does not match", false},
		{"end of a segment", segments[1], cut(1), "batch cut short", false},
		{"end of the log", segments[2], cut(1), "batch cut short", false},
		{"first segment", segments[0], remove, "segment is missing", false},
		{"facts", vfs.Join(dir, slotNames[0]), scribble, "facts are damaged", true},
		{"snapshot", vfs.Join(dir, segment.FileName(12, snapshotSuffix)), scribble, "producer snapshot is damaged", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			fsys := fsys.CrashProcess()
			if err := test.change(fsys, test.file); err != nil {
				t.Fatal(err)
			}
			_, problems, err := checkDir(fsys, dir)
			if err != nil {
				t.Fatal(err)
			}
			found := slices.ContainsFunc(problems, func(p segment.Problem) bool {
				return p.Cache == test.cache && p.File == test.file && strings.Contains(p.Error(), test.want)
			})
			if !found {
				t.Errorf("problems %v, want %q", problems, test.want)
			}
		})
	}
}

func TestCheckOfLogThatLostItsEnd(t *testing.T) {
	fsys, dir, segments := checkedLog(t)
	f, err := fsys.Open(segments[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(0), f.Close(), fsys.Remove(segments[3])); err != nil {
		t.Fatal(err)
	}
	_, problems, err := checkDir(fsys, dir)
	if err != nil || !slices.ContainsFunc(problems, func(p segment.Problem) bool { return !p.Cache && errors.Is(p.Err, errShort) }) {
		t.Errorf("problems %v, %v", problems, err)
	}
}

func TestCheckOfOneSegment(t *testing.T) {
	fsys, dir, segments := checkedLog(t)
	c, err := Check(CheckOptions{FS: fsys, Dir: dir, Only: []int64{4}, Report: func(p segment.Problem) { t.Error(p) }})
	if err != nil || c.Segments != 1 || c.Start != 4 || c.End != 8 {
		t.Errorf("checked %+v, %v", c, err)
	}
	if err := fsys.Remove(segments[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(CheckOptions{FS: fsys, Dir: dir, Only: []int64{4}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("segment is gone: %v", err)
	}
}
