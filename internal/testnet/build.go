package testnet

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build compiles ./cmd/morrow into dir and returns the path of the binary, to be given to Start. A
// test of a process builds it itself, once per test binary, so that it cannot run against a stale
// one.
func Build(dir string) (string, error) {
	bin := filepath.Join(dir, "morrow")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "github.com/morrowmq/morrow/cmd/morrow")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return bin, nil
}
