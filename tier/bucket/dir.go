package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Dir is a [Bucket] in a local (or mounted) directory: every object is one file whose path is
// its key. Several processes may share it; conditions hold between them.
//
// A Put is durable when it returns: written to a temporary file, synced, read back and compared, linked
// or renamed into place, directory synced. The checksum and the ETag are computed from the file, never
// remembered beside it, so Head tells the truth about the bytes at the price of reading them.
type Dir struct {
	fs  vfs.FS
	dir string
	// stripes serialise conditional replacements within the process; lock files of the same number
	// do so between processes.
	stripes [lockStripes]chan struct{}

	mu    sync.Mutex
	known map[string]knownFile // guarded by mu; sums of large files, which are immutable, so that Head after Put need not read again
}

type knownFile struct {
	size     int64
	modified time.Time
	sum      Checksum
}

const (
	lockStripes = 64
	tmpDir      = ".tmp"
	lockDir     = ".locks"
	tmpMaxAge   = 24 * time.Hour
	// Objects below this size may be replaced (manifests) and are read afresh by every Head.
	rememberBytes = 1 << 20
	maxKnownFiles = 4096
	copyBytes     = 256 << 10
	lockPoll      = 5 * time.Millisecond
)

var _ InPlace = (*Dir)(nil)

// OpenDir opens a directory as a bucket, making it if needed, and removes temporary files of
// writers that died.
func OpenDir(fsys vfs.FS, dir string, now time.Time) (*Dir, error) {
	b := &Dir{fs: fsys, dir: dir, known: map[string]knownFile{}}
	for i := range b.stripes {
		b.stripes[i] = make(chan struct{}, 1)
	}
	for _, d := range []string{dir, vfs.Join(dir, tmpDir), vfs.Join(dir, lockDir)} {
		if err := fsys.MkdirAll(d); err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", b, err)
		}
	}
	names, err := fsys.List(vfs.Join(dir, tmpDir))
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", b, err)
	}
	for _, name := range names {
		tmp := vfs.Join(dir, tmpDir, name)
		if st, err := fsys.Stat(tmp); err == nil && now.Sub(st.ModTime) > tmpMaxAge {
			if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("open bucket %s: %w", b, err)
			}
		}
	}
	return b, nil
}

func (b *Dir) String() string { return "file://" + b.dir }

// Checksum is CRC64NVME.
func (b *Dir) Checksum() Algorithm { return CRC64NVME }

// Put implements [Bucket].
func (b *Dir) Put(ctx context.Context, key string, body Body, o PutOptions) (Object, error) {
	obj, err := b.put(ctx, key, body, o)
	return obj, fileError("put", key, err)
}

func (b *Dir) put(ctx context.Context, key string, body Body, o PutOptions) (Object, error) {
	name, err := b.path(key)
	if err != nil {
		return Object{}, err
	}
	tmp := vfs.Join(b.dir, tmpDir, rand.Text())
	if err = b.writeTemp(ctx, tmp, body); err == nil {
		err = b.place(ctx, key, name, tmp, o)
	}
	if err != nil {
		return Object{}, errors.Join(err, b.dropTemp(tmp))
	}
	if err := b.fs.SyncDir(vfs.Dir(name)); err != nil {
		return Object{}, errors.Join(ErrUnknown, err)
	}
	if o.IfNoneMatch {
		if err := b.dropTemp(tmp); err != nil {
			return Object{}, errors.Join(ErrUnknown, err)
		}
	}
	return b.remember(key, name, body)
}

// place gives the temporary file its name: a second one if it must be new, else instead of what is there.
func (b *Dir) place(ctx context.Context, key, name, tmp string, o PutOptions) error {
	if !o.IfNoneMatch {
		return b.replace(ctx, key, name, tmp, o.IfMatch)
	}
	err := b.inDir(name, func() error { return b.fs.Link(tmp, name) })
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	return err
}

// writeTemp writes body to a new file and makes sure that what is in the file afterwards is what was meant.
func (b *Dir) writeTemp(ctx context.Context, tmp string, body Body) (err error) {
	f, err := b.fs.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	sent := io.TeeReader(paced(ctx, body), io.NewOffsetWriter(f, 0))
	if err := Verify(sent, body.Size, body.Sum); err != nil {
		if errors.Is(err, ErrCorrupt) {
			return errors.Join(ErrChecksum, err)
		}
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	back := io.NewSectionReader(f, 0, body.Size+1)
	if err := Verify(withContext(ctx, back), body.Size, body.Sum); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return nil
}

func (b *Dir) dropTemp(tmp string) error {
	if err := b.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// inDir runs an operation that makes name, and makes its directory first. A concurrent Delete may
// remove the empty directory in between.
func (b *Dir) inDir(name string, op func() error) error {
	for try := 0; ; try++ {
		if err := b.fs.MkdirAll(vfs.Dir(name)); err != nil {
			return err
		}
		err := op()
		if try == 3 || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// replace renames tmp to name if name's ETag is ifMatch ("" means whatever it is).
func (b *Dir) replace(ctx context.Context, key, name, tmp, ifMatch string) error {
	unlock, err := b.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if ifMatch != "" {
		obj, err := b.head(ctx, key)
		if errors.Is(err, fs.ErrNotExist) || err == nil && obj.ETag != ifMatch {
			return ErrPrecondition
		}
		if err != nil {
			return err
		}
	}
	return b.inDir(name, func() error { return b.fs.Rename(tmp, name) })
}

// lock excludes other conditional replacements of key, in this process and in others.
func (b *Dir) lock(ctx context.Context, key string) (unlock func(), err error) {
	h := fnv.New32a()
	h.Write([]byte(key))
	n := h.Sum32() % lockStripes
	select {
	case b.stripes[n] <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		held, err := b.fs.Lock(vfs.Join(b.dir, lockDir, fmt.Sprintf("%02d", n)))
		if err == nil {
			return func() { _ = held.Close(); <-b.stripes[n] }, nil
		}
		if !errors.Is(err, vfs.ErrLocked) {
			<-b.stripes[n]
			return nil, err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			<-b.stripes[n]
			return nil, ctx.Err()
		}
	}
}

// Delete implements [Bucket]. Directories left empty are removed.
func (b *Dir) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return fileError("delete", key, err)
		}
		if err := b.delete(key); err != nil {
			return fileError("delete", key, err)
		}
	}
	return nil
}

func (b *Dir) delete(key string) error {
	name, err := b.path(key)
	if err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.known, key)
	b.mu.Unlock()
	if err := b.fs.Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	dir := vfs.Dir(name)
	if err := b.fs.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for depth := strings.Count(key, "/"); depth > 0; depth-- {
		if b.fs.Remove(dir) != nil {
			break // not empty, most of the time
		}
		dir = vfs.Dir(dir)
	}
	return nil
}

// path is the file of a key. Keys that could leave the directory, hide in it, or name a directory are refused.
func (b *Dir) path(key string) (string, error) {
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || strings.HasPrefix(part, ".") {
			return "", errors.Join(ErrConfig, fmt.Errorf("key %q cannot be a file name", key))
		}
	}
	return vfs.Join(b.dir, key), nil
}

// fileError gives an error of the file system its kind.
func fileError(op, key string, err error) error {
	if err == nil {
		return nil
	}
	kind := ErrUnknown
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = ErrNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		kind = ErrDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = ErrFull
	default:
		for _, k := range []error{ErrExists, ErrPrecondition, ErrChecksum, ErrConfig} {
			if errors.Is(err, k) {
				kind = k
			}
		}
	}
	return &Error{Op: op, Key: key, Kind: kind, Err: err}
}
