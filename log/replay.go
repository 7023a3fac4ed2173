package log

import (
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

// openJournal replays what the journal holds and makes it ready to be written. It returns the logs that something of theirs could not
// be restored for, with the reason: they must not be opened. If there are any, the journal stays as it is, for the next start.
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
			err = s.fsys.RemoveAll(dir) // everything in it is in the segments now
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
		if k := slices.IndexFunc(r.files, func(o *replayFile) bool { return o.number == i }); k >= 0 && r.files[k].size == j.fileBytes {
			var err error
			if f.f, err = j.fsys.Open(f.name); err != nil {
				return err
			}
			f.state = free
		}
		j.files = append(j.files, f)
	}
	if err := j.voidReplayed(r); err != nil {
		return err
	}
	for _, f := range r.files {
		if f.number >= n {
			if err := j.fsys.Remove(f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// voidReplayed makes sure that what was replayed never is again.
func (j *journal) voidReplayed(r *replay) error {
	if !r.live() {
		return nil
	}
	// A frame without entries: it begins a generation, and all before it are trimmed.
	var s stage
	s.reset()
	if err := j.write(&s); !errors.Is(err, errJournalBusy) {
		return err
	}
	// No file can be used as it is: make one.
	if err := j.fill(j.files[0]); err != nil {
		return err
	}
	j.files[0].state = free
	s.reset()
	return j.write(&s)
}

// replay is what was found in the files of a journal.
type replay struct {
	set   *Set
	files []*replayFile
	floor uint64

	mu   sync.Mutex
	logs map[ID]*replayed
}

type replayFile struct {
	name       string
	number     int
	size       int64
	generation uint64
	end        int64 // of the last whole frame
}

// replayed is a log that the journal has entries of.
type replayed struct {
	lineage  uint64
	gone     bool // the log is not there any more
	err      error
	segments map[int64]vfs.File // nil: deleted
}

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
		if a.generation != b.generation {
			if a.generation < b.generation {
				return -1
			}
			return 1
		}
		return a.number - b.number
	})
	return nil
}

func (r *replay) readFile(f *replayFile) error {
	w, err := openFrames(r.set.fsys, f.name)
	if err != nil {
		return err
	}
	defer w.close()
	f.size = w.size
	var first frame
	pos := int64(0)
	for pos < w.size {
		b, err := w.from(pos)
		if err != nil {
			return err
		}
		fr, err := parseFrame(b)
		if err != nil || fr.sequence > 0 && !fr.follows(first) {
			break
		}
		if fr.sequence == 0 {
			if pos > 0 {
				break
			}
			first = fr
		}
		r.floor = max(r.floor, fr.floor)
		f.generation = fr.generation
		first.sequence = fr.sequence
		pos += padded(fr.length)
	}
	f.end = pos
	// Frames are written one after the other, each durable before the next. So the last one may be torn, but none before a whole one.
	for at := pos; f.generation > 0 && at < w.size; at += frameAlign {
		b, err := w.from(at)
		if err != nil {
			return err
		}
		if fr, err := parseFrame(b); err == nil && fr.generation == first.generation && fr.salt == first.salt {
			return &CorruptError{File: f.name, Pos: pos, Err: fmt.Errorf("%w, at position %d", errFrame, at)}
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
	return r.sync()
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
		var err error
		f, err = r.set.fsys.Open(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.err = err
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

// sync makes the segments durable.
func (r *replay) sync() error {
	var g errgroup.Group
	g.SetLimit(syncWorkers)
	for _, l := range r.logs {
		for _, f := range l.segments {
			if f == nil {
				continue
			}
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
	return g.Wait()
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

// last is the latest generation found.
func (r *replay) last() uint64 {
	last := r.floor
	for _, f := range r.files {
		last = max(last, f.generation)
	}
	return last
}
