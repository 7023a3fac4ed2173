package api

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// A member that comes back on a new connection keeps its session, even if the end of the old one is
// noticed only then.
func TestShareSessionStaysWhenItsOldConnectionEndsLate(t *testing.T) {
	sessions := newShareSessions(func() int { return 1 }, func(*shareSession) {})
	m := shareMember{"group", "member"}
	first, second := new(protocol.Conn), new(protocol.Conn)
	s, err := sessions.create(m, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sessions.find(m, second); err != nil {
		t.Fatal(err)
	}
	if sessions.removeWith(s, first) || sessions.len() != 1 {
		t.Error("the session went with a connection that it had left")
	}
	if !sessions.removeWith(s, second) || sessions.len() != 0 {
		t.Error("the session did not go with its connection")
	}
}

// A member may name partitions that do not exist, and as many as it likes: what is kept of them is bounded.
func TestShareSessionsKeepSoManyPartitions(t *testing.T) {
	sessions := newShareSessions(func() int { return 10 }, func(*shareSession) {})
	sessions.most = 100
	naming := func(n int32) *kmsg.ShareFetchRequest {
		topic := kmsg.NewShareFetchRequestTopic()
		topic.TopicID = [16]byte{1}
		for i := range n {
			p := kmsg.NewShareFetchRequestTopicPartition()
			p.Partition = i
			topic.Partitions = append(topic.Partitions, p)
		}
		req := kmsg.NewPtrShareFetchRequest()
		req.Topics = append(req.Topics, topic)
		return req
	}
	create := func(member string) *shareSession {
		s, err := sessions.create(shareMember{"group", member}, new(protocol.Conn))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	kept := func(want int64) {
		t.Helper()
		if got := sessions.parts.Load(); got != want {
			t.Errorf("%d partitions are kept, expected %d", got, want)
		}
	}
	const most = 60
	a := create("a")
	if err := sessions.update(a, naming(most)); err != nil {
		t.Fatal(err)
	}
	if err := sessions.update(a, naming(most)); err != nil { // the same ones
		t.Fatal(err)
	}
	kept(most)
	b := create("b")
	if err := sessions.update(b, naming(most)); !errors.Is(err, kerr.ShareSessionLimitReached) {
		t.Errorf("too many: %v", err)
	}
	sessions.remove(b)
	kept(most)
	forget := kmsg.NewPtrShareFetchRequest()
	forget.ForgottenTopicsData = []kmsg.ShareFetchRequestForgottenTopicsData{{TopicID: [16]byte{1}, Partitions: []int32{0, 1, 1, -1}}}
	if err := sessions.update(a, forget); err != nil {
		t.Error(err)
	}
	kept(most - 2)
	create("a") // begins anew
	kept(0)
	a.update(naming(5)) // by a request of the former session that is still under way
	kept(0)
}
