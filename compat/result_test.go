package compat

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

// outcome is how a check ended.
type outcome string

const (
	pass          outcome = "pass"
	fail          outcome = "fail"
	unsupported   outcome = "unsupported" // the client has no way to do it
	notApplicable outcome = "na"          // a judge's test that asks for what one broker cannot be asked for, or skips itself
)

// result is what a suite printed for one check.
type result struct {
	outcome outcome
	detail  string // of a failure, also of one that a second try undid
}

// report is what one suite printed.
type report struct {
	client  string
	version string
	results map[string]result // by name of the check
}

// line is one JSON line of a suite: {"client","version"} first, then {"check","result","detail"}
// for each check.
type line struct {
	Client  string  `json:"client"`
	Version string  `json:"version"`
	Check   string  `json:"check"`
	Result  outcome `json:"result"`
	Detail  string  `json:"detail"`
}

// readReport reads the output of a suite that was asked for certain checks. It is an error if a
// line is malformed, or a check was not asked for, reported twice or missing; the report then holds
// what could be read.
func readReport(r io.Reader, asked []string) (*report, error) {
	rep := &report{results: map[string]result{}}
	var errs []error
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			errs = append(errs, fmt.Errorf("not a JSON line: %q", scanner.Text()))
			continue
		}
		if err := rep.add(l, asked); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, scanner.Err())
	if rep.client == "" || rep.version == "" {
		errs = append(errs, errors.New("client and version were not reported"))
	}
	for _, name := range asked {
		if _, ok := rep.results[name]; !ok {
			errs = append(errs, fmt.Errorf("%s was not reported", name))
		}
	}
	return rep, errors.Join(errs...)
}

func (r *report) add(l line, asked []string) error {
	if l.Client != "" {
		r.client, r.version = l.Client, l.Version
		return nil
	}
	if !slices.Contains(asked, l.Check) {
		return fmt.Errorf("%q is not a check", l.Check)
	}
	if _, ok := r.results[l.Check]; ok {
		return fmt.Errorf("%s was reported twice", l.Check)
	}
	switch l.Result {
	case pass, fail, unsupported, notApplicable:
		r.results[l.Check] = result{l.Result, l.Detail}
		return nil
	default:
		return fmt.Errorf("%s has the unknown result %q", l.Check, l.Result)
	}
}

// passed counts the checks that passed.
func (r *report) passed() int {
	n := 0
	for _, res := range r.results {
		if res.outcome == pass {
			n++
		}
	}
	return n
}

// bad names the checks whose result is.
func (r *report) bad(bad func(name string, r result) bool) (names []string) {
	for name, res := range r.results {
		if bad(name, res) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// mend takes from a second run what was bad or missing in the first.
func (r *report) mend(second *report, bad func(name string, r result) bool) {
	if r.client == "" {
		r.client, r.version = second.client, second.version
	}
	for name, res := range second.results {
		if first, ok := r.results[name]; !ok || bad(name, first) {
			if res.outcome == pass {
				res.detail = first.detail
			}
			r.results[name] = res
		}
	}
}

// completeOutput is the output of a suite in which every check passes.
func completeOutput() string {
	var b strings.Builder
	fmt.Fprintln(&b, `{"client":"c","version":"1.0"}`)
	for _, c := range checks {
		fmt.Fprintf(&b, `{"check":%q,"result":"pass"}`+"\n", c.name)
	}
	return b.String()
}

func TestReportOfACompleteSuite(t *testing.T) {
	rep, err := readReport(strings.NewReader(completeOutput()), checkNames("java"))
	if err != nil {
		t.Fatal(err)
	}
	if rep.client != "c" || rep.version != "1.0" || len(rep.results) != len(checks) {
		t.Errorf("report of %s %s with %d results", rep.client, rep.version, len(rep.results))
	}
}

func TestSecondRunCountsWhereTheFirstWasBad(t *testing.T) {
	failed := func(_ string, r result) bool { return r.outcome == fail }
	first := &report{results: map[string]result{
		"consume/end": {pass, ""}, "consume/beginning": {fail, "timed out"}, "group/resume": {fail, "timed out"}, "admin/create-topic": {unsupported, ""},
	}}
	if got, want := first.bad(failed), []string{"consume/beginning", "group/resume"}; !slices.Equal(got, want) {
		t.Errorf("bad are %q, want %q", got, want)
	}
	first.mend(&report{client: "c", version: "1.0", results: map[string]result{
		"consume/end": {fail, "timed out"}, "consume/beginning": {pass, ""}, "group/resume": {fail, "again"}, "admin/create-topic": {fail, "x"}, "txn/commit": {pass, ""},
	}}, failed)
	want := map[string]result{
		"consume/end": {pass, ""}, "consume/beginning": {pass, "timed out"}, "group/resume": {fail, "again"}, "admin/create-topic": {unsupported, ""}, "txn/commit": {pass, ""},
	}
	if first.client != "c" || !maps.Equal(first.results, want) {
		t.Errorf("%q: %v, want %v", first.client, first.results, want)
	}
}

func TestReportFindsWhatASuiteDidWrong(t *testing.T) {
	first := fmt.Sprintf(`{"check":%q,"result":"pass"}`+"\n", checks[0].name)
	for _, tc := range []struct{ output, want string }{
		{strings.Replace(completeOutput(), first, "", 1), checks[0].name + " was not reported"},
		{completeOutput() + first, checks[0].name + " was reported twice"},
		{completeOutput() + `{"check":"nope","result":"pass"}`, `"nope" is not a check`},
		{completeOutput() + "Traceback", `not a JSON line: "Traceback"`},
		{strings.Replace(completeOutput(), `"pass"`, `"maybe"`, 1), `unknown result "maybe"`},
		{strings.Replace(completeOutput(), `"1.0"`, `""`, 1), "client and version were not reported"},
	} {
		_, err := readReport(strings.NewReader(tc.output), checkNames("java"))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error = %v, want one with %q", err, tc.want)
		}
	}
}
