package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Who finds a topic gone looks into the log.
func TestBrokerLogsWhatAdministratorsChange(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.id = "admin-7"
	said := func(want string) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(w.lines.String()), "\n")
		last := lines[len(lines)-1]
		if !strings.Contains(last, "level=INFO "+want) || !strings.Contains(last, "client=admin-7 peer=") {
			t.Errorf("the log ends with %s, want %s", last, want)
		}
	}
	var many []kmsg.CreateTopicsRequestTopic
	for i := range 12 {
		many = append(many, newTopicRequest(fmt.Sprintf("t%d", i), sized(1, 1)))
	}
	many = append(many, newTopicRequest("no/name", sized(1, 1)))
	ask[*kmsg.CreateTopicsResponse](c, 7, createRequest(many...))
	said(`msg="topics created" names="t0, t1, t2, t3, t4, t5, t6, t7, t8, t9" count=12`)

	c.alter(kmsg.ConfigResourceTypeTopic, "t1", set("retention.ms", "77777"), step{kmsg.IncrementalAlterConfigOpDelete, "segment.ms", nil})
	said(`msg="configs altered" names="topic t1: retention.ms -segment.ms" count=1`)

	grow := kmsg.NewPtrCreatePartitionsRequest()
	more := kmsg.NewCreatePartitionsRequestTopic()
	more.Topic, more.Count = "t2", 3
	grow.Topics = append(grow.Topics, more)
	ask[*kmsg.CreatePartitionsResponse](c, 3, grow)
	said(`msg="topics have more partitions" names=t2 count=1`)

	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"t1", "nope"}
	ask[*kmsg.DeleteTopicsResponse](c, 5, del)
	said(`msg="topics deleted" names=t1 count=1`)
	all := w.lines.String()
	if strings.Contains(all, "77777") {
		t.Errorf("a value is in the log:\n%s", all)
	}

	only := createRequest(newTopicRequest("never", sized(1, 1)))
	only.ValidateOnly = true
	ask[*kmsg.CreateTopicsResponse](c, 7, only)
	ask[*kmsg.DeleteTopicsResponse](c, 5, del) // they are gone
	c.alter(kmsg.ConfigResourceTypeTopic, "t2", set("retention.ms", "soon"))
	const ours = "client=admin-7"
	if now := w.lines.String(); strings.Count(now, ours) != strings.Count(all, ours) {
		t.Errorf("what was not changed is in the log:\n%s", now)
	}
}
