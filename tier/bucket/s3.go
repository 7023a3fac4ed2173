package bucket

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// S3 is a [Bucket] in a store that speaks S3.
//
// It relies on four things that [Probe] checks and not every store does: the store verifies a
// checksum of the whole object that we computed, tells it back, and honours If-None-Match and
// If-Match on Put.
type S3 struct {
	client    *s3.Client
	bucket    string
	prefix    string // of every key; empty or ends with a slash
	url       string // for messages
	partSize  int64
	algorithm atomic.Uint32 // an Algorithm
	chosen    bool          // the configuration names the algorithm
	keys      *aws.CredentialsCache

	abortErrors atomic.Int64 // multipart uploads that could not be given up and wait for a sweep
}

const (
	defaultPartSize = 64 << 20
	maxParts        = 10_000
	partsAtOnce     = 3
	deletesAtOnce   = 8
	// A store may be at work on a CompleteMultipartUpload for minutes after nobody listens any more.
	completeTime = 10 * time.Minute
)

var _ Bucket = (*S3)(nil)

func (b *S3) String() string { return b.url }

// Checksum is the algorithm that the configuration names or Probe found to work; CRC64NVME before that.
func (b *S3) Checksum() Algorithm { return Algorithm(b.algorithm.Load()) }

// failed gives an error of the client library its kind. Credentials that were refused are not used
// again; the answer to a HEAD has no body that would tell expired ones, for which the status is
// 400, from other mistakes. Requests that began before may still bring the old ones back for one try.
func (b *S3) failed(op, key string, err error, o PutOptions) error {
	err = s3Error(op, key, err, o)
	if errors.Is(err, ErrDenied) || op == "head" && errors.Is(err, ErrConfig) {
		b.keys.Invalidate()
	}
	return err
}

func (b *S3) key(key string) *string { return aws.String(b.prefix + key) }

// Put implements [Bucket]. An object that is larger than a part is sent in parts and becomes
// visible as a whole.
func (b *S3) Put(ctx context.Context, key string, body Body, o PutOptions) (Object, error) {
	put := b.putWhole
	if body.Size > b.partSize && sentInParts(body.Sum.Algorithm) {
		put = b.putParts
	}
	etag, err := put(ctx, key, body, o)
	return b.stored(key, body, etag, err, o)
}

func (b *S3) stored(key string, body Body, etag string, err error, o PutOptions) (Object, error) {
	if err != nil {
		return Object{}, b.failed("put", key, err, o)
	}
	return Object{Key: key, Size: body.Size, ETag: etag, Sum: body.Sum}, nil
}

// sentInParts reports whether large objects can be: S3 has no SHA-256 over a whole object in parts.
func sentInParts(a Algorithm) bool { return a != SHA256 }

// inParts is a bucket that sends small objects in parts, too; false if it sends nothing so.
func inParts(b Bucket) (Bucket, bool) {
	switch b := b.(type) {
	case patient:
		inner, ok := inParts(b.Bucket)
		return patient{inner, b.idle}, ok
	case *S3:
		return partsS3{b}, true
	}
	return b, false
}

type partsS3 struct{ *S3 }

func (b partsS3) Put(ctx context.Context, key string, body Body, o PutOptions) (Object, error) {
	etag, err := b.putParts(ctx, key, body, o)
	return b.stored(key, body, etag, err, o)
}

func (b *S3) putWhole(ctx context.Context, key string, body Body, o PutOptions) (etag string, err error) {
	in := &s3.PutObjectInput{
		Bucket: &b.bucket, Key: b.key(key),
		Body: newBodyReader(ctx, body, 0, body.Size), ContentLength: &body.Size,
		IfNoneMatch: ifNoneMatch(o), IfMatch: optional(o.IfMatch),
	}
	switch sum := encodeSum(body.Sum); body.Sum.Algorithm {
	case CRC64NVME:
		in.ChecksumCRC64NVME = sum
	case CRC32C:
		in.ChecksumCRC32C = sum
	case SHA256:
		in.ChecksumSHA256 = sum
	}
	out, err := b.client.PutObject(ctx, in, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}

// putParts is a multipart upload with one checksum over the whole object, which the store verifies
// at the end. An upload that has certainly failed is given up. One whose end is not known may still
// become the object, so it is left alone: the next try that does not find the object ends it when
// the store has had its time, and a sweep if there is none.
func (b *S3) putParts(ctx context.Context, key string, body Body, o PutOptions) (etag string, err error) {
	b.endEarlier(ctx, key)
	created, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &b.bucket, Key: b.key(key),
		ChecksumAlgorithm: checksumName(body.Sum.Algorithm), ChecksumType: types.ChecksumTypeFullObject,
	})
	if err != nil {
		return "", err
	}
	parts, err := b.sendParts(ctx, key, created.UploadId, body)
	if err != nil {
		b.giveUp(ctx, key, created.UploadId)
		return "", err
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &b.bucket, Key: b.key(key), UploadId: created.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		ChecksumType:    types.ChecksumTypeFullObject, MpuObjectSize: &body.Size,
		IfNoneMatch: ifNoneMatch(o), IfMatch: optional(o.IfMatch),
	}
	switch sum := encodeSum(body.Sum); body.Sum.Algorithm {
	case CRC64NVME:
		in.ChecksumCRC64NVME = sum
	case CRC32C:
		in.ChecksumCRC32C = sum
	}
	out, err := b.client.CompleteMultipartUpload(ctx, in)
	if kind := s3Kind("put", err, o); err != nil && (Refused(kind) || errors.Is(kind, ErrExists) || errors.Is(kind, ErrPrecondition)) {
		b.giveUp(ctx, key, created.UploadId)
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}

func (b *S3) sendParts(ctx context.Context, key string, id *string, body Body) ([]types.CompletedPart, error) {
	size := partBytes(body.Size, b.partSize)
	parts := make([]types.CompletedPart, (body.Size+size-1)/size)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	for i := range parts {
		pos := int64(i) * size
		g.Go(func() (err error) {
			parts[i], err = b.sendPart(ctx, key, id, int32(i+1), body, pos, min(size, body.Size-pos))
			return err
		})
	}
	return parts, g.Wait()
}

// partBytes is how large the parts of an object are: as configured, unless there would be more of
// them than S3 allows.
func partBytes(object, configured int64) int64 {
	const mib = 1 << 20
	return max(configured, (object/maxParts/mib+1)*mib)
}

func (b *S3) sendPart(ctx context.Context, key string, id *string, number int32, body Body, pos, n int64) (types.CompletedPart, error) {
	h := body.Sum.Algorithm.New()
	if _, err := io.Copy(h, withContext(ctx, io.NewSectionReader(body.At, pos, n))); err != nil {
		return types.CompletedPart{}, err
	}
	sum := encodeSum(sumOf(body.Sum.Algorithm, h))
	in := &s3.UploadPartInput{
		Bucket: &b.bucket, Key: b.key(key), UploadId: id, PartNumber: &number,
		Body: newBodyReader(ctx, body, pos, n), ContentLength: &n,
	}
	part := types.CompletedPart{PartNumber: &number}
	switch body.Sum.Algorithm {
	case CRC64NVME:
		in.ChecksumCRC64NVME, part.ChecksumCRC64NVME = sum, sum
	case CRC32C:
		in.ChecksumCRC32C, part.ChecksumCRC32C = sum, sum
	}
	out, err := b.client.UploadPart(ctx, in, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	if err != nil {
		return types.CompletedPart{}, err
	}
	part.ETag = out.ETag
	return part, nil
}

// endEarlier ends what earlier tries of the same key have left, if the store has had its time with
// it. That this fails is no reason not to upload.
func (b *S3) endEarlier(ctx context.Context, key string) {
	stale, err := b.StaleUploads(ctx, key, time.Now().Add(-completeTime))
	if err != nil {
		b.abortErrors.Add(1)
	}
	for _, u := range stale {
		b.giveUp(ctx, u.Key, &u.id)
	}
}

// giveUp ends a multipart upload that has failed, if it can.
func (b *S3) giveUp(ctx context.Context, key string, id *string) {
	ctx, cancel := OwnTime(ctx)
	defer cancel()
	if err := b.EndUpload(ctx, StaleUpload{Key: key, id: *id}); err != nil {
		b.abortErrors.Add(1)
	}
}

// EndUpload has the store forget an unfinished multipart upload and its parts. That there is none is no error.
func (b *S3) EndUpload(ctx context.Context, u StaleUpload) error {
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: b.key(u.Key), UploadId: &u.id})
	var gone *types.NoSuchUpload
	if errors.As(err, &gone) {
		return nil
	}
	return b.failed("delete", u.Key, err, PutOptions{})
}

// AbortErrors counts the multipart uploads that could not be given up and wait for a sweep.
func (b *S3) AbortErrors() int64 { return b.abortErrors.Load() }

// StaleUpload is a multipart upload that was begun long ago.
type StaleUpload struct {
	Key   string
	Begun time.Time // by the store's clock
	id    string
}

// StaleUploads lists the unfinished multipart uploads below prefix that were begun before a time:
// those of writers that died.
func (b *S3) StaleUploads(ctx context.Context, prefix string, before time.Time) (stale []StaleUpload, err error) {
	pages := s3.NewListMultipartUploadsPaginator(b.client, &s3.ListMultipartUploadsInput{Bucket: &b.bucket, Prefix: b.key(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return stale, b.failed("list", prefix, err, PutOptions{})
		}
		for _, u := range page.Uploads {
			key, ok := strings.CutPrefix(aws.ToString(u.Key), b.prefix)
			if begun := aws.ToTime(u.Initiated); ok && strings.HasPrefix(key, prefix) && begun.Before(before) {
				stale = append(stale, StaleUpload{key, begun, aws.ToString(u.UploadId)})
			}
		}
	}
	return stale, nil
}

// Head implements [Bucket]. A checksum is told only if it is of the whole object. Some stores say of
// those in parts only what it is of; one over checksums of parts cannot be taken for another, since
// their number follows it.
func (b *S3) Head(ctx context.Context, key string) (Object, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &b.bucket, Key: b.key(key), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return Object{}, b.failed("head", key, err, PutOptions{})
	}
	o := Object{
		Key: key, Size: aws.ToInt64(out.ContentLength),
		ETag: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified),
	}
	if out.ChecksumType != types.ChecksumTypeComposite {
		o.Sum = pickSum(b.Checksum(), map[Algorithm]*string{
			CRC64NVME: out.ChecksumCRC64NVME, CRC32C: out.ChecksumCRC32C, SHA256: out.ChecksumSHA256,
		})
	}
	return o, nil
}

// errOtherRange: the store answers with another range than it was asked for.
var errOtherRange = fmt.Errorf("another range: %w", io.ErrUnexpectedEOF)

// Get implements [Bucket].
func (b *S3) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, Object, error) {
	in := &s3.GetObjectInput{Bucket: &b.bucket, Key: b.key(key)}
	switch {
	case n == 0:
		o, err := b.Head(ctx, key)
		return io.NopCloser(strings.NewReader("")), o, err
	case n > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	case off > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", off))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, Object{}, b.failed("get", key, err, PutOptions{})
	}
	length := aws.ToInt64(out.ContentLength)
	if n > 0 && length != n {
		out.Body.Close()
		return nil, Object{}, &Error{Op: "get", Key: key, Kind: ErrUnknown,
			Err: fmt.Errorf("%w: %d bytes instead of %d", errOtherRange, length, n)}
	}
	o := Object{Key: key, ETag: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified)}
	if in.Range == nil {
		o.Size = length
	}
	return readCloser{&exactReader{r: out.Body, left: length}, out.Body}, o, nil
}

// List implements [Bucket].
func (b *S3) List(ctx context.Context, prefix string, visit func(Object) error) error {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: b.key(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return b.failed("list", prefix, err, PutOptions{})
		}
		for _, x := range page.Contents {
			o := Object{
				Key:  strings.TrimPrefix(aws.ToString(x.Key), b.prefix),
				Size: aws.ToInt64(x.Size), ETag: aws.ToString(x.ETag), Modified: aws.ToTime(x.LastModified),
			}
			if err := visit(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements [Bucket]. It sends one request per object, which every store understands.
func (b *S3) Delete(ctx context.Context, keys ...string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deletesAtOnce)
	for _, key := range keys {
		g.Go(func() error {
			_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: b.key(key)})
			err = b.failed("delete", key, err, PutOptions{})
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// bodyReader is a range of a body as the HTTP client wants it: it can be rewound for another try.
type bodyReader struct {
	*io.SectionReader
	ctx  context.Context
	pace func(context.Context, int) error
}

func newBodyReader(ctx context.Context, body Body, pos, n int64) io.ReadSeeker {
	section := io.NewSectionReader(body.At, pos, n)
	if body.Pace == nil {
		return section
	}
	return &bodyReader{section, ctx, body.Pace}
}

func (r *bodyReader) Read(b []byte) (int, error) {
	n, err := r.SectionReader.Read(b)
	if n > 0 {
		if perr := r.pace(r.ctx, n); perr != nil {
			return n, perr
		}
	}
	return n, err
}

// WriteTo exists so that the section's own does not bypass the pace.
func (r *bodyReader) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{r}) }

func ifNoneMatch(o PutOptions) *string {
	if o.IfNoneMatch {
		return aws.String("*")
	}
	return nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func encodeSum(c Checksum) *string {
	return aws.String(base64.StdEncoding.EncodeToString([]byte(c.Sum)))
}

func checksumName(a Algorithm) types.ChecksumAlgorithm {
	switch a {
	case CRC32C:
		return types.ChecksumAlgorithmCrc32c
	case SHA256:
		return types.ChecksumAlgorithmSha256
	default:
		return types.ChecksumAlgorithmCrc64nvme
	}
}

// pickSum decodes the first checksum that the store told, the preferred algorithm's if it did.
func pickSum(preferred Algorithm, told map[Algorithm]*string) Checksum {
	for _, a := range []Algorithm{preferred, CRC64NVME, CRC32C, SHA256} {
		if told[a] == nil {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(*told[a])
		if err == nil && len(raw) == a.Size() {
			return Checksum{Algorithm: a, Sum: string(raw)}
		}
	}
	return Checksum{}
}
