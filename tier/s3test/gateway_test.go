package s3test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
)

const (
	accessKey  = "morrow"
	secretKey  = "morrow-test-secret"
	bucketName = "tier"
)

// gateway starts the one S3 server of this process, with an empty bucket, and returns its address.
var gateway = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "s3test")
	if err != nil {
		return "", err
	}
	gatewayDir = dir
	if err := os.Mkdir(dir+"/"+bucketName, 0o755); err != nil {
		return "", err
	}
	be, err := posix.New(dir, meta.XattrMeta{}, posix.PosixOpts{SideCarDir: "", NewDirPerm: 0o755})
	if err != nil {
		return "", err
	}
	addr, err := freePort()
	if err != nil {
		return "", err
	}
	failed := make(chan error, 1)
	go func() {
		failed <- embedgw.RunVersityGW(context.Background(), be, &embedgw.Config{
			RootUserAccess: accessKey, RootUserSecret: secretKey, Ports: []string{addr},
			MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10_000,
			HealthPath: "/health", Quiet: true, KeepAlive: true, DisableACLs: true,
		})
	}()
	cleanup = append(cleanup, func() { os.RemoveAll(dir) })
	return addr, waitHealthy("http://"+addr+"/health", failed)
})

var (
	cleanup    []func()
	root       string // directory of the project; the gateway changes the working directory
	gatewayDir string // where the gateway keeps its buckets
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

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func waitHealthy(url string, failed <-chan error) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-failed:
			return fmt.Errorf("the gateway ended: %w", err)
		default:
		}
		if r, err := http.Get(url); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the gateway is not healthy after 20 s")
}

// openBucket opens the gateway's bucket with a prefix of the test's own.
func openBucket(t *testing.T, addr, parameters string) *tier.S3Bucket {
	t.Helper()
	url := fmt.Sprintf("s3://%s/%s?endpoint=http://%s%s", bucketName, tier.NewToken(), addr, parameters)
	b, err := tier.OpenBucket(t.Context(), url, vfs.OS{})
	if err != nil {
		t.Fatal(err)
	}
	return b.(*tier.S3Bucket)
}

func startGateway(t *testing.T) string {
	t.Helper()
	addr, err := gateway()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
