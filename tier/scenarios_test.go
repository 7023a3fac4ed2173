package tier_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// scenarios is how many tiering faults are on the list.
const scenarios = 65

// TestScenariosHaveTheirTests reads the table of faults in DESIGN.md: it has all of them, and names
// tests that exist.
func TestScenariosHaveTheirTests(t *testing.T) {
	design, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, dir := range []string{".", "bucket", "s3test", "bucket/buckettest", "chunk", "flight", "../log", "../log/segment", "../delay", "../broker/partition", "../broker/restore", "../protocol/api"} {
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
	told := map[string]bool{}
	for _, m := range rows {
		told[m[1]] = true
		for name := range strings.SplitSeq(m[2], ", ") {
			if name = strings.Trim(name, "`"); !tests[name] {
				t.Errorf("scenario %s: there is no test %q", m[1], name)
			}
		}
	}
	for n := range scenarios {
		if n := strconv.Itoa(n + 1); !told[n] {
			t.Errorf("scenario %s is missing", n)
		}
	}
}
