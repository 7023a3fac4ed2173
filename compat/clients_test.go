//go:build compat

package compat

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/testnet"
)

// TestClients installs every client and judge, runs its suite and looks at each result. The suites
// of clients share one broker; a judge has one of its own, as it counts on names and settings. When
// all have been run against brokers started here, it writes the report card.
func TestClients(t *testing.T) {
	bootstrap, bin := os.Getenv("COMPAT_BOOTSTRAP"), ""
	if bootstrap == "" {
		var err error
		if bin, err = testnet.Build(t.TempDir()); err != nil {
			t.Fatal(err)
		}
		bootstrap = testnet.Start(t, bin, brokerFlags(t, ".")...).Addr()
	}
	entries, verdicts := make([]entry, len(suites)), make([]judged, len(judges))
	t.Run("suite", func(t *testing.T) {
		for i, dir := range judges { // first, as they take longest
			t.Run(dir, func(t *testing.T) {
				t.Parallel()
				verdicts[i] = runJudge(t, dir, bin, bootstrap)
			})
		}
		for i, dir := range suites {
			t.Run(dir, func(t *testing.T) {
				t.Parallel()
				entries[i] = runAndJudge(t, dir, bootstrap)
			})
		}
	})
	if bin == "" || !complete(entries, verdicts) {
		return
	}
	if err := os.WriteFile("README.md", []byte(card(entries, verdicts)), 0o644); err != nil {
		t.Error(err)
	}
}

// complete reports whether all suites were asked for, and got far enough to report.
func complete(entries []entry, all []judged) bool {
	return !slices.ContainsFunc(entries, func(e entry) bool { return e.report == nil }) &&
		!slices.ContainsFunc(all, func(j judged) bool { return j.report == nil })
}

// install makes available what a suite needs, at the third try at the latest: registries fail now and then.
func install(t *testing.T, dir string) {
	t.Helper()
	for try := 1; ; try++ {
		said, err := runSuite(t.Context(), dir, "install")
		if err == nil {
			if len(said) > 0 {
				t.Logf("%s", said)
			}
			return
		}
		if try == 3 || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("what %s needs cannot be installed: %v", dir, err)
		}
		t.Logf("installed once more: %v", err)
		time.Sleep(time.Duration(try) * 10 * time.Second)
	}
}

// tryTwice runs a suite, and once more if it fails or a result is bad; the second result counts then.
// Clients count on time, of which a busy machine has less.
func tryTwice(t *testing.T, run func() (*report, error), bad func(name string, r result) bool) *report {
	t.Helper()
	rep, err := run()
	if names := rep.bad(bad); err != nil || len(names) > 0 {
		t.Logf("run once more: %q, %v", names, err)
		var second *report
		second, err = run()
		rep.mend(second, bad)
	}
	if err != nil {
		t.Error(err)
	}
	return rep
}

// runAndJudge runs one suite; each check becomes a subtest.
func runAndJudge(t *testing.T, dir, bootstrap string) entry {
	t.Helper()
	allowed, err := readAllowances(filepath.Join(dir, "allow"))
	if err != nil {
		t.Fatal(err)
	}
	install(t, dir)
	rep := tryTwice(t, func() (*report, error) {
		return runFor(t, dir, checkNames(dir), "COMPAT_BOOTSTRAP="+bootstrap)
	}, func(name string, r result) bool { return judge(name, r, allowed) != "" })
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

// runFor runs a suite that is asked for certain checks, and returns what it reported.
func runFor(t *testing.T, dir string, asked []string, env ...string) (*report, error) {
	t.Helper()
	output, runErr := runSuite(t.Context(), dir, "run", append(env, "COMPAT_PREFIX="+newPrefix(dir))...)
	rep, err := readReport(bytes.NewReader(output), asked)
	return rep, errors.Join(runErr, err)
}

// newPrefix is a prefix of topics and groups that nothing else has.
func newPrefix(dir string) string {
	return fmt.Sprintf("%s-%s", strings.ReplaceAll(dir, "/", "-"), strings.ToLower(rand.Text()[:8]))
}

// runJudge runs the suite of a judge, each time against a broker of its own if there is a binary;
// each test becomes a subtest.
func runJudge(t *testing.T, dir, bin, bootstrap string) judged {
	t.Helper()
	expected, err := readExpectations(filepath.Join(dir, "allow"))
	if err != nil {
		t.Fatal(err)
	}
	install(t, dir)
	rep := tryTwice(t, func() (*report, error) {
		env := []string{"COMPAT_TESTS=" + strings.Join(asked(expected), " "), "COMPAT_BOOTSTRAP=" + bootstrap}
		if bin != "" {
			broker := testnet.Start(t, bin, brokerFlags(t, dir)...)
			defer broker.Stop()
			env = append(env, "COMPAT_BOOTSTRAP="+broker.Addr(), "COMPAT_MORROW="+bin, "COMPAT_DATA="+broker.DataDir())
		}
		return runFor(t, dir, asked(expected), env...)
	}, func(name string, r result) bool {
		i := slices.IndexFunc(expected, func(e expectation) bool { return e.pattern == name })
		wrong, _ := verdict(expected[i], r)
		return wrong != ""
	})
	for _, e := range expected {
		if r, ok := rep.results[e.pattern]; ok {
			t.Run(e.pattern, func(t *testing.T) {
				wrong, remark := verdict(e, r)
				if wrong != "" {
					t.Error(wrong)
				}
				if remark != "" {
					t.Log(remark)
				}
			})
		}
	}
	return judged{dir, rep, expected}
}

// brokerFlags are what the file broker of a directory adds to the command line of a broker, one a line.
func brokerFlags(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "broker"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}
