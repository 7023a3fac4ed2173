// Package config defines every configuration key Morrow knows: its name,
// type, default, range, documentation, where else its value may come from and
// whether it can change while the broker runs. From the definitions it
// validates what a client or a file sets, resolves the layers of overrides to
// typed values, and describes the result the way DescribeConfigs reports it
// (KIP-133, KIP-226).
//
// Names, types and meanings are Kafka's wherever Kafka has the key; defaults
// are Kafka's too, except where the documentation of the key says otherwise.
//
// The package is pure: it holds no state beyond the tables built at start, has
// no goroutines and locks, and reads neither files nor the environment. Every
// function may be called from any goroutine.
package config

import (
	"slices"
	"strings"
)

// Scope says whose configuration a key belongs to.
type Scope uint8

const (
	ScopeTopic  Scope = iota // of one topic
	ScopeBroker              // of one broker or, as a default, of all
	ScopeGroup               // of one consumer group
)

func (s Scope) String() string {
	switch s {
	case ScopeTopic:
		return "topic"
	case ScopeBroker:
		return "broker"
	case ScopeGroup:
		return "group"
	}
	return "unknown"
}

// Type is the kind of a value. The numbers are those of DescribeConfigs.
type Type int8

const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3 // 32 bits
	Short    Type = 4 // 16 bits
	Long     Type = 5 // 64 bits
	Double   Type = 6
	List     Type = 7 // comma-separated
	Class    Type = 8 // a Java class name, kept for tools only
	Password Type = 9
)

// UpdateMode says whether a broker config can change while the broker runs.
type UpdateMode uint8

const (
	ReadOnly    UpdateMode = iota // read from file, environment and flags at start
	ClusterWide                   // can also be altered at run time, for one broker or as the default of all
)

// Values are overrides: key to value in the spelling it was set with. An
// absent key is not overridden.
type Values map[string]string

// Synonym names a broker config whose value stands in for another config that
// is not set.
type Synonym struct {
	Name   string
	Factor int64 // multiplies the synonym's value (hours to milliseconds); negative values become -1
}

// Def defines one config key.
type Def struct {
	Name    string
	Type    Type
	Default string
	Null    bool // no default: unset means null, and Default is empty
	Doc     string

	// Mode says whether a broker config can be altered at run time. Topic and
	// group configs always can.
	Mode UpdateMode

	// Sensitive values are never shown.
	Sensitive bool

	// Internal configs work but are not described.
	Internal bool

	// Synonyms are the broker configs this one falls back to, the first that is
	// set winning.
	Synonyms []Synonym

	// Valid reports what was expected of a value it refuses: "must be an
	// integer ≥ 14". It has already passed the check of Type. Nil accepts all.
	Valid func(value string) error
}

// Topic returns the definitions of all topic configs, sorted by name. The
// caller must not modify them; the same holds for Broker and Group.
func Topic() []Def { return topicTable.defs }

// Broker returns the definitions of all broker configs, sorted by name.
func Broker() []Def { return brokerTable.defs }

// Group returns the definitions of all group configs, sorted by name.
func Group() []Def { return groupTable.defs }

// Lookup returns the definition of a key.
func Lookup(scope Scope, name string) (Def, bool) {
	i, ok := scope.table().index[name]
	if !ok {
		return Def{}, false
	}
	return scope.table().defs[i], true
}

// table is the definitions of one scope.
type table struct {
	defs  []Def // by name
	index map[string]int
}

func newTable(groups ...[]Def) *table {
	t := &table{defs: slices.Concat(groups...), index: map[string]int{}}
	slices.SortFunc(t.defs, func(a, b Def) int { return strings.Compare(a.Name, b.Name) })
	for i, d := range t.defs {
		if _, dup := t.index[d.Name]; dup {
			panic("config: " + d.Name + " is defined twice")
		}
		t.index[d.Name] = i
	}
	return t
}

func (s Scope) table() *table {
	switch s {
	case ScopeTopic:
		return topicTable
	case ScopeBroker:
		return brokerTable
	case ScopeGroup:
		return groupTable
	}
	panic("config: no such scope")
}

// def returns a definition that must exist: asking for another key is a bug.
func (t *table) def(name string) *Def {
	i, ok := t.index[name]
	if !ok {
		panic("config: no config named " + name)
	}
	return &t.defs[i]
}
