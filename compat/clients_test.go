//go:build compat

package compat

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/testnet"
)

// TestClients installs every client, runs its suite and judges each check. When all suites have been run against a
// broker started here, it writes the report card.
func TestClients(t *testing.T) {
	bootstrap := os.Getenv("COMPAT_BOOTSTRAP")
	ownBroker := bootstrap == ""
	if ownBroker {
		bin, err := testnet.Build(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		bootstrap = testnet.Start(t, bin).Addr()
	}
	entries := make([]entry, len(suites))
	t.Run("suite", func(t *testing.T) {
		for i, dir := range suites {
			t.Run(dir, func(t *testing.T) {
				t.Parallel()
				entries[i] = runAndJudge(t, dir, bootstrap)
			})
		}
	})
	for _, e := range entries {
		if e.report == nil {
			return // not all suites were asked for, or one did not get that far
		}
	}
	if ownBroker {
		if err := os.WriteFile("README.md", []byte(card(entries)), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// runAndJudge runs one suite; each check becomes a subtest.
func runAndJudge(t *testing.T, dir, bootstrap string) entry {
	t.Helper()
	allowed, err := readAllowances(filepath.Join(dir, "allow"))
	if err != nil {
		t.Fatal(err)
	}
	installed, err := runSuite(t.Context(), dir, "install")
	if err != nil {
		t.Fatalf("the client cannot be installed: %v", err)
	}
	if len(installed) > 0 {
		t.Logf("%s", installed)
	}
	prefix := fmt.Sprintf("%s-%s", strings.ReplaceAll(dir, "/", "-"), strings.ToLower(rand.Text()[:8]))
	output, err := runSuite(t.Context(), dir, "run", "COMPAT_BOOTSTRAP="+bootstrap, "COMPAT_PREFIX="+prefix)
	if err != nil {
		t.Error(err)
	}
	rep, err := readReport(bytes.NewReader(output))
	if err != nil {
		t.Error(err)
	}
	for _, c := range checks {
		if r, ok := rep.results[c.name]; ok {
			t.Run(c.name, func(t *testing.T) {
				if wrong := judge(c.name, r, allowed); wrong != "" {
					t.Error(wrong)
				}
			})
		}
	}
	return entry{dir, rep, allowed}
}
