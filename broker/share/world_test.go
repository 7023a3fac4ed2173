package share

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/coord/coordtest"
)

var errFull = errors.New("disk full")

// world drives one machine by hand: no goroutine, no clock but its own.
type world struct {
	cfg     Config
	journal *coordtest.Journal
	trimmed int // records of the journal that were trimmed
	machine *machine
	now     time.Time
	woken   map[Key]bool
}

var testKey = Key{Group: "g", Topic: [16]byte{15: 1}, Partition: 0}

func newWorld() *world {
	w := &world{
		cfg:     Config{LockDuration: 30 * time.Second, DeliveryLimit: 3, MaxLocks: 20},
		journal: &coordtest.Journal{},
		now:     time.UnixMilli(1_700_000_000_000).UTC(),
		woken:   map[Key]bool{},
	}
	w.machine = w.newMachine()
	return w
}

func (w *world) newMachine() *machine {
	return newMachine(func(string) Config { return w.cfg }, slog.New(slog.DiscardHandler), func(k Key) { w.woken[k] = true }, func() {}, func() {})
}

// do runs one command, as a shard would.
func (w *world) do(command func(*machine, *coord.Tx)) {
	coordtest.Do(w.machine, w.journal, w.now, command)
}

// pass lets time pass and runs what is due, when it is due.
func (w *world) pass(d time.Duration) { w.now = coordtest.Pass(w.machine, w.journal, w.now, d) }

// reload forgets everything but the journal, of which n records at the end were lost.
func (w *world) reload(lost int) error {
	w.journal.Records = w.journal.Records[:len(w.journal.Records)-lost]
	w.machine = w.newMachine()
	for _, r := range w.journal.Records[w.trimmed:] {
		if err := w.machine.Replay(r); err != nil {
			return err
		}
	}
	w.do(func(m *machine, tx *coord.Tx) { m.Loaded(tx) })
	return nil
}

// dump prints the share-partitions.
func (s *machine) dump(now time.Time) string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(s.parts), Key.compare) {
		p := s.parts[k]
		fmt.Fprintf(&b, "%s/%d [%d, %d)\n", k.Group, k.Partition, p.start, p.end)
		for _, x := range p.list {
			fmt.Fprintf(&b, "  %d-%d %v", x.first, x.end-1, x.state)
			if x.count > 0 {
				fmt.Fprintf(&b, " count=%d", x.count)
			}
			if x.member != "" {
				fmt.Fprintf(&b, " by=%s", x.member)
			}
			if x.at > 0 {
				fmt.Fprintf(&b, " for=%v", time.UnixMilli(x.at).Sub(now))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// check holds the invariants of runs against a share-partition.
func (r *runs) check() error {
	at, count := r.start, [states]int64{}
	for i, x := range r.list {
		switch {
		case x.first != at || x.end <= x.first:
			return fmt.Errorf("run %d is [%d, %d) and should begin at %d", i, x.first, x.end, at)
		case i == 0 && x.state == done:
			return errors.New("the first run is done")
		case i > 0 && x.fate == r.list[i-1].fate:
			return fmt.Errorf("runs %d and %d are of the same fate", i-1, i)
		}
		count[x.state] += x.end - x.first
		at = x.end
	}
	switch {
	case at != r.end:
		return fmt.Errorf("the runs end at %d, not %d", at, r.end)
	case count != r.count:
		return fmt.Errorf("%v are counted as %v", count, r.count)
	}
	return nil
}

// letters is a Letters that remembers.
type letters struct {
	mu   sync.Mutex
	err  error
	dead map[int64]Dead
}

// refuse makes writes fail, or with nil succeed.
func (l *letters) refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// written returns what was written, by offset.
func (l *letters) written() map[int64]Dead {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.dead)
}

func (l *letters) Bury(_ context.Context, _ Key, _ string, dead []Dead) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	for _, d := range dead {
		l.dead[d.Offset] = d
	}
	return nil
}
