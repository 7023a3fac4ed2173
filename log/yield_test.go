package log

import (
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
)

// On a disk without a free byte retention removes what has expired all the same, and what producers
// are known by survives: the commit journal gives space up, and takes it again when it is there.
func TestRetentionOnAFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	prepare(t, s)
	l := openLog(t, s, func(c *Config) { c.RetentionBytes = 0 })
	_, err := l.Append(1, now, plain(idempotent(7, 1, 0)))
	check(t, err)
	check(t, l.Roll())
	s.Sync()
	u, err := mem.Usage("data")
	check(t, err)
	mem.SetCapacity(u.Total - u.Free)
	removed, err := l.Retain(now, Floor{Gate: forever})
	check(t, err)
	equal(t, removed, 1)

	mem = mem.Crash(nil)
	mem.SetCapacity(0)
	s = openSet(t, mem, "data", journaled)
	defer s.Close()
	l = openLog(t, s)
	a, err := l.Append(1, now, plain(idempotent(7, 1, 0)))
	check(t, err)
	if !a.Duplicate {
		t.Error("a retry was stored twice")
	}
	prepare(t, s)
	if n := s.commits.journal.countLocked(unprepared); n != 0 {
		t.Errorf("%d files of the journal are not there again", n)
	}
	for range 3 * framesPerFile {
		appendValue(t, l, "x")
		s.Sync()
		trimFull(&s.commits)
	}
}
