package lint

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Documents lead readers to files and functions, and to one another. Where they lead there must be something.
var (
	codeNamed = regexp.MustCompile("`([\\w./-]+\\.go)(?::(\\w+))?`")
	linked    = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
)

func TestDocumentsNameFilesAndFunctionsThatAreThere(t *testing.T) {
	files := sources(t)
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(name)))
		return err == nil
	}
	err := eachFile(".md", func(name string, text []byte) error {
		for _, problem := range documentProblems(name, string(text), files, exists) {
			t.Error(problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// documentProblems returns a sentence for everything that a document names and that is not there. A path is relative to the
// module or to the document; a file without a directory may be any of that name.
func documentProblems(name, text string, files []*file, exists func(name string) bool) []string {
	var problems []string
	for _, m := range codeNamed.FindAllStringSubmatch(text, -1) {
		var found []*file
		for _, f := range files {
			if f.name == m[1] || f.name == path.Join(path.Dir(name), m[1]) || path.Base(f.name) == m[1] {
				found = append(found, f)
			}
		}
		switch {
		case len(found) == 0 && !exists(m[1]) && !exists(path.Join(path.Dir(name), m[1])):
			problems = append(problems, fmt.Sprintf("%s names %s, which is not there", name, m[1]))
		case m[2] != "" && !slices.ContainsFunc(found, func(f *file) bool { return f.declares(m[2]) }):
			problems = append(problems, fmt.Sprintf("%s names %s in %s, which is not there", name, m[2], m[1]))
		}
	}
	for _, m := range linked.FindAllStringSubmatch(text, -1) {
		if to := m[1]; !strings.Contains(to, ":") && !exists(path.Join(path.Dir(name), to)) {
			problems = append(problems, fmt.Sprintf("%s links to %s, which is not there", name, to))
		}
	}
	return problems
}

// declares reports whether f has a function or method of that name.
func (f *file) declares(name string) bool {
	return slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Name.Name == name
	})
}

func TestWhatDocumentsNameInVainIsFound(t *testing.T) {
	files := parseSources(t, map[string]string{"a/one.go": "package a\nfunc F() {}\ntype T int\nfunc (T) M() {}\n"})
	exists := func(name string) bool { return name == "docs/B.md" }
	text := "`a/one.go` `one.go:F` `a/one.go:M` [b](B.md#x) [c](https://example.org/x)\n" +
		"`a/two.go` `one.go:G` [d](../B.md)\n"
	want := []string{
		"docs/A.md names a/two.go, which is not there",
		"docs/A.md names G in one.go, which is not there",
		"docs/A.md links to ../B.md, which is not there",
	}
	if got := documentProblems("docs/A.md", text, files, exists); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
