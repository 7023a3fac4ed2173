package s3test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/proxytest"
	"github.com/morrowmq/morrow/tier/s3test/s3gateway"
)

const (
	accessKey  = "morrow"
	secretKey  = "morrow-test-secret"
	bucketName = "tier"
)

// otherStore is for `make s3`, which tries other stores than the gateway.
var otherStore = flag.String("store", "", "`host:port` of an S3 server with a bucket tier and the keys of these tests, in place of the gateway")

// gateway starts the one S3 server of this process, with an empty bucket, and returns its address.
var gateway = sync.OnceValues(func() (string, error) {
	if *otherStore != "" {
		return *otherStore, nil
	}
	dir, err := os.MkdirTemp("", "s3test")
	if err != nil {
		return "", err
	}
	gatewayDir = dir
	cleanup = append(cleanup, func() { os.RemoveAll(dir) })
	return s3gateway.Start(dir, bucketName, accessKey, secretKey)
})

var (
	cleanup    []func()
	root       string // directory of the project; the gateway changes the working directory
	gatewayDir string // where the gateway keeps its buckets; empty with another store
)

func TestMain(m *testing.M) {
	os.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	os.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	flag.Parse()
	// The tests wait for time to pass, mostly.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	var err error
	if root, err = filepath.Abs("../.."); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, f := range cleanup {
		f()
	}
	os.Exit(code)
}

// openBucket opens the gateway's bucket with a prefix of the test's own.
func openBucket(t *testing.T, addr, parameters string) *bucket.S3 {
	t.Helper()
	url := fmt.Sprintf("s3://%s/%s?endpoint=http://%s%s", bucketName, tier.NewToken(), addr, parameters)
	b, err := bucket.Open(t.Context(), url, vfs.OS{})
	if err != nil {
		t.Fatal(err)
	}
	return b.(*bucket.S3)
}

func startGateway(t *testing.T) string {
	t.Helper()
	addr, err := gateway()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func startProxy(t *testing.T, addr string) *proxytest.Proxy {
	t.Helper()
	p := proxytest.Start(t, addr)
	p.StoreHalf = storeHalf
	return p
}
