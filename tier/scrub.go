package tier

import (
	"context"
	"errors"
	"fmt"
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
	Entry Entry
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
		p := &m.Pages[i]
		entries, err := readPage(ctx, v.bucket, v.dir, p.id(), p.Size, p.Sum)
		if err == nil {
			err = v.entries(ctx, entries, repair)
		} else if gone, gerr := v.expired(ctx, p.Span); gerr == nil && gone {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return v.entries(ctx, m.Tail, repair)
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
			d.Err = errors.Join(d.Err, err)
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

// expired reports whether everything in a span has left the manifest.
func (v *verifier) expired(ctx context.Context, s Span) (bool, error) {
	m, _, err := readManifest(ctx, v.bucket, v.dir)
	if errors.Is(err, bucket.ErrNotFound) {
		return true, nil
	}
	return err == nil && m.Start >= s.End, err
}

// Scrub verifies the partition's remote objects and repairs damaged ones as long as the log still
// has the segment: the bytes are stored anew under another key, and the manifest is changed to name
// that.
func (p *Partition) Scrub(ctx context.Context, o VerifyOptions) (Verified, error) {
	m := p.view.Load().manifest
	if m == nil {
		return Verified{}, nil
	}
	v := newVerifier(p.tier.bucket, p.catalog.dir, o)
	err := v.manifest(ctx, m, p.repair)
	p.stats.scrubbed.Add(int64(v.result.Objects))
	p.stats.repaired.Add(int64(v.result.Repaired))
	if err == nil {
		p.scrubbed.Store(&scrubbed{at: p.tier.now(), result: v.result})
	}
	for _, d := range v.result.Damaged {
		p.tier.logger.Error("tier: a remote segment is damaged", "partition", p.id.String(), "key", d.Key,
			"base", d.Entry.Base, "end", d.Entry.End, "repaired", d.Repaired, "err", d.Err)
	}
	return v.result, err
}

// scrubbed is the last look at a partition.
type scrubbed struct {
	at     time.Time
	result Verified
}

// repair stores a damaged segment anew from the local log.
func (p *Partition) repair(ctx context.Context, d *Damage) error {
	return p.inTurn(ctx, func() (err error) {
		if err := p.ready(ctx); err != nil {
			return err
		}
		u, err := p.localCopy(d.Entry.Span)
		if err != nil {
			return err
		}
		todo := []upload{u}
		defer func() { err = errors.Join(err, closeFiles(todo)) }()
		if todo, err = p.prepare(ctx, todo); err != nil {
			return err
		}
		if len(todo) == 0 {
			return ErrGone
		}
		if _, err := p.send(ctx, todo); err != nil {
			return err
		}
		e := todo[0].sealed.entry
		e.Time = p.tier.now().UnixMilli()
		next := p.catalog.current.clone()
		if err := p.catalog.replace(ctx, next, e, e.Time); err != nil {
			return err
		}
		if err := p.state.verify([]Entry{e}); err != nil {
			return err
		}
		if err := p.commit(ctx, next); err != nil {
			return err
		}
		return p.settle([]Token{e.Token})
	})
}

// localCopy finds the closed local segment that holds exactly the offsets of a remote one.
func (p *Partition) localCopy(s Span) (upload, error) {
	closed, err := p.source.Closed(s.Base)
	if err != nil {
		return upload{}, err
	}
	for _, seg := range closed {
		if seg.Base <= s.Base && seg.End == s.End {
			return upload{segment: seg, from: s.Base, to: s.End}, nil
		}
	}
	return upload{}, fmt.Errorf("no local copy of offsets %d to %d: %w", s.Base, s.End-1, ErrGone)
}
