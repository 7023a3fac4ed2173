// Package lint holds the rules of this module that no linter knows, as tests over its source:
//
//   - imports_test.go: which package may import which (the import map),
//   - homes_test.go: the libraries that have one home, and the ones that have none,
//   - files_test.go: who may touch the file system other than through internal/vfs,
//   - traps_test.go: delay/TRAPS.md names tests that are there,
//   - docs_test.go: documents name only files, functions and documents that are there,
//   - comments_test.go: comments are narrow enough to be read beside code.
//
// A new edge or home is a one-line diff in one of those literals, so that a reviewer sees it. The
// package contains no other code.
package lint
