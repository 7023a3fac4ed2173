package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/broker/coord"
)

// consumer is a client of the consumer protocol as KIP-848 wants it: it stops
// using partitions before it says so, and starts using them only when told to.
type consumer struct {
	id, instance string
	topics       []string
	epoch        int32
	holds        partitionSet
	full         bool // the last answer was lost: say everything again
	gone         bool
}

// heartbeat sends one heartbeat. If the answer is lost, the server has acted and
// the client knows nothing of it.
func (c *consumer) heartbeat(w *world, lost bool) {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, "g", c.id, c.epoch
	req.RebalanceTimeoutMillis = -1
	if c.instance != "" {
		req.InstanceID = &c.instance
	}
	if c.epoch == 0 || c.full {
		req.RebalanceTimeoutMillis = 30_000
		req.SubscribedTopicNames = c.topics
	}
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, id := range c.holds.topics() {
		t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		t.TopicID, t.Partitions = id, c.holds[id]
		req.Topics = append(req.Topics, t)
	}
	var resp *kmsg.ConsumerGroupHeartbeatResponse
	var err error
	w.do(func(m *machine, tx *coord.Tx) { resp, err = m.consumerHeartbeat(tx, Client{ID: "c"}, req) })
	if c.full = lost; lost {
		return
	}
	switch codeOf(err) {
	case 0:
		c.epoch = resp.MemberEpoch
		if resp.Assignment != nil {
			c.holds = partitionSet{}
			for _, t := range resp.Assignment.Topics {
				c.holds[t.TopicID] = t.Partitions
			}
		}
	case kerr.FencedMemberEpoch.Code, kerr.UnknownMemberID.Code, kerr.GroupIDNotFound.Code:
		c.epoch, c.holds = 0, partitionSet{}
	case kerr.FencedInstanceID.Code, kerr.UnreleasedInstanceID.Code:
		c.gone = true
	default:
		c.full = true
	}
}

func (c *consumer) leave(w *world, epoch int32) {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, "g", c.id, epoch
	if c.instance != "" {
		req.InstanceID = &c.instance
	}
	w.do(func(m *machine, tx *coord.Tx) { _, _ = m.consumerLeave(tx, req) })
	c.gone = true
}

// TestConsumersAgreeWithTheCoordinator runs random consumers against a consumer
// group, with lost answers, missed heartbeats, restarts and changing topics, and
// checks after every step that nobody uses a partition that another may use, and
// that the journal alone gives the same state. In the end all are reconciled.
func TestConsumersAgreeWithTheCoordinator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.topics.set("a", 3)
		w.topics.set("b", 5)
		w.cfg.ConsumerAssignors = rapid.SampledFrom([][]string{{AssignorUniform}, {AssignorRange}}).Draw(t, "assignors")
		var clients []*consumer
		pick := func(t *rapid.T) *consumer {
			live := slices.DeleteFunc(slices.Clone(clients), func(c *consumer) bool { return c.gone })
			if len(live) == 0 {
				t.Skip("nobody is there")
			}
			return rapid.SampledFrom(live).Draw(t, "client")
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if len(clients) > 12 {
					t.Skip("enough")
				}
				c := &consumer{id: fmt.Sprint("m", len(clients)), holds: partitionSet{}}
				c.topics = rapid.SampledFrom([][]string{{"a"}, {"b"}, {"a", "b"}}).Draw(t, "topics")
				c.instance = rapid.SampledFrom([]string{"", "", "i", "j"}).Draw(t, "instance")
				clients = append(clients, c)
				c.heartbeat(w, false)
			},
			"heartbeat": func(t *rapid.T) { pick(t).heartbeat(w, rapid.IntRange(0, 3).Draw(t, "lost") == 0) },
			"heartbeat all": func(*rapid.T) {
				for _, c := range clients {
					if !c.gone {
						c.heartbeat(w, false)
					}
				}
			},
			"subscribe": func(t *rapid.T) {
				c := pick(t)
				c.topics, c.full = rapid.SampledFrom([][]string{{"a"}, {"b"}, {"a", "b"}}).Draw(t, "topics"), true
				c.heartbeat(w, false)
			},
			"leave": func(t *rapid.T) { pick(t).leave(w, epochLeave) },
			"static leave": func(t *rapid.T) {
				c := pick(t)
				if c.instance == "" {
					t.Skip("not static")
				}
				c.leave(w, epochStaticLeave)
			},
			"restart": func(*rapid.T) { w.reload() },
			"disk full": func(t *rapid.T) {
				w.journal.Refuse = rapid.SampledFrom([]error{nil, errDiskFull}).Draw(t, "error")
			},
			"pass": func(t *rapid.T) {
				w.pass(time.Duration(rapid.SampledFrom([]int{1, 10, 31, 46}).Draw(t, "seconds")) * time.Second)
			},
			"grow": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "topic")
				w.topics.set(name, min(w.topics.topics[name].n+1, 8))
			},
			"recreate": func(*rapid.T) {
				w.topics.drop("a")
				w.topics.set("a", 2)
			},
			"": func(t *rapid.T) {
				checkOwnership(t, w, clients)
				checkReplay(t, w)
			},
		})
		w.journal.Refuse = nil
		for range 12 {
			for _, c := range clients {
				if !c.gone {
					c.heartbeat(w, false)
				}
			}
			w.pass(5 * time.Second)
		}
		checkReconciled(t, w, clients)
	})
}

// checkOwnership: the coordinator holds every partition for at most one member,
// and a client uses only what the coordinator holds for it, unless the
// coordinator has given up on the client.
func checkOwnership(t *rapid.T, w *world, clients []*consumer) {
	g := w.machine.groups["g"]
	if g == nil || g.consumer == nil {
		return
	}
	owners := map[topicPartition]string{}
	for _, m := range g.consumer.sorted() {
		for _, set := range []owned{m.assigned, m.revoking} {
			for id, parts := range set {
				for p := range parts {
					tp := topicPartition{id, p}
					if other, taken := owners[tp]; taken {
						t.Fatalf("%v belongs to %s and %s\n%s", tp, other, m.id, w.machine.dump())
					}
					if owners[tp] = m.id; g.consumer.owner[id][p] != m.id {
						t.Fatalf("%v: owner is %q, not %s", tp, g.consumer.owner[id][p], m.id)
					}
				}
			}
		}
	}
	for _, c := range clients {
		m := g.consumer.members[c.id]
		if c.gone || m == nil || c.epoch == 0 || (c.epoch != m.epoch && c.epoch != m.previous) {
			continue
		}
		for id, parts := range c.holds {
			for _, p := range parts {
				if owner := owners[topicPartition{id, p}]; owner != c.id {
					t.Fatalf("%s uses %x/%d, which is held for %q\n%s", c.id, id, p, owner, w.machine.dump())
				}
			}
		}
	}
}

// checkReplay: the journal alone gives what is in memory, as far as it has to
// survive; so does what the log cleaner leaves of it, with tombstones or without.
func checkReplay(t *rapid.T, w *world) {
	want := durable(w.machine, w.machine)
	half := len(w.journal.Records) / 2
	for name, records := range map[string][]coord.Record{
		"journal":                              w.journal.Records,
		"compacted journal":                    compacted(w.journal.Records, true),
		"compacted journal without tombstones": compacted(w.journal.Records, false),
		"half compacted journal":               slices.Concat(compacted(w.journal.Records[:half], false), w.journal.Records[half:]),
	} {
		m := w.newMachine()
		for _, r := range records {
			if err := m.Replay(r); err != nil {
				t.Fatal(err)
			}
		}
		if got := durable(m, w.machine); got != want {
			t.Fatalf("in memory:\n%s\nin the %s:\n%s", want, name, got)
		}
	}
}

// compacted keeps the last record of every key.
func compacted(records []coord.Record, tombstones bool) (kept []coord.Record) {
	last := map[string]int{}
	for i, r := range records {
		last[string(r.Key)] = i
	}
	for i, r := range records {
		if last[string(r.Key)] == i && (tombstones || r.Value != nil) {
			kept = append(kept, r)
		}
	}
	return kept
}

// durable prints m without the groups that live does not claim to have recorded:
// classic ones between two generations.
func durable(m, live *machine) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		g := *m.groups[id]
		if l := live.groups[id]; l != nil && l.classic != nil {
			c := l.classic
			unrecorded := c.state == statePreparing || c.state == stateCompleting || c.generation == 0
			if unrecorded || len(c.pendingJoin) > 0 {
				g.classic, g.consumer = nil, nil
				if len(g.offsets) == 0 {
					continue
				}
			}
		}
		m.dumpGroup(&b, &g)
	}
	return b.String()
}

// checkReconciled: everybody has reached the target, every partition somebody
// subscribes to is in use, and nobody has two more than another who could have one.
func checkReconciled(t *rapid.T, w *world, clients []*consumer) {
	uses := map[topicPartition]string{}
	load := map[string]int{}
	for _, c := range clients {
		if c.gone {
			continue
		}
		for id, parts := range c.holds {
			for _, p := range parts {
				uses[topicPartition{id, p}] = c.id
				load[c.id]++
			}
		}
	}
	for name, topic := range w.topics.topics {
		var subscribers []string
		for _, c := range clients {
			if !c.gone && slices.Contains(c.topics, name) {
				subscribers = append(subscribers, c.id)
			}
		}
		for p := range topic.n {
			user := uses[topicPartition{topic.id, p}]
			if (user == "") != (len(subscribers) == 0) {
				t.Fatalf("%s/%d is used by %q, subscribers are %v\n%s", name, p, user, subscribers, w.machine.dump())
			}
			for _, s := range subscribers {
				if w.cfg.ConsumerAssignors[0] == AssignorUniform && load[user] > load[s]+1 {
					t.Fatalf("%s has %d, %s has %d and subscribes to %s\n%s", user, load[user], s, load[s], name, w.machine.dump())
				}
			}
		}
	}
	if g := w.machine.groups["g"]; g != nil && !g.empty() && g.consumer.state() != "Stable" {
		t.Fatalf("not reconciled\n%s", w.machine.dump())
	}
}
