package main

import (
	"strings"
	"testing"
)

func TestOutcomesOfTestsAndSubtests(t *testing.T) {
	results := read(strings.NewReader(`{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Test":"TestA/sub","Output":"lost a record\n"}
{"Action":"fail","Test":"TestA/sub"}
{"Action":"pass","Test":"TestA/other"}
{"Action":"fail","Test":"TestA"}
not JSON
{"Action":"output","Test":"TestB","Output":"fine\n"}
{"Action":"pass","Test":"TestB"}
{"Action":"skip","Test":"TestC"}
{"Action":"output","Test":"TestD","Output":"panic: nil\n"}
{"Action":"fail"}
`))
	for name, want := range map[string]result{
		"TestA":       {"fail", "lost a record\n"},
		"TestA/sub":   {"fail", "lost a record\n"},
		"TestA/other": {"pass", ""},
		"TestB":       {"pass", ""},
		"TestC":       {"na", ""},
		"TestD":       {"", "panic: nil\n"},
	} {
		if got := results[name]; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestListedSubtestsAreKeptOutOfTheirTests(t *testing.T) {
	listed := []string{"TestA", "TestA/a(b)", "TestB*", "TestC/verify*"}
	if got, want := skipPattern(listed), `^TestA$/^a\(b\)$|^TestC$/^verify.*$`; got != want {
		t.Errorf("skip %s, want %s", got, want)
	}
	if got, want := runPattern("TestA"), "^TestA$"; got != want {
		t.Errorf("run %s, want %s", got, want)
	}
	if got := skipPattern([]string{"TestA"}); got != "" {
		t.Errorf("skip %q of a list without subtests", got)
	}
}
