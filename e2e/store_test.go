package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/morrowmq/morrow/tier/proxytest"
)

const storeBucket = "tier"

// storeBinary builds the S3 server once. It belongs to another module, which keeps what it needs
// out of the broker's.
var storeBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "morrow-e2e-store")
	if err != nil {
		return "", err
	}
	cleanups = append(cleanups, func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "store")
	build := exec.Command("go", "build", "-o", name, "./serve")
	build.Dir = filepath.Join("..", "tier", "s3test")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the store: %w\n%s", err, out)
	}
	return name, nil
})

// store is an S3 server in a process of its own, behind a proxy that can hurt.
type store struct {
	*proxytest.Proxy
	dir string // of the bucket's objects
}

// storeKeys are in the environment of all brokers, and of the servers.
var storeKeys = map[string]string{
	"AWS_ACCESS_KEY_ID": "morrow", "AWS_SECRET_ACCESS_KEY": "morrow-test-secret", "AWS_EC2_METADATA_DISABLED": "true",
}

// startStore starts an S3 server for one test, with an empty bucket.
func startStore(t *testing.T) *store {
	t.Helper()
	name, err := storeBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	server := exec.Command(name, dir, storeBucket)
	server.Stderr = os.Stderr
	input, err := server.StdinPipe() // it ends with it, and so with this process
	if err != nil {
		t.Fatal(err)
	}
	output, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		_ = server.Wait() // however it ends
	})
	addr, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the store says nothing: %v", err)
	}
	return &store{proxytest.Start(t, strings.TrimSpace(addr)), filepath.Join(dir, storeBucket)}
}

// url is the bucket's, through the proxy.
func (s *store) url() string {
	return fmt.Sprintf("s3://%s/soak?endpoint=%s", storeBucket, s.Proxy.URL)
}
