package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const modulePath = "github.com/morrowmq/morrow"

// file is one parsed Go file of the module.
type file struct {
	pkg  string // directory relative to the module, "." for the root
	name string // path relative to the module
	test bool   // a _test.go file
	ast  *ast.File
	fset *token.FileSet
}

// at is the place of n, for messages.
func (f *file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.name, f.fset.Position(n.Pos()).Line)
}

// imports calls fn for every import of f: its path, the name it has in f ("" unless renamed), and its node.
func (f *file) imports(fn func(importPath, name string, spec *ast.ImportSpec)) {
	for _, spec := range f.ast.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler has complained already
		}
		name := ""
		if spec.Name != nil {
			name = spec.Name.Name
		}
		fn(importPath, name, spec)
	}
}

// functions calls fn for every function of f, methods excepted.
func (f *file) functions(fn func(name string)) {
	for _, d := range f.ast.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil {
			fn(d.Name.Name)
		}
	}
}

// parse parses one file given as source text; name is its path relative to the module.
func parse(name string, src []byte) (*file, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &file{
		pkg: path.Dir(name), name: name, test: strings.HasSuffix(name, "_test.go"), ast: tree, fset: fset,
	}, nil
}

// moduleFiles parses every Go file of the module whatever its build constraints, once for all tests.
var moduleFiles = sync.OnceValues(func() ([]*file, error) {
	var files []*file
	err := eachFile(".go", func(name string, src []byte) error {
		f, err := parse(name, src)
		files = append(files, f)
		return err
	})
	return files, err
})

// eachFile calls do for every file of the module whose name ends so, with its path relative to the
// module. Nested modules and the directories the go command ignores are not part of it.
func eachFile(suffix string, do func(name string, text []byte) error) error {
	return eachFileIn(".", suffix, do)
}

// eachFileIn does so for the files of a directory, which may be a nested module.
func eachFileIn(dir, suffix string, do func(name string, text []byte) error) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(root, dir), func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if full != filepath.Join(root, dir) && skipped(full, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(full, suffix) {
			return nil
		}
		text, err := os.ReadFile(full)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		return do(filepath.ToSlash(rel), text)
	})
}

func skipped(full, name string) bool {
	if name == "testdata" || name == "node_modules" || name == "data" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(full, "go.mod"))
	return err == nil
}

func sources(t *testing.T) []*file {
	t.Helper()
	files, err := moduleFiles()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// nestedSources parses the modules below this one, whose tests documents name.
func nestedSources(t *testing.T) []*file {
	t.Helper()
	var files []*file
	for _, dir := range []string{"tier/s3test", "compat/go"} {
		err := eachFileIn(dir, ".go", func(name string, src []byte) error {
			f, err := parse(name, src)
			files = append(files, f)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// parseSources parses name → text pairs, for the tests of the rules themselves.
func parseSources(t *testing.T, texts map[string]string) []*file {
	t.Helper()
	var files []*file
	for name, text := range texts {
		f, err := parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// under reports whether pkg is dir or lies below it.
func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
