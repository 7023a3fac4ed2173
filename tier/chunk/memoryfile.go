package chunk

import (
	"errors"
	"io"

	"github.com/morrowmq/morrow/internal/vfs"
)

// memoryFile is a read-only file that is not on a disk: a chunk in memory.
type memoryFile struct{ data []byte }

var _ vfs.File = (*memoryFile)(nil)

func (f *memoryFile) ReadAt(b []byte, pos int64) (int, error) {
	if pos >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[pos:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) Name() string                       { return "chunk in memory" }
func (f *memoryFile) Size() (int64, error)               { return int64(len(f.data)), nil }
func (f *memoryFile) Close() error                       { return nil }
func (f *memoryFile) Sync() error                        { return nil }
func (f *memoryFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (f *memoryFile) Truncate(int64) error               { return errors.ErrUnsupported }
