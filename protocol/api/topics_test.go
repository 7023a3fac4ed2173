package api

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
)

// newTopicRequest asks for a topic with one partition.
func newTopicRequest(name string, change ...func(*kmsg.CreateTopicsRequestTopic)) kmsg.CreateTopicsRequestTopic {
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 1, 1
	for _, f := range change {
		f(&rt)
	}
	return rt
}

func createRequest(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = topics
	return req
}

func sized(partitions int32, factor int16) func(*kmsg.CreateTopicsRequestTopic) {
	return func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions, t.ReplicationFactor = partitions, factor }
}

func configured(name string, value *string) func(*kmsg.CreateTopicsRequestTopic) {
	return func(t *kmsg.CreateTopicsRequestTopic) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, value
		t.Configs = append(t.Configs, c)
	}
}

func assigned(partition int32, replicas ...int32) func(*kmsg.CreateTopicsRequestTopic) {
	return func(t *kmsg.CreateTopicsRequestTopic) {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = partition, replicas
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
}

func TestCreateTopicsAnswersWithWhatWasMade(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for v := int16(2); v <= 7; v++ {
		name := fmt.Sprintf("orders%d", v)
		resp := ask[*kmsg.CreateTopicsResponse](c, v, createRequest(newTopicRequest(name, sized(2, 1), configured("retention.ms", kmsg.StringPtr("1000")))))
		rt := resp.Topics[0]
		wantCode(t, "create", rt.ErrorCode, nil)
		topic, ok := w.store.Image().Topic(name)
		if !ok || len(topic.Partitions) != 2 || rt.ErrorMessage != nil {
			t.Fatalf("version %d made %+v", v, topic)
		}
		if v >= 5 && (rt.NumPartitions != 2 || rt.ReplicationFactor != 1) || v >= 7 && cluster.TopicID(rt.TopicID) != topic.ID {
			t.Errorf("version %d answers %+v", v, rt)
		}
		if v >= 5 {
			i := slices.IndexFunc(rt.Configs, func(c kmsg.CreateTopicsResponseTopicConfig) bool { return c.Name == "retention.ms" })
			if i < 0 || deref(rt.Configs[i].Value) != "1000" || rt.Configs[i].Source != 1 || len(rt.Configs) < 20 {
				t.Errorf("version %d answers configs %+v", v, rt.Configs)
			}
		}
		c.produce(name, values("a")...)
	}
}

func TestCreateTopicsRefusals(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.create("with.dot", 1)
	c := w.connect()
	for _, test := range []struct {
		name string
		req  kmsg.CreateTopicsRequestTopic
		want *kerr.Error
	}{
		{"exists", newTopicRequest("orders"), kerr.TopicAlreadyExists},
		{"empty name", newTopicRequest(""), kerr.InvalidTopicException},
		{"bad name", newTopicRequest("a b"), kerr.InvalidTopicException},
		{"colliding name", newTopicRequest("with_dot"), kerr.InvalidTopicException},
		{"schedule", newTopicRequest("__schedule.x"), kerr.InvalidTopicException},
		{"offsets", newTopicRequest(cluster.OffsetsTopic), kerr.InvalidTopicException},
		{"no partitions", newTopicRequest("x", sized(0, 1)), kerr.InvalidPartitions},
		{"negative partitions", newTopicRequest("x", sized(-2, 1)), kerr.InvalidPartitions},
		{"no replicas", newTopicRequest("x", sized(1, 0)), kerr.InvalidReplicationFactor},
		{"too many replicas", newTopicRequest("x", sized(1, 2)), kerr.InvalidReplicationFactor},
		{"unknown config", newTopicRequest("x", configured("no.such.thing", kmsg.StringPtr("1"))), kerr.InvalidConfig},
		{"bad config", newTopicRequest("x", configured("retention.ms", kmsg.StringPtr("soon"))), kerr.InvalidConfig},
		{"null config", newTopicRequest("x", configured("retention.ms", nil)), kerr.InvalidConfig},
		{"assignment and number", newTopicRequest("x", assigned(0, node), sized(1, -1)), kerr.InvalidRequest},
		{"assignment with a gap", newTopicRequest("x", assigned(0, node), assigned(2, node)), kerr.InvalidReplicaAssignment},
		{"assignment twice", newTopicRequest("x", assigned(0, node), assigned(0, node)), kerr.InvalidReplicaAssignment},
		{"assignment to nobody", newTopicRequest("x", assigned(0)), kerr.InvalidReplicaAssignment},
		{"assignment to a stranger", newTopicRequest("x", assigned(0, 99)), kerr.InvalidReplicaAssignment},
		{"assignment to one twice", newTopicRequest("x", assigned(0, node, node)), kerr.InvalidReplicaAssignment},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, validate := range []bool{true, false} {
				req := createRequest(test.req)
				req.ValidateOnly = validate
				rt := ask[*kmsg.CreateTopicsResponse](c, 7, req).Topics[0]
				wantCode(t, "answer", rt.ErrorCode, test.want)
				if rt.Topic != test.req.Topic || deref(rt.ErrorMessage) == "" || rt.NumPartitions != -1 || rt.ReplicationFactor != -1 || rt.Configs == nil {
					t.Errorf("answer is %+v", rt)
				}
			}
		})
	}
	if n := len(w.store.Image().Topics()); n != 4 {
		t.Errorf("there are %d topics, expected the first two and their schedules", n)
	}
}

func TestCreateTopicsDefaults(t *testing.T) {
	w := newWorld(t, with("num.partitions", "3"))
	rt := ask[*kmsg.CreateTopicsResponse](w.connect(), 7, createRequest(newTopicRequest("x", sized(-1, -1)))).Topics[0]
	if rt.ErrorCode != 0 || rt.NumPartitions != 3 || rt.ReplicationFactor != 1 {
		t.Errorf("answer is %+v", rt)
	}
}

func TestCreateTopicsGoOnBesideARefusal(t *testing.T) {
	w := newWorld(t)
	resp := ask[*kmsg.CreateTopicsResponse](w.connect(), 7, createRequest(
		newTopicRequest("twice"), newTopicRequest("a"), newTopicRequest("b b"), newTopicRequest("c", configured("x", nil)), newTopicRequest("d"), newTopicRequest("twice")))
	var got []string
	for _, rt := range resp.Topics {
		got = append(got, fmt.Sprint(rt.Topic, " ", rt.ErrorCode))
	}
	if want := []string{"a 0", "b b 17", "c 40", "d 0", "twice 42"}; !slices.Equal(got, want) {
		t.Errorf("answers are %q, expected %q", got, want)
	}
	if _, made := w.store.Image().Topic("twice"); made {
		t.Error("a topic named twice was made")
	}
}

func TestCreateTopicsValidateOnly(t *testing.T) {
	w := newWorld(t)
	req := createRequest(newTopicRequest("a", sized(2, 1)), newTopicRequest("b b"))
	req.ValidateOnly = true
	resp := ask[*kmsg.CreateTopicsResponse](w.connect(), 7, req)
	if rt := resp.Topics[0]; rt.ErrorCode != 0 || rt.NumPartitions != 2 || len(rt.Configs) == 0 {
		t.Errorf("answer is %+v", rt)
	}
	wantCode(t, "bad name", resp.Topics[1].ErrorCode, kerr.InvalidTopicException)
	if n := len(w.store.Image().Topics()); n != 0 {
		t.Errorf("%d topics were made", n)
	}
}

// A slip of the finger, or somebody who means no good, must not keep all others waiting while
// directories are made.
func TestTooManyPartitionsInOneRequestMakeNone(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	many := func(t *kmsg.CreateTopicsRequestTopic) {
		t.NumPartitions = maxRequestPartitions
	}
	req := createRequest(newTopicRequest("orders", many), newTopicRequest("more", assigned(0, node)), newTopicRequest("bad name"))
	resp := ask[*kmsg.CreateTopicsResponse](c, 7, req)
	for i, want := range []*kerr.Error{kerr.PolicyViolation, kerr.PolicyViolation, kerr.PolicyViolation} {
		wantCode(t, resp.Topics[i].Topic, resp.Topics[i].ErrorCode, want)
		if deref(resp.Topics[i].ErrorMessage) == "" {
			t.Error("there is no message")
		}
	}
	if n := len(w.store.Image().Topics()); n != 0 {
		t.Errorf("%d topics were made", n)
	}
}

func TestCreatePartitions(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	w.create("more", 1)
	c := w.connect()
	ask[*kmsg.FindCoordinatorResponse](c, 3, groupRequest("g"))
	grow := func(name string, count int32, assignment ...[]int32) kmsg.CreatePartitionsRequestTopic {
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = name, count
		for _, replicas := range assignment {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = replicas
			rt.Assignment = append(rt.Assignment, a)
		}
		return rt
	}
	empty := grow("orders", 3)
	empty.Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{}
	for _, test := range []struct {
		name string
		req  kmsg.CreatePartitionsRequestTopic
		want *kerr.Error
	}{
		{"unknown topic", grow("nowhere", 3), kerr.UnknownTopicOrPartition},
		{"as many", grow("orders", 2), kerr.InvalidPartitions},
		{"fewer", grow("orders", 1), kerr.InvalidPartitions},
		{"negative", grow("orders", -1), kerr.InvalidPartitions},
		{"too few assignments", grow("orders", 4, []int32{node}), kerr.InvalidReplicaAssignment},
		{"no assignments", empty, kerr.InvalidReplicaAssignment},
		{"stranger", grow("orders", 3, []int32{99}), kerr.InvalidReplicaAssignment},
		{"too many for one request", grow("orders", 2+maxRequestPartitions+1), kerr.PolicyViolation},
		{"internal", grow(cluster.OffsetsTopic, 99), kerr.InvalidRequest},
		{"schedule", grow("__schedule.orders", 3), kerr.InvalidRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := kmsg.NewPtrCreatePartitionsRequest()
			req.Topics = append(req.Topics, test.req)
			rt := ask[*kmsg.CreatePartitionsResponse](c, 3, req).Topics[0]
			wantCode(t, "answer", rt.ErrorCode, test.want)
			if deref(rt.ErrorMessage) == "" {
				t.Error("there is no message")
			}
		})
	}
	for v := int16(0); v <= 3; v++ {
		for _, validate := range []bool{true, false} {
			req := kmsg.NewPtrCreatePartitionsRequest()
			req.ValidateOnly = validate
			req.Topics = append(req.Topics, grow("orders", int32(3+v)), grow("more", 9), grow("more", 9))
			resp := ask[*kmsg.CreatePartitionsResponse](c, v, req)
			if len(resp.Topics) != 2 {
				t.Fatalf("version %d answers %+v", v, resp.Topics)
			}
			wantCode(t, "grow", resp.Topics[0].ErrorCode, nil)
			wantCode(t, "named twice", resp.Topics[1].ErrorCode, kerr.InvalidRequest)
			want := 3 + int(v)
			if validate {
				want--
			}
			for _, name := range []string{"orders", "__schedule.orders"} {
				if topic, _ := w.store.Image().Topic(name); len(topic.Partitions) != want {
					t.Errorf("%s has %d partitions, expected %d", name, len(topic.Partitions), want)
				}
			}
		}
	}
	if topic, _ := w.store.Image().Topic("more"); len(topic.Partitions) != 1 {
		t.Error("a topic named twice was grown")
	}
	req := producingTo("orders", batch(values("a")...))
	req.Topics[0].Partitions[0].Partition = 5
	wantCode(t, "produce to the last partition", ask[*kmsg.ProduceResponse](c, 9, req).Topics[0].Partitions[0].ErrorCode, nil)
}

// deletion names a topic to be deleted, by name or by id.
func deletionOf(name string, id cluster.TopicID) kmsg.DeleteTopicsRequestTopic {
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic, rt.TopicID = optional(name), id
	return rt
}

func TestDeleteTopics(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for v := int16(1); v <= 6; v++ {
		topic := w.create("orders", 1)
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames = []string{"orders", "nowhere"}
		req.Topics = append(req.Topics, deletionOf("orders", cluster.TopicID{}), deletionOf("nowhere", cluster.TopicID{}))
		resp := ask[*kmsg.DeleteTopicsResponse](c, v, req)
		if len(resp.Topics) != 2 || deref(resp.Topics[0].Topic) != "orders" || v >= 6 && cluster.TopicID(resp.Topics[0].TopicID) != topic.ID {
			t.Errorf("version %d answers %+v", v, resp.Topics)
		}
		wantCode(t, "delete", resp.Topics[0].ErrorCode, nil)
		wantCode(t, "unknown", resp.Topics[1].ErrorCode, kerr.UnknownTopicOrPartition)
		if _, there := w.store.Image().Topic("orders"); there {
			t.Error("the topic is still there")
		}
		if _, there := w.store.Image().Topic("__schedule.orders"); there {
			t.Error("its schedule is still there")
		}
	}
}

func TestDeleteTopicsByID(t *testing.T) {
	w := newWorld(t)
	topics := map[string]cluster.TopicID{}
	for _, name := range []string{"a", "b", "c", "d"} {
		topics[name] = w.create(name, 1).ID
	}
	c := w.connect()
	ask[*kmsg.FindCoordinatorResponse](c, 3, groupRequest("g"))
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics = append(req.Topics,
		deletionOf("", topics["a"]),
		deletionOf("", cluster.TopicID{1}),
		deletionOf("", cluster.TopicID{}),
		deletionOf("b", topics["b"]),
		deletionOf("c", cluster.TopicID{}), deletionOf("", topics["c"]),
		deletionOf("", topics["d"]), deletionOf("", topics["d"]),
		deletionOf(cluster.OffsetsTopic, cluster.TopicID{}),
	)
	want := []*kerr.Error{nil, kerr.UnknownTopicID, kerr.InvalidRequest, kerr.InvalidRequest, kerr.InvalidRequest, kerr.InvalidRequest, kerr.InvalidRequest, kerr.InvalidRequest, kerr.InvalidRequest}
	resp := ask[*kmsg.DeleteTopicsResponse](c, 6, req)
	for i, rt := range resp.Topics {
		wantCode(t, fmt.Sprintf("item %d", i), rt.ErrorCode, want[i])
	}
	if deref(resp.Topics[0].Topic) != "a" || resp.Topics[1].Topic != nil || resp.Topics[1].TopicID != [16]byte{1} {
		t.Errorf("answers are %+v", resp.Topics)
	}
	for name, id := range topics {
		if _, there := w.store.Image().TopicByID(id); there != (name != "a") {
			t.Errorf("topic %s is there: %t", name, there)
		}
	}
}

func TestDeleteTopicsSwitchedOff(t *testing.T) {
	w := newWorld(t, with("delete.topic.enable", "false"))
	w.create("orders", 1)
	c := w.connect()
	for v, want := range map[int16]*kerr.Error{2: kerr.InvalidRequest, 3: kerr.TopicDeletionDisabled} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames = []string{"orders"}
		wantCode(t, "delete", ask[*kmsg.DeleteTopicsResponse](c, v, req).Topics[0].ErrorCode, want)
	}
}

func TestTopicsAreChangedWithinTheirTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 1)
		busy := &busyStore{Store: w.store}
		w.api.store = busy
		c := w.connect()
		began := time.Now()

		create := createRequest(newTopicRequest("a"))
		create.TimeoutMillis = 1000
		wantCode(t, "create", ask[*kmsg.CreateTopicsResponse](c, 7, create).Topics[0].ErrorCode, kerr.RequestTimedOut)

		grow := kmsg.NewPtrCreatePartitionsRequest()
		grow.TimeoutMillis = 1000
		grow.Topics = append(grow.Topics, kmsg.CreatePartitionsRequestTopic{Topic: "orders", Count: 2})
		wantCode(t, "grow", ask[*kmsg.CreatePartitionsResponse](c, 3, grow).Topics[0].ErrorCode, kerr.RequestTimedOut)

		remove := kmsg.NewPtrDeleteTopicsRequest()
		remove.TimeoutMillis = 1000
		remove.Topics = append(remove.Topics, deletionOf("orders", cluster.TopicID{}))
		wantCode(t, "delete", ask[*kmsg.DeleteTopicsResponse](c, 6, remove).Topics[0].ErrorCode, kerr.RequestTimedOut)

		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %s, expected 3s", took)
		}
	})
}

// busyStore is a store that never gets round to a command, or to producer ids.
type busyStore struct{ cluster.Store }

func (s *busyStore) Apply(ctx context.Context, _ cluster.Command) (*cluster.Image, error) {
	<-ctx.Done()
	return s.Image(), ctx.Err()
}
