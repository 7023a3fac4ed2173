package log

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
)

var update = flag.Bool("update", false, "write golden files")

// TestOrderOfOperations pins what is written, synced, renamed and removed, in which order.
func TestOrderOfOperations(t *testing.T) {
	tr := vfs.NewTrace(vfs.NewMem(), "data")
	var got strings.Builder
	step := func(name string, err error) {
		t.Helper()
		check(t, err)
		got.WriteString("# " + name + "\n" + strings.ReplaceAll(tr.Take(), testID.String(), "log") + "\n")
	}
	var s *Set
	var l *Log
	open := func() {
		s = openSet(t, tr, "data", func(c *SetConfig) { c.JournalMaxBytes, c.JournalSegmentBytes = 2*minJournalFile, minJournalFile })
	}
	small := func(c *Config) { c.SegmentBytes, c.RetentionMs = 300, -1 }
	appendOne := func() error {
		_, err := l.Append(1, now, plain(batch(now.UnixMilli(), 0, "a")))
		return err
	}

	open()
	step("open an empty directory", nil)
	l = openLog(t, s, small)
	step("create a log", nil)
	step("prepare the journal", s.commits.journal.prepare())
	step("append, the first in a leader epoch", appendOne())
	s.Sync()
	step("commit, in the journal", nil)
	_, err := l.Append(1, now, Group{Pieces: plain(batch(now.UnixMilli(), 0, strings.Repeat("x", smallAppend))).Pieces, ProducerID: -1, Span: 1, Reserved: true})
	step("append more than is staged, which rolls", err)
	s.Sync()
	step("commit, in the segments", nil)
	s.Keep(now)
	step("keep: facts first, then the caches they vouch for", nil)
	_, err = l.DeleteRecords(1)
	step("delete records", err)
	check(t, appendOne())
	s.Sync()
	tr.Take()
	_, err = l.Retain(now, Floor{Gate: forever})
	step("retain: facts first, then the files", err)
	check(t, appendOne())
	tr.Take()
	step("truncate: lineage, facts, summary, then the bytes", l.TruncateTo(2))
	check(t, appendOne())
	s.Sync()
	tr.Take()
	step("close", s.Close())
	open()
	step("open after a close", nil)
	l = openLog(t, s, small)
	step("open the log after a close", nil)
	check(t, s.commits.journal.prepare())
	check(t, appendOne())
	s.Sync()
	tr.Take()
	open()
	step("open after a crash: the journal goes into the segments", nil)
	l = openLog(t, s, small)
	step("open the log after a crash", nil)
	step("remove the log", s.Remove(testID))

	compareGolden(t, "order.golden", got.String())
}

// TestOrderOfOperationsOfCompaction pins the order in which segments are replaced.
func TestOrderOfOperationsOfCompaction(t *testing.T) {
	tr := vfs.NewTrace(vfs.NewMem(), "data")
	s := openSet(t, tr, "data")
	l := compactable(t, s, func(c *Config) { c.SegmentBytes = 200 })
	for _, r := range []string{"a=1", "b=1", "b=2", "c=1", "d=1"} {
		fill(t, s, l, keyed(0, r))
		check(t, l.Roll())
	}
	s.Keep(now)
	tr.Take()
	clean(t, l, 0, forever)
	compareGolden(t, "compaction.golden", strings.ReplaceAll(tr.Take(), testID.String(), "log"))
	check(t, s.Close())
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	golden := filepath.Join("testdata", name)
	if *update {
		check(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if got != string(want) {
		t.Errorf("order of operations has changed (-update accepts it):\n%s", diff(string(want), got))
	}
}

// diff shows the lines around the first that differ.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < min(len(w), len(g)) && w[i] == g[i] {
		i++
	}
	around := func(lines []string) string {
		return strings.Join(lines[min(len(lines), max(0, i-5)):min(len(lines), i+5)], "\n")
	}
	return "--- want\n" + around(w) + "\n--- got\n" + around(g)
}
