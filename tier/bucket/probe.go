package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/smithy-go"
)

// ErrUnfit says that the store answers, and does something wrong that confirmed uploads rest on.
var ErrUnfit = errors.New("store is not fit for tiering")

// Probe stores and removes a few small objects under dir and reports the first thing that the store
// does wrong, as ErrUnfit with a sentence that says which, or why it could not be asked. A bucket
// that leaves the choice open is set to the first checksum algorithm that the store verifies. said,
// if not nil, is told every check and its result.
//
// Some stores echo a checksum they have not verified, so a wrong one must be refused before a right
// one proves anything.
func Probe(ctx context.Context, b Bucket, dir string, said func(check string, err error)) error {
	if said == nil {
		said = func(string, error) {}
	}
	algorithms := []Algorithm{b.Checksum()}
	s, choose := Underlying(b).(*S3)
	if choose = choose && !s.chosen; choose {
		algorithms = []Algorithm{CRC64NVME, CRC32C, SHA256}
	}
	var first error
	for _, a := range algorithms {
		if choose {
			s.algorithm.Store(uint32(a))
		}
		p := probe{bucket: b, algorithm: a, key: dir + ProbePrefix + rand.Text(), said: said}
		err := p.run(ctx)
		if err == nil || !errors.Is(err, ErrUnfit) && !unknownAlgorithm(err) {
			return err // fit, or not to be asked
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// unknownAlgorithm reports whether err may be the answer of a store that does not know the checksum
// it was sent.
func unknownAlgorithm(err error) bool {
	var answer smithy.APIError
	return errors.Is(err, ErrConfig) && !errors.Is(err, errPlace) && errors.As(err, &answer)
}

// ProbePrefix begins the names of the objects that [Probe] stores. One that died may have left some.
const ProbePrefix = "probe-"

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

type probeCheck struct {
	name string
	run  func(context.Context) error
}

func (p *probe) checks() []probeCheck {
	checks := []probeCheck{
		{"refuses an object whose " + p.algorithm.String() + " checksum is wrong", p.refusesWrongChecksum},
		{"tells the checksum and the size of a whole object", p.tellsChecksum},
		{"returns the bytes that were stored, in ranges", p.returnsBytes},
		{"does not replace an object that was to be new (If-None-Match)", p.claimsOnce},
		{"does not replace an object that has changed (If-Match)", p.replacesOnce},
		{"lists what is there", p.lists},
	}
	if b, ok := inParts(p.bucket); ok && sentInParts(p.algorithm) {
		parts := probe{bucket: b, algorithm: p.algorithm, key: p.key + "-parts"}
		checks = append(checks,
			probeCheck{"refuses an object in parts whose checksum as a whole is wrong", parts.refusesWrongChecksum},
			probeCheck{"tells the checksum and the size of an object in parts", parts.tellsChecksum})
	}
	return append(checks, probeCheck{"deletes", p.deletes})
}

func (p *probe) run(ctx context.Context) error {
	for _, c := range p.checks() {
		err := lacking(withoutToken(c.run(ctx)))
		p.said(c.name, err)
		if err == nil {
			continue
		}
		p.clean(ctx)
		if errors.Is(err, ErrUnfit) {
			return fmt.Errorf("check that the store %s: %w", c.name, err)
		}
		return err
	}
	return nil
}

// lacking makes the error of a store that says it cannot do what it was asked for an ErrUnfit.
func lacking(err error) error {
	var failed *Error
	if errors.As(err, &failed) && errors.Is(failed.Kind, errLacking) {
		return unfit("%w", failed.Err)
	}
	return err
}

// keys are those of all objects that the checks store.
func (p *probe) keys() []string {
	return []string{p.key, p.key + "-bad", p.key + "-parts", p.key + "-parts-bad"}
}

// clean removes what a run that has failed may have left, if it can.
func (p *probe) clean(ctx context.Context) {
	ctx, cancel := OwnTime(ctx)
	defer cancel()
	_ = p.bucket.Delete(ctx, p.keys()...)
}

// withoutToken is an error about an object of the probe that reads the same for each probe.
func withoutToken(err error) error {
	var failed *Error
	if !errors.As(err, &failed) {
		return err
	}
	dir, _, _ := strings.Cut(failed.Key, ProbePrefix)
	return &Error{Op: failed.Op, Key: dir + strings.TrimSuffix(ProbePrefix, "-"), Kind: failed.Kind, Err: failed.Err}
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
	switch {
	case errors.Is(err, errOtherRange):
		return unfit("%v", err)
	case err != nil:
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

func (p *probe) deletes(ctx context.Context) error {
	if err := p.bucket.Delete(ctx, p.keys()...); err != nil {
		return err
	}
	_, err := p.bucket.Head(ctx, p.key)
	switch {
	case err == nil:
		return unfit("the object is still there")
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}
