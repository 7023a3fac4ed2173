package log

import (
	"fmt"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// keyed builds a batch of records "k=v"; "k" alone is a tombstone.
func keyed(a record.Attributes, records ...string) record.Batch {
	var w record.Builder
	w.Reset(a, now.UnixMilli())
	for i, r := range records {
		var value []byte
		if len(r) > 1 {
			value = []byte(r[2:])
		}
		w.Add(int32(i), now.UnixMilli(), []byte(r[:1]), value)
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

// compactable opens a log that is compacted, in which nearly every batch has a segment of its own.
func compactable(t *testing.T, s *Set, edit ...func(*Config)) *Log {
	return openLog(t, s, append([]func(*Config){func(c *Config) {
		c.Compact, c.Delete, c.SegmentBytes = true, false, 100
	}}, edit...)...)
}

// scanned lists every record of a log, hidden ones marked.
func scanned(t *testing.T, l *Log) (all []string) {
	t.Helper()
	check(t, l.Scan(l.Offsets().LocalStart, forever, func(b record.Batch) error {
		rs, err := b.Decode()
		if b.Count() == 0 {
			all = append(all, fmt.Sprintf("[%d, %d) empty", b.BaseOffset(), b.EndOffset()))
		}
		for _, r := range rs {
			s := fmt.Sprintf("%d:%s", r.Offset, r.Key)
			if r.Value != nil {
				s += "=" + string(r.Value)
			}
			if b.Hidden() {
				s += " hidden"
			}
			all = append(all, s)
		}
		return err
	}))
	return all
}

func TestCompactKeepsTheLastRecordOfEveryKey(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := compactable(t, s)
	for _, b := range []record.Batch{keyed(0, "a=1", "b=1"), keyed(0, "a=2", "c=1"), keyed(0, "b"), keyed(0, "a=3"), keyed(0, "d=1")} {
		_, err := l.Append(1, now, plain(b))
		check(t, err)
	}
	s.Sync()
	done, err := l.Compact(t.Context(), now, Compaction{Gate: forever, MapBytes: 1 << 20})
	check(t, err)
	equal(t, done.To, int64(6))
	want := []string{"3:c=1", "4:b", "5:a=3", "6:d=1"}
	equal(t, scanned(t, l), want)
	equal(t, values(t, l, ReadRequest{MaxBytes: 1 << 20}), []string{"3:1", "4:", "5:3", "6:1"})
	check(t, s.Close())

	s = openSet(t, fsys, "data")
	l = compactable(t, s)
	equal(t, scanned(t, l), want)
	equal(t, l.CleanedAt(), now)
	equal(t, l.CompactionPlan(now).Ratio(), 0.0)

	// The tombstone may go a day later, once something is cleaned.
	_, err = l.Append(1, now, plain(keyed(0, "d=2")))
	check(t, err)
	s.Sync()
	_, err = l.Compact(t.Context(), now.Add(25*time.Hour), Compaction{Gate: forever, MapBytes: 1 << 20})
	check(t, err)
	equal(t, scanned(t, l), []string{"3:c=1", "5:a=3", "6:d=1", "7:d=2"})
	check(t, s.Close())
}
