package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Open opens what a tier.url names:
//
//	file:///directory
//	s3://bucket/prefix?region=…&endpoint=https://host:port&path_style=true&profile=…&checksum=crc32c&part_size=67108864
//
// Credentials are never part of it; they come from the environment, the shared files, a web identity or the
// instance's role. Open sends no request: a store that is down opens well. See [Probe].
func Open(ctx context.Context, rawURL string, fsys vfs.FS) (Bucket, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		if bad, ok := errors.AsType[*url.Error](err); ok {
			err = bad.Err // without the URL, which may hold what is secret
		}
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	if endpoint, err := url.Parse(u.Query().Get("endpoint")); u.User != nil || err == nil && endpoint.User != nil {
		return nil, fmt.Errorf("%s://%s%s: credentials do not belong into the url; use the environment or the shared credentials file", u.Scheme, u.Host, u.Path)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" {
			return nil, fmt.Errorf("%s: expected file:///absolute/directory", rawURL)
		}
		b, err := OpenDir(fsys, strings.TrimRight(u.Path, "/"), time.Now())
		if err != nil {
			return nil, err
		}
		return b, nil
	case "s3":
		b, err := openS3(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rawURL, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("%s: expected file:///… or s3://…", rawURL)
}

// s3Settings are the parameters of an s3:// URL.
type s3Settings struct {
	bucket, prefix, region, endpoint, profile string

	pathStyle bool
	algorithm Algorithm
	partSize  int64
}

func parseS3(u *url.URL) (s3Settings, error) {
	s := s3Settings{bucket: u.Host, prefix: strings.Trim(u.Path, "/"), pathStyle: true, partSize: defaultPartSize}
	if s.bucket == "" {
		return s, fmt.Errorf("expected s3://bucket/prefix")
	}
	if s.prefix != "" {
		s.prefix += "/"
	}
	for name, values := range u.Query() {
		if len(values) != 1 {
			return s, fmt.Errorf("%s is given %d times", name, len(values))
		}
		if err := s.set(name, values[0]); err != nil {
			return s, err
		}
	}
	if s.region == "" && s.endpoint != "" {
		s.region = "us-east-1" // what other stores than AWS expect when they do not care
	}
	return s, nil
}

func (s *s3Settings) set(name, value string) (err error) {
	switch name {
	case "region":
		s.region = value
	case "endpoint":
		e, perr := url.Parse(value)
		if perr != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" {
			return fmt.Errorf("endpoint %q: expected http://host:port or https://host:port", value)
		}
		s.endpoint = value
	case "profile":
		s.profile = value
	case "path_style":
		if s.pathStyle, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("path_style %q: expected true or false", value)
		}
	case "checksum":
		for _, a := range []Algorithm{CRC64NVME, CRC32C, SHA256} {
			if a.String() == value {
				s.algorithm = a
			}
		}
		if s.algorithm == NoChecksum {
			return fmt.Errorf("checksum %q: expected crc64nvme, crc32c or sha256", value)
		}
	case "part_size":
		if s.partSize, err = strconv.ParseInt(value, 10, 64); err != nil || s.partSize < 5<<20 || s.partSize > 5<<30 {
			return fmt.Errorf("part_size %q: expected bytes, from %d to %d", value, 5<<20, 5<<30)
		}
	default:
		return fmt.Errorf("unknown parameter %q: expected region, endpoint, path_style, profile, checksum or part_size", name)
	}
	return nil
}

// Limits of one request.
const (
	s3Attempts    = 3
	s3MaxBackoff  = 5 * time.Second
	s3AnswerLimit = 60 * time.Second // from the last byte of the request to the first of the answer
)

func openS3(ctx context.Context, u *url.URL) (*S3, error) {
	s, err := parseS3(u)
	if err != nil {
		return nil, err
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 64
		t.ResponseHeaderTimeout = s3AnswerLimit
	})
	load := func(ctx context.Context) (aws.Config, error) {
		return config.LoadDefaultConfig(ctx,
			config.WithHTTPClient(client),
			config.WithRegion(s.region),
			config.WithSharedConfigProfile(s.profile),
			// Checksums are ours; the trailers that the library would add are refused by several stores.
			config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
			config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
			config.WithLogger(logging.Nop{}), // what it has to say is in the errors, too
			config.WithRetryer(func() aws.Retryer {
				return retry.NewStandard(func(o *retry.StandardOptions) {
					o.MaxAttempts, o.MaxBackoff = s3Attempts, s3MaxBackoff
				})
			}),
		)
	}
	cfg, err := load(ctx)
	if err != nil {
		return nil, fmt.Errorf("what the environment and the shared files say of AWS: %w", err)
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("no region: add ?region=… or set AWS_REGION")
	}
	keys := aws.NewCredentialsCache(chain{func(ctx context.Context) (aws.CredentialsProvider, error) {
		cfg, err := load(ctx)
		return cfg.Credentials, err
	}})
	cfg.Credentials = keys
	b := &S3{
		keys:   keys,
		bucket: s.bucket, prefix: s.prefix, url: u.Redacted(), partSize: s.partSize,
		chosen: s.algorithm != NoChecksum,
		client: s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.UsePathStyle = s.pathStyle
			o.HTTPSignerV4 = &signer{}
			if s.endpoint != "" {
				o.BaseEndpoint = &s.endpoint
			}
		}),
	}
	b.algorithm.Store(uint32(max(s.algorithm, CRC64NVME)))
	return b, nil
}
