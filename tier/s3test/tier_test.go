package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/proxytest"
)

// source is a log of closed segments in memory.
type source struct {
	segments []segment
	keep     bool // whoever begins goes on with the same topic
	runs     int
}

type segment struct {
	tier.LocalSegment
	data []byte
}

// newSource makes n segments of one batch each.
func newSource(n, size int) *source {
	s := &source{}
	for i := range n {
		var w record.Builder
		w.Reset(0, 1000)
		w.Add(0, 1000+int64(i), nil, bytes.Repeat([]byte{byte(i)}, size))
		b, err := w.Finish()
		if err != nil {
			panic(err)
		}
		b.SetBaseOffset(int64(i))
		s.segments = append(s.segments, segment{
			tier.LocalSegment{Base: int64(i), End: int64(i) + 1, Size: int64(len(b))}, bytes.Clone(b),
		})
	}
	return s
}

func (s *source) bytes() (all []byte) {
	for _, x := range s.segments {
		all = append(all, x.data...)
	}
	return all
}

func (s *source) Offsets() tier.LocalOffsets {
	return tier.LocalOffsets{End: s.end(), Gate: math.MaxInt64}
}

func (s *source) Closed(from int64) (out []tier.LocalSegment, _ error) {
	for _, x := range s.segments {
		if x.End > from {
			out = append(out, x.LocalSegment)
		}
	}
	return out, nil
}

func (s *source) end() int64 { return s.segments[len(s.segments)-1].End }

func (s *source) Open(seg tier.LocalSegment) (tier.SegmentFile, error) {
	for _, x := range s.segments {
		if x.LocalSegment == seg {
			return file{bytes.NewReader(x.data)}, nil
		}
	}
	return nil, tier.ErrGone
}

func (*source) Aborted(int64, int64) ([]tier.AbortedTxn, error) { return nil, nil }
func (*source) Dropped(int64, int64) bool                       { return false }
func (s *source) Size() int64                                   { return int64(len(s.bytes())) }
func (*source) Epochs() []tier.EpochStart                       { return nil }
func (*source) Outlook() tier.LocalOutlook                      { return tier.LocalOutlook{} }
func (*source) Since(int64) time.Time                           { return time.Time{} }
func (*source) Advance(int64, int64) error                      { return nil }

type file struct{ *bytes.Reader }

func (file) Close() error                      { return nil }
func (file) ProducerSnapshot() ([]byte, error) { return nil, nil }

// running is a tier at work on one partition.
type running struct {
	s   *source
	p   *tier.Partition
	end func(t testing.TB)
}

// start runs a tier on a bucket until the test ends.
func start(t testing.TB, b bucket.Bucket, s *source) *tier.Partition {
	t.Helper()
	r := begin(t, b, s)
	t.Cleanup(func() { r.end(t) })
	return r.p
}

func begin(t testing.TB, b bucket.Bucket, s *source) running {
	t.Helper()
	s.runs++
	tr, err := tier.Open(tier.Options{
		Bucket: b, Cluster: "c", Name: "test", Instance: "test", FS: vfs.OS{}, Dir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler), CacheReserve: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	id := tier.PartitionID{Topic: tier.TopicID{1}, Name: "t"}
	if !s.keep {
		id.Topic = tier.TopicID(tier.NewToken())
	}
	p, err := tr.Partition(id, s, int32(s.runs), func() tier.Config {
		return tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	return running{s, p, func(t testing.TB) {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}}
}

func waitConfirmed(t testing.TB, p *tier.Partition, want int64) {
	t.Helper()
	for deadline := time.Now().Add(patience * time.Minute); p.Confirmed() != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("confirmed %d, want %d: %v", p.Confirmed(), want, p.Err())
		}
	}
}

func readAll(t testing.TB, p *tier.Partition, end int64) (all []byte) {
	t.Helper()
	for offset := int64(0); offset < end; {
		r, err := p.Read(context.Background(), tier.ReadRequest{Offset: offset, MaxBytes: 1 << 20, MinOne: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.Ranges {
			b := make([]byte, x.Len)
			if _, err := x.File.ReadAt(b, x.Pos); err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		offset = r.Next
		if err := r.Release(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestUploadThroughFaults is the fault matrix of D2 against a real store: whatever happens to the
// last part of a segment or to the commit of the manifest, everything is confirmed in the end and
// reads back as it was.
func TestUploadThroughFaults(t *testing.T) {
	addr := startGateway(t)
	isPut := func(suffix string) func(*http.Request) bool {
		return func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, suffix) && !strings.Contains(r.URL.Path, "probe")
		}
	}
	lastPart := func(r *http.Request) bool {
		return r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "2" ||
			r.Method == http.MethodPost && r.URL.Query().Get("uploadId") != ""
	}
	head := func(r *http.Request) bool {
		return r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, ".segment")
	}
	for _, c := range []struct {
		name    string
		size    int
		fault   proxytest.Fault
		times   int
		matches func(*http.Request) bool
	}{
		{"segment", 100_000, proxytest.Internal, 1, isPut(".segment")},
		{"segment", 100_000, proxytest.Internal, 8, isPut(".segment")},
		{"segment", 100_000, proxytest.Refuse, 4, isPut(".segment")},
		{"segment", 100_000, proxytest.LoseReply, 1, isPut(".segment")},
		{"segment", 100_000, proxytest.LoseReply, 5, isPut(".segment")},
		{"segment", 100_000, proxytest.BreakBody, 4, isPut(".segment")},
		{"segment", 100_000, proxytest.Truncate, 1, isPut(".segment")},
		{"head", 100_000, proxytest.NotFound, 3, head},
		{"manifest", 100_000, proxytest.Internal, 8, isPut("/manifest")},
		{"manifest", 100_000, proxytest.LoseReply, 1, isPut("/manifest")},
		{"manifest", 100_000, proxytest.LoseReply, 4, isPut("/manifest")},
		{"manifest", 100_000, proxytest.BreakBody, 4, isPut("/manifest")},
		{"manifest", 100_000, proxytest.Truncate, 1, isPut("/manifest")},
		{"last part", 6 << 20, proxytest.Internal, 5, lastPart},
		{"last part", 6 << 20, proxytest.LoseReply, 1, lastPart},
		{"last part", 6 << 20, proxytest.LoseReply, 4, lastPart},
		{"last part", 6 << 20, proxytest.BreakBody, 2, lastPart},
	} {
		t.Run(fmt.Sprintf("%s: %d times %s", c.name, c.times, c.fault), func(t *testing.T) {
			t.Parallel()
			proxy := startProxy(t, addr)
			b := openBucket(t, strings.TrimPrefix(proxy.URL, "http://"), "&part_size=5242880")
			happened := proxy.Inject(c.fault, c.times, c.matches)
			s := newSource(3, c.size)
			p := start(t, b, s)
			waitConfirmed(t, p, 3)
			if happened() == 0 {
				t.Fatal("nothing happened")
			}
			if !bytes.Equal(readAll(t, p, 3), s.bytes()) {
				t.Fatal("other bytes")
			}
		})
	}
}

// TestWrongSettingsAreNamed: what a person must mend is said in words. (Scenario 65)
func TestWrongSettingsAreNamed(t *testing.T) {
	addr := startGateway(t)
	for name, c := range map[string]struct {
		prepare func(t *testing.T)
		url     string
		kind    error
		says    string
	}{
		"no such bucket":          {nil, "s3://nothere/x?endpoint=http://" + addr, bucket.ErrConfig, "NoSuchBucket: The specified bucket does not exist"},
		"wrong secret":            {func(t *testing.T) { t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong") }, "s3://tier/x?endpoint=http://" + addr, bucket.ErrDenied, "SignatureDoesNotMatch: "},
		"unknown key":             {func(t *testing.T) { t.Setenv("AWS_ACCESS_KEY_ID", "wrong") }, "s3://tier/x?endpoint=http://" + addr, bucket.ErrDenied, ""},
		"no credentials":          {func(t *testing.T) { t.Setenv("AWS_ACCESS_KEY_ID", ""); t.Setenv("AWS_SECRET_ACCESS_KEY", "") }, "s3://tier/x?endpoint=http://" + addr, bucket.ErrDenied, "no usable credentials in the environment, the shared files or the instance's role: "},
		"TLS where there is none": {nil, "s3://tier/x?endpoint=https://" + addr, bucket.ErrConfig, "https://" + addr + ": http: server gave HTTP response to HTTPS client"},
		"wrong region":            {nil, "s3://tier/x?region=mars-1&endpoint=http://" + addr, bucket.ErrConfig, "AuthorizationHeaderMalformed: "},
		"nobody listens":          {nil, "s3://tier/x?endpoint=http://127.0.0.1:1", bucket.ErrUnknown, "http://127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_CONFIG_FILE", "/dev/null")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
			if c.prepare != nil {
				c.prepare(t)
			}
			b, err := bucket.Open(t.Context(), c.url, vfs.OS{})
			if err != nil {
				t.Fatal(err)
			}
			err = bucket.Probe(t.Context(), b, "c/", nil)
			if want := "put c/probe: " + c.kind.Error() + ": " + c.says; !errors.Is(err, c.kind) || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("%v, want %q", err, want)
			}
			again := bucket.Probe(t.Context(), b, "c/", nil)
			if again == nil || again.Error() != err.Error() {
				t.Errorf("said differently the second time: %v", again)
			}
		})
	}
}

// TestSecretIsPutRight: without a restart, though the key has the same name.
func TestSecretIsPutRight(t *testing.T) {
	addr := startGateway(t)
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(secret string) {
		if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = "+accessKey+"\naws_secret_access_key = "+secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": file,
	} {
		t.Setenv(name, value)
	}
	write("wrong")
	b := openBucket(t, addr, "")
	if err := bucket.Probe(t.Context(), b, "c/", nil); !errors.Is(err, bucket.ErrDenied) {
		t.Fatalf("with the wrong secret: %v", err)
	}
	write(secretKey)
	for deadline := time.Now().Add(patience * 20 * time.Second); ; {
		err := bucket.Probe(t.Context(), b, "c/", nil)
		if err == nil {
			return
		}
		// What the first probe began may have read the file before and be used once.
		if !errors.Is(err, bucket.ErrDenied) || time.Now().After(deadline) {
			t.Fatalf("with the right one: %v", err)
		}
	}
}
