package group

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// topicFacts are the topics a group subscribes to, as far as they exist.
type topicFacts struct {
	partitions map[topicID]int32
	ids        map[string]topicID
	hash       uint64 // changes when a topic comes, goes, grows or is created anew
	version    int64  // of Topics when they were looked up
}

// facts looks up what the given members subscribe to.
func (s *machine) facts(members []*consumerMember) topicFacts {
	f := topicFacts{partitions: map[topicID]int32{}, ids: map[string]topicID{}, version: s.topics.Version()}
	names := map[string]bool{}
	for _, m := range members {
		for _, name := range m.topics {
			names[name] = true
		}
		for _, name := range s.match(m.regex) {
			names[name] = true
		}
	}
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n, id, ok := s.topics.Partitions(name)
		if !ok {
			continue
		}
		f.partitions[id], f.ids[name] = n, id
		h.Write([]byte(name))
		h.Write(id[:])
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(n)))
	}
	f.hash = h.Sum64()
	return f
}

// assignee prepares a member for an assignor.
func (f topicFacts) assignee(s *machine, m *consumerMember, previous partitionSet) assignee {
	a := assignee{id: m.id, instance: stringOf(m.instance), topics: map[topicID]bool{}, previous: previous}
	for _, names := range [][]string{m.topics, s.match(m.regex)} {
		for _, name := range names {
			if id, ok := f.ids[name]; ok {
				a.topics[id] = true
			}
		}
	}
	return a
}

// matcher is a regular expression over topic names with the names it matched
// when they were last looked at.
type matcher struct {
	re      *regexp.Regexp
	version int64
	topics  []string
}

const (
	maxMatchers   = 1000     // expressions remembered with what they match
	maxExpression = 64 << 10 // bytes: matching and compiling hold up the shard
)

// match returns the topics whose whole name an expression matches, sorted;
// nothing for the empty one. KIP-848 defines expressions as RE2, which Go's are.
func (s *machine) match(expression string) []string {
	if expression == "" {
		return nil
	}
	m := s.matchers[expression]
	if m == nil {
		re, err := compile(expression)
		if err != nil {
			return nil // refused when it was sent; an older broker may have stored it
		}
		if len(s.matchers) >= maxMatchers {
			clear(s.matchers)
		}
		m = &matcher{re: re, version: s.topics.Version() - 1}
		s.matchers[expression] = m
	}
	if v := s.topics.Version(); v != m.version {
		m.version, m.topics = v, nil
		for _, name := range s.topics.Names() {
			if m.re.MatchString(name) {
				m.topics = append(m.topics, name)
			}
		}
		slices.Sort(m.topics)
	}
	return m.topics
}

// compile makes an expression match whole names. It has to be valid by itself,
// otherwise "a)|(b" would be, and between brackets: \Q that is not ended takes them
// for text.
func compile(expression string) (*regexp.Regexp, error) {
	if len(expression) > maxExpression {
		return nil, refuse(kerr.InvalidRegularExpression, "SubscribedTopicRegex is too long.")
	}
	_, err := regexp.Compile(expression)
	whole, wholeErr := regexp.Compile(`\A(?:` + expression + `)\z`)
	if err = cmp.Or(err, wholeErr); err != nil {
		return nil, refuse(kerr.InvalidRegularExpression, "SubscribedTopicRegex is not valid: "+err.Error())
	}
	return whole, nil
}
