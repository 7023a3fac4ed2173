package compat

import (
	"fmt"
	"strings"
	"testing"
)

// entry is one client of the report card.
type entry struct {
	dir     string
	report  *report
	allowed []allowance
}

// judged is one judge of the report card.
type judged struct {
	dir      string
	report   *report
	expected []expectation
}

// card writes the report card: what each client did, what is allowed and why, what the checks are,
// what the judges say.
func card(entries []entry, all []judged) string {
	var b strings.Builder
	b.WriteString(`# Clients

Written by ` + "`make compat`" + `, which runs every suite below against one broker, each check in the client's own language, and then
lets [the tests of others](#judges) judge it. ✓ passed, ✗ failed, – the client has no way to do it; a number is a reason below the table. A check that fails twice without
standing on its suite's allow list fails the run.

`)
	reasons := writeTable(&b, entries)
	b.WriteString("\n## Reasons\n\n")
	for i, reason := range reasons {
		fmt.Fprintf(&b, "%d. %s\n", i+1, reason)
	}
	b.WriteString("\n## Checks\n\n")
	for _, c := range checks {
		fmt.Fprintf(&b, "- `%s`: %s\n", c.name, c.what)
	}
	writeJudges(&b, all)
	return b.String()
}

// writeJudges writes the table of judges and what is known to fail.
func writeJudges(b *strings.Builder, all []judged) {
	b.WriteString(`
## Judges

Suites that others wrote for their own clients, the tools that come with Kafka, and Kafka itself, each pinned and each with a broker of its own. A test
that is neither on its suite's allow list nor passes fails the run; what is not applicable, and why, is in the suite's folder.
Not here: the tests of aiokafka, which its source distribution leaves out.

| suite | version | passed | known failures | not applicable |
|---|---|--:|--:|--:|
`)
	for _, j := range all {
		passed, na := j.report.passed(), 0
		for _, e := range j.expected {
			if e.outcome == notApplicable {
				na++
			}
		}
		fmt.Fprintf(b, "| [%s](%s) | %s | %d | %d | %d |\n", j.report.client, j.dir, j.report.version, passed, len(j.report.results)-passed, na)
	}
	b.WriteString("\n")
	for _, j := range all {
		for _, e := range j.expected {
			if e.outcome == fail {
				fmt.Fprintf(b, "- %s, `%s`: %s\n", j.report.client, e.pattern, e.reason)
			}
		}
	}
}

// writeTable writes the table of checks and clients and returns the reasons its numbers stand for.
func writeTable(b *strings.Builder, entries []entry) []string {
	b.WriteString("| check |")
	for _, e := range entries {
		fmt.Fprintf(b, " [%s](%s) %s |", e.report.client, e.dir, e.report.version)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(entries)) + "\n")
	var reasons []string
	numbers := map[string]int{}
	for _, c := range checks {
		fmt.Fprintf(b, "| %s |", c.name)
		for _, e := range entries {
			cell := map[outcome]string{pass: "✓", fail: "✗", unsupported: "–"}[e.report.results[c.name].outcome]
			if !c.asks(e.dir) {
				cell = "–"
			}
			for _, a := range e.allowed {
				if !a.covers(c.name) {
					continue
				}
				reason := e.report.client + ": " + a.reason
				if numbers[reason] == 0 {
					reasons = append(reasons, reason)
					numbers[reason] = len(reasons)
				}
				cell += fmt.Sprintf(" %d", numbers[reason])
				break
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteByte('\n')
	}
	b.WriteString("| **passed** |")
	for _, e := range entries {
		fmt.Fprintf(b, " **%d/%d** |", e.report.passed(), len(checks))
	}
	b.WriteByte('\n')
	return reasons
}

func TestCardShowsOutcomesAndReasons(t *testing.T) {
	rep := &report{client: "c", version: "1.0", results: map[string]result{
		"consume/end":        {pass, ""},
		"admin/create-topic": {unsupported, ""},
		"admin/delete-topic": {unsupported, ""},
		"hidden/hole":        {fail, "detail"},
	}}
	got := card([]entry{{"dir/c", rep, []allowance{
		{"admin/*-topic", unsupported, "no admin client"}, {"hidden/hole", fail, "known"},
	}}}, []judged{{"judges/j", &report{client: "j", version: "2.0", results: map[string]result{
		"TestA": {pass, ""}, "TestB": {fail, "detail"},
	}}, []expectation{{"TestA", pass, ""}, {"TestB", fail, "no quotas"}, {"Test*", notApplicable, "needs no broker"}}}})
	for _, want := range []string{
		"| check | [c](dir/c) 1.0 |\n|---|:-:|\n",
		"| consume/end | ✓ |\n",
		"| admin/create-topic | – 1 |\n",
		"| admin/delete-topic | – 1 |\n",
		"| hidden/hole | ✗ 2 |\n",
		fmt.Sprintf("| **passed** | **1/%d** |\n", len(checks)),
		"1. c: no admin client\n2. c: known\n",
		"| [j](judges/j) | 2.0 | 1 | 1 | 1 |\n",
		"- j, `TestB`: no quotas\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the card lacks %q:\n%s", want, got)
		}
	}
}
