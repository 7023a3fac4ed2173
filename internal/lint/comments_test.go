package lint

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// commentColumns is how wide a line of comment may be, a tab being four wide. They are wrapped at
// 100; what cannot be wrapped there, such as an address, may be somewhat wider.
const commentColumns = 112

func TestCommentsAreWrapped(t *testing.T) {
	check := func(name string, text []byte) error {
		for _, problem := range wideComments(name, string(text)) {
			t.Error(problem)
		}
		return nil
	}
	for _, dir := range []string{".", "tier/s3test", "compat/go"} {
		if err := eachFileIn(dir, ".go", check); err != nil {
			t.Fatal(err)
		}
	}
}

// wideComments returns a sentence for every line of a file that is only a comment and too wide.
func wideComments(name, text string) (problems []string) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		comment := strings.TrimLeft(line, "\t")
		if !strings.HasPrefix(comment, "// ") {
			continue
		}
		columns := 4*(len(line)-len(comment)) + utf8.RuneCountInString(comment)
		if words := strings.Fields(comment); columns > commentColumns && len(words) > 2 {
			problems = append(problems, fmt.Sprintf("%s:%d: a comment of %d columns, at most %d are read with ease", name, n, columns, commentColumns))
		}
	}
	return problems
}

func TestWideCommentsAreFound(t *testing.T) {
	wide := "// " + strings.Repeat("word ", 23) // 118 columns
	for text, want := range map[string]int{
		wide + "\n":                             1,
		"\t" + wide + "\nx := 1 " + wide + "\n": 1, // beside code is what gofmt makes of it
		"//" + strings.Repeat("x", 200) + "\n":  0,
		"// " + strings.Repeat("x", 200) + "\n": 0,
		"\t\t// " + strings.Repeat("ab ", 34):   1,
		"// " + strings.Repeat("ab ", 34):       0,
	} {
		if got := wideComments("x.go", text); len(got) != want {
			t.Errorf("%q: %q, want %d", text, got, want)
		}
	}
}
