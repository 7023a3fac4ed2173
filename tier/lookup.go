package tier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/morrowmq/morrow/tier/bucket"
)

// OutOfRangeError says that the tier does not hold an offset.
type OutOfRangeError struct {
	Offset, Start, End int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d is not among the remote offsets [%d, %d)", e.Offset, e.Start, e.End)
}

// manifest returns the latest manifest known here, reading it if none is.
func (p *Partition) manifest(ctx context.Context) (*Manifest, error) {
	if m := p.view.Load().manifest; m != nil {
		return m, nil
	}
	m, err := p.tier.manifests.Get(ctx, p.catalog.dir, func(ctx context.Context) (*Manifest, error) {
		ctx, cancel := context.WithTimeout(ctx, loadTimeout)
		defer cancel()
		m, _, err := readManifest(ctx, p.tier.bucket, p.catalog.dir)
		return m, err
	})
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return newManifest(p.tier.cluster, p.id), nil
	case err != nil:
		return nil, err
	}
	p.publish(func(v *view) {
		if v.manifest == nil {
			v.manifest = m
		}
	})
	return m, nil
}

// Lost lists the offsets of which nothing came back when the partition was restored, oldest first.
// The store is asked only if this broker has committed nothing: who has used the bucket since may
// have been restored without what is here.
func (p *Partition) Lost(ctx context.Context) ([]OffsetRange, error) {
	if m := p.kept(); m != nil {
		return m.Lost, nil
	}
	m, err := p.manifest(ctx)
	if err != nil {
		return nil, err
	}
	return m.Lost, nil
}

// find returns the first remote segment that begins or goes on at or after an offset and is wanted;
// nil if there is none. wanted is also asked about whole pages, and must not refuse one that holds
// a wanted segment.
func (p *Partition) find(ctx context.Context, m *Manifest, offset int64, wanted func(Span) bool) (*Entry, error) {
	first := sort.Search(len(m.Pages), func(i int) bool { return m.Pages[i].End > offset })
	for i := first; i < len(m.Pages); i++ {
		if !wanted(m.Pages[i].Span) {
			continue
		}
		entries, err := p.catalog.page(ctx, &m.Pages[i])
		if err != nil {
			return nil, err
		}
		if e := findEntry(entries, offset, wanted); e != nil {
			return e, nil
		}
	}
	return findEntry(m.Tail, offset, wanted), nil
}

func findEntry(entries []Entry, offset int64, wanted func(Span) bool) *Entry {
	first := sort.Search(len(entries), func(i int) bool { return entries[i].End > offset })
	i := slices.IndexFunc(entries[first:], func(e Entry) bool { return !e.isDrop() && wanted(e.Span) })
	if i < 0 {
		return nil
	}
	return &entries[first+i]
}

// aborted returns the aborted transactions that have records in [from, to). Their markers may lie in any later
// segment, remote or local; the summaries say which ones are worth a look.
func (p *Partition) aborted(ctx context.Context, m *Manifest, from, to int64) ([]AbortedTxn, error) {
	local, err := p.source.Aborted(m.End, 1<<63-1)
	if err != nil {
		return nil, err
	}
	for p.source.Offsets().LocalStart > m.End {
		// Segments whose markers we would have found locally have been evicted meanwhile; a newer
		// manifest has them.
		newer := p.view.Load().manifest
		if newer == nil || newer.End <= m.End {
			break // retention without the tier: what is gone is below the log start
		}
		m = newer
	}
	var found []AbortedTxn
	add := func(txns []AbortedTxn) {
		for _, t := range txns {
			if t.First < to && t.Last >= from {
				found = append(found, t)
			}
		}
	}
	relevant := func(s Span) bool { return s.AbortedFirst != NoOffset && s.AbortedFirst < to }
	for at := from; ; {
		e, err := p.find(ctx, m, at, relevant)
		if err != nil {
			return nil, err
		}
		if e == nil {
			break
		}
		ix, err := p.tier.decoded.index(ctx, p.tier.bucket, p.catalog.dir, e)
		if err != nil {
			return nil, err
		}
		add(ix.Aborted)
		at = e.End
	}
	for _, t := range local {
		if t.Last >= m.End {
			add([]AbortedTxn{t})
		}
	}
	return found, nil
}
