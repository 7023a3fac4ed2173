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

// settings yields every value that applies to d, the one in force first: the
// topic's or group's own override, then per layer each synonym in order, then
// the defaults. Synonyms of a broker config are other broker configs, so d
// itself comes first among them.
func (l Layers) settings(d *Def, own Values, ownSource Source, yield func(setting) bool) {
	synonyms := d.Synonyms
	if own != nil {
		if v, ok := own[d.Name]; ok && !yield(setting{d.Name, v, 1, ownSource}) {
			return
		}
	} else {
		synonyms = append(same(d.Name), synonyms...)
	}
	for _, layer := range []struct {
		values Values
		source Source
	}{
		{l.Broker, SourceDynamicBroker},
		{l.Cluster, SourceDynamicDefaultBroker},
		{l.Static, SourceStaticBroker},
	} {
		for _, s := range synonyms {
			if v, ok := layer.values[s.Name]; ok && !yield(setting{s.Name, v, s.Factor, layer.source}) {
				return
			}
		}
	}
	for _, s := range synonyms {
		if b := brokerTable.def(s.Name); !b.Null && !yield(setting{s.Name, b.Default, s.Factor, SourceDefault}) {
			return
		}
	}
	if own != nil && !d.Null && len(synonyms) == 0 {
		yield(setting{d.Name, d.Default, 1, SourceDefault})
	}
}

// inForce returns the setting of d that wins; ok is false when it is null.
func (l Layers) inForce(d *Def, own Values, ownSource Source) (first setting, ok bool) {
	l.settings(d, own, ownSource, func(s setting) bool {
		first, ok = s, true
		return false
	})
	return first, ok
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
// name. It is immutable. Asking for a name that is not defined, or for another
// type than it has, is a bug and panics.
type Resolved struct {
	table  *table
	values []string // parallel to table.defs
	null   []bool
}

// ResolveBroker returns the configuration of a broker. Values that do not
// parse, which Apply and start-up refuse, fall back to the default.
func ResolveBroker(l Layers) *Resolved {
	return resolve(brokerTable, l, nil, SourceDefault)
}

// ResolveGroup returns the configuration of a consumer group.
func ResolveGroup(l Layers, group Values) *Resolved {
	if group == nil {
		group = Values{}
	}
	return resolve(groupTable, l, group, SourceGroup)
}

func resolve(t *table, l Layers, own Values, ownSource Source) *Resolved {
	r := &Resolved{table: t, values: make([]string, len(t.defs)), null: make([]bool, len(t.defs))}
	for i := range t.defs {
		d := &t.defs[i]
		s, ok := l.inForce(d, own, ownSource)
		r.values[i], r.null[i] = strings.TrimSpace(s.scaledOrEmpty()), !ok
		if ok && d.check(r.values[i]) != nil {
			r.values[i], r.null[i] = d.Default, d.Null
		}
	}
	return r
}

func (s setting) scaledOrEmpty() string {
	if s.name == "" {
		return ""
	}
	return s.scaled()
}

// IsNull reports whether the config is unset and has no default.
func (r *Resolved) IsNull(name string) bool { return r.null[r.at(name)] }

// String returns the value as it is spelled; "" when it is null.
func (r *Resolved) String(name string) string { return r.values[r.at(name)] }

// Int returns the value of a config of type Short, Int or Long; 0 when null.
func (r *Resolved) Int(name string) int64 {
	i := r.at(name)
	if r.null[i] {
		return 0
	}
	n, err := strconv.ParseInt(r.values[i], 10, 64)
	if err != nil {
		panic("config: " + name + " is no integer")
	}
	return n
}

// Bool returns the value of a config of type Boolean; false when null.
func (r *Resolved) Bool(name string) bool {
	i := r.at(name)
	if r.null[i] {
		return false
	}
	b, ok := parseBool(r.values[i])
	if !ok {
		panic("config: " + name + " is no boolean")
	}
	return b
}

// Float returns the value of a config of type Double; 0 when null.
func (r *Resolved) Float(name string) float64 {
	i := r.at(name)
	if r.null[i] {
		return 0
	}
	f, err := strconv.ParseFloat(r.values[i], 64)
	if err != nil {
		panic("config: " + name + " is no number")
	}
	return f
}

// List returns the items of a config of type List. The caller owns the slice.
func (r *Resolved) List(name string) []string { return SplitList(r.values[r.at(name)]) }

func (r *Resolved) at(name string) int {
	i, ok := r.table.index[name]
	if !ok {
		panic("config: no config named " + name)
	}
	return i
}
