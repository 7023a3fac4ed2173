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

// card writes the report card: what each client did, what is allowed and why, what the checks are.
func card(entries []entry) string {
	var b strings.Builder
	b.WriteString(`# Clients

Written by ` + "`make compat`" + `, which runs every suite below against one broker, each check in the client's own language.
✓ passed, ✗ failed, – the client has no way to do it; a number is a reason below the table. A check that fails without
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
	return b.String()
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
	}}})
	for _, want := range []string{
		"| check | [c](dir/c) 1.0 |\n|---|:-:|\n",
		"| consume/end | ✓ |\n",
		"| admin/create-topic | – 1 |\n",
		"| admin/delete-topic | – 1 |\n",
		"| hidden/hole | ✗ 2 |\n",
		fmt.Sprintf("| **passed** | **1/%d** |\n", len(checks)),
		"1. c: no admin client\n2. c: known\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the card lacks %q:\n%s", want, got)
		}
	}
}
