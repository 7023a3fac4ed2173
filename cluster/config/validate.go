package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// UnknownKeyError refuses a key that no definition has.
type UnknownKeyError struct {
	Scope   Scope
	Name    string
	Nearest string // the known name it may have been meant as; empty when none is near
}

func (e *UnknownKeyError) Error() string {
	msg := fmt.Sprintf("unknown %s config %q", e.Scope, e.Name)
	if e.Nearest != "" {
		msg += fmt.Sprintf(" (did you mean %q?)", e.Nearest)
	}
	return msg
}

// ValueError refuses a value. Reason says what was expected: "must be …".
type ValueError struct {
	Def    Def
	Value  string
	Reason string
}

func (e *ValueError) Error() string {
	if e.Def.Sensitive {
		return fmt.Sprintf("invalid value for config %s: %s", e.Def.Name, e.Reason)
	}
	return fmt.Sprintf("invalid value %q for config %s: %s", e.Value, e.Def.Name, e.Reason)
}

// Validate reports whether value may be set for the named key: a
// *UnknownKeyError or a *ValueError when not. Rules that span several keys are
// checked by ValidateTopicSet, ValidateBrokerSet and ValidateGroupSet.
func (s Scope) Validate(name, value string) error {
	d, ok := Lookup(s, name)
	if !ok {
		return &UnknownKeyError{Scope: s, Name: name, Nearest: nearest(s.table(), name)}
	}
	return d.check(value)
}

func (d *Def) check(value string) error {
	err := checkType(d.Type, value)
	if err == nil && d.Valid != nil {
		err = d.Valid(value)
	}
	if err != nil {
		return &ValueError{Def: *d, Value: value, Reason: err.Error()}
	}
	return nil
}

func checkType(t Type, value string) error {
	value = strings.TrimSpace(value)
	switch t {
	case Boolean:
		if _, ok := parseBool(value); !ok {
			return errors.New("must be true or false")
		}
	case Short:
		return checkInt(value, 16)
	case Int:
		return checkInt(value, 32)
	case Long:
		return checkInt(value, 64)
	case Double:
		if f, err := strconv.ParseFloat(value, 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return errors.New("must be a number")
		}
	}
	return nil
}

func checkInt(value string, bits int) error {
	if _, err := strconv.ParseInt(value, 10, bits); err != nil {
		return fmt.Errorf("must be an integer of %d bits", bits)
	}
	return nil
}

// parseBool accepts what Kafka accepts: true and false in any case.
func parseBool(value string) (b, ok bool) {
	switch strings.ToLower(value) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// SplitList splits a value of type List. An empty value is an empty list. The
// caller owns the slice.
func SplitList(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// The functions below make the Valid of a definition.

func atLeast(min int64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil || n < min {
			return fmt.Errorf("must be an integer ≥ %d", min)
		}
		return nil
	}
}

// minusOneOrPositive accepts -1 and integers from 1 on.
func minusOneOrPositive(value string) error {
	if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil || (n != -1 && n < 1) {
		return errors.New("must be -1 or an integer ≥ 1")
	}
	return nil
}

func between(min, max int64) func(string) error {
	return func(value string) error {
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil || n < min || n > max {
			return fmt.Errorf("must be an integer from %d to %d", min, max)
		}
		return nil
	}
}

func ratio(min, max float64) func(string) error {
	return func(value string) error {
		if f, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil || !(f >= min && f <= max) {
			return fmt.Errorf("must be a number from %v to %v", min, max)
		}
		return nil
	}
}

func oneOf(names ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(names, value) {
			return errors.New("must be one of " + strings.Join(names, ", "))
		}
		return nil
	}
}

// oneOfFold is oneOf in any case.
func oneOfFold(names ...string) func(string) error {
	return func(value string) error { return oneOf(names...)(strings.ToLower(value)) }
}

// someOf accepts a non-empty list without repetition of the given names.
func someOf(names ...string) func(string) error {
	return func(value string) error {
		items := SplitList(value)
		for i, item := range items {
			if !slices.Contains(names, item) || slices.Contains(items[:i], item) {
				items = nil
				break
			}
		}
		if len(items) == 0 {
			return errors.New("must be a list of " + strings.Join(names, ", ") + ", each at most once")
		}
		return nil
	}
}

func positive(value string) error {
	if f, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil || !(f > 0) {
		return errors.New("must be a number > 0")
	}
	return nil
}

func oneDirectory(value string) error {
	if len(SplitList(value)) != 1 {
		return errors.New("must be one directory")
	}
	return nil
}

// tierURL accepts the stores there are. What else a URL must hold is for the
// store to say.
func tierURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || (u.Scheme == "s3" && u.Host == "") || (u.Scheme == "file" && (u.Host != "" || u.Path == "")) ||
		(u.Scheme != "s3" && u.Scheme != "file") {
		return errors.New("must be s3://bucket/prefix or file:///directory")
	}
	return nil
}

func notEmpty(value string) error {
	if strings.TrimSpace(value) == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// nearest returns the known name with the smallest edit distance, if that is
// small enough for a slip of the finger.
func nearest(t *table, name string) string {
	best, found := 1+len(name)/5, ""
	for _, d := range t.defs {
		if n := distance(name, d.Name, best); n < best || (n == best && found == "") {
			best, found = n, d.Name
		}
	}
	return found
}

// distance is the Levenshtein distance between a and b, or limit+1 when it is
// larger than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return min(row[len(b)], limit+1)
}
