package tier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/morrowmq/morrow/internal/pace"
	"github.com/morrowmq/morrow/tier/bucket"
)

// VerifyOptions say how closely remote data is looked at.
type VerifyOptions struct {
	// Deep reads every byte and computes its checksum; otherwise the store is only asked what it has.
	Deep bool
	// BytesPerSecond and ObjectsPerSecond bound the load; 0: no bound.
	BytesPerSecond   int64
	ObjectsPerSecond float64
	// Progress is told after every object. It may be nil.
	Progress func(checked Span)
}

// Damage is a committed object that is not as it should be.
type Damage struct {
	Entry Entry // of a page, all that it names
	Key   string
	Err   error // ErrLost or ErrCorrupt
	// Repaired says that it was stored anew from the local copy.
	Repaired bool
}

// Verified is the outcome of looking at one partition.
type Verified struct {
	Objects  int
	Bytes    int64
	Damaged  []Damage
	Repaired int
}

// add takes in damage, in the place of what was found of the same object before.
func (v *Verified) add(d Damage) {
	for i, old := range v.Damaged {
		if old.Entry.Token != d.Entry.Token {
			continue
		}
		if old.Repaired {
			v.Repaired--
		}
		v.Damaged = slices.Delete(v.Damaged, i, i+1)
		break
	}
	v.Damaged = append(v.Damaged, d)
	if d.Repaired {
		v.Repaired++
	}
}

// Verify looks at every remote object of a partition without changing anything. It needs no broker. Beside
// uploads and retention it gives no false alarm: what has expired meanwhile is not damage.
func Verify(ctx context.Context, b bucket.Bucket, m *Manifest, o VerifyOptions) (Verified, error) {
	v := newVerifier(b, partitionDir(m.Cluster, m.Topic, m.PartitionID.Partition), o)
	err := v.manifest(ctx, m, nil)
	return v.result, err
}

// verifier looks at objects one after the other.
type verifier struct {
	bucket  bucket.Bucket
	dir     string
	o       VerifyOptions
	objects *rate.Limiter
	bytes   *rate.Limiter
	result  Verified
}

func newVerifier(b bucket.Bucket, dir string, o VerifyOptions) *verifier {
	v := &verifier{bucket: b, dir: dir, o: o, objects: rate.NewLimiter(rate.Inf, 1), bytes: pace.NewLimiter(o.BytesPerSecond)}
	if o.ObjectsPerSecond > 0 {
		v.objects.SetLimit(rate.Limit(o.ObjectsPerSecond))
	}
	return v
}

// manifest looks at all entries. repair, if not nil, is called with each damaged one.
func (v *verifier) manifest(ctx context.Context, m *Manifest, repair func(context.Context, *Damage) error) error {
	for i := range m.Pages {
		if err := v.page(ctx, &m.Pages[i], repair); err != nil {
			return err
		}
	}
	return v.entries(ctx, m.Tail, repair)
}

// page looks at what a page names, or the one that has taken its place meanwhile. If it cannot be
// read, nothing that it names can be found: that is damage, and a repair of that there is none.
func (v *verifier) page(ctx context.Context, p *PageRef, repair func(context.Context, *Damage) error) error {
	for {
		entries, err := readPage(ctx, v.bucket, v.dir, p.id(), p.Size, p.Sum)
		switch {
		case err == nil:
			return v.entries(ctx, entries, repair)
		case errors.Is(err, bucket.ErrNotFound):
			err = fmt.Errorf("%s: %w", p.id().key(v.dir, pageSuffix), ErrLost)
		case !errors.Is(err, ErrCorrupt):
			return err // the bucket cannot be asked
		}
		now, gerr := v.pageAt(ctx, p.Span)
		if gerr != nil || now == nil {
			return gerr
		}
		if now.Token == p.Token {
			v.result.Damaged = append(v.result.Damaged, Damage{
				Entry: Entry{Span: p.Span, Epoch: p.Epoch, Token: p.Token, Sum: p.Sum}, Key: p.id().key(v.dir, pageSuffix), Err: err,
			})
			return nil
		}
		p = now
	}
}

func (v *verifier) entries(ctx context.Context, entries []Entry, repair func(context.Context, *Damage) error) error {
	for i := range entries {
		e := &entries[i]
		if e.isDrop() {
			continue
		}
		if err := v.objects.Wait(ctx); err != nil {
			return err
		}
		err := v.entry(ctx, e)
		switch {
		case err == nil:
		case errors.Is(err, ErrLost), errors.Is(err, ErrCorrupt):
			if err := v.damaged(ctx, e, err, repair); err != nil {
				return err
			}
		default:
			return err // the bucket cannot be asked
		}
		v.result.Objects++
		v.result.Bytes += e.Bytes
		if v.o.Progress != nil {
			v.o.Progress(e.Span)
		}
	}
	return nil
}

func (v *verifier) damaged(ctx context.Context, e *Entry, cause error, repair func(context.Context, *Damage) error) error {
	if gone, err := v.replaced(ctx, e); err != nil || gone {
		return err
	}
	d := Damage{Entry: *e, Key: e.id().key(v.dir, segmentSuffix), Err: cause}
	if repair != nil {
		if err := repair(ctx, &d); err == nil {
			d.Repaired = true
			v.result.Repaired++
		} else {
			d.Err = fmt.Errorf("%w; it cannot be repaired: %w", d.Err, err)
		}
	}
	v.result.Damaged = append(v.result.Damaged, d)
	return nil
}

// entry compares one object with its entry.
func (v *verifier) entry(ctx context.Context, e *Entry) error {
	key := e.id().key(v.dir, segmentSuffix)
	o, err := v.bucket.Head(ctx, key)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return fmt.Errorf("%s: %w", key, ErrLost)
	case err != nil:
		return err
	case o.Size != e.Bytes, o.Sum != (bucket.Checksum{}) && o.Sum.Algorithm == e.Sum.Algorithm && o.Sum != e.Sum:
		return fmt.Errorf("%s: %w: %d bytes, %v instead of %d bytes, %v", key, ErrCorrupt, o.Size, o.Sum, e.Bytes, e.Sum)
	}
	if !v.o.Deep {
		return nil
	}
	r, _, err := v.bucket.Get(ctx, key, 0, e.Bytes)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := bucket.Verify(pace.NewReader(ctx, r, v.pace), e.Bytes, e.Sum); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (v *verifier) pace(ctx context.Context, n int) error { return pace.Wait(ctx, v.bytes, n) }

// replaced reports whether an entry is no longer in the manifest, or in it with another object.
func (v *verifier) replaced(ctx context.Context, e *Entry) (bool, error) {
	m, _, err := readManifest(ctx, v.bucket, v.dir)
	if errors.Is(err, bucket.ErrNotFound) {
		return true, nil // the topic was deleted
	}
	if err != nil {
		return false, err
	}
	entries := m.Tail
	for i := range m.Pages {
		if p := &m.Pages[i]; p.Base <= e.Base && e.Base < p.End {
			if entries, err = readPage(ctx, v.bucket, v.dir, p.id(), p.Size, p.Sum); err != nil {
				return false, err
			}
		}
	}
	for i := range entries {
		if entries[i].Token == e.Token {
			return false, nil
		}
	}
	return true, nil
}

// pageAt is the page of the manifest, as it is now, that lies in a span; nil if there is none any more.
func (v *verifier) pageAt(ctx context.Context, s Span) (*PageRef, error) {
	m, _, err := readManifest(ctx, v.bucket, v.dir)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, nil // the topic was deleted
	}
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(m.Pages, func(p PageRef) bool { return s.Base <= p.Base && p.End <= s.End })
	if i < 0 {
		return nil, nil
	}
	return &m.Pages[i], nil
}

// Scrub verifies the partition's remote objects and repairs damaged ones as long as the log still
// has the segment: the bytes are stored anew under another key, and the manifest is changed to name
// that. What fails of this is tried again by later steps.
func (p *Partition) Scrub(ctx context.Context, o VerifyOptions) (Verified, error) {
	m := p.view.Load().manifest
	if m == nil {
		return Verified{}, nil
	}
	v := newVerifier(p.tier.bucket, p.catalog.dir, o)
	err := v.manifest(ctx, m, p.repair)
	if err == nil {
		p.keepResult(ctx, v.result)
	}
	p.count(v.result)
	return v.result, err
}

// count adds what was found to the metrics, and logs it.
func (p *Partition) count(v Verified) {
	p.stats.scrubbed.Add(int64(v.Objects))
	p.stats.repaired.Add(int64(v.Repaired))
	for _, d := range v.Damaged {
		p.tier.logger.Error("tier: a remote object is damaged", "partition", p.id.String(), "key", d.Key,
			"base", d.Entry.Base, "end", d.Entry.End, "repaired", d.Repaired, "err", d.Err)
	}
}

// keepResult makes a result the last one. What was repaired behind the look is not damaged any more.
func (p *Partition) keepResult(ctx context.Context, r Verified) {
	r.Damaged = slices.Clone(r.Damaged)
	_ = p.inTurn(ctx, func(ctx context.Context) error { // a partition that has been stopped has no result
		for i := range r.Damaged {
			d := &r.Damaged[i]
			if named, err := p.names(ctx, &d.Entry); err == nil && !named && !d.Repaired {
				d.Repaired = true
				r.Repaired++
			}
		}
		p.scrubbed.Store(&scrubbed{at: p.tier.now(), result: r})
		return nil
	})
}

// scrubbed is the last look at a partition.
type scrubbed struct {
	at     time.Time
	result Verified
}
