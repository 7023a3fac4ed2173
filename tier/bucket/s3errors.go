package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// s3Kinds says what the error codes of S3 and its relatives mean. Codes that are not here are
// judged by their HTTP status.
var s3Kinds = map[string]error{
	"NoSuchKey": ErrNotFound,
	"NotFound":  ErrNotFound,

	"BadDigest":                          ErrChecksum,
	"InvalidDigest":                      ErrChecksum,
	"XAmzContentChecksumMismatch":        ErrChecksum,
	"XAmzContentSHA256Mismatch":          ErrChecksum,
	"SlowDown":                           ErrThrottled,
	"SlowDownRead":                       ErrThrottled,
	"SlowDownWrite":                      ErrThrottled,
	"TooManyRequests":                    ErrThrottled,
	"RequestLimitExceeded":               ErrThrottled,
	"Throttling":                         ErrThrottled,
	"ThrottlingException":                ErrThrottled,
	"AccessDenied":                       ErrDenied,
	"AccountProblem":                     ErrDenied,
	"AllAccessDisabled":                  ErrDenied,
	"ExpiredToken":                       ErrDenied,
	"InvalidAccessKeyId":                 ErrDenied,
	"InvalidToken":                       ErrDenied,
	"SignatureDoesNotMatch":              ErrDenied,
	"TokenRefreshRequired":               ErrDenied,
	"RequestTimeTooSkewed":               ErrDenied,
	"XAdminUserNotFound":                 ErrDenied,
	"NoSuchBucket":                       errPlace,
	"InvalidBucketName":                  errPlace,
	"PermanentRedirect":                  errPlace,
	"TemporaryRedirect":                  ErrUnknown,
	"AuthorizationHeaderMalformed":       errPlace, // wrong region
	"IllegalLocationConstraintException": errPlace,
	"EntityTooLarge":                     ErrConfig,
	"NotImplemented":                     errLacking,
	"QuotaExceeded":                      ErrFull,
	"XMinioStorageFull":                  ErrFull,
	"InsufficientStorage":                ErrFull,
	"RequestTimeout":                     ErrUnknown,
	"IncompleteBody":                     ErrUnknown,
	"ConditionalRequestConflict":         ErrUnknown,
	"NoSuchUpload":                       ErrUnknown, // perhaps because an earlier try has completed it
	"InvalidPart":                        ErrUnknown, // the store does not have what it was sent; or no longer, see above
	"EntityTooSmall":                     ErrUnknown,
}

// errPlace is an ErrConfig about where the bucket is: asking in another way does not help.
var errPlace = fmt.Errorf("%w", ErrConfig)

// errLacking is an ErrConfig about something that the store does not do for anybody.
var errLacking = fmt.Errorf("%w", ErrConfig)

// s3Error gives an error of the client library its kind.
func s3Error(op, key string, err error, o PutOptions) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Key: key, Kind: s3Kind(op, err, o), Err: explain(err)}
}

func s3Kind(op string, err error, o PutOptions) error {
	status := 0
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	if status == http.StatusPreconditionFailed {
		if o.IfMatch != "" {
			return ErrPrecondition
		}
		return ErrExists
	}
	kind, known := error(nil), false
	var api smithy.APIError
	if errors.As(err, &api) {
		kind, known = s3Kinds[api.ErrorCode()]
	}
	if !known {
		kind = statusKind(status, err)
	}
	if errors.Is(kind, ErrNotFound) && op == "put" {
		if o.IfMatch != "" {
			return ErrPrecondition // there is nothing to replace
		}
		return ErrUnknown
	}
	return kind
}

func statusKind(status int, err error) error {
	switch status {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied
	case http.StatusMovedPermanently, http.StatusBadRequest, http.StatusMethodNotAllowed:
		return ErrConfig
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ErrThrottled
	case http.StatusInsufficientStorage:
		return ErrFull
	case 0:
		return connectionKind(err)
	}
	return ErrUnknown
}

// connectionKind judges an error that is not an answer.
func connectionKind(err error) error {
	var (
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
	)
	switch {
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return ErrConfig
	case errors.Is(err, errNoCredentials):
		return ErrDenied
	}
	return ErrUnknown
}

// errNoCredentials: the request was never sent, because there is nothing to sign it with.
var errNoCredentials = errors.New("no usable credentials in the environment, the shared files or the instance's role")

// chain hands out the credentials of the usual chain. The client keeps them until they expire or
// are refused; then the chain is read anew, shared files included, so that keys can be replaced
// without a restart.
type chain struct {
	load func(context.Context) (aws.CredentialsProvider, error)
}

func (c chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	provider, err := c.load(ctx)
	if err != nil {
		return aws.Credentials{}, &keylessError{err}
	}
	keys, err := provider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = &keylessError{err}
	}
	return keys, err
}

// signer signs requests. The library's signer keeps what it derives from a secret under the name of
// its key, so every secret has one of its own.
type signer struct{ current atomic.Pointer[secretSigner] }

type secretSigner struct {
	*v4.Signer
	secret string
}

// SignHTTP implements [s3.HTTPSignerV4].
func (s *signer) SignHTTP(ctx context.Context, c aws.Credentials, req *http.Request, hash, service, region string, at time.Time, o ...func(*v4.SignerOptions)) error {
	with := s.current.Load()
	if with == nil || with.secret != c.SecretAccessKey {
		with = &secretSigner{
			Signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // S3 escapes paths once
			secret: c.SecretAccessKey,
		}
		s.current.Store(with)
	}
	return with.Signer.SignHTTP(ctx, c, req, hash, service, region, at, o...)
}

// keylessError is why there are no credentials.
type keylessError struct{ err error }

func (e *keylessError) Error() string   { return errNoCredentials.Error() + ": " + e.err.Error() }
func (e *keylessError) Unwrap() []error { return []error{errNoCredentials, e.err} }

// plainError is an error of the client library in the words of whoever failed, without what differs
// from one try to the next.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

// explain tells what a person needs to act on an error: what the store said, or which address did
// not answer, and why.
func explain(err error) error {
	var (
		response *smithyhttp.ResponseError
		api      smithy.APIError
		keyless  *keylessError
		request  *url.Error
		text     string
	)
	switch {
	case errors.As(err, &keyless):
		text = keyless.Error()
	case errors.As(err, &api):
		text = api.ErrorCode()
		if said := strings.Join(strings.Fields(api.ErrorMessage()), " "); said != "" && said != text {
			text += ": " + said
		}
		if errors.As(err, &response) {
			text = fmt.Sprintf("%s (HTTP %d)", text, response.HTTPStatusCode())
		}
	case errors.As(err, &request):
		text = address(request.URL) + ": " + connectionText(request.Err)
	case errors.As(err, &response):
		text = fmt.Sprintf("an answer that is none of an S3 store (HTTP %d): see whether endpoint is the address of one, and whether it speaks http or https there", response.HTTPStatusCode())
	default:
		return err
	}
	if region := otherRegion(response); region != "" {
		text = "the bucket is in region " + region + ", which belongs into tier.url, or AWS_REGION, and needs a restart: " + text
	}
	return &plainError{text, err}
}

// address is the part of a URL that says whom a request went to.
func address(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Scheme + "://" + u.Host
}

// connectionText is what became of a connection, without its ports.
func connectionText(err error) string {
	var (
		op        *net.OpError
		authority x509.UnknownAuthorityError
	)
	if errors.As(err, &authority) {
		return "its certificate is of an authority that is not trusted here; if it is a private one, have AWS_CA_BUNDLE name a file with the authority's certificate"
	}
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

// otherRegion is the region that the store says a bucket is in, if it is another than was asked.
func otherRegion(response *smithyhttp.ResponseError) string {
	if response == nil || response.Response == nil {
		return ""
	}
	switch response.HTTPStatusCode() {
	case http.StatusMovedPermanently, http.StatusBadRequest:
		return response.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}
