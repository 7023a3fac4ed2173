package buckettest_test

import (
	"testing"

	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func TestFakeBucket(t *testing.T) {
	buckettest.TestBucket(t, 0, func(*testing.T) bucket.Bucket { return buckettest.New() })
}
