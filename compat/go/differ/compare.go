package main

import (
	"fmt"
	"os"
	"strings"
)

// difference is one field in which the two brokers differ, in one version of one request.
type difference struct {
	request string
	version int16
	path    string // "" for the answer as a whole
	morrow  string // "" if it has no such field
	kafka   string
}

func (d difference) String() string {
	return fmt.Sprintf("%s: Morrow %s, Kafka %s", d.path, orNothing(d.morrow), orNothing(d.kafka))
}

// compare holds the answers of a script against each other, in order.
func compare(morrow, kafka []answer) []difference {
	var all []difference
	for i := range max(len(morrow), len(kafka)) {
		switch {
		case i >= len(morrow) || i >= len(kafka) || morrow[i].name != kafka[i].name || morrow[i].version != kafka[i].version:
			return append(all, difference{request: "the script goes on differently", morrow: nameAt(morrow, i), kafka: nameAt(kafka, i)})
		default:
			all = append(all, compareOne(morrow[i], kafka[i])...)
		}
	}
	return all
}

func nameAt(answers []answer, i int) string {
	if i >= len(answers) {
		return "(the end)"
	}
	return fmt.Sprintf("%s v%d %s", answers[i].name, answers[i].version, strings.Join(answers[i].lines, " "))
}

// compareOne holds two answers against each other. Of an element that only one of them has no field
// is compared: the list differs.
func compareOne(morrow, kafka answer) []difference {
	ours, theirs := byPath(morrow.lines), byPath(kafka.lines)
	var all []difference
	for _, l := range morrow.lines {
		path, value := cutLine(l)
		their := theirs[path]
		explained := value == "(a message)" && their == "null" // Morrow says more
		if their != value && !explained && hasElements(theirs, path) {
			all = append(all, difference{morrow.name, morrow.version, path, value, their})
		}
	}
	for _, l := range kafka.lines {
		path, value := cutLine(l)
		if _, ok := ours[path]; !ok && hasElements(ours, path) {
			all = append(all, difference{morrow.name, morrow.version, path, "", value})
		}
	}
	return all
}

// byPath is a map of values and, as empty values, of the elements that have some.
func byPath(lines []string) map[string]string {
	values := map[string]string{}
	for _, l := range lines {
		path, value := cutLine(l)
		for i := range len(path) - 1 {
			if path[i:i+2] == "]." {
				values[path[:i+1]] = ""
			}
		}
		values[path] = value
	}
	return values
}

// hasElements reports whether all list elements that a path leads through are there.
func hasElements(values map[string]string, path string) bool {
	for i := range max(0, len(path)-1) {
		if path[i:i+2] == "]." {
			if _, ok := values[path[:i+1]]; !ok {
				return false
			}
		}
	}
	return true
}

// cutLine takes a line of flatten apart; one that is no field has no path.
func cutLine(line string) (path, value string) {
	if strings.HasPrefix(line, "(") {
		return "", line
	}
	path, value, _ = strings.Cut(line, "=")
	return path, value
}

// meant is a difference that is to be: every difference of a request and path that match. A path
// may be followed by what the two say: "ErrorCode: Morrow NONE, Kafka INVALID_REQUEST".
type meant struct {
	script, request, path string // * stands for anything
	reason                string
	used                  bool
}

type meantList []*meant

// readMeant reads a list of differences: lines of script, request, path and reason, separated by
// two blanks or more;
// # starts a comment.
func readMeant(file string) (meantList, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list meantList
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		var columns []string
		for c := range strings.SplitSeq(l, "  ") {
			if c = strings.TrimSpace(c); c != "" {
				columns = append(columns, c)
			}
		}
		if len(columns) != 4 {
			return nil, fmt.Errorf("%s: want script, request, path and reason: %q", file, l)
		}
		list = append(list, &meant{script: columns[0], request: columns[1], path: columns[2], reason: columns[3]})
	}
	return list, nil
}

// judge returns what is wrong with the differences of a script: those that are not meant, and what
// is meant but not found. Versions that differ in the same way share a line.
func (list meantList) judge(script string, found []difference) []string {
	var lines []string
	ranges := map[string][2]int16{}
	for _, d := range found {
		if list.has(script, d) {
			continue
		}
		key := d.request + " " + d.String()
		r, ok := ranges[key]
		if !ok {
			lines = append(lines, key)
			r = [2]int16{d.version, d.version}
		}
		ranges[key] = [2]int16{min(r[0], d.version), max(r[1], d.version)}
	}
	for i, l := range lines {
		lines[i] = fmt.Sprintf("v%d-%d %s", ranges[l][0], ranges[l][1], l)
	}
	for _, m := range list {
		if m.script == script && !m.used {
			lines = append(lines, fmt.Sprintf("no difference in %s, %s, though one is meant: %s", m.request, m.path, m.reason))
		}
	}
	return lines
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}

func (list meantList) has(script string, d difference) bool {
	for _, m := range list {
		if m.script == script && like(m.request, d.request) && (like(m.path, d.path) || like(m.path, d.String())) {
			m.used = true
			return true
		}
	}
	return false
}

// like reports whether a text is what a pattern says, in which * stands for anything.
func like(pattern, text string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	for text = text[len(first):]; ; text = text[1:] {
		if like(rest, text) {
			return true
		}
		if text == "" {
			return false
		}
	}
}
