package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// suites are the directories of the clients, in the order of the report card.
var suites = []string{
	"kcat", "java", "python/confluent-kafka", "python/kafka-python", "python/aiokafka", "kafkajs", "go/franz-go", "go/sarama", "go/kafka-go", "rust/rskafka",
}

// suiteTimeout bounds one suite. The checks have deadlines of their own; this is for a suite that
// hangs for all that.
const suiteTimeout = 12 * time.Minute

// runSuite runs the script of a suite with the given environment and returns its standard output.
// Its standard error is part of the error if the script fails.
func runSuite(ctx context.Context, dir, script string, env ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, suiteTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./"+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	// A process group of its own, so that a suite that is given up takes its own children with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		err = fmt.Errorf("%s/%s: %w\n%s%s", dir, script, err, stdout.String(), stderr.String())
	}
	return stdout.Bytes(), err
}

// checkFiles holds a suite against the package comment.
func checkFiles(t *testing.T, dir string) {
	t.Helper()
	for _, script := range []string{"install", "run"} {
		info, err := os.Stat(filepath.Join(dir, script))
		if err != nil {
			t.Error(err)
		} else if info.Mode()&0o111 == 0 {
			t.Errorf("%s/%s is not executable", dir, script)
		}
	}
	for _, page := range []string{"README.md", "FINDINGS.md"} {
		if _, err := os.Stat(filepath.Join(dir, page)); err != nil {
			t.Error(err)
		}
	}
}

// TestSuitesAreComplete holds every suite against the package comment, and the lists of suites and
// judges against the directories.
func TestSuitesAreComplete(t *testing.T) {
	for _, dir := range suites {
		checkFiles(t, dir)
		if _, err := readAllowances(filepath.Join(dir, "allow")); err != nil {
			t.Error(err)
		}
	}
	scripts, err := filepath.Glob("*/run")
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob("*/*/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range append(scripts, nested...) {
		if dir := filepath.ToSlash(filepath.Dir(script)); !slices.Contains(suites, dir) && !slices.Contains(judges, dir) {
			t.Errorf("%s is in no list of suites", dir)
		}
	}
}

func TestSuiteThatFailsShowsItsOutput(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho out of $COMPAT_PREFIX\necho no such client >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := runSuite(t.Context(), dir, "run", "COMPAT_PREFIX=p")
	if err == nil || !strings.Contains(err.Error(), "exit status 3\nout of p\nno such client\n") {
		t.Errorf("error = %v", err)
	}
	if _, err := runSuite(t.Context(), dir, "install"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a suite without install: %v", err)
	}
}
