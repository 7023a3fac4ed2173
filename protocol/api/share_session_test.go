package api

import (
	"testing"

	"github.com/morrowmq/morrow/protocol"
)

// A member that comes back on a new connection keeps its session, even if the end of the old one is noticed only then.
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
