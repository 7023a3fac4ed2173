package config

import (
	"math"
	"strconv"
	"strings"
)

// Layers are the places a broker config's value comes from, strongest first:
// what was altered for this broker, what was altered for all brokers, and what
// its file, environment and flags say. Defaults follow.
type Layers struct {
	Broker  Values // dynamic, this broker only
	Cluster Values // dynamic, default of all brokers
	Static  Values // read at start
}

// setting is one value found in a layer or among the defaults.
type setting struct {
	name   string // the config it was set for: the one asked for or a synonym
	value  string // in that config's own spelling and unit
	factor int64  // to the unit of the config asked for
	source Source
}

// settings yields what is set for any of the named broker configs, the one in
// force first: layer by layer, in each in the order of the names, and the
// defaults at the end.
func (l Layers) settings(names []Synonym, yield func(setting) bool) {
	for _, layer := range []struct {
		values Values
		source Source
	}{
		{l.Broker, SourceDynamicBroker},
		{l.Cluster, SourceDynamicDefaultBroker},
		{l.Static, SourceStaticBroker},
	} {
		for _, s := range names {
			if v, ok := layer.values[s.Name]; ok && !yield(setting{s.Name, v, s.Factor, layer.source}) {
				return
			}
		}
	}
	for _, s := range names {
		if d := brokerTable.def(s.Name); !d.Null && !yield(setting{s.Name, d.Default, s.Factor, SourceDefault}) {
			return
		}
	}
}

// first returns the setting in force among the named broker configs.
func (l Layers) first(names []Synonym) (first setting, ok bool) {
	l.settings(names, func(s setting) bool {
		first, ok = s, true
		return false
	})
	return first, ok
}

// overrides are what is set on a topic or a group itself.
type overrides struct {
	values Values
	source Source
}

// inForce returns the value of a topic or group config: its override, or what
// its synonyms say, or its default.
func (l Layers) inForce(d *Def, own overrides) (s setting, ok bool) {
	if v, ok := own.values[d.Name]; ok {
		return setting{d.Name, v, 1, own.source}, true
	}
	if len(d.Synonyms) > 0 {
		return l.first(d.Synonyms)
	}
	return setting{d.Name, d.Default, 1, SourceDefault}, !d.Null
}

// scaled returns the value in the unit of the config that was asked for.
func (s setting) scaled() string {
	if s.factor == 1 {
		return s.value
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s.value), 10, 64)
	switch {
	case err != nil:
		return s.value
	case n < 0:
		return "-1"
	case n > math.MaxInt64/s.factor:
		return maxInt64
	}
	return strconv.FormatInt(n*s.factor, 10)
}

// Resolved is the value in force of every config of one scope, looked up by
// name. It is immutable. A look-up parses the value: keep what a hot path needs.
// Asking for a name that is not defined, or for another type than it has, is a
// bug and panics.
type Resolved struct {
	table  *table
	values []resolvedValue // parallel to table.defs
}

type resolvedValue struct {
	text string
	null bool
}

// ResolveBroker returns the configuration of a broker. A value that its
// definition refuses, which can only have got there past the checks, counts as
// not set.
func ResolveBroker(l Layers) *Resolved {
	return resolve(brokerTable, func(d *Def) (setting, bool) {
		return l.first([]Synonym{{d.Name, 1}})
	})
}

// ResolveGroup returns the configuration of a consumer group.
func ResolveGroup(l Layers, group Values) *Resolved {
	return resolve(groupTable, func(d *Def) (setting, bool) {
		return l.inForce(d, overrides{group, SourceGroup})
	})
}

// Inherited returns what is in force for the keys that a topic, a group or a
// layer of broker configs does not set itself.
func Inherited(scope Scope, below Layers) *Resolved {
	switch scope {
	case ScopeTopic:
		return resolveTopic(below, nil)
	case ScopeGroup:
		return ResolveGroup(below, nil)
	}
	return ResolveBroker(below)
}

// resolveTopic returns the configuration of a topic by name of its configs.
func resolveTopic(l Layers, topic Values) *Resolved {
	return resolve(topicTable, func(d *Def) (setting, bool) {
		return l.inForce(d, overrides{topic, SourceDynamicTopic})
	})
}

func resolve(t *table, inForce func(*Def) (setting, bool)) *Resolved {
	r := &Resolved{table: t, values: make([]resolvedValue, len(t.defs))}
	for i := range t.defs {
		d := &t.defs[i]
		r.values[i] = resolvedValue{d.Default, d.Null}
		s, ok := inForce(d)
		if !ok {
			continue
		}
		text := strings.TrimSpace(s.scaled())
		if s.source == SourceDefault || d.check(text) == nil {
			r.values[i] = resolvedValue{text, false}
		}
	}
	return r
}

// IsNull reports whether the config is unset and has no default.
func (r *Resolved) IsNull(name string) bool { return r.at(name).null }

// String returns the value as it is spelled; "" when it is null.
func (r *Resolved) String(name string) string { return r.at(name).text }

// Int returns the value of a config of type Short, Int or Long; 0 when null.
func (r *Resolved) Int(name string) int64 {
	v := r.at(name)
	if v.null {
		return 0
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		panic("config: " + name + " is no integer")
	}
	return n
}

// Bool returns the value of a config of type Boolean; false when null.
func (r *Resolved) Bool(name string) bool {
	v := r.at(name)
	if v.null {
		return false
	}
	b, ok := parseBool(v.text)
	if !ok {
		panic("config: " + name + " is no boolean")
	}
	return b
}

// Float returns the value of a config of type Double; 0 when null.
func (r *Resolved) Float(name string) float64 {
	v := r.at(name)
	if v.null {
		return 0
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil {
		panic("config: " + name + " is no number")
	}
	return f
}

// List returns the items of a config of type List. The caller owns the slice.
func (r *Resolved) List(name string) []string { return SplitList(r.at(name).text) }

func (r *Resolved) at(name string) resolvedValue {
	i, ok := r.table.index[name]
	if !ok {
		panic("config: no config named " + name)
	}
	return r.values[i]
}
