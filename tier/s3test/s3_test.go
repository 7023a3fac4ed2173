// Package s3test holds the S3 bucket against a real S3 server, versitygw, which runs inside the
// test. It is a module of its own, so that the server's dependencies stay out of the broker's.
package s3test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
	"github.com/morrowmq/morrow/tier/proxytest"
)

func TestS3Bucket(t *testing.T) {
	addr := startGateway(t)
	for _, algorithm := range []string{"crc64nvme", "crc32c", "sha256"} {
		t.Run(algorithm, func(t *testing.T) {
			large := int64(12<<20 + 5)
			if algorithm == "sha256" {
				large = 0 // one part only
			}
			buckettest.TestBucket(t, large, func(t *testing.T) bucket.Bucket {
				return openBucket(t, addr, "&part_size=5242880&checksum="+algorithm)
			})
		})
	}
}

func TestProbePasses(t *testing.T) {
	b := openBucket(t, startGateway(t), "")
	if err := bucket.Probe(t.Context(), b, "c/", func(check string, err error) { t.Log(check, err) }); err != nil {
		t.Fatal(err)
	}
	if b.Checksum() != bucket.CRC64NVME {
		t.Fatalf("chose %v", b.Checksum())
	}
}

// TestPartsThatAreNotVerifiedAreNotSent: a store that verifies whole objects only gets whole objects.
func TestPartsThatAreNotVerifiedAreNotSent(t *testing.T) {
	proxy := proxytest.Start(t, startGateway(t))
	proxy.StoreHalf = func(*http.Request) string { return `"of something"` }
	proxy.Inject(proxytest.Truncate, 1000, func(r *http.Request) bool {
		return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && strings.HasSuffix(r.URL.Path, "-parts-bad")
	})
	host := strings.TrimPrefix(proxy.URL, "http://")
	b := openBucket(t, host, "&part_size=5242880")
	if err := bucket.Probe(t.Context(), b, "c/", nil); err != nil || b.Checksum() != bucket.SHA256 {
		t.Fatalf("%v, chose %v", err, b.Checksum())
	}
	if _, err := b.Put(t.Context(), "c/large", bucket.BytesBody(b.Checksum(), make([]byte, 6<<20)), bucket.PutOptions{IfNoneMatch: true}); err != nil {
		t.Error(err)
	}
	b = openBucket(t, host, "&checksum=crc64nvme")
	err := bucket.Probe(t.Context(), b, "c/", nil)
	const want = "check that the store refuses an object in parts whose checksum as a whole is wrong: store is not fit for tiering: it stored the object"
	if !errors.Is(err, bucket.ErrUnfit) || err.Error() != want {
		t.Errorf("an algorithm that was asked for: %v", err)
	}
}

// TestStoreThatMayNotDeleteIsNamed: else it would be noticed when something has expired.
func TestStoreThatMayNotDeleteIsNamed(t *testing.T) {
	proxy := proxytest.Start(t, startGateway(t))
	proxy.Inject(proxytest.Denied, 1000, func(r *http.Request) bool { return r.Method == http.MethodDelete })
	checks := map[string]error{}
	err := bucket.Probe(t.Context(), openBucket(t, strings.TrimPrefix(proxy.URL, "http://"), ""), "c/", func(check string, err error) { checks[check] = err })
	if !errors.Is(err, bucket.ErrDenied) || !strings.HasPrefix(err.Error(), "delete c/probe: access denied by the store") || !errors.Is(checks["deletes"], bucket.ErrDenied) {
		t.Errorf("%v, checks %v", err, checks)
	}
}

// TestUnfinishedUploadsAreEnded: by the next try of the same key when the store has had its time,
// and by a sweep. (Scenario 2)
func TestUnfinishedUploadsAreEnded(t *testing.T) {
	b := openBucket(t, startGateway(t), "&part_size=5242880")
	prefix := strings.TrimPrefix(b.String(), "s3://"+bucketName+"/")
	prefix, _, _ = strings.Cut(prefix, "?")
	body := bucket.BytesBody(b.Checksum(), make([]byte, 6<<20))
	for _, key := range []string{"c/old", "c/young"} {
		beginDirectly(t, prefix+"/"+key)
	}
	age(t, prefix+"/c/old")
	beginDirectly(t, prefix+"/c/old")
	for _, key := range []string{"c/old", "c/young"} {
		if _, err := b.Put(t.Context(), key, body, bucket.PutOptions{IfNoneMatch: true}); err != nil {
			t.Fatal(err)
		}
	}
	if left := unfinished(t, prefix); !slices.Equal(left, []string{prefix + "/c/old", prefix + "/c/young"}) {
		t.Errorf("left: %v", left)
	}
	age(t, prefix)
	beginDirectly(t, prefix+"/c/old")
	stale, err := b.StaleUploads(t.Context(), "c/", time.Now().Add(-time.Hour))
	if err != nil || len(stale) != 2 {
		t.Errorf("stale: %v, %v", stale, err)
	}
	for range 2 { // ending one twice is no error
		for _, u := range stale {
			if err := b.EndUpload(t.Context(), u); err != nil {
				t.Error(err)
			}
		}
	}
	if left := unfinished(t, prefix); !slices.Equal(left, []string{prefix + "/c/old"}) {
		t.Errorf("left: %v", left)
	}
}

// TestRefusedUploadLeavesNoParts: what has certainly failed is given up at once.
func TestRefusedUploadLeavesNoParts(t *testing.T) {
	b := openBucket(t, startGateway(t), "&part_size=5242880")
	prefix := strings.TrimPrefix(b.String(), "s3://"+bucketName+"/")
	prefix, _, _ = strings.Cut(prefix, "?")
	body := bucket.BytesBody(b.Checksum(), make([]byte, 6<<20))
	if _, err := b.Put(t.Context(), "c/there", body, bucket.PutOptions{IfNoneMatch: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "c/there", body, bucket.PutOptions{IfNoneMatch: true}); !errors.Is(err, bucket.ErrExists) {
		t.Errorf("a second claim: %v", err)
	}
	body.Sum = bucket.SumOf(b.Checksum(), []byte("something else"))
	if _, err := b.Put(t.Context(), "c/wrong", body, bucket.PutOptions{IfNoneMatch: true}); !errors.Is(err, bucket.ErrChecksum) {
		t.Errorf("a wrong checksum: %v", err)
	}
	if left := unfinished(t, prefix); len(left) > 0 || b.AbortErrors() > 0 {
		t.Errorf("left: %v, %d errors", left, b.AbortErrors())
	}
}
