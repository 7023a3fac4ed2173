package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// The commit journal makes small appends of many logs durable with one write and one sync, where
// syncing each segment would take as many syncs as there are logs. It is redo only: a frame holds
// the bytes of appends and where they lie (frame.go), and after a crash they are written to the
// segments before anything reads those (replay.go).
//
// It is a few files of fixed size, written with zeros beforehand so that a frame changes no
// metadata, and used in turn. A file is used again when the segments it has entries of have been
// synced themselves, which happens in the background. Nothing is ever read from it but at the
// start.
//
// Invariant: a file is written to again only when a durable frame in another file says that what it
// holds is void. So if the first frame of a file cannot be read, the frames behind it tell whether
// it was torn by a crash, and they are void, or has gone bad, and they are not. The last block of
// each file is kept for a frame that says so, in case all files are full before one can be freed.
const (
	defaultJournalFile = 64 << 20
	defaultJournal     = 256 << 20
	minJournalFile     = 4 * frameAlign
)

// journal is the writing side. Frames are written by one goroutine at a time, files are prepared
// and trimmed by others.
type journal struct {
	fsys      vfs.FS
	dir       string
	fileBytes int64
	metrics   *metrics

	mu         sync.Mutex     // guards what follows, but not over I/O
	files      []*journalFile // in the order they were used in
	last       *journalFile   // has the latest frame; nil before the first
	generation uint64         // the last one used
	failed     bool           // nothing is written any more
	wanted     bool           // a file should be prepared
	changed    sync.Cond      // one of the above, or a file's state
	closed     chan struct{}
}

// journalFile is one file. Its position, sequence and salt are the writer's; the rest is guarded by journal.mu.
type journalFile struct {
	name       string
	f          vfs.File
	size       int64
	pos        int64
	sequence   uint64 // of the next frame
	salt       uint64
	generation uint64
	state      fileState
	logs       map[*Log]staged // what it has of which log
}

type fileState int8

const (
	unprepared fileState = iota // not written with zeros yet
	free
	writing
	full     // waits to be trimmed
	pinned   // holds entries of a log that is offline: needed by the next start
	trimmed  // not needed, but no frame of a later generation says so yet
	yielding // gives its space to others
)

// staged is how far a log is covered by a frame.
type staged struct {
	log     *Log
	end     int64
	lineage uint64
}

// errJournalBusy says that no file has room at the moment: the segments have to be synced themselves.
var errJournalBusy = errors.New("no journal file is free")

// write makes a frame durable. Of the errors, errJournalBusy and a full disk leave everything as it
// was; after any other the journal must not be used any more (see fail).
func (j *journal) write(s *stage) error {
	f, floor, err := j.room(padded(len(s.buf)))
	if errors.Is(err, errJournalBusy) {
		if err := j.announce(); err != nil {
			return err
		}
		f, floor, err = j.room(padded(len(s.buf)))
	}
	if err != nil {
		return err
	}
	return j.put(f, s, floor)
}

// announce says what is not needed any more in the block that the last file has left for that, if a
// file becomes free by it.
func (j *journal) announce() error {
	j.mu.Lock()
	f, floor := j.last, j.floorLocked()
	frees := !j.failed && f != nil && f.state != writing && f.pos < f.size && slices.ContainsFunc(j.files, func(o *journalFile) bool { return o.releasedBy(f, floor) })
	j.mu.Unlock()
	if !frees {
		return nil
	}
	return j.put(f, newStage(), floor)
}

// put makes a frame durable behind those that a file holds. Generations below floor are void then.
func (j *journal) put(f *journalFile, s *stage, floor uint64) error {
	s.seal(f, floor)
	if _, err := f.f.WriteAt(s.buf, f.pos); err != nil {
		if vfs.IsFull(err) {
			return errors.Join(errJournalBusy, err)
		}
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	started := time.Now()
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.name, err)
	}
	j.metrics.journalSync.Observe(time.Since(started).Seconds())
	j.metrics.journalBytes.Add(float64(len(s.buf)))
	f.pos += int64(len(s.buf))
	f.sequence++
	j.mu.Lock()
	defer j.mu.Unlock()
	f.size = max(f.size, f.pos)
	for _, e := range s.logs {
		if !e.log.gone.Load() {
			f.logs[e.log] = e
		}
	}
	for _, o := range j.files {
		if o.releasedBy(f, floor) {
			if o.state = free; o.size != j.fileBytes {
				o.state = unprepared
			}
		}
	}
	return nil
}

// releasedBy reports whether a file may be used again once a frame in another one is durable.
func (f *journalFile) releasedBy(other *journalFile, floor uint64) bool {
	return f.state == trimmed && f.generation < min(floor, other.generation)
}

// forget drops what there is of a log that is gone: a file may be in use for long after a topic was deleted.
func (j *journal) forget(l *Log) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range j.files {
		delete(f.logs, l)
	}
}

// room returns a file that has bytes left, and the oldest generation that is still needed.
func (j *journal) room(bytes int64) (f *journalFile, floor uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	usable := j.fileBytes - frameAlign // the last block is for announce
	if j.failed || bytes > usable {
		return nil, 0, errJournalBusy
	}
	if f = j.last; f != nil && f.state == writing && f.pos+bytes > usable {
		f.state = full
		j.changed.Broadcast()
	}
	if f == nil || f.state != writing {
		if f = j.nextLocked(); f == nil {
			return nil, 0, errJournalBusy
		}
		j.last = f
	}
	return f, j.floorLocked(), nil
}

// nextLocked begins a generation in a file that is free; nil if there is none.
func (j *journal) nextLocked() *journalFile {
	if j.countLocked(free)+j.countLocked(trimmed) < 2 && j.countLocked(unprepared) > 0 {
		j.wanted = true
		j.changed.Broadcast()
	}
	i := slices.IndexFunc(j.files, func(f *journalFile) bool { return f.state == free })
	if i < 0 {
		return nil
	}
	f := j.files[i]
	j.files = append(slices.Delete(j.files, i, i+1), f)
	j.generation++
	f.state, f.pos, f.sequence, f.generation, f.salt = writing, 0, 0, j.generation, rand.Uint64()
	f.logs = make(map[*Log]staged)
	return f
}

// floorLocked is the oldest generation that is needed.
func (j *journal) floorLocked() uint64 {
	floor := j.generation + 1
	for _, f := range j.files {
		if f.state == writing || f.state == full || f.state == pinned {
			floor = min(floor, f.generation)
		}
	}
	return floor
}

// void says that nothing in the journal is needed any more, once all logs have been synced
// themselves. It changes nothing if some file holds entries of a log that is offline.
func (j *journal) void() error {
	j.mu.Lock()
	f := j.last
	needed := j.failed || f == nil || f.pos >= f.size || j.countLocked(pinned) > 0
	j.mu.Unlock()
	if needed {
		return nil
	}
	if err := j.put(f, newStage(), f.generation+1); !errors.Is(err, errJournalBusy) {
		return err
	}
	return nil // it will be replayed for nothing
}

// fail ends the journal after an error that is not to be got over, and returns what it has of which log.
func (j *journal) fail() (all []staged) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failed = true
	j.changed.Broadcast()
	for _, f := range j.files {
		for _, e := range f.logs {
			all = append(all, e)
		}
	}
	return all
}

// countLocked is how many files are in a state.
func (j *journal) countLocked(state fileState) (n int) {
	for _, f := range j.files {
		if f.state == state {
			n++
		}
	}
	return n
}

// prepareWanted makes files as they are needed, one ahead, until the journal is closed. A broker that nobody
// writes to makes none.
func (j *journal) prepareWanted() error {
	for {
		j.mu.Lock()
		for !j.wanted && !j.stopped() {
			j.changed.Wait()
		}
		j.wanted = false
		j.mu.Unlock()
		if j.stopped() {
			return nil
		}
		err := j.prepare()
		if err != nil && !vfs.IsFull(err) {
			return err
		}
		if err != nil {
			select {
			case <-time.After(prepareAgain):
			case <-j.closed:
			}
		}
	}
}

// prepareAgain is how long to wait for space before a file is tried to be made again.
const prepareAgain = 10 * time.Second

// prepare makes one file that can be used, if one is missing.
func (j *journal) prepare() error {
	j.mu.Lock()
	i := slices.IndexFunc(j.files, func(f *journalFile) bool { return f.state == unprepared })
	if i < 0 {
		j.mu.Unlock()
		return nil
	}
	f := j.files[i]
	j.mu.Unlock()
	if err := j.fill(f); err != nil {
		if vfs.IsFull(err) && f.f != nil {
			err = errors.Join(err, f.f.Truncate(0)) // others need the space more
		}
		return fmt.Errorf("prepare %s: %w", f.name, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	f.state, f.size = free, j.fileBytes
	return nil
}

// fill writes a file with zeros, all of it: blocks that were only reserved cost a sync as much as new ones.
func (j *journal) fill(f *journalFile) (err error) {
	if f.f == nil {
		f.f, err = j.fsys.Open(f.name)
		if errors.Is(err, fs.ErrNotExist) {
			f.f, err = j.fsys.Create(f.name)
		}
		if err != nil {
			return err
		}
	}
	buf := make([]byte, min(1<<20, j.fileBytes))
	for pos := int64(0); pos < j.fileBytes; pos += int64(len(buf)) {
		if _, err := f.f.WriteAt(buf[:min(int64(len(buf)), j.fileBytes-pos)], pos); err != nil {
			return err
		}
	}
	if err := f.f.Truncate(j.fileBytes); err != nil {
		return err
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	return j.fsys.SyncDir(j.dir)
}

// awaitFull returns the oldest file that waits to be trimmed; nil once the journal is closed or has failed.
func (j *journal) awaitFull() *journalFile {
	j.mu.Lock()
	defer j.mu.Unlock()
	for !j.stopped() && !j.failed {
		for _, f := range j.files {
			if f.state == full {
				return f
			}
		}
		j.changed.Wait()
	}
	return nil
}

// pause waits after a sync that took so long, in order to leave the disk to commits: the longer,
// the more files are free.
func (j *journal) pause(took time.Duration) {
	j.mu.Lock()
	room := j.countLocked(free) + j.countLocked(trimmed)
	j.mu.Unlock()
	if room == 0 {
		return
	}
	select {
	case <-time.After(min(took*time.Duration(room+1), 20*time.Millisecond)):
	case <-j.closed:
	}
}

func (j *journal) stopped() bool {
	select {
	case <-j.closed:
		return true
	default:
		return false
	}
}

// entries are the logs a file has entries of.
func (j *journal) entries(f *journalFile) []staged {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]staged, 0, len(f.logs))
	for _, e := range f.logs {
		all = append(all, e)
	}
	return all
}

// release notes that a file is not needed any more, or has to be kept as it is for the next start.
func (j *journal) release(f *journalFile, needed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if f.state = trimmed; needed {
		f.state = pinned
		return
	}
	f.logs = nil
}

func (j *journal) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.closed)
	j.changed.Broadcast()
}

func (j *journal) close() error {
	var errs []error
	for _, f := range j.files {
		if f.f != nil {
			errs = append(errs, f.f.Close())
		}
	}
	return errors.Join(errs...)
}
