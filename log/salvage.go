package log

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// SalvageOptions say which log is to be salvaged, and how.
type SalvageOptions struct {
	FS  vfs.FS
	Dir string // of one partition of ours, whose log is not open
	// Confirmed is the offset below which everything is confirmed in the tier, and not lost if it
	// is damaged here; 0 or less if nothing is, or there is no tier.
	Confirmed int64
	// Undecided is what becomes of transactions of which it cannot be found out whether and how they ended.
	Undecided Outcome
}

// Outcome is how a transaction ends.
type Outcome int8

const (
	Unsaid Outcome = iota // nobody has said
	Abort
	Commit
	Leave // it stays open
)

// Loss is offsets of which nothing can be read any more. Where a log was compacted some of them
// held nothing before.
type Loss struct {
	From, To int64
	// File and Pos are where the damage is, EndPos is where it ends: 0 if the file ends there or is missing.
	File        string
	Pos, EndPos int64
	Err         error // what is wrong
	// Delayed says that the bytes may have held delayed records, or what tells that one was
	// delivered or cancelled.
	Delayed bool
}

// OpenTransaction is a transaction whose end may be among what was lost.
type OpenTransaction struct {
	ProducerID int64
	Epoch      int16
	First      int64 // its first offset
	Lost       Loss
}

// Salvage is what there is to be done for a log some of whose acknowledged bytes cannot be read any
// more, so that it can be opened: an offline replacement for what recovery refuses. The lost
// offsets stay used, and hold nothing; records behind them keep theirs.
//
//	preserve  every file that is replaced gets a second name, elsewhere
//	facts     the holes that will be left, the local start, and another lineage, so that the commit journal has nothing for this log any more
//	rewrite   each damaged segment is written anew without what is damaged, and takes the place of the old one, as after compaction
//
// A crash between any two steps leaves a log that is damaged as before, or less, and salvage is
// begun again. What recovery cuts by itself, since it was never acknowledged, is left to it.
//
// The truth about transactions is in the log alone, so a lost marker is written again if caches
// tell what it said (salvage_transactions.go).
type Salvage struct {
	// Lost is what is given up, Remote what is damaged here and confirmed in the tier. Both are
	// empty if there is nothing to do.
	Lost, Remote []Loss
	// Transactions cannot be decided: SalvageOptions.Undecided must say how they end.
	Transactions []OpenTransaction
	// End is the log end afterwards.
	End int64
	// Forgotten says that what is known of producers below the new local start is lost as well.
	Forgotten bool

	o       SalvageOptions
	stored  factsFile
	facts   facts // as they will be
	start   int64 // local start as it was
	durable int64 // everything below was
	parts   []*part
	before  []byte // the producers at the local start, encoded; nil if they are not known
}

// spareOffsets are left free behind a log that has lost its end: offsets above the last one known
// to be durable may have been given out.
const spareOffsets = 1 << 20

// preservedPrefix begins the names of damaged files that are kept, so that they are not taken for
// those of a log.
const preservedPrefix = "damaged-"

// ErrUndecided refuses to salvage a log before somebody has said how transactions ended.
var ErrUndecided = errors.New("it is not known how transactions ended")

// errSwap asks for what a start would do first.
var errSwap = errors.New("a crash has left the replacement of a segment half done: the next start of the broker finishes it, and so does a salvage that may change something")

// PlanSalvage reads a log whole and finds out what there is to be done. It changes nothing. A
// *CorruptError means that it cannot be salvaged.
func PlanSalvage(o SalvageOptions) (*Salvage, error) {
	s := &Salvage{o: o, stored: factsFile{fsys: o.FS, dir: o.Dir}}
	var err error
	if s.facts, err = s.stored.load(); err != nil {
		return nil, err
	}
	s.start = s.facts.localStart
	s.durable = max(s.facts.synced, s.facts.highWatermark)
	bases, err := s.list()
	if err != nil {
		return nil, err
	}
	w, err := s.decided(bases)
	if err != nil {
		return nil, err
	}
	if remote := s.confirmed(w); remote > s.start {
		for _, g := range w.gaps {
			if g.loss.To <= remote {
				s.Remote = append(s.Remote, g.loss)
			}
		}
		s.facts.localStart, s.facts.deleteBound = remote, max(s.facts.deleteBound, remote)
		s.facts.visibleBelow = max(s.facts.visibleBelow, w.visibleBelow(remote))
		bases = slices.DeleteFunc(bases, func(base int64) bool { return base < remote })
		if w, err = s.decided(bases); err != nil {
			return nil, err
		}
	}
	s.adopt(w)
	return s, nil
}

// list returns the bases of the segments, as recovery will see them.
func (s *Salvage) list() ([]int64, error) {
	names, err := s.o.FS.List(s.o.Dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, name := range names {
		base, suffix, ok := segment.ParseName(name)
		switch {
		case ok && suffix == segment.LogSuffix:
			bases = append(bases, base)
		case ok && segment.IsSwap(name):
			return nil, fmt.Errorf("%s: %w", s.path(name), errSwap)
		}
	}
	for len(bases) > 1 && bases[1] <= s.facts.localStart {
		bases = bases[1:]
	}
	return bases, nil
}

func (s *Salvage) path(name string) string { return vfs.Join(s.o.Dir, name) }

// confirmed is the end of what is damaged and confirmed in the tier, where a segment begins.
func (s *Salvage) confirmed(w *salvageWalk) (end int64) {
	for _, g := range w.gaps {
		i := slices.IndexFunc(w.parts, func(p *part) bool { return p.base >= g.loss.To })
		if i >= 0 && w.parts[i].base <= s.o.Confirmed {
			end = max(end, w.parts[i].base)
		}
	}
	return end
}

// adopt takes over what a walk has found.
func (s *Salvage) adopt(w *salvageWalk) {
	s.parts, s.End = w.parts, w.end
	s.before, s.Forgotten = w.before, w.before == nil && s.facts.localStart > s.start
	for _, g := range w.gaps {
		s.Lost = append(s.Lost, g.loss)
		if h := (hole{g.loss.From, max(g.loss.To, g.hole)}); h.start < h.end {
			s.facts.holes = append(s.facts.holes, h)
		}
	}
	for _, c := range w.open {
		if c.verdict == undecided {
			s.Transactions = append(s.Transactions, OpenTransaction{ProducerID: c.id, Epoch: c.epoch, First: c.first, Lost: c.gap.loss})
		}
	}
}

// Needed reports whether there is anything to do.
func (s *Salvage) Needed() bool { return len(s.Lost) > 0 || len(s.Remote) > 0 }

// CarryOut does it. The files of damaged segments are linked into the directory aside, which is on
// the same file system, before.
func (s *Salvage) CarryOut(aside string) error {
	if len(s.Transactions) > 0 {
		return ErrUndecided
	}
	if !s.Needed() {
		return nil
	}
	if err := s.preserve(aside); err != nil {
		return fmt.Errorf("preserve damaged files: %w", err)
	}
	if err := s.keepProducers(); err != nil {
		return err
	}
	s.facts.lineage++
	if err := s.stored.store(s.facts, true); err != nil {
		return err
	}
	for _, p := range s.parts {
		if p.rewritten {
			if err := s.rewrite(p); err != nil {
				return fmt.Errorf("rewrite %s: %w", s.path(segment.FileName(p.base, segment.LogSuffix)), err)
			}
		}
	}
	return nil
}

// preserve gives the files of damaged segments a second name, durably.
func (s *Salvage) preserve(aside string) error {
	names, err := s.o.FS.List(s.o.Dir)
	if err != nil {
		return err
	}
	if err := s.o.FS.MkdirAll(aside); err != nil {
		return err
	}
	for _, name := range names {
		base, suffix, ok := segment.ParseName(name)
		if !ok || suffix == snapshotSuffix || !s.replaces(base) {
			continue
		}
		if err := s.o.FS.Link(s.path(name), vfs.Join(aside, preservedPrefix+name)); err != nil {
			return err
		}
	}
	return s.o.FS.SyncDir(aside)
}

// replaces reports whether a segment will not be what it was. Those that are confirmed and whole
// are only removed, at the next start.
func (s *Salvage) replaces(base int64) bool {
	if slices.ContainsFunc(s.parts, func(p *part) bool { return p.base == base && p.rewritten }) {
		return true
	}
	file := s.path(segment.FileName(base, segment.LogSuffix))
	return slices.ContainsFunc(s.Remote, func(l Loss) bool { return l.File == file })
}

// keepProducers makes the snapshot durable with which the log will begin.
func (s *Salvage) keepProducers() error {
	if s.facts.localStart == s.start || s.before == nil {
		return nil
	}
	return vfs.WriteFile(s.o.FS, s.path(segment.FileName(s.facts.localStart, snapshotSuffix)), s.before)
}

// options are those of segments that are read and written here, one at a time.
func (s *Salvage) options() segment.Options {
	return segment.Options{FS: s.o.FS, Handles: segment.NewHandles(s.o.FS, 4), Dir: s.o.Dir, IndexIntervalBytes: int(DefaultConfig().IndexIntervalBytes)}
}

// rewrite puts a new segment in the place of one, or where there is none.
func (s *Salvage) rewrite(p *part) error {
	o := s.options()
	d, err := segment.CreateDraft(o, p.base, segment.None)
	if err != nil {
		return err
	}
	if err = s.scanPart(p, d.Append); err == nil {
		err = d.Finish(segment.None)
	}
	if err != nil {
		return errors.Join(err, d.Discard())
	}
	if err := d.Commit(p.replaced()); err != nil {
		if w, ok := errors.AsType[*segment.WriteError](err); ok && w.Undone {
			err = errors.Join(err, d.Discard())
		}
		return err
	}
	d.Segment().Close()
	return errors.Join(segment.FinishSwaps(o), o.Handles.Close())
}

// sortGaps puts what was lost in order.
func sortGaps(gaps []*gap) {
	slices.SortFunc(gaps, func(a, b *gap) int {
		return cmp.Or(cmp.Compare(a.loss.From, b.loss.From), strings.Compare(a.loss.File, b.loss.File))
	})
}
