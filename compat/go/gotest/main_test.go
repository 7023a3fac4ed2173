package main

import (
	"slices"
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
	listed := parseAllow("TestA pass\nTestA/a(b) fail known\nTestB* pass\nTestC* pass\nTestC/verify* na never\n")
	if got, want := listed.skipPattern(), `^TestA$/^a\(b\)$|^TestC$/^verify.*$`; got != want {
		t.Errorf("skip %s, want %s", got, want)
	}
	if got, want := runPattern("TestA"), "^TestA$"; got != want {
		t.Errorf("run %s, want %s", got, want)
	}
	if got := parseAllow("# TestB/sub\nTestA pass\n").skipPattern(); got != "" {
		t.Errorf("skip %q of a list without subtests", got)
	}
	if got, want := listed.together([]string{"TestA", "TestA/a(b)", "TestB1"}), []string{"TestA", "TestB1"}; !slices.Equal(got, want) {
		t.Errorf("together %v, want %v", got, want)
	}
}

// A suite is a test whose subtests are what somebody wants to know of.
func TestSubtestsThatSpellTheirTestOutAreRunTogether(t *testing.T) {
	listed := parseAllow("TestSuite/One pass\nTestSuite/Two fail known\nTestSuite/No* na never\nTestA pass\n")
	if !listed.spelledOut("TestSuite") || listed.spelledOut("TestA") || listed.spelledOut("TestSuit") {
		t.Error("not TestSuite alone is spelled out")
	}
	if got, want := listed.skipPattern(), `^TestSuite$/^No.*$`; got != want {
		t.Errorf("skip %s, want %s", got, want)
	}
	if got, want := listed.together([]string{"TestSuite/One", "TestA", "TestSuite/Two"}), []string{"TestSuite", "TestA"}; !slices.Equal(got, want) {
		t.Errorf("together %v, want %v", got, want)
	}
	results := map[string]result{"TestSuite": {}, "TestSuite/One": {}, "TestSuite/One/part": {}, "TestSuite/New": {}, "TestA/sub": {}}
	if got, want := listed.unknownSubs(results), []string{"TestSuite/New"}; !slices.Equal(got, want) {
		t.Errorf("unknown %v, want %v", got, want)
	}
	if !listed.covers("TestSuite/Two", "fail") || listed.covers("TestSuite/One", "fail") || listed.covers("TestSuite/New") {
		t.Error("what the list says of the subtests is not what it covers")
	}
}
