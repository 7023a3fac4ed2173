package log

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

const (
	journalDir  = "journal"
	journalName = "journal-"
)

var (
	errFrame  = errors.New("frame is damaged, and a later one is whole")
	errReplay = errors.New("bytes in the commit journal do not join those of the segment")
)

// openJournal replays what the journal holds and makes it ready to be written. It returns the logs
// that something of theirs could not be restored for, with the reason: they must not be opened. If
// there are any, the journal stays as it is, for the next start.
func (s *Set) openJournal(cfg SetConfig) (j *journal, broken map[ID]error, err error) {
	dir := vfs.Join(s.dir, journalDir)
	if exists, err := vfs.Exists(s.fsys, dir); err != nil || !exists && cfg.JournalMaxBytes < 0 {
		return nil, nil, err
	}
	if err := s.fsys.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	r := &replay{set: s, logs: make(map[ID]*replayed)}
	if err := r.read(dir); err != nil {
		return nil, nil, err
	}
	if err := r.run(); err != nil {
		return nil, nil, err
	}
	if broken = r.broken(); len(broken) > 0 || cfg.JournalMaxBytes < 0 {
		if len(broken) == 0 {
			err = errors.Join(s.fsys.RemoveAll(dir), s.fsys.SyncDir(s.dir)) // everything in it is in the segments now
		}
		return nil, broken, err
	}
	j = &journal{fsys: s.fsys, dir: dir, metrics: s.metrics, fileBytes: cfg.JournalSegmentBytes, generation: r.last()}
	j.changed.L = &j.mu
	j.closed = make(chan struct{})
	if j.fileBytes <= 0 {
		j.fileBytes = defaultJournalFile
	}
	j.fileBytes = max(j.fileBytes, minJournalFile) &^ (frameAlign - 1)
	total := cfg.JournalMaxBytes
	if total == 0 {
		total = defaultJournal
	}
	return j, nil, j.adopt(r, max(2, int(total/j.fileBytes)))
}

// adopt takes over the files of an earlier run, whose frames are void from now on.
func (j *journal) adopt(r *replay, n int) error {
	for i := range n {
		f := &journalFile{name: vfs.Join(j.dir, journalName+strconv.Itoa(i))}
		if k := slices.IndexFunc(r.files, func(o *replayFile) bool { return o.number == i }); k >= 0 {
			f.size, f.generation = r.files[k].size, r.files[k].generation
		}
		if f.size == j.fileBytes {
			var err error
			if f.f, err = j.fsys.Open(f.name); err != nil {
				return err
			}
			f.state = free
		}
		j.files = append(j.files, f)
	}
	if err := j.adoptLast(r); err != nil {
		return err
	}
	for _, f := range r.files {
		if f.number >= n && (j.last == nil || f.name != j.last.name) {
			if err := j.fsys.Remove(f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// adoptLast makes sure that what was replayed never is again, by a frame behind the latest one. The
// file of that is kept until another one says so too, even if it is one too many or of another
// size.
func (j *journal) adoptLast(r *replay) (err error) {
	last := r.newest()
	if last == nil {
		return nil
	}
	i := slices.IndexFunc(j.files, func(f *journalFile) bool { return f.name == last.name })
	if i < 0 {
		i = len(j.files)
		j.files = append(j.files, &journalFile{name: last.name, size: last.size, generation: last.generation})
	}
	f := j.files[i]
	if f.f == nil {
		if f.f, err = j.fsys.Open(f.name); err != nil {
			return err
		}
	}
	f.state, f.pos, f.salt, f.sequence = trimmed, last.end, last.salt, last.sequence+1
	j.last = f
	if !r.live() {
		return nil
	}
	return j.put(f, newStage(), f.generation+1)
}

// replay is what was found in the files of a journal.
type replay struct {
	set   *Set
	files []*replayFile
	floor uint64

	open int // segments that are open

	mu   sync.Mutex
	logs map[ID]*replayed
}

type replayFile struct {
	name       string
	number     int
	size       int64
	generation uint64 // of its frames; 0: it has none
	salt       uint64
	sequence   uint64 // of the last whole frame
	end        int64  // of that
	behind     damage
}

// damage is a frame that cannot be read, although one behind it is whole.
type damage struct {
	generation uint64 // of the whole one, 0 if there is none
	pos        int64  // of that
}

// replayed is a log that the journal has entries of.
type replayed struct {
	lineage  uint64
	gone     bool // the log is not there any more
	err      error
	segments map[int64]vfs.File // that are open; nil: deleted
}

// replayFiles is how many segments are open at once. Beyond, they are synced and closed.
const replayFiles = 256

// read looks through the files: which frames count.
func (r *replay) read(dir string) error {
	names, err := r.set.fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		number, err := strconv.Atoi(strings.TrimPrefix(name, journalName))
		if err != nil || !strings.HasPrefix(name, journalName) {
			continue
		}
		f := &replayFile{name: vfs.Join(dir, name), number: number}
		if err := r.readFile(f); err != nil {
			return err
		}
		r.files = append(r.files, f)
	}
	slices.SortFunc(r.files, func(a, b *replayFile) int {
		return cmp.Or(cmp.Compare(a.generation, b.generation), a.number-b.number)
	})
	return r.check()
}

// check makes sure that no frame is missing in between. Frames are written one after the other,
// each durable before the next, and over others only when those are void. So the last one may be
// torn, but none before a whole one that is needed.
func (r *replay) check() error {
	last := r.last()
	for _, f := range r.files {
		// A payload that looks like a frame has the wrong salt, which is not known where the first
		// frame is missing.
		if d := f.behind; d.generation > 0 && d.generation >= r.floor && d.generation <= last+1 {
			return &CorruptError{File: f.name, Pos: f.end, Err: fmt.Errorf("%w, at position %d", errFrame, d.pos)}
		}
	}
	return nil
}

func (r *replay) readFile(f *replayFile) error {
	w, err := openFrames(r.set.fsys, f.name)
	if err != nil {
		return err
	}
	defer w.close()
	f.size = w.size
	for f.end < w.size {
		b, err := w.from(f.end)
		if err != nil {
			return err
		}
		fr, err := parseFrame(b)
		if err != nil || !f.continuedBy(fr) {
			break
		}
		r.floor = max(r.floor, fr.floor)
		f.generation, f.salt, f.sequence = fr.generation, fr.salt, fr.sequence
		f.end += padded(fr.length)
	}
	return f.lookBehind(w)
}

// continuedBy reports whether a frame is the next one.
func (f *replayFile) continuedBy(fr frame) bool {
	if f.end == 0 {
		return fr.sequence == 0
	}
	return fr.generation == f.generation && fr.salt == f.salt && fr.sequence == f.sequence+1
}

// lookBehind looks for whole frames of this use of the file behind the first that is not. If there
// is none before it, that is any.
func (f *replayFile) lookBehind(w *frames) error {
	for at := f.end; at < w.size; at += frameAlign {
		b, err := w.from(at)
		if err != nil {
			return err
		}
		fr, err := parseFrame(b)
		if err != nil || f.end > 0 && (fr.generation != f.generation || fr.salt != f.salt) {
			continue
		}
		if fr.generation > f.behind.generation {
			f.behind = damage{generation: fr.generation, pos: at}
		}
	}
	return nil
}

// run writes the entries to their segments, in the order they were made, and makes that durable.
func (r *replay) run() error {
	for _, f := range r.files {
		if f.generation < r.floor || f.generation == 0 {
			continue
		}
		if err := r.runFile(f); err != nil {
			return err
		}
	}
	r.sync()
	return nil
}

func (r *replay) runFile(f *replayFile) error {
	w, err := openFrames(r.set.fsys, f.name)
	if err != nil {
		return err
	}
	defer w.close()
	for pos := int64(0); pos < f.end; {
		b, err := w.from(pos)
		if err != nil {
			return err
		}
		fr, err := parseFrame(b)
		if err != nil {
			return &CorruptError{File: f.name, Pos: pos, Err: err}
		}
		for body := fr.body; len(body) > 0; {
			var e entry
			if e, body, err = nextEntry(body); err != nil {
				return &CorruptError{File: f.name, Pos: pos, Err: err}
			}
			r.apply(e)
		}
		pos += padded(fr.length)
	}
	return nil
}

// apply writes one entry. What goes wrong concerns its log only.
func (r *replay) apply(e entry) {
	l := r.logs[e.id]
	if l == nil {
		l = r.load(e.id)
		r.logs[e.id] = l
	}
	if l.gone || l.err != nil || l.lineage != e.lineage {
		return
	}
	f, known := l.segments[e.base]
	name := vfs.Join(r.set.dir, e.id.String(), segment.FileName(e.base, segment.LogSuffix))
	if !known {
		if f, l.err = r.openSegment(name); l.err != nil {
			return
		}
		l.segments[e.base] = f
	}
	if f == nil {
		return
	}
	size, err := f.Size()
	if err == nil && size < e.pos {
		err = &CorruptError{File: name, Pos: size, Err: fmt.Errorf("%w: they are for position %d", errReplay, e.pos)}
	}
	if err == nil {
		_, err = f.WriteAt(e.bytes, e.pos)
	}
	l.err = err
}

// openSegment opens a segment's file, nil if it was deleted.
func (r *replay) openSegment(name string) (vfs.File, error) {
	if r.open == replayFiles {
		r.sync()
	}
	f, err := r.set.fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		r.open++
	}
	return f, err
}

func (r *replay) load(id ID) *replayed {
	l := &replayed{segments: make(map[int64]vfs.File)}
	w := factsFile{fsys: r.set.fsys, dir: vfs.Join(r.set.dir, id.String())}
	if exists, err := vfs.Exists(r.set.fsys, w.dir); err != nil || !exists {
		l.gone, l.err = err == nil, err
		return l
	}
	f, err := w.load()
	l.lineage, l.err = f.lineage, err
	return l
}

// sync makes what was written to the segments durable, and closes them.
func (r *replay) sync() {
	var g errgroup.Group
	g.SetLimit(syncWorkers)
	for _, l := range r.logs {
		for base, f := range l.segments {
			if f == nil {
				continue
			}
			delete(l.segments, base)
			g.Go(func() error {
				if err := errors.Join(f.Sync(), f.Close()); err != nil {
					r.mu.Lock()
					defer r.mu.Unlock()
					l.err = errors.Join(l.err, err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // errors are kept per log
	r.open = 0
}

// broken are the logs that could not be restored.
func (r *replay) broken() map[ID]error {
	broken := make(map[ID]error)
	for id, l := range r.logs {
		if l.err != nil {
			broken[id] = fmt.Errorf("replay of the commit journal: %w", l.err)
		}
	}
	return broken
}

// live reports whether there are frames that are not void.
func (r *replay) live() bool {
	return slices.ContainsFunc(r.files, func(f *replayFile) bool { return f.generation > 0 && f.generation >= r.floor })
}

// newest is the file with the latest frame; nil if there is no frame.
func (r *replay) newest() *replayFile {
	if n := len(r.files); n > 0 && r.files[n-1].generation > 0 {
		return r.files[n-1]
	}
	return nil
}

// last is the latest generation found.
func (r *replay) last() uint64 {
	last := r.floor
	for _, f := range r.files {
		last = max(last, f.generation)
	}
	return last
}
