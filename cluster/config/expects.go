package config

import "strings"

// Expects says what a value must be, in the words in which a wrong one is refused but for "must
// be": "an integer ≥ 14". It is "" where every text will do.
func (d *Def) Expects() string {
	// The rules are functions that explain themselves when they refuse. None that refuses anything
	// accepts both of these.
	for _, wrong := range []string{"\x00", ""} {
		for _, valid := range []func(string) error{d.Valid, func(value string) error { return checkType(d.Type, value) }} {
			if valid == nil {
				continue
			}
			if err := valid(wrong); err != nil {
				reason, _, _ := strings.Cut(err.Error(), ";") // what follows is about the value
				return strings.TrimPrefix(strings.Replace(reason, "must not be ", "not ", 1), "must be ")
			}
		}
	}
	return ""
}

// String is the name of a type in the documentation.
func (t Type) String() string {
	switch t {
	case Boolean:
		return "boolean"
	case String:
		return "string"
	case Int:
		return "int"
	case Short:
		return "short"
	case Long:
		return "long"
	case Double:
		return "double"
	case List:
		return "list"
	case Class:
		return "class"
	case Password:
		return "password"
	}
	return "unknown"
}
