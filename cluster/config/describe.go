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

	// Synonyms are all settings that apply, the one in force first; each in
	// the unit of the config it names.
	Synonyms []EntrySynonym
}

// EntrySynonym is one of the settings an entry's value was chosen from.
type EntrySynonym struct {
	Name   string
	Value  *string // nil when it is sensitive
	Source Source
}

// DescribeTopic describes every topic config, sorted by name.
func DescribeTopic(l Layers, topic Values) []Entry {
	if topic == nil {
		topic = Values{}
	}
	return describe(topicTable, l, topic, SourceDynamicTopic)
}

// DescribeBroker describes every broker config, sorted by name.
func DescribeBroker(l Layers) []Entry {
	return describe(brokerTable, l, nil, SourceDefault)
}

// DescribeGroup describes every group config, sorted by name.
func DescribeGroup(l Layers, group Values) []Entry {
	if group == nil {
		group = Values{}
	}
	return describe(groupTable, l, group, SourceGroup)
}

func describe(t *table, l Layers, own Values, ownSource Source) []Entry {
	entries := make([]Entry, 0, len(t.defs))
	for i := range t.defs {
		d := &t.defs[i]
		if d.Internal {
			continue
		}
		e := Entry{
			Name:      d.Name,
			Source:    SourceDefault,
			ReadOnly:  t == brokerTable && d.Mode == ReadOnly,
			Sensitive: d.Sensitive,
			Type:      d.Type,
			Doc:       d.Doc,
		}
		l.settings(d, own, ownSource, func(s setting) bool {
			if e.Synonyms == nil {
				e.Source = s.source
				e.Value = shown(d, s.scaled())
			}
			e.Synonyms = append(e.Synonyms, EntrySynonym{Name: s.name, Value: shown(d, s.value), Source: s.source})
			return true
		})
		entries = append(entries, e)
	}
	return entries
}

func shown(d *Def, value string) *string {
	if d.Sensitive {
		return nil
	}
	return &value
}
