package tier

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// s3Kinds says what the error codes of S3 and its relatives mean. Codes that are not here are judged by their HTTP status.
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
	"NoSuchBucket":                       ErrConfig,
	"InvalidBucketName":                  ErrConfig,
	"PermanentRedirect":                  ErrConfig,
	"TemporaryRedirect":                  ErrUnknown,
	"AuthorizationHeaderMalformed":       ErrConfig, // wrong region
	"IllegalLocationConstraintException": ErrConfig,
	"EntityTooLarge":                     ErrConfig,
	"NotImplemented":                     ErrConfig,
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

// s3Error gives an error of the client library its kind.
func s3Error(op, key string, err error, o PutOptions) error {
	if err == nil {
		return nil
	}
	return &BucketError{Op: op, Key: key, Kind: s3Kind(op, err, o), Err: explain(err)}
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

// signer marks the failures of a credentials provider.
type signer struct{ aws.CredentialsProvider }

func (s signer) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := s.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = errors.Join(errNoCredentials, err)
	}
	return c, err
}

// explain adds what a person needs to act on it.
func explain(err error) error {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil {
		return err
	}
	switch response.HTTPStatusCode() {
	case http.StatusMovedPermanently, http.StatusBadRequest:
		if region := response.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return fmt.Errorf("the bucket is in region %s: %w", region, err)
		}
	}
	return err
}
