package tier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/smithy-go"
)

// ErrUnfit says that the store answers, and does something wrong that confirmed uploads rest on.
var ErrUnfit = errors.New("store is not fit for tiering")

// Probe stores and removes a few small objects under dir and reports the first thing that the store does wrong, as ErrUnfit with a
// sentence that says which, or why it could not be asked. A bucket that leaves the choice open is set to the first
// checksum algorithm that the store verifies. said, if not nil, is told every check and its result.
//
// Some stores echo a checksum they have not verified, so a wrong one must be refused before a right one proves anything.
func Probe(ctx context.Context, b Bucket, dir string, said func(check string, err error)) error {
	if said == nil {
		said = func(string, error) {}
	}
	algorithms := []Algorithm{b.Checksum()}
	s, choose := underlying(b).(*S3Bucket)
	if choose = choose && !s.chosen; choose {
		algorithms = []Algorithm{CRC64NVME, CRC32C, SHA256}
	}
	var first error
	for _, a := range algorithms {
		if choose {
			s.algorithm.Store(uint32(a))
		}
		p := probe{bucket: b, algorithm: a, key: dir + probePrefix + NewToken().String(), said: said}
		err := p.run(ctx)
		var answer smithy.APIError
		if err == nil || !errors.Is(err, ErrUnfit) && !(errors.Is(err, ErrConfig) && errors.As(err, &answer)) {
			return err // fit, or not to be asked; a store that does not know an algorithm answers with an error
		}
		if first == nil {
			first = err
		}
	}
	return first
}

const probePrefix = "probe-"

// probe is one run with one checksum algorithm.
type probe struct {
	bucket    Bucket
	algorithm Algorithm
	key       string
	said      func(check string, err error)
}

var (
	probeData  = bytes.Repeat([]byte("morrow probes this store. "), 40)
	probeOther = bytes.Repeat([]byte("MORROW PROBES THIS STORE. "), 40) // of the same length
)

func (p *probe) run(ctx context.Context) (err error) {
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), headTimeout)
		defer cancel()
		if derr := p.bucket.Delete(cleanup, p.key, p.key+"-bad"); err == nil {
			err = derr
		}
	}()
	for _, c := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"refuses an object whose " + p.algorithm.String() + " checksum is wrong", p.refusesWrongChecksum},
		{"tells the checksum and the size of a whole object", p.tellsChecksum},
		{"returns the bytes that were stored, in ranges", p.returnsBytes},
		{"does not replace an object that was to be new (If-None-Match)", p.claimsOnce},
		{"does not replace an object that has changed (If-Match)", p.replacesOnce},
		{"lists what is there", p.lists},
	} {
		err := c.run(ctx)
		p.said(c.name, err)
		if err != nil {
			return fmt.Errorf("%s: check that the store %s: %w", p.bucket, c.name, err)
		}
	}
	return nil
}

func (p *probe) body(b []byte) Body { return BytesBody(p.algorithm, b) }

func unfit(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnfit, fmt.Errorf(format, args...))
}

func (p *probe) refusesWrongChecksum(ctx context.Context) error {
	bad := p.body(probeData)
	bad.Sum = SumOf(p.algorithm, probeOther)
	_, err := p.bucket.Put(ctx, p.key+"-bad", bad, PutOptions{IfNoneMatch: true})
	switch {
	case err == nil:
		return unfit("it stored the object")
	case errors.Is(err, ErrChecksum):
		return nil
	}
	return err
}

func (p *probe) tellsChecksum(ctx context.Context) error {
	body := p.body(probeData)
	if _, err := p.bucket.Put(ctx, p.key, body, PutOptions{IfNoneMatch: true}); err != nil {
		return err
	}
	o, err := p.bucket.Head(ctx, p.key)
	if err != nil {
		return err
	}
	if o.Sum != body.Sum || o.Size != body.Size || o.ETag == "" {
		return unfit("it tells %d bytes, %v, ETag %s instead of %d bytes, %v", o.Size, o.Sum, o.ETag, body.Size, body.Sum)
	}
	return nil
}

func (p *probe) returnsBytes(ctx context.Context) error {
	r, _, err := p.bucket.Get(ctx, p.key, 100, 200)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, probeData[100:300]) {
		return unfit("it returned %d other bytes", len(got))
	}
	return nil
}

func (p *probe) claimsOnce(ctx context.Context) error {
	_, err := p.bucket.Put(ctx, p.key, p.body(probeOther), PutOptions{IfNoneMatch: true})
	switch {
	case err == nil:
		return unfit("it replaced it")
	case errors.Is(err, ErrExists):
		return nil
	}
	return err
}

func (p *probe) replacesOnce(ctx context.Context) error {
	o, err := p.bucket.Head(ctx, p.key)
	if err != nil {
		return err
	}
	if _, err := p.bucket.Put(ctx, p.key, p.body(probeOther), PutOptions{IfMatch: o.ETag}); err != nil {
		return err
	}
	_, err = p.bucket.Put(ctx, p.key, p.body(probeData), PutOptions{IfMatch: o.ETag})
	switch {
	case err == nil:
		return unfit("it replaced it")
	case errors.Is(err, ErrPrecondition):
		return nil
	}
	return err
}

func (p *probe) lists(ctx context.Context) error {
	found := false
	err := p.bucket.List(ctx, p.key, func(o Object) error {
		found = found || o.Key == p.key
		return nil
	})
	if err == nil && !found {
		return unfit("it does not")
	}
	return err
}
