package compat

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// allowance permits the checks that match pattern to have outcome instead of pass.
type allowance struct {
	pattern string // of path.Match, over names of checks
	outcome outcome
	reason  string
}

// readAllowances reads an allow list: lines of pattern, outcome and reason, separated by blanks; #
// starts a comment.
func readAllowances(file string) ([]allowance, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []allowance
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		fields := strings.Fields(l)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s: want pattern, outcome and reason: %q", file, l)
		}
		a := allowance{fields[0], outcome(fields[1]), strings.Join(fields[2:], " ")}
		if a.outcome != fail && a.outcome != unsupported {
			return nil, fmt.Errorf("%s: want fail or unsupported: %q", file, l)
		}
		if !slices.ContainsFunc(checks, func(c check) bool { return a.covers(c.name) }) {
			return nil, fmt.Errorf("%s: matches no check: %q", file, l)
		}
		list = append(list, a)
	}
	return list, nil
}

func (a allowance) covers(name string) bool {
	ok, err := path.Match(a.pattern, name)
	return ok && err == nil
}

// judge says what is wrong with a result, "" if nothing. An allowance that is not needed any more
// is wrong too, so that the lists stay short.
func judge(name string, r result, allowed []allowance) string {
	i := slices.IndexFunc(allowed, func(a allowance) bool { return a.covers(name) })
	switch {
	case i < 0 && r.outcome == pass:
		return ""
	case i < 0 && r.outcome == fail:
		return r.detail
	case i < 0:
		return "unsupported, but not on the allow list"
	case r.outcome == allowed[i].outcome:
		return ""
	default:
		return fmt.Sprintf("the allow list says %s (%s), the result is %s %s", allowed[i].outcome, allowed[i].reason, r.outcome, r.detail)
	}
}

func TestJudgement(t *testing.T) {
	allowed := []allowance{
		{"admin/*", unsupported, "no admin client"},
		{"hidden/hole", fail, "known"},
	}
	for _, tc := range []struct {
		check  string
		result result
		want   string
	}{
		{"consume/end", result{pass, ""}, ""},
		{"consume/end", result{fail, "timed out"}, "timed out"},
		{"consume/end", result{unsupported, ""}, "unsupported, but not on the allow list"},
		{"admin/create-topic", result{unsupported, ""}, ""},
		{"admin/create-topic", result{fail, "x"}, "the allow list says unsupported (no admin client), the result is fail x"},
		{"hidden/hole", result{fail, "x"}, ""},
		{"hidden/hole", result{pass, ""}, "the allow list says fail (known), the result is pass "},
	} {
		if got := judge(tc.check, tc.result, allowed); got != tc.want {
			t.Errorf("judge(%s, %v) = %q, want %q", tc.check, tc.result, got, tc.want)
		}
	}
}
