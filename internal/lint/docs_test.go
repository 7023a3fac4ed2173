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
	// `package.Name`, `dir/package`, `dir/package.name`, `dir/package.Type.Method`
	symbolNamed = regexp.MustCompile("`((?:[a-z]\\w*/)*[a-z]\\w*)((?:\\.\\w+)*)`")
	// `camelCase` and `PascalCase`
	identifierNamed = regexp.MustCompile("`([A-Za-z][a-z0-9]+[A-Z][a-z]\\w*)(?:\\(\\))?`")

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

func TestDocumentsNamePackagesAndIdentifiersThatAreThere(t *testing.T) {
	known := knownNames(slices.Concat(sources(t), nestedSources(t)))
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(name)))
		return err == nil
	}
	err := eachFile(".md", func(name string, text []byte) error {
		if under(name, "compat") {
			return nil // its checks and findings have names like ours
		}
		for _, problem := range nameProblems(name, string(text), known, exists) {
			t.Error(problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// names is what documents may call by name.
type names struct {
	tops     map[string]bool // top-level directories
	packages map[string]map[string]bool
	all      map[string]bool // every identifier
}

// knownNames collects what is declared or used: of each package, by its path and by its last
// element, and of all together.
func knownNames(files []*file) names {
	known := names{tops: map[string]bool{}, packages: map[string]map[string]bool{}, all: map[string]bool{}}
	for _, f := range files {
		top, _, _ := strings.Cut(f.pkg, "/")
		known.tops[top] = true
		for _, pkg := range []string{f.pkg, path.Base(f.pkg)} {
			if known.packages[pkg] == nil {
				known.packages[pkg] = map[string]bool{}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				known.packages[f.pkg][id.Name], known.packages[path.Base(f.pkg)][id.Name], known.all[id.Name] = true, true, true
			}
			return true
		})
	}
	return known
}

// nameProblems returns a sentence for every package and identifier that a document names and that
// is not there. A lower-case name with dots is ours only if it begins with a path, or goes on with
// an exported name: configs are spelled so too. Other identifiers are ours in documents about the
// code.
func nameProblems(name, text string, known names, exists func(name string) bool) []string {
	var problems []string
	for _, m := range symbolNamed.FindAllStringSubmatch(text, -1) {
		dir, symbols := m[1], strings.Split(m[2], ".")[1:]
		top, _, isPath := strings.Cut(dir, "/")
		declared, isPackage := known.packages[dir]
		exported := len(symbols) > 0 && ast.IsExported(symbols[0])
		switch {
		case isPath && known.tops[top] && !isPackage && !exists(dir+m[2]) && !exists(path.Join(path.Dir(name), dir+m[2])):
			problems = append(problems, fmt.Sprintf("%s names %s, which is not there", name, dir+m[2]))
		case isPackage && (isPath && len(symbols) > 0 && !exists(dir+m[2]) || exported):
			for _, s := range symbols {
				if !declared[s] {
					problems = append(problems, fmt.Sprintf("%s names %s, and nothing of that name is in %s", name, dir+m[2], dir))
				}
			}
		}
	}
	aboutCode := slices.Contains([]string{"ARCHITECTURE.md", "DESIGN.md"}, path.Base(name))
	for _, m := range identifierNamed.FindAllStringSubmatch(text, -1) {
		if aboutCode && !known.all[m[1]] {
			problems = append(problems, fmt.Sprintf("%s names %s, which nothing in the code is called", name, m[1]))
		}
	}
	return problems
}

// documentProblems returns a sentence for everything that a document names and that is not there. A
// path is relative to the module or to the document; a file without a directory may be any of that
// name.
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

func TestNamesThatNothingHasAreFound(t *testing.T) {
	known := knownNames(parseSources(t, map[string]string{
		"log/record/a.go": "package record\ntype Batch int\nfunc (Batch) Walk() { runOnce() }\nfunc runOnce() {}\n",
	}))
	exists := func(name string) bool { return name == "log/FORMAT" }
	text := "`record.Batch` `log/record` `log/record.Batch.Walk` `log/record.runOnce` `runOnce` `retention.ms` `record.max.ms` `kgo.Client` `other/thing` `log/FORMAT`\n" +
		"`record.Bunch` `log/index` `log/record.gone` `runTwice`\n"
	want := []string{
		"docs/DESIGN.md names record.Bunch, and nothing of that name is in record",
		"docs/DESIGN.md names log/index, which is not there",
		"docs/DESIGN.md names log/record.gone, and nothing of that name is in log/record",
		"docs/DESIGN.md names runTwice, which nothing in the code is called",
	}
	if got := nameProblems("docs/DESIGN.md", text, known, exists); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := nameProblems("docs/B.md", "`runTwice`", known, exists); got != nil {
		t.Errorf("%q", got)
	}
}
