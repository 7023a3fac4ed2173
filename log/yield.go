package log

import (
	"slices"

	"github.com/morrowmq/morrow/internal/vfs"
)

// writeVital is vfs.WriteFile for what must be on the disk before anything on it can be freed: if
// there is no space left, whoever took it, a file that the commit journal has ready gives way.
func (s *Set) writeVital(name string, b []byte) error {
	err := vfs.WriteFile(s.fsys, name, b)
	for vfs.IsFull(err) && s.commits.journal != nil && s.commits.journal.yield() {
		s.logger.Warn("a file of the commit journal gives way on a full disk", "for", name)
		err = vfs.WriteFile(s.fsys, name, b)
	}
	return err
}

// yield empties a file that holds nothing, and reports whether there was one. It is made ready again
// when the journal needs it, and there is space.
func (j *journal) yield() bool {
	j.mu.Lock()
	i := slices.IndexFunc(j.files, func(f *journalFile) bool { return f.state == free })
	if i < 0 || j.stopped() {
		j.mu.Unlock()
		return false
	}
	f := j.files[i]
	f.state = yielding // nobody takes it meanwhile
	j.mu.Unlock()
	err := f.f.Truncate(0)
	j.mu.Lock()
	defer j.mu.Unlock()
	f.state, f.size = unprepared, 0
	return err == nil
}
