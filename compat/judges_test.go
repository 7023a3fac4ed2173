package compat

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// judges are the directories of the suites that others wrote, or wrote the programs of, in the
// order of the report card.
var judges = []string{
	"judges/kgo", "judges/confluent-kafka-go", "judges/sarama", "judges/kafka-go", "judges/rskafka", "judges/java-tools",
	"judges/streams", "judges/connect", "judges/kafka",
}

// expectation says how the tests of a judge that match a pattern end.
type expectation struct {
	pattern string // of path.Match; a test that is to be run is named in full
	outcome outcome
	reason  string // of any outcome but pass
}

func (e expectation) covers(name string) bool {
	ok, err := path.Match(e.pattern, name)
	return ok && err == nil
}

// readExpectations reads the allow list of a judge: lines of test, outcome (pass, fail or na) and
// reason, separated by blanks; # starts a comment. What is expected to pass or fail is run, so it
// has a whole name.
func readExpectations(file string) ([]expectation, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []expectation
	for l := range strings.Lines(string(text)) {
		fields := strings.Fields(l)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("%s: want test and outcome: %q", file, l)
		}
		e := expectation{fields[0], outcome(fields[1]), strings.Join(fields[2:], " ")}
		if wrong := e.wrong(list); wrong != "" {
			return nil, fmt.Errorf("%s: %s: %s", file, e.pattern, wrong)
		}
		list = append(list, e)
	}
	return list, nil
}

// wrong says what is wrong with a line that follows the given ones.
func (e expectation) wrong(earlier []expectation) string {
	switch {
	case !slices.Contains([]outcome{pass, fail, notApplicable}, e.outcome):
		return fmt.Sprintf("want pass, fail or na, not %q", e.outcome)
	case e.outcome == pass && e.reason != "":
		return "a pass needs no reason"
	case e.outcome != pass && e.reason == "":
		return "want a reason"
	case e.outcome != notApplicable && strings.ContainsAny(e.pattern, "*?["):
		return "a pattern of tests that are run"
	case slices.ContainsFunc(earlier, func(f expectation) bool { return f.covers(e.pattern) }):
		return "listed twice"
	}
	return ""
}

// asked are the tests of a judge that are run.
func asked(expected []expectation) []string {
	var names []string
	for _, e := range expected {
		if e.outcome != notApplicable {
			names = append(names, e.pattern)
		}
	}
	return names
}

// verdict says what is wrong with a result, and what is worth a word although it is not wrong; ""
// is nothing. A known failure that passes is not wrong, for some come and go.
func verdict(e expectation, r result) (wrong, remark string) {
	switch {
	case r.outcome == e.outcome && r.detail == "":
		return "", ""
	case r.outcome == e.outcome && e.outcome == fail:
		return "", ""
	case r.outcome == pass && e.outcome == fail:
		return "", fmt.Sprintf("passes, though listed as a known failure (%s)", e.reason)
	case r.outcome == pass:
		return "", "passed at the second try only: " + r.detail
	}
	return fmt.Sprintf("the allow list says %s, the result is %s: %s", e.outcome, r.outcome, r.detail), ""
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		expected      outcome
		result        result
		wrong, remark string
	}{
		{pass, result{pass, ""}, "", ""},
		{pass, result{pass, "timed out"}, "", "passed at the second try only: timed out"},
		{pass, result{fail, "timed out"}, "the allow list says pass, the result is fail: timed out", ""},
		{pass, result{notApplicable, "skipped"}, "the allow list says pass, the result is na: skipped", ""},
		{fail, result{fail, "timed out"}, "", ""},
		{fail, result{pass, ""}, "", "passes, though listed as a known failure (known)"},
		{fail, result{notApplicable, "skipped"}, "the allow list says fail, the result is na: skipped", ""},
	} {
		wrong, remark := verdict(expectation{"T", tc.expected, "known"}, tc.result)
		if wrong != tc.wrong || remark != tc.remark {
			t.Errorf("%s, result %v: wrong %q, remark %q; want %q, %q", tc.expected, tc.result, wrong, remark, tc.wrong, tc.remark)
		}
	}
}

func TestExpectationsOfAJudge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "allow")
	for _, tc := range []struct{ text, wrong string }{
		{"# tests\nTestA pass\n\nTestB fail  no  quotas\nTest* na needs no broker\n", ""},
		{"TestA\n", "want test and outcome"},
		{"TestA maybe\n", `want pass, fail or na, not "maybe"`},
		{"TestA pass always\n", "a pass needs no reason"},
		{"TestA fail\n", "want a reason"},
		{"Test* pass\n", "a pattern of tests that are run"},
		{"TestA pass\nTestA fail known\n", "listed twice"},
	} {
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := readExpectations(file)
		switch {
		case tc.wrong == "" && err != nil:
			t.Error(err)
		case tc.wrong == "":
			if got, want := asked(list), []string{"TestA", "TestB"}; !slices.Equal(got, want) || list[1].reason != "no quotas" {
				t.Errorf("asked for %v, want %v; %v", got, want, list)
			}
		case err == nil || !strings.Contains(err.Error(), tc.wrong):
			t.Errorf("%q: error = %v, want one with %q", tc.text, err, tc.wrong)
		}
	}
}

// TestJudgesAreComplete holds every judge against the package comment.
func TestJudgesAreComplete(t *testing.T) {
	for _, dir := range judges {
		checkFiles(t, dir)
		if _, err := readExpectations(filepath.Join(dir, "allow")); err != nil {
			t.Error(err)
		}
	}
}
