// Package s3gateway runs an S3 server on loopback that keeps its buckets in a directory.
package s3gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Start starts a server with one bucket, which is empty if the directory is, and returns its
// host:port once it answers. There can be one per process, and it ends with the process. It changes
// the working directory.
func Start(dir, bucket, accessKey, secretKey string) (addr string, err error) {
	if err := os.MkdirAll(filepath.Join(dir, bucket), 0o755); err != nil {
		return "", err
	}
	be, err := posix.New(dir, meta.XattrMeta{}, posix.PosixOpts{SideCarDir: "", NewDirPerm: 0o755})
	if err != nil {
		return "", err
	}
	if addr, err = freePort(); err != nil {
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
	return addr, waitHealthy("http://"+addr+"/health", failed)
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
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
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
	return fmt.Errorf("the gateway is not healthy after a minute")
}
