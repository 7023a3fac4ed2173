package tier_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestScenariosHaveTheirTests reads the table of faults in DESIGN.md: it names tests that exist.
func TestScenariosHaveTheirTests(t *testing.T) {
	design, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, dir := range []string{".", "s3test", "tiertest", "../log", "../log/segment", "../delay", "../broker/partition", "../broker/restore", "../protocol/api"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			code, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range function.FindAllStringSubmatch(string(code), -1) {
				tests[m[1]] = true
			}
		}
	}
	row := regexp.MustCompile(`(?m)^\| ([D0-9]\w*) \|.*\| ([^|]*) \|$`)
	rows := row.FindAllStringSubmatch(string(design), -1)
	if len(rows) < 60 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, m := range rows {
		for name := range strings.SplitSeq(m[2], ", ") {
			if name = strings.Trim(name, "`"); !tests[name] {
				t.Errorf("scenario %s: there is no test %q", m[1], name)
			}
		}
	}
}
