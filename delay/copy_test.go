package delay

import (
	"errors"
	"math"
	"slices"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// copied is a copy of a history's journal and log, as a bucket keeps it: behind, and with other parts deleted.
type copied struct {
	journal []journalSegment
	// end is how far the journal was copied.
	end int64
	// start is from where on the copy of the log was kept, logEnd how far the log was copied.
	start, logEnd int64
}

func (c *copied) at() Copy { return Copy{c.end, c.logEnd, c.start} }

// copyLog copies more of what is committed in the log.
func (h *history) copyLog() {
	h.remember()
	to := rapid.Int64Range(h.copied.logEnd, max(h.copied.logEnd, h.synced)).Draw(h.t, "copy log to")
	for _, b := range h.whole {
		if b.EndOffset() <= to && !b.Continued() { // an atomic group is copied as a whole
			h.copied.logEnd = max(h.copied.logEnd, b.EndOffset())
		}
	}
	h.checkCopy()
}

// copyJournal copies more of what is committed in the journal, and makes sure that the copies suffice.
func (h *history) copyJournal() {
	to := rapid.Int64Range(h.copied.end, max(h.copied.end, h.journal.committed)).Draw(h.t, "copy journal to")
	for _, s := range h.journal.segments {
		for _, b := range s.batches {
			if b.BaseOffset() < h.copied.end || b.EndOffset() > to {
				continue
			}
			last := len(h.copied.journal) - 1
			if last < 0 || h.copied.journal[last].base != s.base {
				h.copied.journal = append(h.copied.journal, journalSegment{base: s.base})
				last++
			}
			h.copied.journal[last].batches = append(h.copied.journal[last].batches, b)
			h.copied.end = b.EndOffset()
		}
	}
	if rapid.Bool().Draw(h.t, "forget") {
		h.schedule.Copied(h.copied.at())
	}
	h.checkCopy()
}

// expireCopy deletes from the beginning of the copy of the log what its gate lets go.
func (h *history) expireCopy() {
	h.remember()
	gate := min(h.schedule.CopyGate(h.copied.at()), h.copied.logEnd)
	n := sort.Search(len(h.whole), func(i int) bool { return h.whole[i].EndOffset() > gate })
	n = rapid.IntRange(0, n).Draw(h.t, "expire")
	for n > 0 && h.whole[n-1].Continued() {
		n--
	}
	if n > 0 {
		h.copied.start = max(h.copied.start, h.whole[n-1].EndOffset())
	}
	h.checkCopy()
}

// dropCopy deletes from the copy of the journal what may go of a range.
func (h *history) dropCopy(r Range) {
	needs, all := h.schedule.CopyNeeds(h.copied.at())
	h.copied.journal = slices.DeleteFunc(h.copied.journal, func(s journalSegment) bool {
		e := s.extent()
		return !all && r.From <= e.From && e.To <= r.To && !slices.ContainsFunc(needs, e.overlaps)
	})
}

// checkCopy compares a schedule made from the copies alone with what a reader of the whole log says
// who knows it as far as it was copied; and once more as a later start makes it, which may not know
// what was lost.
func (h *history) checkCopy() {
	restored := *h
	restored.restore(h)
	restored.check()
	restored.lost = nil
	restored.recover()
	restored.check()
}

// restore makes h a history that goes on from the copies of another, which may be h itself. Nothing
// that was not copied ever was, but no offset is given out again.
func (h *history) restore(from *history) {
	from.remember()
	first := sort.Search(len(from.whole), func(i int) bool { return from.whole[i].EndOffset() > from.copied.start })
	last := sort.Search(len(from.whole), func(i int) bool { return from.whole[i].EndOffset() > from.copied.logEnd })
	old := *from
	gap := Range{old.copied.logEnd, old.end + 1} // the last offset is never what progress has folded in
	partition := newPartition(old.rules)
	partition.now, partition.wait = old.now, old.wait
	h.partition = partition
	h.whole, h.batches = slices.Clone(old.whole[:last]), slices.Clone(old.whole[first:max(first, last)])
	h.start, h.end = old.copied.start, gap.To
	h.lost = append(slices.Clone(old.lost), gap)
	h.journal = &memoryJournal{segments: slices.Clone(old.copied.journal), end: old.journal.end, committed: old.journal.end}
	h.copied.end, h.copied.logEnd = old.journal.end, gap.To
	h.recover()
}

// lose is the loss of all but the copies.
func (h *history) lose() {
	h.restore(h)
	h.watch()
}

func TestCopyLacksTheProgressThatWasDroppedBeforeItCameUp(t *testing.T) {
	for _, told := range []bool{false, true} {
		p := newSpilling(t)
		if err := p.keeper.Progress(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		first := Range{0, p.journal.end}
		if told {
			p.schedule.Copied(Copy{first.To, p.end, 0})
		}
		p.scheduleAll(t, record.None, time.Hour, 2*time.Hour)
		p.spill(t, 1)
		named := p.journal.end // by a progress record that nothing but the run is before
		if err := p.keeper.Tidy(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := p.journal.BatchAt(t.Context(), named-1, nil); !errors.Is(err, ErrGone) {
			t.Fatalf("the progress record at %d is still there: %v", named-1, err)
		}
		// The copy has the run now, and nothing that names it: ticket 0 is known from the log only.
		if gate := p.schedule.CopyGate(Copy{named, p.end, 0}); gate != 0 {
			t.Errorf("told %t: the copy of the log may begin at %d", told, gate)
		}
		if needs, all := p.schedule.CopyNeeds(Copy{named, p.end, 0}); !all && !slices.ContainsFunc(needs, first.overlaps) {
			t.Errorf("told %t: the only progress that the copy has may be deleted, it needs %v", told, needs)
		}
		p.schedule.Copied(Copy{named, p.end, 0})
		if gate := p.schedule.CopyGate(Copy{named, p.end, 0}); gate != 0 {
			t.Errorf("told %t: the copy of the log may begin at %d", told, gate)
		}
		if gate := p.schedule.CopyGate(Copy{p.journal.end, p.end, 0}); gate != 1 {
			t.Errorf("told %t: the copy of the log may begin at %d when progress has come up", told, gate)
		}
	}
}

func TestCopyThatIsBegunAnewLacksTheProgressThatWasDropped(t *testing.T) {
	p := newSpilling(t)
	p.schedule.Copied(NoCopy) // there is none
	p.scheduleAll(t, record.None, time.Hour, 2*time.Hour)
	p.spill(t, 1)
	named := p.journal.end
	p.schedule.Copied(NoCopy)
	p.mustSend(t, cancelOf(0))
	for range 2 {
		if err := p.keeper.Progress(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := p.keeper.Tidy(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.journal.BatchAt(t.Context(), named-1, nil); !errors.Is(err, ErrGone) {
		t.Fatalf("the progress record at %d is still there: %v", named-1, err)
	}
	if gate := p.schedule.CopyGate(Copy{named, p.end, 0}); gate != 0 {
		t.Errorf("the copy of the log may begin at %d", gate)
	}
	if gate := p.schedule.CopyGate(NoCopy); gate != 1 {
		t.Errorf("without a copy the log may begin at %d", gate)
	}
}

// TestTidyDropsAFooterThatNobodyWaitedFor together with its run: what comes up to a copy later
// names only what is there.
func TestTidyDropsAFooterThatNobodyWaitedFor(t *testing.T) {
	p := newSpilling(t)
	p.scheduleAll(t, record.None, time.Hour, 2*time.Hour)
	p.spill(t, 1)
	waits := errors.New("the wait was ended")
	var appended bool
	p.journal.before = func() error {
		// The footer is the last thing appended: after it only the wait can fail.
		if appended {
			return waits
		}
		last := p.journal.segments[len(p.journal.segments)-1]
		kind, _, err := kindOf(last.batches[len(last.batches)-1])
		appended = err == nil && kind == kindTrailer // the footer is next
		return nil
	}
	if err := p.keeper.Spill(t.Context(), p, 2, 0); !errors.Is(err, waits) {
		t.Fatalf("spill: %v", err)
	}
	p.journal.before = nil
	if err := p.keeper.Tidy(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, s := range p.journal.segments {
		copied := &memoryJournal{end: s.extent().To, committed: s.extent().To}
		for _, other := range p.journal.segments {
			if other.base <= s.base {
				copied.segments = append(copied.segments, other)
			}
		}
		if _, _, err := OpenKeeper(t.Context(), KeeperConfig{Journal: copied, FS: vfs.NewMem(), Dir: "spill", Now: p.now}, Range{0, p.end}); err != nil {
			t.Errorf("a copy that has come up to %d: %v", copied.end, err)
		}
	}
}

// TestCopyOfTheLogKeepsTheProofsThatAFooterLacks as soon as the footer may be durable: it may come
// up, whatever becomes of the wait for it.
func TestCopyOfTheLogKeepsTheProofsThatAFooterLacks(t *testing.T) {
	p := newSpilling(t)
	p.scheduleAll(t, record.None, time.Hour)
	lost := errors.New("the wait was ended")
	p.journal.before = func() error {
		if last := len(p.journal.segments) - 1; last >= 0 {
			if kind, _, err := kindOf(p.journal.segments[last].batches[0]); err == nil && kind == kindProgress {
				return lost
			}
		}
		return nil
	}
	if err := p.keeper.Spill(t.Context(), p, p.end, 0); !errors.Is(err, lost) {
		t.Fatalf("spill: %v", err)
	}
	p.journal.before = nil
	proof := p.end
	p.mustSend(t, cancelOf(0))
	if gate := p.schedule.CopyGate(Copy{0, p.end, 0}); gate > proof {
		t.Errorf("the copy of the log may begin at %d, the footer does not know of the cancel at %d", gate, proof)
	}
}

// TestCopyMayEndBehindAFooterThatNobodyWaitedFor although a later progress record names no run: the
// copy keeps what the footer names, and the proofs that it lacks.
func TestCopyMayEndBehindAFooterThatNobodyWaitedFor(t *testing.T) {
	p := newSpilling(t)
	p.scheduleAll(t, record.None, time.Hour, time.Hour)
	lost := errors.New("the wait was ended")
	p.journal.before = func() error {
		if last := len(p.journal.segments) - 1; last >= 0 {
			if kind, _, err := kindOf(p.journal.segments[last].batches[0]); err == nil && kind == kindProgress {
				return lost
			}
		}
		return nil
	}
	if err := p.keeper.Spill(t.Context(), p, p.end, 0); !errors.Is(err, lost) {
		t.Fatalf("spill: %v", err)
	}
	p.journal.before = nil
	footer := p.journal.end
	proof := p.end
	p.mustSend(t, cancelOf(0), cancelOf(1))
	if err := p.keeper.Progress(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if gate := p.schedule.CopyGate(Copy{footer, p.end, 0}); gate > proof {
		t.Errorf("the copy of the log may begin at %d, the footer does not know of the cancels at %d", gate, proof)
	}
	if needs, all := p.schedule.CopyNeeds(Copy{footer, p.end, 0}); !all && !slices.ContainsFunc(needs, Range{0, 1}.overlaps) {
		t.Errorf("the copy may lose the run that its footer names, it needs %v", needs)
	}
	if gate := p.schedule.CopyGate(Copy{p.journal.end, p.end, 0}); gate != math.MaxInt64 {
		t.Errorf("the copy of the log may begin at %d when progress has come up that names no run", gate)
	}
}
