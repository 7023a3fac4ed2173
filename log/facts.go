package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// facts are what a log cannot find out by reading its segments.
type facts struct {
	lineage       uint64 // changes whenever bytes are taken back; see journal.go
	start         int64  // real log start
	reportedStart int64
	localStart    int64
	highWatermark int64 // a lower bound
	synced        int64 // everything below is durable; a lower bound
	deleteBound   int64 // everything below is confirmed in the tier; -1: nothing is
	visibleBelow  int64 // end of the last visible batch below the local start; 0 if there is none
	epochs        []segment.Epoch
	holes         []hole // between segments; there may be fewer by now
}

// A facts file is one slot. Numbers are big-endian.
//
//	 0  magic           "MFA3"
//	 4  crc             uint32  CRC-32C of everything after it, up to the last hole
//	 8  sequence        uint64  the slot with the larger one is newer
//	16  lineage         uint64
//	24  start           int64
//	32  reported start  int64
//	40  local start     int64
//	48  high watermark  int64
//	56  synced end      int64
//	64  delete bound    int64
//	72  visible below   int64
//	80  epochs          uint32
//	84  holes           uint32
//	88  epochs: epoch int32, start offset int64
//	    holes:  start int64, end int64
const (
	factsMagic = "MFA3"
	factsHead  = 88
	epochLen   = 12
	holeLen    = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFacts = errors.New("facts are damaged")

func (f facts) encode(sequence uint64) []byte {
	be := binary.BigEndian
	b := make([]byte, 8, factsHead+len(f.epochs)*epochLen+len(f.holes)*holeLen)
	copy(b, factsMagic)
	b = be.AppendUint64(b, sequence)
	b = be.AppendUint64(b, f.lineage)
	for _, v := range []int64{f.start, f.reportedStart, f.localStart, f.highWatermark, f.synced, f.deleteBound, f.visibleBelow} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(b, uint32(len(f.epochs)))
	b = be.AppendUint32(b, uint32(len(f.holes)))
	for _, e := range f.epochs {
		b = be.AppendUint32(b, uint32(e.Epoch))
		b = be.AppendUint64(b, uint64(e.Start))
	}
	for _, h := range f.holes {
		b = be.AppendUint64(b, uint64(h.start))
		b = be.AppendUint64(b, uint64(h.end))
	}
	be.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// decodeFacts reads a slot. Bytes after the last hole are left over from a longer one.
func decodeFacts(b []byte) (f facts, sequence uint64, err error) {
	be := binary.BigEndian
	if len(b) < factsHead || string(b[:4]) != factsMagic {
		return f, 0, errFacts
	}
	epochs, holes := int64(be.Uint32(b[factsHead-8:])), int64(be.Uint32(b[factsHead-4:]))
	size := factsHead + epochs*epochLen + holes*holeLen
	if int64(len(b)) < size {
		return f, 0, errFacts
	}
	b = b[:size]
	if be.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return f, 0, errFacts
	}
	at := func(pos int) int64 { return int64(be.Uint64(b[pos:])) }
	f = facts{
		lineage: be.Uint64(b[16:]), start: at(24), reportedStart: at(32), localStart: at(40),
		highWatermark: at(48), synced: at(56), deleteBound: at(64), visibleBelow: at(72),
	}
	rest := b[factsHead:]
	for ; epochs > 0; epochs, rest = epochs-1, rest[epochLen:] {
		f.epochs = append(f.epochs, segment.Epoch{Epoch: int32(be.Uint32(rest)), Start: int64(be.Uint64(rest[4:]))})
	}
	for ; len(rest) > 0; rest = rest[holeLen:] {
		f.holes = append(f.holes, hole{start: int64(be.Uint64(rest)), end: int64(be.Uint64(rest[8:]))})
	}
	return f, be.Uint64(b[8:]), nil
}

// isForeign reports whether b is a slot of another version.
func isForeign(b []byte) bool {
	n := len(factsMagic) - 1
	return len(b) > n && string(b[:n]) == factsMagic[:n] && b[n] != factsMagic[n]
}

// factsFile keeps the facts of a log twice. One slot is durable and not written; the other takes what is newer,
// and becomes the durable one when it is synced. So a torn write costs only what was never synced.
// Not safe for concurrent use.
type factsFile struct {
	fsys     vfs.FS
	dir      string
	sequence uint64
	newest   int  // slot with the newest facts
	durable  int  // slot known to be durable, -1 until the first store after load
	agree    bool // when they were loaded, the older slot could have stood for the newer one
}

var slotNames = [2]string{"facts-0", "facts-1"}

func (w *factsFile) name(slot int) string { return vfs.Join(w.dir, slotNames[slot]) }

// load reads the newer of the slots that are whole.
func (w *factsFile) load() (facts, error) {
	w.durable = -1
	var found []facts // the newest last
	var foreign error
	for slot := range slotNames {
		b, err := vfs.ReadFile(w.fsys, w.name(slot))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return facts{}, err
		}
		f, sequence, err := decodeFacts(b)
		switch {
		case err != nil && isForeign(b):
			foreign = fmt.Errorf("%s has format %q, this Morrow reads %q", w.name(slot), b[:len(factsMagic)], factsMagic)
		case err != nil:
		case len(found) == 0 || sequence > w.sequence:
			found = append(found, f)
			w.sequence, w.newest = sequence, slot
		default:
			found = append([]facts{f}, found...)
		}
	}
	n := len(found)
	if n == 0 && foreign != nil {
		return facts{}, foreign
	}
	if n == 0 {
		return facts{}, &CorruptError{File: w.name(0), Err: fmt.Errorf("%w, and so are those in %s", errFacts, slotNames[1])}
	}
	w.agree = n == 2 && found[0].standsFor(found[1])
	return found[n-1], nil
}

// standsFor reports whether f would do in place of the newer g: it may only know less of what is
// durable and committed.
func (f facts) standsFor(g facts) bool {
	return f.lineage == g.lineage && f.start == g.start && f.reportedStart == g.reportedStart && f.localStart == g.localStart &&
		f.highWatermark <= g.highWatermark && f.synced <= g.synced && f.deleteBound == g.deleteBound && f.visibleBelow == g.visibleBelow &&
		slices.Equal(f.epochs, g.epochs) && slices.Equal(f.holes, g.holes)
}

// create makes both slots, the first with f in it. Their names are durable once the directory is synced.
func (w *factsFile) create(f facts) error {
	for slot := range slotNames {
		file, err := w.fsys.Create(w.name(slot))
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	w.durable = 1
	return w.store(f, true)
}

// store writes the facts. If durable is set, they survive a power loss when it returns; they are in
// both slots then, so that one that goes bad later costs nothing.
func (w *factsFile) store(f facts, durable bool) error {
	if w.durable < 0 {
		if err := w.sync(w.newest); err != nil {
			return err
		}
		w.durable = w.newest
	}
	if err := w.write(1-w.durable, f, durable); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	w.durable = 1 - w.durable
	if err := w.write(1-w.durable, f, false); !vfs.IsFull(err) {
		return err
	}
	return nil // once will do
}

func (w *factsFile) write(slot int, f facts, durable bool) error {
	file, err := w.open(slot)
	if err != nil {
		return err
	}
	w.sequence++
	_, err = file.WriteAt(f.encode(w.sequence), 0)
	if err == nil && durable {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", w.name(slot), err)
	}
	w.newest = slot
	return nil
}

// open opens a slot, making it again if it was lost.
func (w *factsFile) open(slot int) (vfs.File, error) {
	file, err := w.fsys.Open(w.name(slot))
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if file, err = w.fsys.Create(w.name(slot)); err != nil {
		return nil, err
	}
	if err := w.fsys.SyncDir(w.dir); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (w *factsFile) sync(slot int) error {
	file, err := w.fsys.Open(w.name(slot))
	if err != nil {
		return err
	}
	if err = errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", w.name(slot), err)
	}
	return nil
}

// storeFacts writes the facts as they are now. If durable is not set, that is for a restart of the
// process only. A full disk is ErrNoSpace, and the facts on disk are the old ones; any other
// failure takes the log offline.
func (l *Log) storeFacts(durable bool) error {
	l.factsMu.Lock()
	defer l.factsMu.Unlock()
	_, err := l.storeChanged(durable, func(*facts) {})
	return err
}

// moveFacts makes the facts durable as change makes them of what they are, and then takes the
// segments that are gone out of the log: with an error nothing has moved. For those who hold cutMu:
// appends go on, so change may only move starts, the bounds and the holes, and the first of them
// only up.
func (l *Log) moveFacts(change func(f *facts), gone []*segment.Segment) error {
	l.factsMu.Lock()
	defer l.factsMu.Unlock()
	f, err := l.storeChanged(true, func(f *facts) {
		change(f)
		f.epochs = epochsFrom(f.epochs, f.start)
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.localStart, l.deleteBound, l.visibleBelow = f.localStart, f.deleteBound, f.visibleBelow
	l.start, l.reportedStart = f.start, f.reportedStart
	l.epochs = epochsFrom(l.epochs, l.start)
	if len(gone) > 0 {
		l.segments = slices.DeleteFunc(slices.Clone(l.segments), func(s *segment.Segment) bool { return slices.Contains(gone, s) })
		l.removals++
	}
	return nil
}

// storeChanged writes the facts as change makes them, under factsMu, and returns them.
func (l *Log) storeChanged(durable bool, change func(f *facts)) (facts, error) {
	if err := l.Failure(); err != nil {
		return facts{}, err
	}
	l.mu.Lock()
	f := l.factsLocked()
	l.factsDirty = false
	l.mu.Unlock()
	change(&f)
	if err := l.stored.store(f, durable); err != nil {
		if !vfs.IsFull(err) {
			return f, l.fail(err)
		}
		l.mu.Lock()
		l.factsDirty = true
		l.mu.Unlock()
		if durable {
			return f, l.set.noSpace(err)
		}
		return f, nil // another time
	}
	if durable {
		l.mu.Lock()
		l.recovery.synced = max(l.recovery.synced, f.synced)
		l.mu.Unlock()
	}
	return f, nil
}

// passed notes where the visible batches of segments end that are about to go.
func (f *facts) passed(gone []*segment.Segment) {
	for _, s := range gone {
		f.visibleBelow = max(f.visibleBelow, s.Info().LastVisible)
	}
}

// factsLocked are the facts as they are now. What is not durable yet is left out.
func (l *Log) factsLocked() facts {
	return facts{
		lineage: l.lineage, start: l.start, reportedStart: l.reportedStart, localStart: l.localStart,
		highWatermark: min(l.hw, l.durableEnd), synced: l.durableEnd, deleteBound: l.deleteBound,
		visibleBelow: l.visibleBelow, epochs: l.epochs, holes: l.holesLocked(),
	}
}
