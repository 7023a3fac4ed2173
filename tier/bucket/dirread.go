package bucket

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Head implements [Bucket].
func (b *Dir) Head(ctx context.Context, key string) (Object, error) {
	obj, err := b.head(ctx, key)
	return obj, fileError("head", key, err)
}

func (b *Dir) head(ctx context.Context, key string) (Object, error) {
	name, err := b.path(key)
	if err != nil {
		return Object{}, err
	}
	st, err := b.fs.Stat(name)
	if err != nil {
		return Object{}, err
	}
	if st.Dir {
		return Object{}, fs.ErrNotExist
	}
	if st.Size >= rememberBytes {
		b.mu.Lock()
		k, ok := b.known[key]
		b.mu.Unlock()
		if ok && k.size == st.Size && k.modified.Equal(st.ModTime) {
			return object(key, st, k.sum), nil
		}
	}
	f, err := b.fs.Open(name)
	if err != nil {
		return Object{}, err
	}
	defer func() { _ = f.Close() }()         // nothing was written
	if st.Size, err = f.Size(); err != nil { // of what is open, which a replacement after Stat may have changed
		return Object{}, err
	}
	sum, err := sumFile(ctx, f, st.Size)
	if err != nil {
		return Object{}, err
	}
	b.keep(key, st, sum)
	return object(key, st, sum), nil
}

func object(key string, st vfs.Info, sum Checksum) Object {
	etag := fmt.Sprintf("%s-%d", hex.EncodeToString([]byte(sum.Sum)), st.Size)
	return Object{Key: key, Size: st.Size, ETag: etag, Sum: sum, Modified: st.ModTime}
}

func (b *Dir) remember(key, name string, body Body) (Object, error) {
	st, err := b.fs.Stat(name)
	if err != nil {
		return Object{}, errors.Join(ErrUnknown, err)
	}
	b.keep(key, st, body.Sum)
	return object(key, vfs.Info{Size: body.Size, ModTime: st.ModTime}, body.Sum), nil
}

func (b *Dir) keep(key string, st vfs.Info, sum Checksum) {
	if st.Size < rememberBytes {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= maxKnownFiles {
		clear(b.known)
	}
	b.known[key] = knownFile{size: st.Size, modified: st.ModTime, sum: sum}
}

// Get implements [Bucket].
func (b *Dir) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, Object, error) {
	r, obj, err := b.get(ctx, key, off, n)
	if err != nil {
		return nil, Object{}, fileError("get", key, err)
	}
	return r, obj, nil
}

func (b *Dir) get(ctx context.Context, key string, off, n int64) (_ io.ReadCloser, _ Object, err error) {
	name, err := b.path(key)
	if err != nil {
		return nil, Object{}, err
	}
	f, err := b.fs.Open(name)
	if err != nil {
		return nil, Object{}, err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // nothing was written
		}
	}()
	obj := Object{Key: key}
	if obj.Size, err = f.Size(); err != nil {
		return nil, Object{}, err
	}
	if off == 0 && n < 0 {
		sum, err := sumFile(ctx, f, obj.Size)
		if err != nil {
			return nil, Object{}, err
		}
		obj = object(key, vfs.Info{Size: obj.Size}, sum)
	}
	if n < 0 {
		n = max(obj.Size-off, 0)
	}
	return readCloser{&exactReader{r: withContext(ctx, io.NewSectionReader(f, off, n)), left: n}, f}, obj, nil
}

// OpenFile implements [InPlace].
func (b *Dir) OpenFile(key string) (vfs.File, Object, error) {
	f, obj, err := b.openFile(key)
	return f, obj, fileError("get", key, err)
}

func (b *Dir) openFile(key string) (vfs.File, Object, error) {
	name, err := b.path(key)
	if err != nil {
		return nil, Object{}, err
	}
	f, err := b.fs.Open(name)
	if err != nil {
		return nil, Object{}, err
	}
	st, err := b.fs.Stat(name)
	if err != nil {
		return nil, Object{}, errors.Join(err, f.Close())
	}
	return f, Object{Key: key, Size: st.Size, Modified: st.ModTime}, nil
}

// Beside implements [InPlace].
func (b *Dir) Beside(dir string) bool {
	objects, err := b.fs.Stat(b.dir)
	if err != nil {
		return false
	}
	other, err := b.fs.Stat(dir)
	return err == nil && objects.Device == other.Device
}

func sumFile(ctx context.Context, f vfs.File, size int64) (Checksum, error) {
	h := CRC64NVME.New()
	if _, err := io.Copy(h, withContext(ctx, io.NewSectionReader(f, 0, size))); err != nil {
		return Checksum{}, err
	}
	return sumOf(CRC64NVME, h), nil
}

// List implements [Bucket].
func (b *Dir) List(ctx context.Context, prefix string, visit func(Object) error) error {
	var stopped error
	err := b.walk(ctx, "", prefix, func(o Object) error {
		stopped = visit(o)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return fileError("list", prefix, err)
}

// walk visits the files below a directory whose keys begin with prefix. dir is "" or ends with a slash.
func (b *Dir) walk(ctx context.Context, dir, prefix string, visit func(Object) error) error {
	names, err := b.namesIn(dir, prefix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var found []Object
	for _, name := range names {
		key := dir + name
		if dir == "" && strings.HasPrefix(name, ".") || !overlaps(key, prefix) {
			continue
		}
		st, err := b.fs.Stat(vfs.Join(b.dir, key))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if st.Dir {
			key += "/"
		}
		found = append(found, Object{Key: key, Size: st.Size, Modified: st.ModTime})
	}
	slices.SortFunc(found, func(x, y Object) int { return cmp.Compare(x.Key, y.Key) })
	for _, o := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasSuffix(o.Key, "/") {
			err = b.walk(ctx, o.Key, prefix, visit)
		} else if strings.HasPrefix(o.Key, prefix) {
			err = visit(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// namesIn returns the names in a directory that may matter for prefix. Where it says which one, the
// directory, which may be that of all topics, is not read.
func (b *Dir) namesIn(dir, prefix string) ([]string, error) {
	rest, below := strings.CutPrefix(prefix, dir)
	if name, _, deeper := strings.Cut(rest, "/"); below && deeper && name != "." && fs.ValidPath(name) {
		return []string{name}, nil
	}
	return b.fs.List(vfs.Join(b.dir, dir))
}

// overlaps reports whether a path or something below it can begin with prefix.
func overlaps(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) || strings.HasPrefix(prefix, path)
}
