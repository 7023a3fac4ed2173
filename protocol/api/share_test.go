package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
)

// sharer is a member of a share group that speaks the protocol by hand. Its session epochs count by themselves.
type sharer struct {
	*client
	group, member string
	topic         *cluster.Topic
	epoch         int32
}

// sharing makes a topic, and a member of the group g that reads it from the beginning.
func (w *world) sharing(t testing.TB, configs ...string) *sharer {
	t.Helper()
	w.setGroup("g", append([]string{"share.auto.offset.reset", "earliest"}, configs...)...)
	topic := w.create("jobs", 1)
	w.loaded("jobs", 0)
	return w.joins(topic, "g", "m1")
}

// joins is another member on a connection of its own.
func (w *world) joins(topic *cluster.Topic, group, member string) *sharer {
	w.Helper()
	s := &sharer{client: w.connect(), group: group, member: member, topic: topic}
	ask[*kmsg.FindCoordinatorResponse](s.client, 4, groupRequest(group))
	for {
		resp := s.heartbeat(0)
		if resp.ErrorCode != kerr.CoordinatorLoadInProgress.Code {
			wantCode(w, "join", resp.ErrorCode, nil)
			w.shareStateLoaded(share.Key{Group: group, Topic: topic.ID})
			return s
		}
		time.Sleep(time.Millisecond)
	}
}

// shareStateLoaded waits until a share-partition can be asked for.
func (w *world) shareStateLoaded(k share.Key) {
	w.Helper()
	if err := w.api.ensureShareState(w.Context()); err != nil {
		w.Fatal(err)
	}
	for {
		if _, _, _, err := w.shares.Next(k); errors.Is(err, share.ErrUnknown) || err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *sharer) heartbeat(epoch int32) *kmsg.ShareGroupHeartbeatResponse {
	req := kmsg.NewPtrShareGroupHeartbeatRequest()
	req.GroupID, req.MemberID, req.MemberEpoch = s.group, s.member, epoch
	if epoch == 0 {
		req.SubscribedTopicNames = []string{s.topic.Name}
	}
	return ask[*kmsg.ShareGroupHeartbeatResponse](s.client, 1, req)
}

// setGroup sets configs of a group, as name, value, name, value.
func (w *world) setGroup(group string, configs ...string) {
	w.Helper()
	edit := cluster.ConfigEdit{}
	for i := 0; i < len(configs); i += 2 {
		edit.Ops = append(edit.Ops, cluster.ConfigOp{Kind: cluster.OpSet, Name: configs[i], Value: configs[i+1]})
	}
	if _, err := w.store.Apply(w.Context(), cluster.SetGroupConfig{Group: group, Edit: edit}); err != nil {
		w.Fatal(err)
	}
}

// acks is acknowledgements as "0-4=accept 5=release,reject": see ackBatches.
type acks string

// fetchRequest is a ShareFetch of the topic, with acknowledgements.
func (s *sharer) fetchRequest(wait time.Duration, how acks) *kmsg.ShareFetchRequest {
	req := kmsg.NewPtrShareFetchRequest()
	req.Version = 2
	req.GroupID, req.MemberID, req.ShareSessionEpoch = &s.group, &s.member, s.epoch
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.MaxRecords, req.BatchSize = int32(wait.Milliseconds()), 1, 1<<20, 500, 500
	if s.epoch == 0 || how != "" {
		rt := kmsg.NewShareFetchRequestTopic()
		rt.TopicID = s.topic.ID
		rp := kmsg.NewShareFetchRequestTopicPartition()
		for _, b := range ackBatches(how) {
			rb := kmsg.NewShareFetchRequestTopicPartitionAcknowledgementBatch()
			rb.FirstOffset, rb.LastOffset, rb.AcknowledgeTypes = b.first, b.last, b.types
			rp.AcknowledgementBatches = append(rp.AcknowledgementBatches, rb)
		}
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	}
	return req
}

// fetchShare fetches and returns what it was given: "0:a 1:b(2)", with the delivery count unless it is 1.
func (s *sharer) fetchShare(wait time.Duration, how acks, change ...func(*kmsg.ShareFetchRequest)) string {
	s.w.Helper()
	req := s.fetchRequest(wait, how)
	for _, c := range change {
		c(req)
	}
	resp := ask[*kmsg.ShareFetchResponse](s.client, 2, req)
	if resp.ErrorCode != 0 {
		return codeName(resp.ErrorCode)
	}
	if s.epoch++; req.ShareSessionEpoch == shareFinalEpoch {
		s.epoch = 0
	}
	return s.printed(resp)
}

func (s *sharer) printed(resp *kmsg.ShareFetchResponse) string {
	var out []string
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			for _, c := range []int16{p.ErrorCode, p.AcknowledgeErrorCode} {
				if c != 0 {
					out = append(out, codeName(c))
				}
			}
			for _, r := range fetched(s.w, p.Records) {
				var offset int64
				if _, err := fmt.Sscanf(r, "%d:", &offset); err != nil {
					s.w.Fatal(err)
				}
				for _, a := range p.AcquiredRecords {
					if offset < a.FirstOffset || offset > a.LastOffset {
						continue
					}
					if a.DeliveryCount > 1 {
						r += fmt.Sprintf("(%d)", a.DeliveryCount)
					}
					out = append(out, r)
				}
			}
		}
	}
	return strings.Join(out, " ")
}

// acknowledge sends a ShareAcknowledge and returns the code of the request or of the partition.
func (s *sharer) acknowledge(how acks, change ...func(*kmsg.ShareAcknowledgeRequest)) string {
	s.w.Helper()
	req := kmsg.NewPtrShareAcknowledgeRequest()
	req.GroupID, req.MemberID, req.ShareSessionEpoch = &s.group, &s.member, s.epoch
	rt := kmsg.NewShareAcknowledgeRequestTopic()
	rt.TopicID = s.topic.ID
	rp := kmsg.NewShareAcknowledgeRequestTopicPartition()
	for _, b := range ackBatches(how) {
		rb := kmsg.NewShareAcknowledgeRequestTopicPartitionAcknowledgementBatch()
		rb.FirstOffset, rb.LastOffset, rb.AcknowledgeTypes = b.first, b.last, b.types
		rp.AcknowledgementBatches = append(rp.AcknowledgementBatches, rb)
	}
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	for _, c := range change {
		c(req)
	}
	resp := ask[*kmsg.ShareAcknowledgeResponse](s.client, 2, req)
	code := resp.ErrorCode
	if code == 0 {
		s.epoch++
		code = resp.Topics[0].Partitions[0].ErrorCode
	}
	if code == 0 {
		return "ok"
	}
	return codeName(code)
}

type ackBatch struct {
	first, last int64
	types       []int8
}

func ackBatches(how acks) (batches []ackBatch) {
	names := map[string]int8{"gap": 0, "accept": 1, "release": 2, "reject": 3, "renew": 4}
	for _, word := range strings.Fields(string(how)) {
		var b ackBatch
		offsets, ways, _ := strings.Cut(word, "=")
		if _, err := fmt.Sscanf(offsets, "%d-%d", &b.first, &b.last); err != nil {
			b.last = b.first
		}
		for _, way := range strings.Split(ways, ",") {
			b.types = append(b.types, names[way])
		}
		batches = append(batches, b)
	}
	return batches
}

func equalString(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestShareFetchAcquiresAndAcknowledges(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a", "b", "c")...)
	s.produce("jobs", values("d")...)
	equalString(t, "first fetch", s.fetchShare(0, ""), "0:a 1:b 2:c 3:d")
	other := w.joins(s.topic, "g", "m2")
	equalString(t, "another member's", other.fetchShare(0, ""), "")
	equalString(t, "acknowledge", s.acknowledge("0=accept 1-2=release,reject"), "ok")
	equalString(t, "another member's, after a release", other.fetchShare(0, ""), "1:b(2)")
	equalString(t, "what somebody else holds", s.acknowledge("1=accept"), "INVALID_RECORD_STATE")
	equalString(t, "fetch with acknowledgements", s.fetchShare(0, "3=release"), "3:d(2)")
	equalString(t, "fetch with wrong ones", s.fetchShare(0, "0-1=accept"), "INVALID_RECORD_STATE")
	equalString(t, "more types than offsets", s.acknowledge("3=accept,accept"), "INVALID_REQUEST")
	equalString(t, "an unknown type", s.acknowledge("3=renew"), "INVALID_REQUEST")
	equalString(t, "beyond the end", s.acknowledge("3-9=accept"), "INVALID_REQUEST")
}

func TestShareFetchHandsOutNoHiddenRecords(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a")...)
	s.produce("jobs", delayed("later", "1h"))
	s.produce("jobs", rec{value: "b"}, delayed("much later", "2h"), rec{value: "c"})
	equalString(t, "fetch", s.fetchShare(0, ""), "0:a 2:b 4:c")
	equalString(t, "acknowledge what was handed out", s.acknowledge("0=accept 2=accept 4=accept"), "ok")
	equalString(t, "lag", w.shareLag(s, 0), "start 5 lag 0")
}

func TestShareFetchLimits(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a", "b")...)
	s.produce("jobs", values("c", "d")...)
	s.produce("jobs", values("e", "f")...)
	atMost := func(n int32, mode int8) func(*kmsg.ShareFetchRequest) {
		return func(r *kmsg.ShareFetchRequest) { r.MaxRecords, r.ShareAcquireMode = n, mode }
	}
	equalString(t, "a limit of records", s.fetchShare(0, "", atMost(1, 1)), "0:a")
	equalString(t, "whole batches", s.fetchShare(0, "", atMost(2, 0)), "1:b 2:c 3:d")
	equalString(t, "one byte", s.fetchShare(0, "", func(r *kmsg.ShareFetchRequest) { r.MaxBytes = 1 }), "4:e 5:f")
}

func TestShareSessionErrors(t *testing.T) {
	w := newWorld(t, with("group.share.max.share.sessions", "2"))
	s := w.sharing(t)
	s.produce("jobs", values("a", "b")...)
	as := func(group, member string, epoch int32) func(*kmsg.ShareFetchRequest) {
		return func(r *kmsg.ShareFetchRequest) { r.GroupID, r.MemberID, r.ShareSessionEpoch = &group, &member, epoch }
	}
	equalString(t, "no session yet", s.fetchShare(0, "", as("g", "m1", 1)), "SHARE_SESSION_NOT_FOUND")
	equalString(t, "no session to end", s.fetchShare(0, "", as("g", "m1", -1)), "SHARE_SESSION_NOT_FOUND")
	equalString(t, "no member", s.fetchShare(0, "", as("g", "nobody", 0)), "UNKNOWN_MEMBER_ID")
	equalString(t, "no group", s.fetchShare(0, "", as("h", "m1", 0)), "GROUP_ID_NOT_FOUND")
	equalString(t, "empty group", s.fetchShare(0, "", as("", "m1", 0)), "INVALID_GROUP_ID")
	equalString(t, "empty member", s.fetchShare(0, "", as("g", "", 0)), "INVALID_REQUEST")
	equalString(t, "acknowledgements at the beginning", s.fetchShare(0, "0=accept"), "INVALID_REQUEST")
	equalString(t, "acknowledge at the beginning", s.acknowledge("0=accept"), "INVALID_SHARE_SESSION_EPOCH")
	equalString(t, "begin", s.fetchShare(0, ""), "0:a 1:b")
	equalString(t, "an epoch again", s.fetchShare(0, "", as("g", "m1", 7)), "INVALID_SHARE_SESSION_EPOCH")
	equalString(t, "acknowledge with another epoch", s.acknowledge("0=accept", func(r *kmsg.ShareAcknowledgeRequest) { r.ShareSessionEpoch = 7 }), "INVALID_SHARE_SESSION_EPOCH")
	equalString(t, "an acquire mode", s.fetchShare(0, "", func(r *kmsg.ShareFetchRequest) { r.ShareAcquireMode = 2 }), "INVALID_REQUEST")
	equalString(t, "renewing and fetching", s.fetchShare(0, "", func(r *kmsg.ShareFetchRequest) { r.IsRenewAck = true }), "INVALID_REQUEST")

	other := w.joins(s.topic, "g", "m2")
	equalString(t, "another session", other.fetchShare(0, ""), "")
	third := w.joins(s.topic, "g", "m3")
	equalString(t, "one too many", third.fetchShare(0, ""), "SHARE_SESSION_LIMIT_REACHED")

	equalString(t, "end with acknowledgements", s.fetchShare(0, "0=accept", as("g", "m1", -1)), "")
	equalString(t, "what the session held", other.fetchShare(0, ""), "1:b")
	equalString(t, "room for a third", third.fetchShare(0, ""), "")
}

func TestShareSessionForgetsPartitions(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	equalString(t, "begin", s.fetchShare(0, ""), "")
	equalString(t, "forget", s.fetchShare(0, "", func(r *kmsg.ShareFetchRequest) {
		f := kmsg.NewShareFetchRequestForgottenTopicsData()
		f.TopicID, f.Partitions = s.topic.ID, []int32{0}
		r.ForgottenTopicsData = append(r.ForgottenTopicsData, f)
	}), "")
	s.produce("jobs", values("a")...)
	equalString(t, "forgotten", s.fetchShare(0, ""), "")
	equalString(t, "added again", s.fetchShare(0, "", func(r *kmsg.ShareFetchRequest) {
		r.Topics = s.fetchRequest(0, "0=gap").Topics
		r.Topics[0].Partitions[0].AcknowledgementBatches = nil
	}), "0:a")
}

func TestShareFetchOfTopicsThatAreNotThere(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.topic = &cluster.Topic{Name: "jobs", ID: cluster.TopicID{1}}
	equalString(t, "unknown id", s.fetchShare(time.Second, ""), "UNKNOWN_TOPIC_ID")
}

func TestShareFetchWaitsForRecordsAndReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.sharing(t)
		other := w.joins(s.topic, "g", "m2")
		equalString(t, "begin", s.fetchShare(0, ""), "")
		equalString(t, "begin", other.fetchShare(0, ""), "")

		begun := time.Now()
		s.send(s.fetchRequest(time.Minute, ""))
		time.Sleep(time.Second)
		other.produce("jobs", values("a")...)
		equalString(t, "woken by a record", s.printed(s.receive(s.fetchRequest(time.Minute, "")).(*kmsg.ShareFetchResponse)), "0:a")
		s.epoch++

		other.send(other.fetchRequest(time.Minute, ""))
		time.Sleep(time.Second)
		equalString(t, "release", s.acknowledge("0=release"), "ok")
		equalString(t, "woken by a release", other.printed(other.receive(other.fetchRequest(time.Minute, "")).(*kmsg.ShareFetchResponse)), "0:a(2)")
		other.epoch++

		// The lock of what is held ends after half a minute; a renewed one later.
		time.Sleep(20 * time.Second)
		equalString(t, "renew", other.acknowledge("0=renew", func(r *kmsg.ShareAcknowledgeRequest) { r.IsRenewAck = true }), "ok")
		equalString(t, "woken by the end of a lock", s.fetchShare(time.Minute, ""), "0:a(3)")
		if took := time.Since(begun); took < 52*time.Second || took > 53*time.Second {
			t.Errorf("all of it took %v, want 52s: two waits of 1s, and locks of 20s and 30s", took)
		}
		equalString(t, "nothing within the wait", other.fetchShare(time.Second, ""), "")
	})
}

func TestShareRecordsComeBackWhenTheConnectionGoes(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a", "b")...)
	equalString(t, "fetch", s.fetchShare(0, ""), "0:a 1:b")
	other := w.joins(s.topic, "g", "m2")
	equalString(t, "while it is held", other.fetchShare(0, ""), "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	equalString(t, "afterwards", other.fetchShare(10*time.Second, ""), "0:a 1:b")
	if n := w.api.ShareSessions(); n != 1 {
		t.Errorf("%d sessions are kept, want 1", n)
	}
}

func TestShareGroupBeginsWhereItIsTold(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("old")...)
	for i, test := range []struct{ reset, want string }{
		{"earliest", "0:old"}, {"latest", ""}, {"by_duration:PT1H", "0:old"}, {"by_duration:PT0.000001S", ""},
	} {
		group := fmt.Sprint("g", i)
		w.setGroup(group, "share.auto.offset.reset", test.reset)
		equalString(t, test.reset, w.joins(s.topic, group, "m").fetchShare(0, ""), test.want)
	}
}

func TestShareGroupOffsets(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a", "b", "c", "d")...)
	equalString(t, "not begun", w.shareLag(s, 0), "start -1 lag -1")
	equalString(t, "fetch", s.fetchShare(0, ""), "0:a 1:b 2:c 3:d")
	equalString(t, "acknowledge", s.acknowledge("0=accept 2=accept"), "ok")
	equalString(t, "lag", w.shareLag(s, 0), "start 1 lag 2")
	equalString(t, "partition", w.shareLag(s, 9), "UNKNOWN_TOPIC_OR_PARTITION")

	equalString(t, "alter with members", s.alterOffsets("g", "jobs", 0, 3), "NON_EMPTY_GROUP")
	equalString(t, "delete with members", s.deleteOffsets("g", "jobs"), "NON_EMPTY_GROUP")
	resp := s.heartbeat(-1)
	wantCode(t, "leave", resp.ErrorCode, nil)
	equalString(t, "alter", s.alterOffsets("g", "jobs", 0, 3), "ok")
	equalString(t, "alter some, one of them twice", fmt.Sprint(s.alterSeveral("g", "jobs", 3, 0, 1, 1)), "[ok INVALID_REQUEST INVALID_REQUEST]")
	equalString(t, "alter a topic that is not there", s.alterOffsets("g", "nowhere", 0, 3), "UNKNOWN_TOPIC_OR_PARTITION")
	equalString(t, "alter to before the beginning", s.alterOffsets("g", "jobs", 0, -3), "INVALID_REQUEST")
	equalString(t, "lag", w.shareLag(s, 0), "start 3 lag 1")
	equalString(t, "alter of a group that is not there", s.alterOffsets("new", "jobs", 0, 2), "ok")
	equalString(t, "delete of one that is not there", s.deleteOffsets("nobody", "jobs"), "GROUP_ID_NOT_FOUND")
	equalString(t, "delete a topic that is not there", s.deleteOffsets("g", "nowhere"), "UNKNOWN_TOPIC_OR_PARTITION")
	equalString(t, "delete", s.deleteOffsets("g", "jobs"), "ok")
	equalString(t, "deleted", w.shareLag(s, 0), "start -1 lag -1")

	again := w.joins(s.topic, "new", "m")
	equalString(t, "fetch from where it was set", again.fetchShare(0, ""), "2:c 3:d")
}

func TestDeletedShareGroupLeavesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a")...)
	equalString(t, "fetch", s.fetchShare(0, ""), "0:a")
	equalString(t, "acknowledge", s.acknowledge("0=accept"), "ok")
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{"g"}
	wantCode(t, "with a member", ask[*kmsg.DeleteGroupsResponse](s.client, 2, remove).Groups[0].ErrorCode, kerr.NonEmptyGroup)
	s.heartbeat(-1)
	wantCode(t, "without", ask[*kmsg.DeleteGroupsResponse](s.client, 2, remove).Groups[0].ErrorCode, nil)
	if left := w.api.shares.Statuses(""); len(left) > 0 {
		t.Errorf("left behind: %+v", left)
	}
	equalString(t, "one of the same name", w.joins(s.topic, "g", "m1").fetchShare(0, ""), "0:a")
}

// unreadable is a journal that cannot be loaded.
type unreadable struct{ coord.Journal }

func (unreadable) Load(context.Context, func(int64, coord.Record) error) (int64, error) {
	return 0, errors.New("unreadable")
}

// A group whose records cannot be forgotten now stays, or a later group of its name would find them.
func TestShareGroupStaysWhileItsStateCannotBeDeleted(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a", "b")...)
	equalString(t, "fetch", s.fetchShare(0, ""), "0:a 1:b")
	equalString(t, "acknowledge", s.acknowledge("0-1=accept"), "ok")
	wantCode(t, "leave", s.heartbeat(-1).ErrorCode, nil)
	shard, trim := w.shares.FindShard(w.shareKey(s)), func(int64) error { return nil }
	w.shares.Elect(shard, unreadable{w.shareJournal(s)}, trim)
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{"g", "nobody"} // answered in this order
	deleted := func() int16 { return ask[*kmsg.DeleteGroupsResponse](s.client, 2, remove).Groups[0].ErrorCode }
	wantCode(t, "while it is not loaded", deleted(), kerr.CoordinatorLoadInProgress)
	w.shares.Elect(shard, w.shareJournal(s), trim)
	w.shareStateLoaded(w.shareKey(s))
	wantCode(t, "again", deleted(), nil)
	wantCode(t, "once more", deleted(), kerr.GroupIDNotFound)
}

func TestShareCoordinatorIsFound(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	req := groupRequest("g:" + s.topic.ID.String() + ":0")
	req.CoordinatorType = shareCoordinator
	c := ask[*kmsg.FindCoordinatorResponse](s.client, 6, req).Coordinators[0]
	wantCode(t, "share-partition", c.ErrorCode, nil)
	if c.NodeID != node {
		t.Errorf("it is node %d", c.NodeID)
	}
	for _, key := range []string{"g", "g:0", "g:" + s.topic.ID.String() + ":x", ":" + s.topic.ID.String() + ":0"} {
		req.CoordinatorKeys = []string{key}
		wantCode(t, key, ask[*kmsg.FindCoordinatorResponse](s.client, 6, req).Coordinators[0].ErrorCode, kerr.InvalidRequest)
	}
}

// shareLag describes a partition of the member's topic.
func (w *world) shareLag(s *sharer, partition int32) string {
	req := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	rg := kmsg.NewDescribeShareGroupOffsetsRequestGroup()
	rg.GroupID = s.group
	rt := kmsg.NewDescribeShareGroupOffsetsRequestGroupTopic()
	rt.Topic, rt.Partitions = s.topic.Name, []int32{partition}
	rg.Topics = append(rg.Topics, rt)
	req.Groups = append(req.Groups, rg)
	g := ask[*kmsg.DescribeShareGroupOffsetsResponse](s.client, 1, req).Groups[0]
	wantCode(w, "describe offsets", g.ErrorCode, nil)
	p := g.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return codeName(p.ErrorCode)
	}
	return fmt.Sprintf("start %d lag %d", p.StartOffset, p.Lag)
}

func (s *sharer) alterOffsets(group, topic string, partition int32, offset int64) string {
	return s.alterSeveral(group, topic, offset, partition)[0]
}

// alterSeveral asks for one offset in several partitions.
func (s *sharer) alterSeveral(group, topic string, offset int64, partitions ...int32) (outcomes []string) {
	req := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	req.GroupID = group
	rt := kmsg.NewAlterShareGroupOffsetsRequestTopic()
	rt.Topic = topic
	for _, n := range partitions {
		rp := kmsg.NewAlterShareGroupOffsetsRequestTopicPartition()
		rp.Partition, rp.StartOffset = n, offset
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	resp := ask[*kmsg.AlterShareGroupOffsetsResponse](s.client, 0, req)
	if resp.ErrorCode != 0 {
		return []string{codeName(resp.ErrorCode)}
	}
	for _, rp := range resp.Topics[0].Partitions {
		outcomes = append(outcomes, okOr(rp.ErrorCode))
	}
	return outcomes
}

// TestResetsOfARequestAreStoredTogether holds up every sync until all of them have been appended.
func TestResetsOfARequestAreStoredTogether(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	w := newWorld(t, on(fault))
	topic := w.create("jobs", 16)
	s := w.joins(topic, "g", "m1")
	wantCode(t, "leave", s.heartbeat(-1).ErrorCode, nil)
	all := make([]int32, len(topic.Partitions))
	for n := range all {
		all[n] = int32(n)
	}
	reset := func(offset int64) {
		for n, outcome := range s.alterSeveral("g", "jobs", offset, all...) {
			equalString(t, fmt.Sprint("alter ", n), outcome, "ok")
		}
	}
	reset(0) // the journals' first records
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	want := w.shareStateEnd() + int64(len(all))
	fault.Add(vfs.Rule{Ops: vfs.OpSync, Name: "*.log", Times: vfs.Forever, Do: func() {
		for w.shareStateEnd() < want && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}})
	reset(1)
	if ctx.Err() != nil {
		t.Error("one reset waited for another")
	}
}

// shareStateEnd is how many records the journals of share groups have.
func (w *world) shareStateEnd() (sum int64) {
	state, _ := w.store.Image().Topic(cluster.ShareStateTopic)
	for n := range state.Partitions {
		p, err := w.partitions.Get(state.ID, int32(n))
		if err != nil {
			w.Error(err)
			continue
		}
		sum += p.Log().Offsets().LogEnd
	}
	return sum
}

func (s *sharer) deleteOffsets(group, topic string) string {
	req := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
	req.GroupID = group
	rt := kmsg.NewDeleteShareGroupOffsetsRequestTopic()
	rt.Topic = topic
	req.Topics = append(req.Topics, rt)
	resp := ask[*kmsg.DeleteShareGroupOffsetsResponse](s.client, 0, req)
	if resp.ErrorCode != 0 {
		return codeName(resp.ErrorCode)
	}
	return okOr(resp.Topics[0].ErrorCode)
}

func okOr(code int16) string {
	if code == 0 {
		return "ok"
	}
	return codeName(code)
}

// After a restart, offsets between batches are found empty again: the group must not wait at them for ever.
func TestShareFetchPassesHolesAfterAReset(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t)
	s.produce("jobs", values("a")...)
	s.produce("jobs", delayed("later", "1h"), delayed("later", "1h"))
	s.produce("jobs", values("b", "c")...)
	equalString(t, "fetch", s.fetchShare(0, ""), "0:a 3:b 4:c")
	equalString(t, "acknowledge", s.acknowledge("3-4=accept"), "ok")
	s.produce("jobs", values("d")...)
	w.shares.Elect(w.shares.FindShard(w.shareKey(s)), w.shareJournal(s), func(int64) error { return nil })
	w.shareStateLoaded(w.shareKey(s))
	equalString(t, "fetch one", s.fetchShare(0, "", func(r *kmsg.ShareFetchRequest) { r.MaxRecords, r.ShareAcquireMode = 1, 1 }), "0:a")
	equalString(t, "the rest", s.fetchShare(0, ""), "5:d")
}

func (w *world) shareKey(s *sharer) share.Key { return share.Key{Group: s.group, Topic: s.topic.ID} }

// shareJournal is the partition that keeps a member's share-partition.
func (w *world) shareJournal(s *sharer) *partition.Journal {
	w.Helper()
	state, _ := w.store.Image().Topic(cluster.ShareStateTopic)
	p, err := w.partitions.Get(state.ID, w.shares.FindShard(w.shareKey(s)))
	if err != nil {
		w.Fatal(err)
	}
	return p.Journal()
}

func TestShareGroupThatIsReadCommitted(t *testing.T) {
	w := newWorld(t)
	s := w.sharing(t, "share.isolation.level", "read_committed")
	w.setGroup("all", "share.auto.offset.reset", "earliest")
	all := w.joins(s.topic, "all", "m")
	cl := w.franz(kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("jobs"))
	write := func(value string) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(commit kgo.TransactionEndTry) {
		t.Helper()
		if err := cl.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	write("aborted")
	equalString(t, "while it is open", s.fetchShare(0, ""), "")
	equalString(t, "read_uncommitted", all.fetchShare(0, ""), "0:aborted")
	end(kgo.TryAbort)
	write("committed")
	end(kgo.TryCommit)
	equalString(t, "committed", s.fetchShare(10*time.Second, ""), "2:committed") // and its marker is there
	s.produce("jobs", values("plain")...)
	equalString(t, "plain", s.fetchShare(10*time.Second, ""), "4:plain")
	equalString(t, "acknowledge", s.acknowledge("2=accept 4=accept"), "ok")
	equalString(t, "lag", w.shareLag(s, 0), "start 5 lag 0")
	equalString(t, "read_uncommitted", all.fetchShare(0, ""), "2:committed 4:plain")
}
