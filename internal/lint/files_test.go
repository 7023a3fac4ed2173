package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// Files are reached through internal/vfs, so that every durable step can be made to fail, be
// traced, and be lost in a simulated crash. The packages of fileHomes, and tests, are free of the
// rule.
var fileHomes = []string{"internal/vfs", "internal/testnet", "internal/script", "cmd", "compat", "e2e"}

// guarded lists the packages that open the way to the file system, with what of them is free for
// all: names, types and errors, not operations. "*" ends a prefix.
var guarded = map[string]guard{
	"os": {free: []string{
		"Getenv", "LookupEnv", "Environ", "Getpid", "Getpagesize", "Hostname", "Signal", "Interrupt", // the process
		"File", "FileInfo", "FileMode", "DirEntry", "O_*", "Mode*", "PathSeparator", // types and flags vfs speaks in
		"Err*", "Is*", "PathError", "LinkError", "SyscallError", "NewSyscallError", // errors
	}},
	"path/filepath": {free: []string{
		"Abs", "Join", "Base", "Dir", "Ext", "Clean", "Rel", "IsAbs", "IsLocal", "Match", "Split", "ToSlash", "FromSlash",
		"SplitList", "Separator", "VolumeName",
	}},
	"io/ioutil": {},
	"syscall": {
		free: []string{
			"Errno", "EADDRINUSE", "ECONNRESET", "EDQUOT", "EIO", "ENOSPC", "EPIPE", "EROFS", "Signal", "SIG*", "Conn", "RawConn",
		},
		homes: []string{"protocol", "internal/bench"}, // sockets
	},
}

// guard is one line of guarded.
type guard struct {
	free  []string
	homes []string // packages that may use all of it, besides fileHomes
}

func TestFilesAreReachedThroughVFS(t *testing.T) {
	for _, problem := range fileProblems(sources(t)) {
		t.Error(problem)
	}
}

// fileProblems returns a sentence for every use of the file system outside fileHomes and tests.
func fileProblems(files []*file) []string {
	var problems []string
	for _, f := range files {
		if f.test || slices.ContainsFunc(fileHomes, func(dir string) bool { return under(f.pkg, dir) }) {
			continue
		}
		paths := map[string]string{} // name in the file → import path
		f.imports(func(importPath, name string, spec *ast.ImportSpec) {
			if g, ok := guarded[importPath]; !ok || name == "_" || slices.Contains(g.homes, f.pkg) {
				return
			}
			if name == "." {
				problems = append(problems, fmt.Sprintf("%s: dot import of %s hides file access", f.at(spec), importPath))
			}
			if name == "" {
				name = importPath[strings.LastIndex(importPath, "/")+1:]
			}
			paths[name] = importPath
		})
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			importPath, ok := paths[x.Name]
			if ok && !isFree(importPath, sel.Sel.Name) {
				problems = append(problems, fmt.Sprintf("%s: %s.%s: files are reached through internal/vfs", f.at(n), importPath, sel.Sel.Name))
			}
			return true
		})
	}
	return problems
}

func isFree(importPath, name string) bool {
	return slices.ContainsFunc(guarded[importPath].free, func(free string) bool {
		prefix, wild := strings.CutSuffix(free, "*")
		return name == free || wild && strings.HasPrefix(name, prefix)
	})
}

func TestFileAccessOutsideVFSIsFound(t *testing.T) {
	files := parseSources(t, map[string]string{
		"log/a.go": `package log
			import "os"
			var f *os.File
			var a, err = os.OpenFile("x", os.O_RDWR, os.ModePerm)
			var home = os.Getenv("HOME")
			var gone = os.ErrNotExist`,
		"log/b.go":          `package log; import sys "os"; var remove = sys.Remove`,
		"log/c.go":          `package log; import . "os"; var remove = Remove`,
		"log/d.go":          `package log; import "path/filepath"; var a, b = filepath.Join, filepath.WalkDir`,
		"log/e.go":          `package log; import "syscall"; var a, b = syscall.ENOSPC, syscall.Fdatasync`,
		"protocol/a.go":     `package protocol; import "syscall"; var a = syscall.Sendfile`,
		"log/a_test.go":     `package log; import "os"; var a = os.ReadFile`,
		"internal/vfs/a.go": `package vfs; import "os"; var a = os.ReadFile`,
	})
	got := fileProblems(files)
	slices.Sort(got)
	want := []string{
		"log/a.go:4: os.OpenFile: files are reached through internal/vfs",
		"log/b.go:1: os.Remove: files are reached through internal/vfs",
		"log/c.go:1: dot import of os hides file access",
		"log/d.go:1: path/filepath.WalkDir: files are reached through internal/vfs",
		"log/e.go:1: syscall.Fdatasync: files are reached through internal/vfs",
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
