package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// soleHomes are the libraries that only some packages may import, so that replacing one, or reading
// how it is used, concerns these packages alone. A library covers everything below its path, a home
// everything below its directory.
var soleHomes = []home{
	{"log", nil, "log/slog is the logger, passed in"},
	{"github.com/spf13/cobra", []string{"cmd"}, "the command line is cmd's"},
	{"github.com/spf13/pflag", []string{"cmd"}, "the command line is cmd's"},
	{"github.com/spf13/viper", []string{"cmd"}, "packages take a Config struct"},
	{"github.com/schollz/progressbar", []string{"cmd"}, "only the tool talks to people"},
	{"github.com/google/btree", []string{"delay/index"}, "it is the near index"},
	{"github.com/twmb/franz-go/pkg/kerr", []string{"protocol", "protocol/api", "broker/group", "broker/txn", "internal/bench", "cmd"},
		"Kafka's error codes exist only where answers are made, or explained to people; below, errors are domain outcomes"},
	{"github.com/twmb/franz-go/pkg/kgo", []string{"cmd", "internal/bench"}, "the broker is not a client of itself"},
	{"github.com/twmb/franz-go/pkg/kadm", []string{"cmd", "internal/bench"}, "the broker is not a client of itself"},
	{"github.com/twmb/franz-go/pkg/kfake", nil, "it is a second opinion for tests"},
	{"github.com/klauspost/compress", []string{"log/record"}, "record bounds what a batch may decompress to"},
	{"github.com/pierrec/lz4", []string{"log/record"}, "record bounds what a batch may decompress to"},
	{"github.com/aws", []string{"tier/bucket"}, "the bucket interface is the seam"},
	{"github.com/minio/crc64nvme", []string{"tier/bucket"}, "it is the checksum of an object"},
	{"github.com/maypok86/otter", []string{"tier"}, "it keeps what was decoded"},
	{"go.etcd.io/bbolt", []string{"cluster/local"}, "cluster.Store is the seam"},
	{"golang.org/x/sys", []string{"internal/vfs", "protocol", "cmd", "internal/bench"}, "system calls are files (vfs), sockets (protocol, bench) or the process (cmd)"},
	{"os/exec", []string{"internal/testnet", "cmd"}, "the broker starts no processes"},
	{"testing", []string{"internal/testnet", "internal/script", "tier/bucket/buckettest", "tier/proxytest"}, "production code links no test code"},
	{"pgregory.net/rapid", nil, "it is for tests"},
	{"go.uber.org/goleak", nil, "it is for tests"},
}

// notEvenInTests are the libraries of soleHomes whose homes bind test files too.
var notEvenInTests = []string{"log", "github.com/spf13/viper", "github.com/google/btree", "github.com/aws", "go.etcd.io/bbolt"}

// home is one line of soleHomes.
type home struct {
	library string
	homes   []string // nil: nowhere but in tests
	why     string
}

func TestLibrariesStayInTheirHomes(t *testing.T) {
	for _, problem := range homeProblems(sources(t)) {
		t.Error(problem)
	}
}

// homeProblems returns a sentence for every import of a library outside its homes.
func homeProblems(files []*file) []string {
	var problems []string
	for _, f := range files {
		f.imports(func(importPath, _ string, spec *ast.ImportSpec) {
			for _, h := range soleHomes {
				if !h.covers(importPath) || h.allows(f) {
					continue
				}
				where := "nowhere"
				if len(h.homes) > 0 {
					where = strings.Join(h.homes, ", ")
				}
				problems = append(problems, fmt.Sprintf("%s: import of %s; its home is %s: %s", f.at(spec), importPath, where, h.why))
			}
		})
	}
	return problems
}

// covers reports whether importPath is h's library or part of it. Of the standard library only the
// package itself is covered: log does not mean log/slog.
func (h home) covers(importPath string) bool {
	if !strings.Contains(h.library, ".") {
		return importPath == h.library
	}
	return under(importPath, h.library)
}

func (h home) allows(f *file) bool {
	if f.test && !slices.Contains(notEvenInTests, h.library) {
		return true
	}
	return slices.ContainsFunc(h.homes, func(dir string) bool {
		// protocol is a home of its own, not with protocol/api.
		return f.pkg == dir || dir != "protocol" && under(f.pkg, dir)
	})
}

func TestLibrariesOutsideTheirHomesAreFound(t *testing.T) {
	files := parseSources(t, map[string]string{
		"broker/a.go":      `package broker; import ("log/slog"; _ "github.com/spf13/viper"); var _ slog.Level`,
		"broker/a_test.go": `package broker; import (_ "log"; _ "os/exec")`,
		"cmd/morrow/a.go":  `package main; import (_ "github.com/spf13/viper"; _ "github.com/twmb/franz-go/pkg/kadm")`,
		"protocol/api/a.go": `package api; import _ "golang.org/x/sys/unix"
			import _ "github.com/twmb/franz-go/pkg/kerr"
			import _ "github.com/google/btree"`,
		"log/a.go": `package log; import _ "log"`,
	})
	got := homeProblems(files)
	slices.Sort(got)
	want := []string{
		"broker/a.go:1: import of github.com/spf13/viper; its home is cmd: packages take a Config struct",
		"broker/a_test.go:1: import of log; its home is nowhere: log/slog is the logger, passed in",
		"log/a.go:1: import of log; its home is nowhere: log/slog is the logger, passed in",
		"protocol/api/a.go:1: import of golang.org/x/sys/unix; its home is internal/vfs, protocol, cmd, internal/bench: system calls are files (vfs), sockets (protocol, bench) or the process (cmd)",
		"protocol/api/a.go:3: import of github.com/google/btree; its home is delay/index: it is the near index",
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
