package tier

import (
	"context"
	"errors"

	"github.com/morrowmq/morrow/tier/bucket"
)

// offsets are those from first to last, inclusive.
type offsets struct{ first, last int64 }

func (o offsets) contain(offset int64) bool { return o.first <= offset && offset <= o.last }

// named returns the tokens of the objects that the partition's manifest names or that are being
// uploaded, of those at least whose base offset is in bases. The manifest is read from the bucket;
// if it is not ours to change, the result is nil.
func (p *Partition) named(ctx context.Context, bases offsets) (named map[Token]bool, err error) {
	err = p.inTurn(ctx, func(ctx context.Context) error {
		if p.catalog.current == nil {
			return nil
		}
		m, etag, err := readManifest(ctx, p.tier.bucket, p.catalog.dir)
		if errors.Is(err, bucket.ErrNotFound) || err == nil && etag != p.catalog.etag {
			p.catalog.current = nil // somebody else's; the next step finds out more
			return nil
		}
		if err != nil {
			return err
		}
		found, err := tokens(ctx, m, func(ctx context.Context, id ObjectID, size int64, sum bucket.Checksum) ([]Entry, error) {
			return p.tier.decoded.page(ctx, p.tier.bucket, p.catalog.dir, id, size, sum)
		}, bases)
		if err != nil {
			return err
		}
		for i := range p.state.pending {
			found[p.state.pending[i].Entry.Token] = true
		}
		named = found
		return nil
	})
	if errors.Is(err, errStopped) {
		return nil, nil
	}
	return named, err
}

// pageReader reads the entries of a page.
type pageReader func(ctx context.Context, id ObjectID, size int64, sum bucket.Checksum) ([]Entry, error)

// pagesOf reads the pages of a manifest from the bucket.
func pagesOf(b bucket.Bucket, m *Manifest) pageReader {
	dir := partitionDir(m.Cluster, m.Topic, m.PartitionID.Partition)
	return func(ctx context.Context, id ObjectID, size int64, sum bucket.Checksum) ([]Entry, error) {
		return readPage(ctx, b, dir, id, size, sum)
	}
}

// tokens returns those of the objects that a manifest names, garbage included, and whose base
// offset is in bases. It may have others too. Only pages that can hold some are read.
func tokens(ctx context.Context, m *Manifest, pages pageReader, bases offsets) (map[Token]bool, error) {
	named := map[Token]bool{}
	add := func(entries []Entry) {
		for i := range entries {
			if e := &entries[i]; bases.contain(e.Base) {
				named[e.Token] = true
			}
		}
	}
	for i := range m.Pages {
		p := &m.Pages[i]
		if p.Base > bases.last || p.End <= bases.first {
			continue
		}
		named[p.Token] = true
		entries, err := pages(ctx, p.id(), p.Size, p.Sum)
		if err != nil {
			return nil, err
		}
		add(entries)
	}
	add(m.Tail)
	for i := range m.Garbage {
		g := &m.Garbage[i]
		if g.Base > bases.last {
			continue
		}
		named[g.Token] = true
		if g.Kind != garbagePageAll {
			continue
		}
		entries, err := pages(ctx, g.ObjectID, g.Size, g.Sum)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return nil, err
		}
		add(entries)
	}
	return named, nil
}
