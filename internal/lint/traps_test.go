package lint

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// traps lists what excludes each trap of delayed delivery, with the names of tests.
const traps = "../../delay/TRAPS.md"

func TestTrapsNameTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(traps)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range sources(t) {
		if f.test {
			f.functions(func(name string) { there[name] = true })
		}
	}
	for _, problem := range trapProblems(string(text), there) {
		t.Error(problem)
	}
}

func TestTrapsWithoutTestsAreFound(t *testing.T) {
	row := func(n int, tests string) string { return fmt.Sprintf("| %d | a trap | a rule | %s |\n", n, tests) }
	got := trapProblems(row(1, "`TestA`")+row(2, "none")+row(4, "`TestA`, `FuzzB`"), map[string]bool{"TestA": true})
	want := []string{"trap 2 names no test", "trap 4 follows trap 2", "trap 4: there is no FuzzB"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("problems are %q", got)
	}
}

var (
	trapRow  = regexp.MustCompile(`(?m)^\| (\d+) \|.*\|([^|]*)\|$`)
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
)

// trapProblems returns a sentence for every trap that is out of order, or names no test, or one
// that is not there.
func trapProblems(text string, there map[string]bool) (problems []string) {
	last := 0
	for _, row := range trapRow.FindAllStringSubmatch(text, -1) {
		var n int
		_, _ = fmt.Sscan(row[1], &n)
		if n != last+1 {
			problems = append(problems, fmt.Sprintf("trap %d follows trap %d", n, last))
		}
		last = n
		names := testName.FindAllStringSubmatch(row[2], -1)
		if len(names) == 0 {
			problems = append(problems, fmt.Sprintf("trap %d names no test", n))
		}
		for _, name := range names {
			if !there[name[1]] {
				problems = append(problems, fmt.Sprintf("trap %d: there is no %s", n, name[1]))
			}
		}
	}
	if last == 0 {
		problems = append(problems, "there are no traps")
	}
	return problems
}
