package group

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/internal/script"
)

// TestScripts runs the histories in testdata: see package script, and scriptWorld.run for the
// commands. $x stands for the member id that the call named x was last given, $x_epoch for the
// epoch of member x.
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func() func(*testing.T, string) string {
		w := &scriptWorld{world: newWorld(), waiting: map[string]func() (string, bool){}, ids: map[string]string{}}
		return w.run
	})
}

// scriptWorld is a world with names for calls that wait.
type scriptWorld struct {
	*world
	waiting map[string]func() (string, bool) // by handle
	order   []string
	ids     map[string]string // member ids, by handle
}

var handle = regexp.MustCompile(`\$\w+`)

type args = script.Args

// millisOf is a duration as requests have it.
func millisOf(a args, key, fallback string) int32 {
	d, err := time.ParseDuration(a.Or(key, fallback))
	if err != nil {
		panic(err)
	}
	return durationMillis(d)
}

// run executes one line and returns what it prints: answers, in the order in
// which calls were made, and for "show" the state.
func (w *scriptWorld) run(t *testing.T, line string) string {
	line = handle.ReplaceAllStringFunc(line, func(h string) string { return w.ids[h[1:]] })
	command, a := script.Parse(line)
	var out string
	switch command {
	case "topic":
		w.topics.set(a["name"], int32(a.Num("n", 1)))
	case "drop":
		w.topics.drop(a["name"])
	case "config":
		w.configure(t, a)
	case "journal":
		w.journal.Refuse = map[string]error{"ok": nil, "full": errDiskFull, "toolarge": coord.ErrTooLarge}[a[""]]
	case "pass":
		w.pass(time.Duration(millisOf(a, "", "0s")) * time.Millisecond)
	case "reload":
		w.reload()
	case "show":
		out = w.machine.dump()
	case "topicdeleted":
		out = w.topicDeleted(a["name"])
	case "join":
		w.join(a)
	case "sync":
		w.sync(a)
	case "heartbeat":
		out = w.heartbeat(a)
	case "leave":
		out = w.leave(a)
	case "commit":
		out = w.commit(a)
	case "txncommit":
		out = w.commitInTransaction(a)
	case "end":
		out = w.endTransaction(a)
	case "fetch":
		out = w.fetch(a)
	case "delete":
		out = w.deleteGroup(a)
	case "deleteoffset":
		out = w.deleteOffset(a)
	case "hb":
		out = w.consumerHeartbeat(a)
	case "sharehb":
		out = w.shareHeartbeat(a)
	default:
		t.Fatalf("unknown command %q", command)
	}
	w.pass(0)
	return out + w.answers()
}

func (w *scriptWorld) configure(t *testing.T, a args) {
	for k, v := range a {
		d, _ := time.ParseDuration(v)
		n, _ := strconv.Atoi(v)
		switch k {
		case "delay":
			w.cfg.InitialRebalanceDelay = d
		case "maxsize":
			w.cfg.MaxSize = n
		case "retention":
			w.cfg.OffsetsRetention = d
		case "consumermaxsize":
			w.cfg.ConsumerMaxSize = n
		case "sharemaxsize":
			w.cfg.ShareMaxSize = n
		case "migration":
			w.cfg.ConsumerMigrationPolicy = MigrationPolicy(v)
		case "assignors":
			w.cfg.ConsumerAssignors = strings.Split(v, ",")
		default:
			t.Fatalf("unknown config %q", k)
		}
	}
}

// answers collects what waiting calls were told.
func (w *scriptWorld) answers() string {
	var b strings.Builder
	w.order = slices.DeleteFunc(w.order, func(handle string) bool {
		s, ok := w.waiting[handle]()
		if ok {
			fmt.Fprintf(&b, "%s: %s\n", handle, s)
		}
		return ok
	})
	return b.String()
}

func (w *scriptWorld) wait(handle string, poll func() (string, bool)) {
	w.waiting[handle] = poll
	w.order = append(w.order, handle)
}

func codeName(code int16) string {
	if code == 0 {
		return "ok"
	}
	return kerr.TypedErrorForCode(code).Message
}

func errName(err error) string { return codeName(codeOf(err)) }

func client(a args) Client { return Client{ID: a.Or("client", "c"), Host: "/127.0.0.1"} }

// protocols are "range,roundrobin", each with the same subscription.
func protocols(a args) []kmsg.JoinGroupRequestProtocol {
	var out []kmsg.JoinGroupRequestProtocol
	for _, name := range strings.Split(a.Or("protocols", "range"), ",") {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name = name
		if a.Or("type", consumerProtocol) != consumerProtocol {
			p.Metadata = []byte(a["metadata"])
		} else {
			m := kmsg.NewConsumerMemberMetadata()
			m.Version, m.Topics = 1, a.List("topics")
			for id, parts := range parseSet(a["owned"]) {
				o := kmsg.NewConsumerMemberMetadataOwnedPartition()
				o.Topic, o.Partitions = id, parts
				m.OwnedPartitions = append(m.OwnedPartitions, o)
			}
			p.Metadata = m.AppendTo(nil)
		}
		out = append(out, p)
	}
	return out
}

func (w *scriptWorld) join(a args) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = int16(a.Num("v", 9))
	req.Group, req.MemberID, req.InstanceID = a.Or("group", "g"), a["member"], a.Pointer("instance")
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = millisOf(a, "session", "10s"), millisOf(a, "rebalance", "60s")
	req.ProtocolType, req.Protocols = a.Or("type", consumerProtocol), protocols(a)
	reply := coord.NewReply[*kmsg.JoinGroupResponse]()
	w.do(func(m *machine, tx *coord.Tx) { m.joinGroup(tx, client(a), req, reply) })
	w.wait(a.Or("as", "join"), func() (string, bool) {
		r, ok, err := reply.Poll()
		if !ok || err != nil {
			return errName(err), ok
		}
		if r.MemberID != "" {
			w.ids[a.Or("as", "join")] = r.MemberID
		}
		s := fmt.Sprintf("%s member=%s", codeName(r.ErrorCode), r.MemberID)
		if r.ErrorCode == 0 {
			s += fmt.Sprintf(" generation=%d protocol=%s leader=%s", r.Generation, stringOf(r.Protocol), r.LeaderID)
		}
		if r.SkipAssignment {
			s += " skip-assignment"
		}
		var members []string
		for _, m := range r.Members {
			members = append(members, m.MemberID)
		}
		if len(members) > 0 {
			s += fmt.Sprintf(" members=%v", members)
		}
		return s, true
	})
}

func (w *scriptWorld) sync(a args) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version = 5
	req.Group, req.MemberID, req.InstanceID = a.Or("group", "g"), a["member"], a.Pointer("instance")
	req.Generation = int32(a.Num("generation", 1))
	req.ProtocolType, req.Protocol = a.Pointer("type"), a.Pointer("protocol")
	for _, s := range strings.Split(a["assign"], ";") {
		if id, set, ok := strings.Cut(s, ":"); ok {
			ga := kmsg.NewSyncGroupRequestGroupAssignment()
			ga.MemberID, ga.MemberAssignment = id, assignmentBytes(set)
			req.GroupAssignment = append(req.GroupAssignment, ga)
		}
	}
	reply := coord.NewReply[*kmsg.SyncGroupResponse]()
	w.do(func(m *machine, tx *coord.Tx) { m.syncGroup(tx, req, reply) })
	w.wait(a.Or("as", "sync"), func() (string, bool) {
		r, ok, err := reply.Poll()
		if !ok || err != nil {
			return errName(err), ok
		}
		s := codeName(r.ErrorCode)
		if r.ErrorCode == 0 {
			s += " assigned=" + printAssignment(r.MemberAssignment)
		}
		return s, true
	})
}

// parseSet reads "t/0,t/1".
func parseSet(s string) iter.Seq2[string, []int32] {
	set := map[string][]int32{}
	for _, tp := range strings.Split(s, ",") {
		if topic, p, ok := strings.Cut(tp, "/"); ok {
			n, _ := strconv.Atoi(p)
			set[topic] = append(set[topic], int32(n))
		}
	}
	return func(yield func(string, []int32) bool) {
		for _, topic := range slices.Sorted(maps.Keys(set)) {
			if !yield(topic, set[topic]) {
				return
			}
		}
	}
}

func assignmentBytes(s string) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	for topic, parts := range parseSet(s) {
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic, t.Partitions = topic, parts
		a.Topics = append(a.Topics, t)
	}
	return a.AppendTo(nil)
}

func printAssignment(b []byte) string {
	if len(b) == 0 {
		return "[]"
	}
	a := kmsg.NewConsumerMemberAssignment()
	if err := a.ReadFrom(b); err != nil {
		return fmt.Sprintf("%q", b)
	}
	var parts []string
	for _, t := range a.Topics {
		for _, p := range t.Partitions {
			parts = append(parts, fmt.Sprintf("%s/%d", t.Topic, p))
		}
	}
	slices.Sort(parts)
	return "[" + strings.Join(parts, " ") + "]"
}

func (w *scriptWorld) heartbeat(a args) string {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID = a.Or("group", "g"), a["member"], a.Pointer("instance")
	req.Generation = int32(a.Num("generation", 1))
	var err error
	w.do(func(m *machine, tx *coord.Tx) { err = m.heartbeat(tx, req) })
	return errName(err) + "\n"
}

func (w *scriptWorld) leave(a args) string {
	var leaving []kmsg.LeaveGroupRequestMember
	for _, id := range strings.Split(a["members"], ",") {
		l := kmsg.NewLeaveGroupRequestMember()
		l.MemberID, l.InstanceID = id, a.Pointer("instance")
		leaving = append(leaving, l)
	}
	var out []kmsg.LeaveGroupResponseMember
	var err error
	w.do(func(m *machine, tx *coord.Tx) { out, err = m.leaveGroup(tx, a.Or("group", "g"), leaving) })
	if err != nil {
		return errName(err) + "\n"
	}
	var b strings.Builder
	for _, o := range out {
		fmt.Fprintf(&b, "%s %s\n", o.MemberID, codeName(o.ErrorCode))
	}
	return b.String()
}

func (w *scriptWorld) commit(a args) string {
	who, positions := claimOf(a), w.positions(a)
	var err error
	w.do(func(m *machine, tx *coord.Tx) { err = m.commitOffsets(tx, who, positions) })
	return codeName(commitCode(err)) + "\n"
}

func claimOf(a args) commitClaim {
	return commitClaim{a.Or("group", "g"), a["member"], a.Pointer("instance"), int32(a.Num("generation", -1)), int16(a.Num("v", 9))}
}

// commitInTransaction commits in the transaction of a producer, which is verified before. late says
// that it has ended since, own that every transaction has an epoch of its own, and after= which
// epoch the marker has that comes after the verification. beside= is the epoch of somebody else who
// claims the producer's id meanwhile, and is refused.
func (w *scriptWorld) commitInTransaction(a args) string {
	who, positions, p := claimOf(a), w.positions(a), producerOf(a)
	var err error
	w.do(func(m *machine, tx *coord.Tx) {
		v := m.expect(p, a.Has("own"))
		if a.Has("beside") {
			other := coord.Producer{ID: p.ID, Epoch: int16(a.Num("beside", 0))}
			m.unexpect(other, m.expect(other, a.Has("own")))
		}
		if a.Has("after") {
			_ = tx.Append(coord.Record{Producer: &coord.Producer{ID: p.ID, Epoch: int16(a.Num("after", 0))}, End: coord.Commit})
		}
		if a.Has("late") {
			_ = tx.Append(coord.Record{Producer: &p, End: coord.Abort})
		}
		err = m.commitInTransaction(tx, who, p, v, positions)
	})
	return codeName(commitCode(err)) + "\n"
}

func (w *scriptWorld) endTransaction(a args) string {
	p := producerOf(a)
	end := map[string]coord.End{"commit": coord.Commit, "abort": coord.Abort}[a[""]]
	var err error
	w.do(func(_ *machine, tx *coord.Tx) { err = tx.Append(coord.Record{Producer: &p, End: end}) })
	return errName(err) + "\n"
}

func producerOf(a args) coord.Producer {
	return coord.Producer{ID: int64(a.Num("producer", 7)), Epoch: int16(a.Num("epoch", 0))}
}

func (w *scriptWorld) positions(a args) (positions []position) {
	for topic, parts := range parseSet(a["at"]) {
		t := w.topics.topics[topic]
		for _, p := range parts {
			positions = append(positions, position{topic, t.id, p, committed{
				offset: int64(a.Num("offset", 0)), leaderEpoch: -1, metadata: a["metadata"],
				commitMs: w.now.UnixMilli(), expireMs: expiryOf(w.now, int64(a.Num("retention", -1))),
			}})
		}
	}
	return positions
}

func (w *scriptWorld) fetch(a args) string {
	req := kmsg.NewOffsetFetchRequestGroup()
	req.Group, req.MemberID, req.MemberEpoch = a.Or("group", "g"), a.Pointer("member"), int32(a.Num("epoch", -1))
	for topic, parts := range parseSet(a["at"]) {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = topic, parts
		req.Topics = append(req.Topics, t)
	}
	var resp kmsg.OffsetFetchResponseGroup
	var err error
	w.do(func(m *machine, _ *coord.Tx) { resp, err = m.fetchOffsets(&req, 9, a["stable"] != "", make(places)) })
	if err != nil {
		return errName(err) + "\n"
	}
	var parts []string
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			at := fmt.Sprintf("%s/%d=%d", t.Topic, p.Partition, p.Offset)
			if p.ErrorCode != 0 {
				at += " " + codeName(p.ErrorCode)
			}
			parts = append(parts, at)
		}
	}
	return strings.Join(parts, " ") + "\n"
}

func (w *scriptWorld) deleteGroup(a args) string {
	var err error
	w.do(func(m *machine, tx *coord.Tx) { err = m.deleteGroup(tx, a.Or("group", "g")) })
	return errName(err) + "\n"
}

func (w *scriptWorld) deleteOffset(a args) string {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = a.Or("group", "g")
	for topic, parts := range parseSet(a["at"]) {
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = topic
		for _, p := range parts {
			tp := kmsg.NewOffsetDeleteRequestTopicPartition()
			tp.Partition = p
			t.Partitions = append(t.Partitions, tp)
		}
		req.Topics = append(req.Topics, t)
	}
	var topics []kmsg.OffsetDeleteResponseTopic
	var err error
	w.do(func(m *machine, tx *coord.Tx) { topics, err = m.deleteSome(tx, req) })
	if err != nil {
		return errName(err) + "\n"
	}
	var b strings.Builder
	for _, t := range topics {
		for _, p := range t.Partitions {
			fmt.Fprintf(&b, "%s/%d %s\n", t.Topic, p.Partition, codeName(p.ErrorCode))
		}
	}
	return b.String()
}

func (w *scriptWorld) topicDeleted(name string) string {
	id := w.topics.topics[name].id
	w.topics.drop(name)
	var err error
	w.do(func(m *machine, tx *coord.Tx) { err = m.deleteTopicOffsets(tx, id, name) })
	return errName(err) + "\n"
}

// consumerHeartbeat is "hb member=a epoch=0 topics=t": full by default when
// joining, else only what is given.
func (w *scriptWorld) consumerHeartbeat(a args) string {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version = int16(a.Num("v", 1))
	req.Group, req.MemberID, req.InstanceID = a.Or("group", "g"), a["member"], a.Pointer("instance")
	req.MemberEpoch = int32(a.Num("epoch", 0))
	req.SubscribedTopicNames, req.SubscribedTopicRegex = a.List("topics"), a.Pointer("regex")
	req.ServerAssignor = a.Pointer("assignor")
	if req.RebalanceTimeoutMillis = -1; req.MemberEpoch == 0 {
		req.RebalanceTimeoutMillis = millisOf(a, "rebalance", "60s")
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	if owned, ok := a["owned"]; ok {
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		for topic, parts := range parseSet(owned) {
			t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			t.TopicID, t.Partitions = w.topics.topics[topic].id, parts
			req.Topics = append(req.Topics, t)
		}
	}
	var resp *kmsg.ConsumerGroupHeartbeatResponse
	err := checkHeartbeat(req, w.cfg.assignors())
	if err == nil {
		w.do(func(m *machine, tx *coord.Tx) {
			if req.MemberEpoch < 0 {
				resp, err = m.consumerLeave(tx, req)
			} else {
				resp, err = m.consumerHeartbeat(tx, client(a), req)
			}
		})
	}
	if err != nil {
		return errName(err) + "\n"
	}
	var assigned partitionSet
	if resp.Assignment != nil {
		assigned = partitionSet{}
		for _, t := range resp.Assignment.Topics {
			assigned[t.TopicID] = t.Partitions
		}
	}
	return w.beat(*resp.MemberID, resp.MemberEpoch, assigned)
}

// beat is what a heartbeat was answered. The set is nil if the answer has none.
func (w *scriptWorld) beat(member string, epoch int32, assigned partitionSet) string {
	w.ids[member+"_epoch"] = fmt.Sprint(epoch)
	s := fmt.Sprintf("%s: epoch=%d", member, epoch)
	if assigned != nil {
		s += " assigned=" + w.machine.printSet(assigned)
	}
	return s + "\n"
}

// shareHeartbeat is "sharehb member=a epoch=0 topics=t".
func (w *scriptWorld) shareHeartbeat(a args) string {
	req := kmsg.NewPtrShareGroupHeartbeatRequest()
	req.Version = 1
	req.GroupID, req.MemberID, req.RackID = a.Or("group", "g"), a["member"], a.Pointer("rack")
	req.MemberEpoch, req.SubscribedTopicNames = int32(a.Num("epoch", 0)), a.List("topics")
	var resp *kmsg.ShareGroupHeartbeatResponse
	err := checkShareHeartbeat(req)
	if err == nil {
		w.do(func(m *machine, tx *coord.Tx) {
			if req.MemberEpoch < 0 {
				resp, err = m.shareLeave(tx, req)
			} else {
				resp, err = m.shareHeartbeat(tx, client(a), req)
			}
		})
	}
	if err != nil {
		return errName(err) + "\n"
	}
	var assigned partitionSet
	if resp.Assignment != nil {
		assigned = partitionSet{}
		for _, t := range resp.Assignment.TopicPartitions {
			assigned[t.TopicID] = t.Partitions
		}
	}
	return w.beat(*resp.MemberID, resp.MemberEpoch, assigned)
}
