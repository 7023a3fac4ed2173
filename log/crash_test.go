package log

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// crashTest is a set of logs on a file system that can crash, and what should be in them.
type crashTest struct {
	fsys  *vfs.Mem
	set   *Set
	logs  []*Log
	model []*modelLog
	now   time.Time
	dirty []bool // something happened since the last comparison
}

const crashLogs = 3

// crashConfig has small segments, and for some logs such as hold several large batches.
func crashConfig(i int) func(*Config) {
	return func(c *Config) {
		c.SegmentBytes = []int64{300 << 10, 4 << 10, 1 << 20}[i]
		c.IndexIntervalBytes = 300
		c.RetentionMs = -1
		c.Preallocate = i == 2
	}
}

func (c *crashTest) open(t *rapid.T) {
	var err error
	c.set, err = Open(SetConfig{FS: c.fsys, Dir: "data", Now: func() time.Time { return c.now }, JournalSegmentBytes: minJournalFile, JournalMaxBytes: 3 * minJournalFile})
	must(t, err)
	for range c.set.commits.journal.files {
		must(t, c.set.commits.journal.prepare())
	}
	c.logs = make([]*Log, crashLogs)
	for i := range c.logs {
		c.logs[i], err = tryOpenLog(c.set, ID{Topic: [16]byte{9}, Partition: int32(i)}, crashConfig(i))
		must(t, err)
	}
}

func must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *crashTest) draw(t *rapid.T) (l *Log, m *modelLog) {
	i := rapid.IntRange(0, crashLogs-1).Draw(t, "log")
	c.dirty[i] = true
	return c.logs[i], c.model[i]
}

// acknowledge learns what has become durable.
func (c *crashTest) acknowledge() {
	for i, m := range c.model {
		m.acknowledge(c.logs[i])
	}
}

// reopen opens what a crash left, and checks it.
func (c *crashTest) reopen(t *rapid.T, fsys *vfs.Mem) {
	c.fsys = fsys
	c.open(t)
	for i, m := range c.model {
		must(t, m.recovered(c.logs[i]))
		must(t, m.compare(c.logs[i]))
	}
}

// damage deletes, cuts or changes caches, and one of the two facts files, of every log.
func (c *crashTest) damage(t *rapid.T, fsys *vfs.Mem) {
	for _, l := range c.logs {
		names, err := fsys.List(l.dir)
		must(t, err)
		facts := rapid.SampledFrom(slotNames[:]).Draw(t, "facts")
		start := segment.FileName(l.Offsets().LocalStart, snapshotSuffix)
		for _, name := range names {
			if strings.HasSuffix(name, segment.LogSuffix) || name == start || strings.HasPrefix(name, "facts") && name != facts {
				continue
			}
			b, err := vfs.ReadFile(fsys, l.path(name))
			must(t, err)
			switch rapid.IntRange(0, 4).Draw(t, "damage") {
			case 0:
				must(t, fsys.Remove(l.path(name)))
			case 1:
				if len(b) > 0 {
					b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
					must(t, vfs.WriteFile(fsys, l.path(name), b))
				}
			case 2:
				b = b[:rapid.IntRange(0, len(b)).Draw(t, "cut")]
				must(t, vfs.WriteFile(fsys, l.path(name), b))
			}
		}
	}
}

// TestCrash appends, reads, rolls, retains and truncates at random, crashes, and compares with a
// model: everything acknowledged is there, once and in order, and so is what follows from it.
func TestCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &crashTest{fsys: vfs.NewMem(), now: now, dirty: make([]bool, crashLogs)}
		for range crashLogs {
			c.model = append(c.model, &modelLog{})
		}
		c.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				l, m := c.draw(t)
				for range rapid.IntRange(1, 5).Draw(t, "groups") {
					err := m.append(l, drawGroup(t, m), c.now)
					if !errors.Is(err, ErrTooLarge) {
						must(t, err)
					}
				}
			},
			"retry": func(t *rapid.T) {
				l, m := c.draw(t)
				if len(m.groups) == 0 {
					t.Skip("nothing to retry")
				}
				g := m.groups[len(m.groups)-1-rapid.IntRange(0, min(3, len(m.groups)-1)).Draw(t, "back")]
				if g.original.ProducerID < 0 || g.original.FirstSequence < 0 {
					t.Skip("not idempotent")
				}
				if _, dup, err := m.producers().Check(g.original); err == nil && dup {
					a, err := l.Append(1, c.now, retry(g))
					if err != nil || !a.Duplicate || a.BaseOffset != g.base || a.EndOffset != g.end {
						t.Fatalf("retry of %+v: %+v, %v", g, a, err)
					}
				}
			},
			"sync": func(t *rapid.T) {
				c.set.Sync()
				c.acknowledge()
			},
			"write a frame": func(*rapid.T) {
				c.set.commits.writeFrame()
				c.acknowledge()
			},
			"sync a log": func(t *rapid.T) {
				l, m := c.draw(t)
				c.set.commits.sync(l)
				m.acknowledge(l)
			},
			"keep": func(t *rapid.T) {
				c.now = c.now.Add(time.Second)
				c.set.Keep(c.now)
			},
			"checkpoint": func(t *rapid.T) {
				l, _ := c.draw(t)
				must(t, l.Checkpoint())
			},
			"roll": func(t *rapid.T) {
				l, _ := c.draw(t)
				must(t, l.Roll())
			},
			"trim": func(*rapid.T) {
				trimFull(&c.set.commits)
				c.acknowledge()
			},
			"delete records": func(t *rapid.T) {
				l, m := c.draw(t)
				m.reported = max(m.reported, rapid.Int64Range(0, m.visibleEnd()).Draw(t, "offset"))
				start, err := l.DeleteRecords(m.reported)
				must(t, err)
				if start != m.reported {
					t.Fatalf("reported start %d, want %d", start, m.reported)
				}
			},
			"retain": func(t *rapid.T) {
				l, _ := c.draw(t)
				_, err := l.Retain(c.now, Floor{Gate: forever})
				must(t, err)
			},
			"truncate": func(t *rapid.T) {
				l, m := c.draw(t)
				offset := rapid.Int64Range(l.Offsets().LocalStart, m.end()).Draw(t, "offset")
				m.truncate(offset)
				must(t, l.TruncateTo(offset))
			},
			"read": func(t *rapid.T) {
				l, m := c.draw(t)
				must(t, m.compareRead(l, ReadRequest{
					Offset:    rapid.Int64Range(0, m.end()+1).Draw(t, "offset"),
					MaxBytes:  rapid.IntRange(1, 6000).Draw(t, "max bytes"),
					MinOne:    rapid.Bool().Draw(t, "min one"),
					Committed: rapid.Bool().Draw(t, "committed"),
				}))
			},
			"power loss": func(t *rapid.T) {
				seed := rapid.Uint64().Draw(t, "seed")
				var rnd *rand.Rand
				if seed > 0 {
					rnd = rand.New(rand.NewPCG(seed, 0))
				}
				c.reopen(t, c.fsys.Crash(rnd))
			},
			"kill": func(t *rapid.T) {
				c.reopen(t, c.fsys.CrashProcess())
			},
			"kill and damage": func(t *rapid.T) {
				after := c.fsys.CrashProcess()
				c.damage(t, after)
				c.reopen(t, after)
			},
			"restart and damage": func(t *rapid.T) {
				must(t, c.set.Close())
				for _, m := range c.model {
					m.durable = m.end()
				}
				after := c.fsys.CrashProcess()
				c.damage(t, after)
				c.reopen(t, after)
			},
			"restart": func(t *rapid.T) {
				must(t, c.set.Close())
				for _, m := range c.model {
					m.durable = m.end()
				}
				c.reopen(t, c.fsys.CrashProcess())
			},
			"": func(t *rapid.T) {
				for i, m := range c.model {
					if c.dirty[i] {
						must(t, m.compare(c.logs[i]))
						c.dirty[i] = false
					}
				}
			},
		})
	})
}

// retry is the group as its producer sends it again: in one piece.
func retry(g modelGroup) Group {
	b := batch(now.UnixMilli(), 0, "again")
	return Group{
		Pieces: []record.Batch{b}, ProducerID: g.original.ProducerID, ProducerEpoch: g.original.Epoch,
		BaseSequence: g.original.FirstSequence, LastSequence: g.original.LastSequence, Span: 1,
	}
}
