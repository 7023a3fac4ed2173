package group

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/coord/coordtest"
)

// fakeTopics are topics that tests create and drop.
type fakeTopics struct {
	topics  map[string]fakeTopic
	made    byte
	version int64
}

type fakeTopic struct {
	n  int32
	id topicID
}

func newFakeTopics() *fakeTopics { return &fakeTopics{topics: map[string]fakeTopic{}} }

// set creates a topic or changes its size.
func (f *fakeTopics) set(name string, n int32) {
	t, ok := f.topics[name]
	if !ok {
		f.made++
		t.id = topicID{15: f.made}
	}
	t.n = n
	f.topics[name] = t
	f.version++
}

func (f *fakeTopics) drop(name string) {
	delete(f.topics, name)
	f.version++
}

func (f *fakeTopics) Partitions(name string) (int32, topicID, bool) {
	t, ok := f.topics[name]
	return t.n, t.id, ok
}

func (f *fakeTopics) NameOf(id topicID) (string, bool) {
	for name, t := range f.topics {
		if t.id == id {
			return name, true
		}
	}
	return "", false
}

func (f *fakeTopics) Names() []string { return slices.Sorted(maps.Keys(f.topics)) }
func (f *fakeTopics) Version() int64  { return f.version }

// world drives one machine by hand: no goroutine, no clock but its own.
type world struct {
	cfg     Config
	topics  *fakeTopics
	journal *coordtest.Journal
	machine *machine
	now     time.Time
	ids     int
}

func newWorld() *world {
	w := &world{
		cfg:     DefaultConfig(),
		topics:  newFakeTopics(),
		journal: &coordtest.Journal{},
		now:     time.UnixMilli(1_700_000_000_000).UTC(),
	}
	w.machine = w.newMachine()
	w.do(func(m *machine, tx *coord.Tx) { m.Loaded(tx) })
	return w
}

func (w *world) newMachine() *machine {
	newID := func() string {
		w.ids++
		return fmt.Sprint(w.ids)
	}
	return newMachine(func() Config { return w.cfg }, w.topics, slog.New(slog.DiscardHandler), newID,
		newMetrics(nil, prometheus.NewRegistry()))
}

// do runs one command, as a shard would.
func (w *world) do(command func(*machine, *coord.Tx)) {
	coordtest.Do(w.machine, w.journal, w.now, command)
}

// pass lets time pass and runs what is due, when it is due.
func (w *world) pass(d time.Duration) {
	w.now = coordtest.Pass(w.machine, w.journal, w.now, d)
}

// reload kills the broker and starts it again.
func (w *world) reload() {
	w.machine.Unloaded(coord.ErrNotLeader)
	w.machine = w.replayed(len(w.journal.Records))
	w.do(func(m *machine, tx *coord.Tx) { m.Loaded(tx) })
}

// replayed is the machine that the first n records make.
func (w *world) replayed(n int) *machine {
	m := w.newMachine()
	for _, r := range w.journal.Records[:n] {
		if err := m.Replay(r); err != nil {
			panic(err)
		}
	}
	return m
}

var errDiskFull = errors.New("disk full")

// dump prints what of a machine has to survive.
func (s *machine) dump() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		s.dumpGroup(&b, s.groups[id])
	}
	return b.String()
}

func (s *machine) dumpGroup(b *strings.Builder, g *group) {
	switch {
	case g.classic != nil:
		g.classic.dump(b)
	case g.assigned() != nil:
		s.dumpConsumer(b, g.assigned())
	default:
		fmt.Fprintf(b, "%s simple\n", g.id)
	}
	for _, topic := range slices.Sorted(maps.Keys(g.offsets)) {
		t := g.offsets[topic]
		for _, f := range sortedPartitions(t) {
			fmt.Fprintf(b, "  offset %s/%d=%d", topic, f.partition, f.offset)
			if f.metadata != "" {
				fmt.Fprintf(b, " %q", f.metadata)
			}
			if f.expireMs >= 0 {
				fmt.Fprintf(b, " expires")
			}
			if !s.alive(topic, t) {
				fmt.Fprintf(b, " (of a deleted topic)")
			}
			b.WriteByte('\n')
		}
	}
	for _, producer := range slices.Sorted(maps.Keys(g.pending)) {
		for _, topic := range slices.Sorted(maps.Keys(g.pending[producer])) {
			for _, f := range sortedPartitions(g.pending[producer][topic]) {
				fmt.Fprintf(b, "  pending %s/%d=%d of producer %d\n", topic, f.partition, f.offset, producer)
			}
		}
	}
}

func (g *classicGroup) dump(b *strings.Builder) {
	fmt.Fprintf(b, "%s %s generation=%d", g.id, g.state, g.generation)
	if g.protoType != "" {
		fmt.Fprintf(b, " type=%s", g.protoType)
	}
	if g.protocol != nil {
		fmt.Fprintf(b, " protocol=%s", *g.protocol)
	}
	if g.leader != "" {
		fmt.Fprintf(b, " leader=%s", g.leader)
	}
	if len(g.pendingJoin) > 0 {
		fmt.Fprintf(b, " pending=%v", slices.Sorted(maps.Keys(g.pendingJoin)))
	}
	b.WriteByte('\n')
	for _, m := range g.sorted() {
		fmt.Fprintf(b, "  member %s", m.id)
		if m.instance != nil {
			fmt.Fprintf(b, " instance=%s", *m.instance)
		}
		if m.join != nil {
			b.WriteString(" joining")
		}
		if m.sync != nil {
			b.WriteString(" syncing")
		}
		if len(m.assignment) > 0 {
			fmt.Fprintf(b, " assigned=%s", printAssignment(m.assignment))
		}
		b.WriteByte('\n')
	}
}

func (s *machine) dumpConsumer(b *strings.Builder, g *consumerGroup) {
	fmt.Fprintf(b, "%s %s epoch=%d target=%d\n", g.id, g.state(), g.epoch, g.targetEpoch)
	for _, m := range g.sorted() {
		fmt.Fprintf(b, "  member %s epoch=%d", m.id, m.epoch)
		if m.previous != m.epoch {
			fmt.Fprintf(b, " previous=%d", m.previous)
		}
		if m.state != memberStable {
			fmt.Fprintf(b, " %s", [...]string{"", "unrevoked", "unreleased"}[m.state])
		}
		if m.instance != nil {
			fmt.Fprintf(b, " instance=%s", *m.instance)
		}
		if m.classic != nil {
			b.WriteString(" classic")
		}
		fmt.Fprintf(b, " assigned=%s", s.printSet(m.assigned.set()))
		if len(m.revoking) > 0 {
			fmt.Fprintf(b, " revoking=%s", s.printSet(m.revoking.set()))
		}
		if !m.assigned.set().equal(g.target[m.id]) {
			fmt.Fprintf(b, " target=%s", s.printSet(g.target[m.id]))
		}
		b.WriteByte('\n')
	}
}

func (s *machine) printSet(set partitionSet) string {
	var parts []string
	for _, id := range set.topics() {
		name, ok := s.topics.NameOf(id)
		if !ok {
			name = fmt.Sprintf("#%d", id[15])
		}
		for _, p := range set[id] {
			parts = append(parts, fmt.Sprintf("%s/%d", name, p))
		}
	}
	return "[" + strings.Join(parts, " ") + "]"
}
