package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// Create makes an empty log, durably, and opens it. It returns ErrExists if there is one.
func (s *Set) Create(id ID, o Options) (*Log, error) {
	release, err := s.claim(id)
	if err != nil {
		return nil, err
	}
	defer release()
	dir := vfs.Join(s.dir, id.String())
	if exists, err := vfs.Exists(s.fsys, dir); err != nil || exists {
		if err == nil {
			err = fmt.Errorf("%s: %w", dir, ErrExists)
		}
		return nil, err
	}
	if err := s.makeDir(dir, o); err != nil {
		// What may not be durable must not be opened.
		if rerr := s.fsys.RemoveAll(dir); rerr != nil {
			s.mu.Lock()
			s.broken[id] = err
			s.mu.Unlock()
		}
		return nil, fmt.Errorf("create log %s: %w", o.Name, err)
	}
	return s.open(id, o)
}

// makeDir makes the directory of an empty log under another name first, so that it is there whole
// or not at all.
func (s *Set) makeDir(dir string, o Options) (err error) {
	tmp := dir + createdSuffix
	defer func() {
		if err != nil {
			err = errors.Join(err, s.fsys.RemoveAll(tmp))
		}
	}()
	if err := s.fsys.RemoveAll(tmp); err != nil {
		return err
	}
	if err := s.fsys.MkdirAll(tmp); err != nil {
		return err
	}
	w := factsFile{fsys: s.fsys, dir: tmp}
	if err := w.create(firstFacts(o)); err != nil {
		return err
	}
	if b := o.Before; b != nil && b.Producers != nil {
		b.Producers.Skip(o.Start)
		if err := vfs.WriteFile(s.fsys, vfs.Join(tmp, segment.FileName(o.Start, snapshotSuffix)), b.Producers.Encode()); err != nil {
			return err
		}
	}
	f, err := s.fsys.Create(vfs.Join(tmp, segment.FileName(o.Start, segment.LogSuffix)))
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.fsys.SyncDir(tmp); err != nil {
		return err
	}
	if err := s.fsys.Rename(tmp, dir); err != nil {
		return err
	}
	return s.fsys.SyncDir(s.dir)
}

// firstFacts are those of a log that is created.
func firstFacts(o Options) facts {
	f := facts{
		lineage: newLineage(), start: o.Start, reportedStart: o.Start, localStart: o.Start,
		highWatermark: o.Start, synced: o.Start, deleteBound: -1,
	}
	if b := o.Before; b != nil {
		f.start, f.reportedStart, f.visibleBelow = b.Start, b.ReportedStart, b.VisibleEnd
		f.deleteBound, f.epochs = o.Start, b.Epochs
	}
	return f
}

// Remove closes a log and removes it from disk: when it returns, it does not come back after a
// crash, though its space may be freed only at the next start. A log that is not there is no error.
func (s *Set) Remove(id ID) (err error) {
	release, err := s.claim(id)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	l := s.logs[id]
	delete(s.logs, id)
	s.mu.Unlock()
	defer func() {
		if err == nil {
			s.mu.Lock()
			delete(s.broken, id)
			s.mu.Unlock()
		}
	}()
	if l != nil {
		l.appendMu.Lock()
		l.cutMu.Lock()
		l.gone.Store(true)
		l.close()
		l.cutMu.Unlock()
		l.appendMu.Unlock()
		if s.commits.journal != nil {
			s.commits.journal.forget(l)
		}
	}
	dir := vfs.Join(s.dir, id.String())
	gone := dir + removedSuffix
	if err := s.fsys.RemoveAll(gone); err != nil {
		return err
	}
	if err := s.fsys.Rename(dir, gone); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := s.fsys.SyncDir(s.dir); err != nil {
		return err
	}
	return s.fsys.RemoveAll(gone)
}
