package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// refusesToServe runs "morrow serve", which must end with these lines on standard error and exit code 1.
func refusesToServe(t *testing.T, want string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr strings.Builder
	code := run(ctx, append([]string{"serve", "--log-level", "error"}, args...), &stdout, &stderr)
	if got := strings.TrimSuffix(stderr.String(), "\n"); code != 1 || got != want || stdout.Len() > 0 {
		t.Errorf("morrow serve %s: exit code %d:\n%s\nwant\n%s", strings.Join(args, " "), code, got, want)
	}
}

const (
	anyListener = "PLAINTEXT://127.0.0.1:0"
	anyHTTP     = "127.0.0.1:0"
)

func TestServeRefusesBadSettings(t *testing.T) {
	file := configFile(t, "morrow.yaml", "log.retenton.hours: 24\n")
	refusesToServe(t, "morrow: "+file+`: unknown broker config "log.retenton.hours" (did you mean "log.retention.hours"?)`, "--config", file)
	refusesToServe(t, "morrow: nope.yaml: no such file or directory", "--config", "nope.yaml")
	refusesToServe(t, `morrow: flags: invalid value "9092" for config listeners: must be a list of NAME://host:port, such as PLAINTEXT://127.0.0.1:9092; "9092" is none`, "--listen", "9092")
	refusesToServe(t, `morrow: --set: invalid config "x": must be key=value`, "--set", "x")
	refusesToServe(t, "morrow: --data-dir and --set log.dir set the same config", "--set", "log.dir=x", "--data-dir", "y")
	refusesToServe(t, `morrow: flags: invalid value "" for config log.dir: must not be empty`, "--data-dir", "")
	refusesToServe(t, `morrow: unexpected argument "now"; usage: morrow serve`, "now")
	refusesToServe(t, "morrow: unknown flag: --loud: see morrow serve --help", "--loud")
	t.Setenv(configEnv, "gone.yaml")
	refusesToServe(t, "morrow: gone.yaml: no such file or directory")
	t.Setenv(configEnv, "")
	t.Setenv("MORROW_NODE_ID", "one")
	refusesToServe(t, `morrow: environment: invalid value "one" for config node.id: must be an integer of 32 bits`)
}

func TestServeNeedsItsPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken, dir := l.Addr().String(), filepath.Join(t.TempDir(), "data")
	refusesToServe(t, "morrow: listeners: PLAINTEXT://"+taken+": listen tcp "+taken+": bind: address already in use",
		"--data-dir", dir, "--http", anyHTTP, "--listen", "PLAINTEXT://"+taken)
	refusesToServe(t, "morrow: http.listen: listen tcp "+taken+": bind: address already in use",
		"--data-dir", dir, "--listen", anyListener, "--http", taken)
	if _, err := os.Stat(dir); err == nil {
		t.Error("data directory was made")
	}
}

func TestServeTellsNoSecretOfABucket(t *testing.T) {
	refusesToServe(t, "morrow: tier.url: s3://b: credentials do not belong into the url; use the environment or the shared credentials file",
		"--listen", anyListener, "--http", anyHTTP, "--data-dir", filepath.Join(t.TempDir(), "data"), "--set", "tier.url=s3://key:secret@b?region=r")
}

func TestServeNeedsItsDataDirectory(t *testing.T) {
	file := configFile(t, "file", "")
	refusesToServe(t, "morrow: data directory: mkdir "+file+": not a directory", "--listen", anyListener, "--http", anyHTTP, "--data-dir", file)
	b := startBroker(t)
	refusesToServe(t, "morrow: data directory "+b.dataDir+" is in use by another broker", "--listen", anyListener, "--http", anyHTTP, "--data-dir", b.dataDir)
	b.stop(t)

	meta := filepath.Join(b.dataDir, "meta.db")
	refusesToServe(t, "morrow: "+meta+" belongs to broker 1: node.id must be 1, not 2",
		"--listen", anyListener, "--http", anyHTTP, "--data-dir", b.dataDir, "--set", "node.id=2")
	stored, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, bytes.ReplaceAll(stored, []byte("format1"), []byte("format9")), 0o600); err != nil { // key and value
		t.Fatal(err)
	}
	refusesToServe(t, "morrow: "+meta+" holds data of a newer format: it has version 9, this Morrow reads up to version 1",
		"--listen", anyListener, "--http", anyHTTP, "--data-dir", b.dataDir)
}
