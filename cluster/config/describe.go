package config

// Source says where a value comes from. The numbers are those of
// DescribeConfigs (KIP-226, KIP-848).
type Source int8

const (
	SourceDynamicTopic         Source = 1
	SourceDynamicBroker        Source = 2
	SourceDynamicDefaultBroker Source = 3
	SourceStaticBroker         Source = 4
	SourceDefault              Source = 5
	SourceGroup                Source = 8
)

func (s Source) String() string {
	switch s {
	case SourceDynamicTopic:
		return "DYNAMIC_TOPIC_CONFIG"
	case SourceDynamicBroker:
		return "DYNAMIC_BROKER_CONFIG"
	case SourceDynamicDefaultBroker:
		return "DYNAMIC_DEFAULT_BROKER_CONFIG"
	case SourceStaticBroker:
		return "STATIC_BROKER_CONFIG"
	case SourceDefault:
		return "DEFAULT_CONFIG"
	case SourceGroup:
		return "GROUP_CONFIG"
	}
	return "UNKNOWN"
}

// Entry describes one config of a resource.
type Entry struct {
	Name      string
	Value     *string // nil when it is null or sensitive
	Source    Source  // of Value
	ReadOnly  bool
	Sensitive bool
	Type      Type
	Doc       string

	// Synonyms are all settings that bear on the value, the one in force
	// first; each in the unit of the config it names.
	Synonyms []EntrySynonym
}

// EntrySynonym is one of the settings an entry's value was chosen from.
type EntrySynonym struct {
	Name   string
	Value  *string // nil when it is sensitive
	Source Source
}

// DescribeTopic describes every topic config, sorted by name. The caller owns
// the slice; so for the other functions here.
func DescribeTopic(l Layers, topic Values) []Entry {
	return describe(topicTable, func(d *Def, e *Entry) {
		l.describeOwned(d, e, overrides{topic, SourceDynamicTopic})
	})
}

// DescribeGroup describes every group config, sorted by name.
func DescribeGroup(l Layers, group Values) []Entry {
	return describe(groupTable, func(d *Def, e *Entry) {
		l.describeOwned(d, e, overrides{group, SourceGroup})
	})
}

// DescribeBroker describes every broker config, sorted by name.
func DescribeBroker(l Layers) []Entry {
	return describe(brokerTable, l.describeBroker)
}

// DescribeAllBrokers describes the broker configs altered for all brokers, and
// no others, sorted by name.
func DescribeAllBrokers(all Values) []Entry {
	var set []Entry
	for _, e := range DescribeBroker(Layers{Cluster: all}) {
		if _, ok := all[e.Name]; ok {
			e.Synonyms = e.Synonyms[:1]
			set = append(set, e)
		}
	}
	return set
}

func describe(t *table, fill func(*Def, *Entry)) []Entry {
	entries := make([]Entry, 0, len(t.defs))
	for i := range t.defs {
		d := &t.defs[i]
		if d.Internal {
			continue
		}
		e := Entry{Name: d.Name, Source: SourceDefault, Sensitive: d.Sensitive, Type: d.Type, Doc: d.Doc}
		fill(d, &e)
		entries = append(entries, e)
	}
	return entries
}

// describeOwned fills in a topic's or group's config. One that has neither an
// override nor synonyms lists none, as in Kafka.
func (l Layers) describeOwned(d *Def, e *Entry, own overrides) {
	if s, ok := l.inForce(d, own); ok {
		e.Value, e.Source = d.shown(s.scaled()), s.source
	}
	if v, ok := own.values[d.Name]; ok {
		e.Synonyms = append(e.Synonyms, EntrySynonym{d.Name, d.shown(v), own.source})
	}
	l.settings(d.Synonyms, func(s setting) bool {
		e.Synonyms = append(e.Synonyms, EntrySynonym{s.name, d.shown(s.value), s.source})
		return true
	})
}

// describeBroker fills in a broker config. Its value is its own: one that is
// unset shows null, and what stands in for it among the synonyms.
func (l Layers) describeBroker(d *Def, e *Entry) {
	e.ReadOnly = d.Mode == ReadOnly
	self := []Synonym{{d.Name, 1}}
	if s, ok := l.first(self); ok {
		e.Value, e.Source = d.shown(s.value), s.source
	}
	l.settings(append(self, d.Synonyms...), func(s setting) bool {
		e.Synonyms = append(e.Synonyms, EntrySynonym{s.name, d.shown(s.value), s.source})
		return true
	})
}

func (d *Def) shown(value string) *string {
	if d.Sensitive {
		return nil
	}
	return &value
}
