// Gotest runs the tests of somebody else's package, compiled by go test -c, and prints one JSON
// line for each, as the suites of compat do. Which ones it runs is in COMPAT_TESTS.
//
// What failed, or did not end because another test took the process with it, is run a second time,
// alone, unless the allow list expects that. A test that passes then counts as passed, with the
// first failure as its detail: these suites count on time, and their own projects run them the same
// way.
//
// A subtest that the allow list names, as TestA/sub, is not run as a part of its test, but by
// itself or not at all. If the list names only subtests of a test, all of them, the test is run
// with them together, and a line printed for each.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	maxDetail = 1500 // bytes of a failed test's output that are reported

	// againTimeout bounds the second run of a test.
	againTimeout = 90 * time.Second

	// killDelay is how long a test binary may take to end by itself after its own timeout.
	killDelay = 10 * time.Second
)

// suite is a compiled test binary and how to run it.
type suite struct {
	binary  string
	dir     string // the package's directory, which its tests expect to be in
	timeout time.Duration
	flags   []string
	listed  allowList
}

// allowList is the names and patterns of the tests that somebody knows of, with what is expected of
// them: pass, fail or na.
type allowList []struct{ pattern, outcome string }

// covers reports whether a line names the test, with one of the outcomes if there are any.
func (l allowList) covers(name string, outcomes ...string) bool {
	for _, e := range l {
		ok, err := path.Match(e.pattern, name)
		if ok && err == nil && (len(outcomes) == 0 || slices.Contains(outcomes, e.outcome)) {
			return true
		}
	}
	return false
}

// spelledOut reports whether the list names a test by nothing but its subtests.
func (l allowList) spelledOut(test string) bool {
	for _, e := range l {
		if strings.HasPrefix(e.pattern, test+"/") {
			return !l.covers(test)
		}
	}
	return false
}

// result is how a test ended.
type result struct {
	outcome string // pass, fail or na; "" if it did not end
	output  string
}

func main() {
	name := flag.String("name", "", "`name` to report")
	version := flag.String("version", "", "`version` to report")
	allow := flag.String("allow", "", "`file` that names every test of the binary")
	dir := flag.String("dir", ".", "`directory` to run in")
	timeout := flag.Duration("timeout", 4*time.Minute, "`time` for all tests")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: gotest -name NAME -version VERSION [-dir DIR] [-allow FILE] BINARY [FLAGS]")
		os.Exit(2)
	}
	listed, err := readAllow(*allow)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := &suite{binary: flag.Arg(0), dir: *dir, timeout: *timeout, flags: flag.Args()[1:], listed: listed}
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode(map[string]string{"client": *name, "version": strings.TrimPrefix(*version, "v")})
	if err := s.report(out, strings.Fields(os.Getenv("COMPAT_TESTS"))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// readAllow reads an allow list.
func readAllow(file string) (allowList, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseAllow(string(text)), nil
}

func parseAllow(text string) allowList {
	var listed allowList
	for l := range strings.Lines(text) {
		if fields := strings.Fields(l); len(fields) > 1 && !strings.HasPrefix(fields[0], "#") {
			listed = append(listed, struct{ pattern, outcome string }{fields[0], fields[1]})
		}
	}
	return listed
}

// report runs the tests with the given names and prints a line for each, and one for every test
// that is not listed.
func (s *suite) report(out *json.Encoder, names []string) error {
	unlisted, err := s.unlisted()
	if err != nil {
		return err
	}
	results, err := s.run(s.timeout, "^("+strings.Join(s.listed.together(names), "|")+")$", s.listed.skipPattern())
	if err != nil {
		return err
	}
	for _, name := range append(unlisted, s.listed.unknownSubs(results)...) {
		_ = out.Encode(line(name, result{"fail", "the allow list does not name it"}))
	}
	for _, name := range names {
		first := results[name]
		if first.outcome == "pass" || first.outcome == "na" || first.outcome == "fail" && s.listed.covers(name, "fail") {
			_ = out.Encode(line(name, first))
			continue
		}
		second, err := s.runAlone(name)
		if err != nil {
			return err
		}
		if second.outcome == "pass" {
			second.output = first.output
		}
		_ = out.Encode(line(name, second))
	}
	return nil
}

// together are the tests that are run in one process, so that those with the given names are.
func (l allowList) together(names []string) []string {
	var tests []string
	for _, name := range names {
		test := testOf(name)
		if (name == test || l.spelledOut(test)) && !slices.Contains(tests, test) {
			tests = append(tests, test)
		}
	}
	return tests
}

// unknownSubs are the subtests that were run although the list, which spells their test out, does
// not name them.
func (l allowList) unknownSubs(results map[string]result) []string {
	var names []string
	for name := range results {
		test, sub, _ := strings.Cut(name, "/")
		if sub != "" && !strings.Contains(sub, "/") && l.spelledOut(test) && !l.covers(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func line(name string, r result) map[string]string {
	l := map[string]string{"check": name, "result": r.outcome, "detail": strings.TrimSpace(r.output)}
	if r.outcome == "" {
		l["result"] = "fail"
	}
	return l
}

// unlisted returns the tests of the binary that no line of the allow list names.
func (s *suite) unlisted() ([]string, error) {
	cmd := exec.Command(s.binary, "-test.list", "^Test")
	cmd.Dir = s.dir
	list, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the tests of %s: %w", s.binary, err)
	}
	var names []string
	for _, name := range strings.Fields(string(list)) {
		if strings.HasPrefix(name, "Test") && !s.listed.covers(name) && !s.listed.spelledOut(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// event is one of the lines test2json prints.
type event struct {
	Action string
	Test   string
	Output string
}

// runAlone runs one test, or a subtest that is listed by itself.
func (s *suite) runAlone(name string) (result, error) {
	skip := ""
	if !isSub(name) {
		skip = s.listed.skipPattern()
	}
	results, err := s.run(againTimeout, runPattern(name), skip)
	return results[name], err
}

// isSub reports whether a name is that of a subtest.
func isSub(name string) bool { return strings.Contains(name, "/") }

// testOf is the test that a subtest is of, or the test itself.
func testOf(name string) string {
	test, _, _ := strings.Cut(name, "/")
	return test
}

// runPattern is the -test.run for one test or subtest.
func runPattern(name string) string {
	levels := strings.Split(name, "/")
	for i, level := range levels {
		levels[i] = "^" + strings.ReplaceAll(regexp.QuoteMeta(level), `\*`, ".*") + "$"
	}
	return strings.Join(levels, "/")
}

// skipPattern is the -test.skip that keeps listed subtests out of their tests: all but those of a
// test that is spelled out.
func (l allowList) skipPattern() string {
	var patterns []string
	for _, e := range l {
		if isSub(e.pattern) && (e.outcome == "na" || !l.spelledOut(testOf(e.pattern))) {
			patterns = append(patterns, runPattern(e.pattern))
		}
	}
	return strings.Join(patterns, "|")
}

// run runs tests in one process and returns how those ended that did.
func (s *suite) run(timeout time.Duration, pattern, skip string) (map[string]result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout+killDelay)
	defer cancel()
	args := []string{
		"tool", "test2json", s.binary, "-test.v=test2json", "-test.timeout", timeout.String(),
		"-test.run", pattern, "-test.skip", skip,
	}
	cmd := exec.CommandContext(ctx, "go", append(args, s.flags...)...)
	cmd.Dir = s.dir
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("run %s: %w\n%s", s.binary, err, tail(stderr.String()))
	}
	return read(&stdout), nil
}

// read collects the outcome of every test and subtest from the lines of test2json. The output of
// subtests counts as their tests' as well.
func read(stdout io.Reader) map[string]result {
	results := map[string]result{}
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var e event
		if json.Unmarshal(scanner.Bytes(), &e) != nil || e.Test == "" {
			continue
		}
		if e.Action == "output" {
			if !strings.HasPrefix(strings.TrimSpace(e.Output), "===") {
				addOutput(results, e.Test, e.Output)
			}
			continue
		}
		r := results[e.Test]
		switch e.Action {
		case "pass":
			r.outcome, r.output = "pass", ""
		case "fail":
			r.outcome = "fail"
		case "skip":
			r.outcome = "na"
		}
		results[e.Test] = r
	}
	return results
}

func addOutput(results map[string]result, name, output string) {
	test, _, sub := strings.Cut(name, "/")
	for _, n := range []string{name, test} {
		r := results[n]
		r.output = tail(r.output + output)
		results[n] = r
		if !sub {
			return
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-maxDetail):] }
