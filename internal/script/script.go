// Package script tests state machines by histories that people can read: text files of commands and
// of what they print.
//
// A history is paragraphs: commands, a line "----", and what they print; a paragraph without that
// line is prose, as is a line that begins with #. A command is a word and key=value pairs. With
// -update what is printed is written into the files, and the diff is what is to be read.
package script

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Update is the flag -update: golden files are written anew.
var Update = flag.Bool("update", false, "write what tests print into testdata")

// Run runs every history that matches glob, each as a test of its own. begin makes a new world, and
// returns what executes one line in it and returns what that prints.
func Run(t *testing.T, glob string, begin func() func(t *testing.T, line string) string) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatal("no histories", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			Golden(t, path, play(t, string(text), begin()))
		})
	}
}

// play returns the history as it turns out.
func play(t *testing.T, text string, run func(t *testing.T, line string) string) string {
	var played []string
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		commands, _, runs := strings.Cut(paragraph+"\n", "----\n")
		if !runs {
			played = append(played, paragraph)
			continue
		}
		var out strings.Builder
		for _, line := range strings.Split(strings.TrimSpace(commands), "\n") {
			if !strings.HasPrefix(line, "#") {
				out.WriteString(run(t, line))
			}
		}
		played = append(played, strings.TrimRight(commands+"----\n"+out.String(), "\n"))
	}
	return strings.Join(played, "\n\n") + "\n"
}

// Golden compares with a file, or writes it.
func Golden(t *testing.T, path, printed string) {
	t.Helper()
	if *Update {
		if err := os.WriteFile(path, []byte(printed), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if printed != string(text) {
		t.Errorf("%s prints something else; run with -update and read the diff. Now:\n%s", path, printed)
	}
}

// Args are the key=value pairs of a command. A word without "=" has the key "".
type Args map[string]string

// Parse takes a line apart.
func Parse(line string) (command string, a Args) {
	fields := strings.Fields(line)
	a = Args{}
	for _, f := range fields[1:] {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			k, v = "", f
		}
		a[k] = v
	}
	return fields[0], a
}

// Or is a value, or the fallback if the key is not there.
func (a Args) Or(key, fallback string) string {
	if v, ok := a[key]; ok {
		return v
	}
	return fallback
}

// Pointer is a value, nil if the key is not there.
func (a Args) Pointer(key string) *string {
	if v, ok := a[key]; ok {
		return &v
	}
	return nil
}

// Has reports whether the key is there.
func (a Args) Has(key string) bool {
	_, ok := a[key]
	return ok
}

// Num is an integer. Scripts are part of the test: what cannot be read panics.
func (a Args) Num(key string, fallback int) int {
	v, ok := a[key]
	if !ok {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		panic(err)
	}
	return n
}

// Duration is a duration in Go's syntax.
func (a Args) Duration(key string, fallback time.Duration) time.Duration {
	v, ok := a[key]
	if !ok {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		panic(err)
	}
	return d
}

// List is a value's parts between commas; nil if the key is not there.
func (a Args) List(key string) []string {
	v, ok := a[key]
	switch {
	case !ok:
		return nil
	case v == "":
		return []string{}
	}
	return strings.Split(v, ",")
}
