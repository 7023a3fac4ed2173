package group

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/broker/coord"
)

// classicClient is a client of the classic protocol with an eager assignor: it
// gives up everything before it joins.
type classicClient struct {
	name, instance string
	id             string
	generation     int32
	holds          partitionSet
	join           *joinReply
	sync           *syncReply
	gone           bool
}

func (c *classicClient) pointer() *string {
	if c.instance == "" {
		return nil
	}
	return &c.instance
}

func (c *classicClient) idle() bool { return c.join == nil && c.sync == nil }

func (c *classicClient) startJoin(w *world) {
	c.holds, c.sync = partitionSet{}, nil
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = 9, "g", c.id, c.pointer()
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 20_000, 30_000
	req.ProtocolType, req.Protocols = consumerProtocol, protocols(args{"topics": "a,b"})
	c.join = coord.NewReply[*kmsg.JoinGroupResponse]()
	w.do(func(m *machine, tx *coord.Tx) { m.joinGroup(tx, Client{ID: c.name}, req, c.join) })
}

// step goes on with whatever the client waits for, or sends a heartbeat.
func (c *classicClient) step(w *world) {
	switch {
	case c.join != nil:
		c.joined(w)
	case c.sync != nil:
		c.synced(w)
	case c.generation == 0:
		c.startJoin(w)
	default:
		c.heartbeat(w)
	}
}

func (c *classicClient) joined(w *world) {
	resp, ok, err := c.join.Poll()
	if !ok {
		return
	}
	c.join, c.generation = nil, 0
	code := codeOf(err)
	if err == nil {
		code = resp.ErrorCode
	}
	switch code {
	case 0:
		c.id, c.generation = resp.MemberID, resp.Generation
		c.startSync(w, resp)
	case kerr.MemberIDRequired.Code:
		c.id = resp.MemberID
		c.startJoin(w)
	case kerr.UnknownMemberID.Code, kerr.IllegalGeneration.Code:
		c.id = ""
	case kerr.FencedInstanceID.Code:
		c.gone = true
	}
}

// startSync assigns round robin when the client is the leader.
func (c *classicClient) startSync(w *world, joined *kmsg.JoinGroupResponse) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 5, "g", c.id, c.pointer(), c.generation
	if joined.LeaderID == c.id && !joined.SkipAssignment {
		for i, m := range joined.Members {
			a := kmsg.NewConsumerMemberAssignment()
			for _, name := range w.topics.Names() {
				t := kmsg.NewConsumerMemberAssignmentTopic()
				t.Topic = name
				for p := int32(i); p < w.topics.topics[name].n; p += int32(len(joined.Members)) {
					t.Partitions = append(t.Partitions, p)
				}
				a.Topics = append(a.Topics, t)
			}
			ga := kmsg.NewSyncGroupRequestGroupAssignment()
			ga.MemberID, ga.MemberAssignment = m.MemberID, a.AppendTo(nil)
			req.GroupAssignment = append(req.GroupAssignment, ga)
		}
	}
	c.sync = coord.NewReply[*kmsg.SyncGroupResponse]()
	w.do(func(m *machine, tx *coord.Tx) { m.syncGroup(tx, req, c.sync) })
}

func (c *classicClient) synced(w *world) {
	resp, ok, err := c.sync.Poll()
	if !ok {
		return
	}
	c.sync = nil
	code := codeOf(err)
	if err == nil {
		code = resp.ErrorCode
	}
	if code == 0 {
		assigned, err := w.machine.parseAssignment(resp.MemberAssignment, 0)
		if err != nil {
			panic(err)
		}
		c.holds = assigned.set()
		return
	}
	c.refused(w, code)
}

func (c *classicClient) refused(w *world, code int16) {
	switch code {
	case kerr.UnknownMemberID.Code, kerr.IllegalGeneration.Code:
		c.id = ""
	case kerr.FencedInstanceID.Code:
		c.gone, c.holds = true, partitionSet{}
		return
	}
	c.generation = 0
	c.startJoin(w)
}

func (c *classicClient) heartbeat(w *world) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = "g", c.id, c.pointer(), c.generation
	var err error
	w.do(func(m *machine, tx *coord.Tx) { err = m.heartbeat(tx, req) })
	if err != nil {
		c.refused(w, codeOf(err))
	}
}

func (c *classicClient) leave(w *world) {
	l := kmsg.NewLeaveGroupRequestMember()
	l.MemberID, l.InstanceID = c.id, c.pointer()
	w.do(func(m *machine, tx *coord.Tx) { _, _ = m.leaveGroup(tx, "g", []kmsg.LeaveGroupRequestMember{l}) })
	c.gone = true
}

// TestProtocolsMix runs clients of both protocols in one group, which changes
// its own protocol back and forth under them.
func TestProtocolsMix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.topics.set("a", 3)
		w.topics.set("b", 5)
		w.cfg.InitialRebalanceDelay = time.Second
		w.cfg.ConsumerMigrationPolicy = rapid.SampledFrom([]MigrationPolicy{MigrationBidirectional, MigrationBidirectional, MigrationDisabled, MigrationUpgrade, MigrationDowngrade}).Draw(t, "migration")
		classicOnly := rapid.Bool().Draw(t, "classic only")
		var olds []*classicClient
		var news []*consumer
		pick := func(t *rapid.T) *classicClient {
			live := slices.DeleteFunc(slices.Clone(olds), func(c *classicClient) bool { return c.gone })
			if len(live) == 0 {
				t.Skip("nobody is there")
			}
			return rapid.SampledFrom(live).Draw(t, "client")
		}
		stepAll := func() {
			for _, c := range olds {
				if !c.gone {
					c.step(w)
				}
			}
			for _, c := range news {
				if !c.gone {
					c.heartbeat(w, false)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if len(olds) > 10 {
					t.Skip("enough")
				}
				c := &classicClient{name: fmt.Sprint("c", len(olds)), holds: partitionSet{}}
				if i := rapid.IntRange(0, 3).Draw(t, "static"); i == 0 {
					c.instance = fmt.Sprint("i", len(olds))
				}
				olds = append(olds, c)
				c.step(w)
			},
			"join new": func(t *rapid.T) {
				if len(news) > 3 || classicOnly {
					t.Skip("enough")
				}
				c := &consumer{id: fmt.Sprint("n", len(news)), topics: []string{"a", "b"}, holds: partitionSet{}}
				news = append(news, c)
				c.heartbeat(w, false)
			},
			"step":     func(t *rapid.T) { pick(t).step(w) },
			"step all": func(*rapid.T) { stepAll() },
			"rejoin": func(t *rapid.T) {
				if c := pick(t); c.idle() {
					c.startJoin(w)
				}
			},
			"leave": func(t *rapid.T) { pick(t).leave(w) },
			"leave new": func(t *rapid.T) {
				for _, c := range news {
					if !c.gone {
						c.leave(w, epochLeave)
						return
					}
				}
				t.Skip("nobody is there")
			},
			"crash static": func(t *rapid.T) {
				c := pick(t)
				if c.instance == "" {
					t.Skip("not static")
				}
				c.gone = true
				heir := &classicClient{name: c.name, instance: c.instance, holds: partitionSet{}}
				olds = append(olds, heir)
				heir.step(w)
			},
			"crash": func(t *rapid.T) { pick(t).gone = true },
			"restart": func(*rapid.T) {
				w.reload()
			},
			"pass": func(t *rapid.T) {
				w.pass(time.Duration(rapid.SampledFrom([]int{1, 3, 10, 31}).Draw(t, "seconds")) * time.Second)
			},
			"commit": func(t *rapid.T) {
				c := pick(t)
				_, id, _ := w.topics.Partitions("a")
				who := commitClaim{"g", c.id, c.pointer(), c.generation, 8}
				w.do(func(m *machine, tx *coord.Tx) {
					_ = m.commitOffsets(tx, who, []position{{"a", id, 0, committed{offset: 1, commitMs: w.now.UnixMilli(), expireMs: -1}}})
				})
			},
			"": func(t *rapid.T) {
				checkCounts(t, w)
				checkOwnership(t, w, news)
				checkReplay(t, w)
			},
		})
		for range 40 {
			stepAll()
			w.pass(3 * time.Second)
		}
		if w.cfg.ConsumerMigrationPolicy == MigrationBidirectional || classicOnly {
			checkAllServed(t, w, olds, news)
		}
	})
}

// checkCounts: what a classic group keeps in step with its members is in step.
func checkCounts(t *rapid.T, w *world) {
	g := w.machine.groups["g"]
	if g == nil || g.classic == nil {
		return
	}
	c, awaiting, supported, static := g.classic, 0, map[string]int{}, 0
	for id, m := range c.members {
		if m.join != nil {
			awaiting++
		}
		for _, p := range m.protocols {
			supported[p.Name]++
		}
		if m.instance != nil {
			if static++; c.static[*m.instance] != id {
				t.Fatalf("instance %s belongs to %s, not to %s", *m.instance, c.static[*m.instance], id)
			}
		}
		if m.sync != nil && c.state != stateCompleting {
			t.Fatalf("%s waits for an assignment of a group that is %s", id, c.state)
		}
	}
	if awaiting != c.awaiting || static != len(c.static) || supported["range"] != c.supported["range"] {
		t.Fatalf("%d awaiting, counted %d; %d static, counted %d; %v supported, counted %v",
			awaiting, c.awaiting, static, len(c.static), supported, c.supported)
	}
	if (len(c.members) == 0) != (c.leader == "") || (c.leader != "" && c.members[c.leader] == nil) {
		t.Fatalf("leader is %q\n%s", c.leader, w.machine.dump())
	}
	if (c.state == stateStable || c.state == stateCompleting) && len(c.members) == 0 {
		t.Fatalf("%s without members", c.state)
	}
}

// checkAllServed: whoever is there is a member and waits for nothing, and every
// partition is used by exactly one of them.
func checkAllServed(t *rapid.T, w *world, olds []*classicClient, news []*consumer) {
	uses := map[topicPartition][]string{}
	someone := false
	use := func(id string, holds partitionSet) {
		someone = true
		for topic, parts := range holds {
			for _, p := range parts {
				uses[topicPartition{topic, p}] = append(uses[topicPartition{topic, p}], id)
			}
		}
	}
	for _, c := range olds {
		if !c.gone {
			if !c.idle() || c.generation == 0 {
				t.Fatalf("%s still waits\n%s", c.id, w.machine.dump())
			}
			use(c.id, c.holds)
		}
	}
	for _, c := range news {
		if !c.gone {
			use(c.id, c.holds)
		}
	}
	for name, topic := range w.topics.topics {
		for p := range topic.n {
			if users := uses[topicPartition{topic.id, p}]; someone != (len(users) == 1) {
				t.Fatalf("%s/%d is used by %v\n%s", name, p, users, w.machine.dump())
			}
		}
	}
}
