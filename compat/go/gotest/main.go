// Gotest runs the tests of somebody else's package, compiled by go test -c, and prints one JSON line for each, as the
// suites of compat do. Which ones it runs is in COMPAT_TESTS.
//
// What failed, or did not end because another test took the process with it, is run a second time, alone. A test that
// passes then counts as passed, with the first failure as its detail: these suites count on time, and their own projects
// run them the same way.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
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
	s := &suite{binary: flag.Arg(0), dir: *dir, timeout: *timeout, flags: flag.Args()[1:]}
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode(map[string]string{"client": *name, "version": strings.TrimPrefix(*version, "v")})
	if err := s.report(out, *allow, strings.Fields(os.Getenv("COMPAT_TESTS"))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// report runs the tests with the given names and prints a line for each, and one for every test that allow does not name.
func (s *suite) report(out *json.Encoder, allow string, names []string) error {
	unlisted, err := s.unlisted(allow)
	if err != nil {
		return err
	}
	for _, name := range unlisted {
		_ = out.Encode(line(name, result{"fail", "the allow list does not name it"}))
	}
	results, err := s.run(names, s.timeout)
	if err != nil {
		return err
	}
	for _, name := range names {
		first := results[name]
		if first.outcome == "pass" || first.outcome == "na" {
			_ = out.Encode(line(name, first))
			continue
		}
		again, err := s.run([]string{name}, againTimeout)
		if err != nil {
			return err
		}
		second := again[name]
		if second.outcome == "pass" {
			second.output = first.output
		}
		_ = out.Encode(line(name, second))
	}
	return nil
}

func line(name string, r result) map[string]string {
	l := map[string]string{"check": name, "result": r.outcome, "detail": strings.TrimSpace(r.output)}
	if r.outcome == "" {
		l["result"] = "fail"
	}
	return l
}

// unlisted returns the tests of the binary that no line of the allow list names.
func (s *suite) unlisted(allow string) ([]string, error) {
	text, err := os.ReadFile(allow)
	if err != nil {
		return nil, err
	}
	var patterns []string
	for l := range strings.Lines(string(text)) {
		if fields := strings.Fields(l); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			patterns = append(patterns, fields[0])
		}
	}
	cmd := exec.Command(s.binary, "-test.list", "^Test")
	cmd.Dir = s.dir
	list, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the tests of %s: %w", s.binary, err)
	}
	var names []string
	for _, name := range strings.Fields(string(list)) {
		listed := slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(p, name)
			return ok && err == nil
		})
		if strings.HasPrefix(name, "Test") && !listed {
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

// run runs tests in one process and returns how those ended that did.
func (s *suite) run(names []string, timeout time.Duration) (map[string]result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout+killDelay)
	defer cancel()
	args := []string{
		"tool", "test2json", s.binary, "-test.v=test2json", "-test.timeout", timeout.String(),
		"-test.run", "^(" + strings.Join(names, "|") + ")$",
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

// read collects the outcome of every test from the lines of test2json. The output of subtests counts as their parent's.
func read(stdout *bytes.Buffer) map[string]result {
	results := map[string]result{}
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var e event
		if json.Unmarshal(scanner.Bytes(), &e) != nil || e.Test == "" {
			continue
		}
		name, _, isSub := strings.Cut(e.Test, "/")
		r := results[name]
		switch {
		case e.Action == "output" && !strings.HasPrefix(strings.TrimSpace(e.Output), "==="):
			r.output = tail(r.output + e.Output)
		case isSub:
		case e.Action == "pass":
			r.outcome, r.output = "pass", ""
		case e.Action == "fail":
			r.outcome = "fail"
		case e.Action == "skip":
			r.outcome = "na"
		}
		results[name] = r
	}
	return results
}

func tail(s string) string { return s[max(0, len(s)-maxDetail):] }
