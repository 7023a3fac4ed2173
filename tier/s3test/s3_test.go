// Package s3test holds the S3 bucket against a real S3 server, versitygw, which runs inside the test. It is a module of its
// own, so that the server's dependencies stay out of the broker's.
package s3test

import (
	"testing"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/tiertest"
)

func TestS3Bucket(t *testing.T) {
	addr := startGateway(t)
	for _, algorithm := range []string{"crc64nvme", "crc32c", "sha256"} {
		t.Run(algorithm, func(t *testing.T) {
			large := int64(12<<20 + 5)
			if algorithm == "sha256" {
				large = 0 // one part only
			}
			tiertest.TestBucket(t, large, func(t *testing.T) tier.Bucket {
				return openBucket(t, addr, "&part_size=5242880&checksum="+algorithm)
			})
		})
	}
}

func TestProbePasses(t *testing.T) {
	b := openBucket(t, startGateway(t), "")
	if err := tier.Probe(t.Context(), b, "c/", func(check string, err error) { t.Log(check, err) }); err != nil {
		t.Fatal(err)
	}
	if b.Checksum() != tier.CRC64NVME {
		t.Fatalf("chose %v", b.Checksum())
	}
}
