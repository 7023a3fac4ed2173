package tier

import (
	"context"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
)

// catalog loads and commits the manifest of one partition. It is used by one goroutine at a time.
//
// A commit names the manifest it replaces by its ETag, so of two writers that start from the same
// manifest one fails; the leader epoch in the manifest decides who may try again.
type catalog struct {
	bucket  bucket.Bucket
	dir     string // of the partition, ends with a slash
	decoded *decoded
	copy    localCopy

	// The manifest as last read from or confirmed by the bucket. nil: not known, load first (R9).
	current *Manifest
	etag    string
	damaged bool // what the bucket has cannot be read; current is the local copy of it
}

var (
	// ErrFenced says that a writer with a higher leader epoch has taken over the partition.
	ErrFenced = errors.New("fenced by a newer leader epoch")
	// ErrMoved says that the manifest is not the one this commit was made for. Load it and decide again.
	ErrMoved = errors.New("manifest was replaced by another writer")
)

func (c *catalog) key() string { return c.dir + manifestName }

// load reads the manifest from the bucket. It returns nil, nil if there is none yet.
func (c *catalog) load(ctx context.Context) (*Manifest, error) {
	c.current, c.etag = nil, ""
	m, etag, err := readManifest(ctx, c.bucket, c.dir)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, nil
	}
	if errors.Is(err, ErrCorrupt) {
		if m = c.copy.read(); m != nil {
			// A store that answered 200 and kept something else. What we meant to store is still
			// here; the next commit replaces exactly what we have just seen, and makes good what is
			// missing.
			c.current, c.etag, c.damaged = m, etag, true
			return m, nil
		}
	}
	if err != nil {
		return nil, err
	}
	c.current, c.etag, c.damaged = m, etag, false
	return m, nil
}

// readManifest reads a manifest and its ETag; the ETag also of one that is ErrCorrupt.
func readManifest(ctx context.Context, b bucket.Bucket, dir string) (*Manifest, string, error) {
	key := dir + manifestName
	data, obj, err := bucket.ReadAll(ctx, b, key, maxManifestBytes)
	if err != nil {
		return nil, "", err
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, obj.ETag, fmt.Errorf("%s: %w", key, err)
	}
	return m, obj.ETag, nil
}

// commit replaces the current manifest by next, durably, and makes it current. next.Version and
// next.Commit are set here. After any error the current manifest is unknown and must be loaded
// before the next commit. ErrFenced and ErrMoved say that next was not committed; after other
// errors it may have been.
func (c *catalog) commit(ctx context.Context, next *Manifest) error {
	next.Version, next.Commit = 1, NewToken()
	o := bucket.PutOptions{IfNoneMatch: true}
	if c.current != nil {
		if c.current.Epoch > next.Epoch {
			return fmt.Errorf("%s: %w: %d > %d", c.key(), ErrFenced, c.current.Epoch, next.Epoch)
		}
		next.Version = c.current.Version + 1
		o = bucket.PutOptions{IfMatch: c.etag}
	}
	c.current, c.etag = nil, ""
	data := next.encode()
	if err := c.copy.write(data); err != nil {
		return err
	}
	body := bucket.BytesBody(c.bucket.Checksum(), data)
	put, err := c.bucket.Put(ctx, c.key(), body, o)
	if bucket.Refused(err) {
		return err
	}
	if err == nil {
		if obj, herr := confirm(ctx, c.bucket, c.key(), body); herr == nil && (put.ETag == "" || put.ETag == obj.ETag) {
			c.current, c.etag, c.damaged = next, obj.ETag, false
			return nil
		}
	}
	return c.resolve(ctx, next, err)
}

// resolve finds out what became of a commit whose answer was lost, bad, or "changed", which may be
// the echo of our own earlier try (R6).
func (c *catalog) resolve(ctx context.Context, next *Manifest, putErr error) error {
	ctx, cancel := bucket.OwnTime(ctx)
	defer cancel()
	m, etag, err := readManifest(ctx, c.bucket, c.dir)
	if err != nil {
		return errors.Join(putErr, err)
	}
	switch {
	case m.Commit == next.Commit:
		c.current, c.etag, c.damaged = next, etag, false
		return nil
	case m.Epoch > next.Epoch:
		return fmt.Errorf("%s: %w: %d > %d", c.key(), ErrFenced, m.Epoch, next.Epoch)
	case errors.Is(putErr, bucket.ErrPrecondition), errors.Is(putErr, bucket.ErrExists), m.Version >= next.Version:
		return fmt.Errorf("%s: %w", c.key(), ErrMoved)
	case putErr == nil:
		return fmt.Errorf("%s: %w: the store acknowledged version %d and has %d", c.key(), ErrConflict, next.Version, m.Version)
	}
	return putErr
}

// localCopy is a local file with the manifest that was last sent to the bucket. The zero value is none.
type localCopy struct {
	fs   vfs.FS
	name string
}

func (l localCopy) write(data []byte) error {
	if l.fs == nil {
		return nil
	}
	if err := vfs.WriteFile(l.fs, l.name, data); err != nil {
		return fmt.Errorf("keep a copy of the manifest: %w", err)
	}
	return nil
}

// read returns nil if there is no usable copy.
func (l localCopy) read() *Manifest {
	if l.fs == nil {
		return nil
	}
	data, err := vfs.ReadFile(l.fs, l.name)
	if err != nil {
		return nil
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil
	}
	return m
}

// pageOut moves the oldest entries of the tail into a page object of their own if the tail has grown long.
func (c *catalog) pageOut(ctx context.Context, m *Manifest) error {
	for len(m.Tail) >= 2*pageEntries {
		entries := m.Tail[:pageEntries:pageEntries]
		ref, err := c.putPage(ctx, m.Epoch, entries)
		if err != nil {
			return err
		}
		m.Pages = append(m.Pages, ref)
		m.Tail = append([]Entry(nil), m.Tail[pageEntries:]...)
	}
	return nil
}

func (c *catalog) putPage(ctx context.Context, epoch int32, entries []Entry) (PageRef, error) {
	body := bucket.BytesBody(c.bucket.Checksum(), encodePage(entries))
	ref := PageRef{
		Span: summarise(entries), Epoch: epoch, Token: NewToken(),
		Entries: len(entries), First: entries[0].Span, Size: body.Size, Sum: body.Sum,
	}
	if _, err := putConfirmed(ctx, c.bucket, ref.id().key(c.dir, pageSuffix), body); err != nil {
		return PageRef{}, err
	}
	return ref, nil
}

// page returns the entries of a page. They are shared: the caller must not change them.
func (c *catalog) page(ctx context.Context, p *PageRef) ([]Entry, error) {
	if c.decoded == nil { // there is no broker
		return readPage(ctx, c.bucket, c.dir, p.id(), p.Size, p.Sum)
	}
	return c.decoded.page(ctx, c.bucket, c.dir, p.id(), p.Size, p.Sum)
}

// readPage reads the entries of a page and checks that they are the ones that were stored.
func readPage(ctx context.Context, b bucket.Bucket, dir string, id ObjectID, size int64, sum bucket.Checksum) ([]Entry, error) {
	key := id.key(dir, pageSuffix)
	data, _, err := bucket.ReadAll(ctx, b, key, size)
	if err != nil {
		return nil, err
	}
	if bucket.SumOf(sum.Algorithm, data) != sum {
		return nil, fmt.Errorf("%s: %w: not the page that was stored", key, ErrCorrupt)
	}
	entries, err := decodePage(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return entries, nil
}
