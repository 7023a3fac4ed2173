package lint

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

// importMap names, for every package of the module, the packages of the module it may import.
// Lowest first: a package may import only what stands above its own line, so the map has no cycle.
//
// Test files may import more; see mayImport.
var importMap = []edges{
	{"internal/vfs", nil},
	{"internal/pace", nil},
	{"internal/when", nil},
	{"internal/testnet", nil},
	{"internal/script", nil},
	{"internal/lint", nil},

	{"log/record", nil},
	{"log/record/recordtest", []string{"log/record"}},
	{"log/batches", []string{"log/record"}},
	{"log/segment", []string{"log/record", "log/batches", "internal/vfs"}},
	{"log/producer", []string{"log/record"}},
	{"log/compact", []string{"log/segment", "log/record"}},
	{"log", []string{"log/record", "log/batches", "log/segment", "log/producer", "log/compact", "internal/vfs"}},

	{"tier/bucket", []string{"internal/vfs", "internal/pace"}},
	{"tier/bucket/buckettest", []string{"tier/bucket"}},
	{"tier/flight", nil},
	{"tier/chunk", []string{"tier/bucket", "tier/flight", "internal/vfs"}},
	{"tier", []string{"log/record", "log/batches", "tier/bucket", "tier/chunk", "tier/flight", "internal/vfs", "internal/pace"}},
	{"tier/tiertest", []string{"log", "tier"}},
	{"tier/proxytest", nil},
	{"delay/index", nil},
	{"delay", []string{"log/record", "delay/index", "internal/vfs"}},

	{"protocol", nil},
	{"cluster/config", nil},
	{"cluster", []string{"cluster/config"}},
	{"cluster/local", []string{"cluster", "cluster/config", "internal/vfs"}},

	{"broker/coord", nil},
	{"broker/coord/coordtest", []string{"broker/coord"}},
	{"broker/group", []string{"broker/coord"}},
	{"broker/txn", []string{"broker/coord"}},
	{"broker/share", []string{"broker/coord"}},
	{"broker/partition", []string{
		"log", "log/segment", "log/batches", "log/record", "delay", "tier", "cluster", "cluster/config",
		"log/compact",  // it picks which partition is cleaned next
		"broker/coord", // a partition is the journal of a coordinator's shard
		"internal/vfs", "internal/pace",
	}},
	{"broker/deadletter", []string{"broker/partition", "broker/share", "cluster", "log", "log/record"}},
	{"broker/rest", nil},
	{"broker/schedules", []string{"broker/partition", "broker/rest", "cluster", "delay", "log", "log/record"}},
	{"broker/inflight", []string{"broker/rest", "broker/share", "cluster"}},
	{"broker/remote", []string{"broker/rest", "tier", "tier/bucket"}},
	{"broker/alarms", []string{"broker/partition", "broker/remote", "broker/rest", "broker/share", "cluster", "internal/when"}},
	{"broker/console", []string{
		"broker/alarms", "broker/inflight", "broker/remote", "broker/rest", "broker/schedules", // it shows what the APIs answer
		"broker/group", "broker/partition", "broker/share", "cluster", "cluster/config", "internal/when",
	}},
	{"broker/offsetcopy", []string{"broker/group", "cluster", "tier"}},
	{"broker/restore", []string{"broker/coord", "broker/group", "cluster", "cluster/config", "cluster/local", "log", "log/producer", "log/record", "log/segment", "tier", "tier/bucket", "internal/vfs"}},
	{"broker/salvage", []string{"cluster", "cluster/local", "delay", "log", "log/segment", "tier", "internal/vfs"}},
	{"protocol/api", []string{
		"protocol", "broker/partition", "broker/group", "broker/share", "broker/txn",
		"cluster", "cluster/config", "delay", "log", "log/record", "tier", "tier/bucket",
	}},
	{"broker", []string{
		"broker/coord", "broker/group", "broker/share", "broker/txn", "broker/partition", "broker/alarms", "broker/console", "broker/deadletter", "broker/inflight", "broker/offsetcopy", "broker/rest", "broker/remote", "broker/restore", "broker/schedules",
		"protocol", "protocol/api",
		"cluster", "cluster/config", "cluster/local", "delay", "tier", "tier/bucket",
		"log", "internal/vfs",
	}},

	{"internal/bench", []string{"log/record", "internal/vfs"}},
	{"cmd/morrow", []string{
		"broker", "broker/alarms", "broker/inflight", "broker/rest", "broker/remote", "broker/restore", "broker/salvage", "broker/schedules", "cluster/config", "tier", "tier/bucket", "log", "log/segment", "log/record", "internal/vfs", "internal/when",
		"internal/bench",
	}},
	{"e2e/history", nil},
	{"e2e", []string{"e2e/history", "internal/testnet"}},
	{"compat", []string{"internal/testnet"}},
}

// testOnly are packages for tests: any test file may import them, and nothing else may.
var testOnly = []string{"internal/testnet", "internal/script", "log/record/recordtest", "tier/bucket/buckettest", "tier/tiertest", "tier/proxytest", "broker/coord/coordtest"}

// testImports are what the tests of a package may import beyond the rule of mayImport.
var testImports = map[string][]string{
	"protocol/api":      {"cluster/local", "broker/coord"}, // its tests answer real requests on a real store
	"broker/deadletter": {"cluster/local"},                 // its tests write to real topics
}

// edges is one line of the import map.
type edges struct {
	pkg string
	to  []string
}

func TestImportsFollowTheMap(t *testing.T) {
	for _, problem := range importProblems(sources(t), importMap) {
		t.Error(problem)
	}
}

func TestImportMapIsOrdered(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range importMap {
		for _, to := range e.to {
			if !seen[to] {
				t.Errorf("%s → %s: %s does not stand above %s in the map", e.pkg, to, to, e.pkg)
			}
		}
		if seen[e.pkg] {
			t.Errorf("%s stands in the map twice", e.pkg)
		}
		seen[e.pkg] = true
	}
	for _, pkg := range slices.Concat(testOnly, slices.Collect(maps.Keys(testImports))) {
		if !seen[pkg] {
			t.Errorf("%s is not in the map", pkg)
		}
	}
}

// The map tells a reader what there is: no package that is only planned, and no edge that nobody
// needs any more.
func TestImportMapHasNothingThatIsNotThere(t *testing.T) {
	packages, edges := map[string]bool{}, map[[2]string]bool{}
	for _, f := range sources(t) {
		packages[f.pkg] = true
		f.imports(func(importPath, _ string, _ *ast.ImportSpec) {
			if to, local := strings.CutPrefix(importPath, modulePath+"/"); local {
				edges[[2]string{f.pkg, to}] = true
			}
		})
	}
	for _, e := range importMap {
		if !packages[e.pkg] {
			t.Errorf("there is no package %s", e.pkg)
			continue
		}
		for _, to := range e.to {
			if !edges[[2]string{e.pkg, to}] {
				t.Errorf("%s does not import %s", e.pkg, to)
			}
		}
	}
}

// importProblems returns a sentence for every import of files that the map does not allow, and for
// every package that is not in the map.
func importProblems(files []*file, imports []edges) []string {
	var problems []string
	unknown := map[string]bool{}
	for _, f := range files {
		if !slices.ContainsFunc(imports, func(e edges) bool { return e.pkg == f.pkg }) {
			if !unknown[f.pkg] {
				problems = append(problems, fmt.Sprintf("package %s is not in the import map of internal/lint: add a line for it", f.pkg))
			}
			unknown[f.pkg] = true
			continue
		}
		f.imports(func(importPath, _ string, spec *ast.ImportSpec) {
			to, local := strings.CutPrefix(importPath, modulePath+"/")
			if local && !mayImport(imports, f, to) {
				problems = append(problems, fmt.Sprintf("%s: %s may not import %s (declared: %s): see the import map of internal/lint",
					f.at(spec), f.pkg, to, declared(imports, f.pkg)))
			}
		})
	}
	return problems
}

// mayImport reports whether f may import the package to. Test files may import their own package,
// whatever their package reaches through the map, what exists for tests, the seams
// internal/{assert,vfs}, and what testImports lists.
func mayImport(imports []edges, f *file, to string) bool {
	if !f.test {
		return slices.Contains(direct(imports, f.pkg), to)
	}
	return to == f.pkg || reaches(imports, f.pkg, to) || slices.Contains(testOnly, to) ||
		to == "internal/assert" || to == "internal/vfs" || slices.Contains(testImports[f.pkg], to)
}

func direct(imports []edges, pkg string) []string {
	for _, e := range imports {
		if e.pkg == pkg {
			return e.to
		}
	}
	return nil
}

// reaches reports whether a path of the map leads from one package to the other.
func reaches(imports []edges, from, to string) bool {
	return slices.ContainsFunc(direct(imports, from), func(next string) bool {
		return next == to || reaches(imports, next, to)
	})
}

func declared(imports []edges, pkg string) string {
	if to := direct(imports, pkg); len(to) > 0 {
		return strings.Join(to, ", ")
	}
	return "nothing"
}

func TestUndeclaredImportsAreFound(t *testing.T) {
	imports := []edges{
		{"internal/vfs", nil},
		{"internal/testnet", nil},
		{"low", nil},
		{"mid", []string{"low"}},
		{"high", []string{"mid"}},
	}
	files := parseSources(t, map[string]string{
		"low/a.go":       `package low; import _ "github.com/morrowmq/morrow/high"`,
		"mid/a.go":       `package mid; import _ "github.com/morrowmq/morrow/low"`,
		"high/a.go":      "package high\nimport _ \"github.com/morrowmq/morrow/low\"",
		"high/b.go":      `package high; import _ "github.com/morrowmq/morrow/internal/testnet"`,
		"high/a_test.go": `package high_test; import (_ "github.com/morrowmq/morrow/high"; _ "github.com/morrowmq/morrow/low"; _ "github.com/morrowmq/morrow/internal/testnet")`,
		"low/a_test.go":  `package low; import _ "github.com/morrowmq/morrow/mid"`,
		"extra/a.go":     `package extra`,
		"extra/b.go":     `package extra`,
	})
	got := importProblems(files, imports)
	slices.Sort(got)
	want := []string{
		"high/a.go:2: high may not import low (declared: mid): see the import map of internal/lint",
		"high/b.go:1: high may not import internal/testnet (declared: mid): see the import map of internal/lint",
		"low/a.go:1: low may not import high (declared: nothing): see the import map of internal/lint",
		"low/a_test.go:1: low may not import mid (declared: nothing): see the import map of internal/lint",
		"package extra is not in the import map of internal/lint: add a line for it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
