package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/morrowmq/morrow/internal/vfs"
)

func TestTierURLs(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for raw, want := range map[string]string{ // a part of the error, or "" for none
		"file:///data":             "",
		"file:///data/":            "",
		"s3://b?region=eu-north-1": "",
		"s3://b/p/q?region=r&path_style=false&checksum=sha256&part_size=5242880": "",
		"s3://b?endpoint=http://127.0.0.1:9000":                                  "",
		"data":                                                                   "expected file:///… or s3://…",
		"file://data":                                                            "expected file:///absolute/directory",
		"file:///data?x=1":                                                       "expected file:///absolute/directory",
		"s3://b":                                                                 "no region",
		"s3:///b?region=r":                                                       "expected s3://bucket/prefix",
		"s3://b?regoin=r":                                                        `unknown parameter "regoin"`,
		"s3://b?region=r&region=s":                                               "given 2 times",
		"s3://b?endpoint=127.0.0.1:9000":                                         "expected http://host:port",
		"s3://b?region=r&path_style=maybe":                                       "expected true or false",
		"s3://b?region=r&checksum=md5":                                           "expected crc64nvme, crc32c or sha256",
		"s3://b?region=r&part_size=100":                                          "expected bytes",
		"s3://key:secret@b?region=r":                                             "credentials do not belong into the url",
		"s3://b?endpoint=http://key:secret@127.0.0.1:9000":                       "credentials do not belong into the url",
		"s3://key:secret@%zz?region=r":                                           "not a URL: invalid URL escape",
	} {
		_, err := Open(t.Context(), raw, vfs.NewMem())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("the message tells the secret: %v", err)
		}
	}
}

func TestS3URLParameters(t *testing.T) {
	u, err := url.Parse("s3://b/p/q/?region=r&path_style=false&checksum=crc32c&part_size=6000000&endpoint=https://h:1&profile=me")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseS3(u)
	want := s3Settings{bucket: "b", prefix: "p/q/", region: "r", endpoint: "https://h:1", profile: "me", algorithm: CRC32C, partSize: 6_000_000}
	if err != nil || s != want {
		t.Fatalf("%+v, %v", s, err)
	}
}

// answerOf is an error as the S3 client returns it.
func answerOf(status int, code string, header http.Header) error {
	response := &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: header}},
		Err:      &smithy.GenericAPIError{Code: code, Message: "said the store"},
	}
	return &smithy.OperationError{ServiceID: "S3", OperationName: "X", Err: response}
}

// TestS3ErrorsHaveAKind sorts what stores say into what to do about it. (Scenarios 5-7, 65)
func TestS3ErrorsHaveAKind(t *testing.T) {
	ifNone, ifMatch := PutOptions{IfNoneMatch: true}, PutOptions{IfMatch: "x"}
	for _, c := range []struct {
		op   string
		o    PutOptions
		err  error
		kind error
	}{
		{"head", PutOptions{}, answerOf(404, "NotFound", nil), ErrNotFound},
		{"get", PutOptions{}, answerOf(404, "NoSuchKey", nil), ErrNotFound},
		{"get", PutOptions{}, answerOf(404, "NoSuchBucket", nil), ErrConfig},
		{"put", ifNone, answerOf(412, "PreconditionFailed", nil), ErrExists},
		{"put", ifMatch, answerOf(412, "PreconditionFailed", nil), ErrPrecondition},
		{"put", ifMatch, answerOf(404, "NoSuchKey", nil), ErrPrecondition},
		{"put", ifNone, answerOf(409, "ConditionalRequestConflict", nil), ErrUnknown},
		{"put", ifNone, answerOf(404, "NoSuchUpload", nil), ErrUnknown},
		{"put", ifNone, answerOf(400, "BadDigest", nil), ErrChecksum},
		{"put", ifNone, answerOf(400, "XAmzContentChecksumMismatch", nil), ErrChecksum},
		{"put", ifNone, answerOf(503, "SlowDown", nil), ErrThrottled},
		{"put", ifNone, answerOf(429, "", nil), ErrThrottled},
		{"put", ifNone, answerOf(500, "InternalError", nil), ErrUnknown},
		{"put", ifNone, answerOf(200, "InternalError", nil), ErrUnknown}, // an error body in a 200
		{"put", ifNone, answerOf(400, "RequestTimeout", nil), ErrUnknown},
		{"put", ifNone, answerOf(403, "ExpiredToken", nil), ErrDenied},
		{"put", ifNone, answerOf(403, "AccessDenied", nil), ErrDenied},
		{"put", ifNone, answerOf(403, "RequestTimeTooSkewed", nil), ErrDenied},
		{"head", PutOptions{}, answerOf(403, "", nil), ErrDenied},
		{"put", ifNone, answerOf(400, "AuthorizationHeaderMalformed", nil), ErrConfig},
		{"put", ifNone, answerOf(301, "PermanentRedirect", nil), ErrConfig},
		{"put", ifNone, answerOf(507, "XMinioStorageFull", nil), ErrFull},
		{"put", ifNone, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, ErrConfig},
		{"put", ifNone, tls.RecordHeaderError{Msg: "not tls"}, ErrConfig},
		{"put", ifNone, errors.Join(errNoCredentials, errors.New("no profile")), ErrDenied},
		{"put", ifNone, context.DeadlineExceeded, ErrUnknown},
		{"put", ifNone, errors.New("connection reset by peer"), ErrUnknown},
	} {
		err := s3Error(c.op, "k", c.err, c.o)
		if !errors.Is(err, c.kind) {
			t.Errorf("%s, %v: %v, want %v", c.op, c.err, err, c.kind)
		}
	}
	err := s3Error("put", "k", answerOf(301, "PermanentRedirect", http.Header{"X-Amz-Bucket-Region": {"eu-west-1"}}), ifNone)
	if !strings.Contains(err.Error(), "the bucket is in region eu-west-1") {
		t.Errorf("wrong region: %v", err)
	}
}

// TestWhatAStoreSaysIsToldPlainly: no requests, hosts and counts of the client library, which also
// differ each time.
func TestWhatAStoreSaysIsToldPlainly(t *testing.T) {
	sent := func(err error) error {
		return &smithy.OperationError{ServiceID: "S3", OperationName: "X", Err: &smithyhttp.RequestSendError{
			Err: &url.Error{Op: "Put", URL: "https://store:9000/b/k?x-id=X", Err: err},
		}}
	}
	from, to := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 51438}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9000}
	for want, err := range map[string]error{
		"put k: access denied by the store: ExpiredToken: said the store (HTTP 403)":        answerOf(403, "ExpiredToken", nil),
		"put k: outcome unknown: https://store:9000: connection reset by peer":              sent(&net.OpError{Op: "read", Net: "tcp", Source: from, Addr: to, Err: errors.New("connection reset by peer")}),
		"put k: outcome unknown: https://store:9000: EOF":                                   sent(io.EOF),
		"put k: access denied by the store: " + errNoCredentials.Error() + ": no profile x": &smithy.OperationError{ServiceID: "S3", OperationName: "X", Err: &keylessError{errors.New("no profile x")}},
		"put k: outcome unknown: something else":                                            errors.New("something else"),
	} {
		if got := s3Error("put", "k", err, PutOptions{}); got.Error() != want || !errors.Is(got, err) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestReplacedKeysNeedNoRestart: what the store refuses is read anew from where it came from.
func TestReplacedKeysNeedNoRestart(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=NEW/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer store.Close()
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = "+key+"\naws_secret_access_key = secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": file,
	} {
		t.Setenv(name, value)
	}
	write("OLD")
	b, err := Open(t.Context(), "s3://b?endpoint="+store.URL, vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "k"); !errors.Is(err, ErrDenied) {
		t.Fatalf("with a key that is not valid: %v", err)
	}
	write("NEW")
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Errorf("after it was replaced: %v", err)
	}
}
