package group

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/coord/coordtest"
)

// broker is a running coordinator inside a synctest bubble.
type broker struct {
	*Coordinator
	topics   *fakeTopics
	journals []*coordtest.Journal
	registry *prometheus.Registry
	stop     func()
}

// startBroker runs a coordinator that leads all its shards but the last.
func startBroker(t *testing.T, shards int32) *broker {
	b := &broker{topics: newFakeTopics(), registry: prometheus.NewRegistry()}
	b.Coordinator = New(DefaultConfig, b.topics, shards, slog.New(slog.DiscardHandler), b.registry, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	for i := range shards {
		b.journals = append(b.journals, &coordtest.Journal{})
		if i < shards-1 {
			b.Elect(i, b.journals[i])
		}
	}
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	synctest.Wait()
	return b
}

// groupIn returns a group id that belongs to the given shard.
func (b *broker) groupIn(shard int32) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("group-", i); b.FindShard(id) == shard {
			return id
		}
	}
}

func joinRequest(group, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID = 9, group, member
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 30_000
	req.ProtocolType, req.Protocols = consumerProtocol, protocols(args{"topics": "t"})
	return req
}

func TestShardOfAGroupIsJavas(t *testing.T) {
	c := New(DefaultConfig, newFakeTopics(), 50, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), nil)
	for id, want := range map[string]int32{ // computed with String.hashCode
		"":                       0,
		"a":                      47,
		"test-group":             12,
		"console-consumer-12345": 6,
		"polygenelubricants":     0,  // the smallest integer
		"grüppe-😀":               14, // negative, with a surrogate pair
	} {
		if got := c.FindShard(id); got != want {
			t.Errorf("FindShard(%q) = %d, want %d", id, got, want)
		}
	}
}

func TestJoinAndSyncWaitForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 3)
		defer b.stop()
		ctx, group := t.Context(), b.groupIn(0)
		client := Client{ID: "c", Host: "/127.0.0.1"}
		first := b.JoinGroup(ctx, client, joinRequest(group, ""))
		if first.ErrorCode != kerr.MemberIDRequired.Code || first.Version != 9 {
			t.Fatalf("first join: %+v", first)
		}
		start := time.Now()
		resp := b.JoinGroup(ctx, client, joinRequest(group, first.MemberID))
		if took := time.Since(start); resp.ErrorCode != 0 || took != 3*time.Second {
			t.Fatalf("join after %v: %+v", took, resp)
		}
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 3, group, resp.MemberID, resp.Generation
		if resp := b.SyncGroup(ctx, req); resp.ErrorCode != 0 {
			t.Fatalf("sync: %+v", resp)
		}
		hb := kmsg.NewPtrHeartbeatRequest()
		hb.Group, hb.MemberID, hb.Generation = group, resp.MemberID, resp.Generation
		for range 5 {
			time.Sleep(9 * time.Second)
			if resp := b.Heartbeat(ctx, hb); resp.ErrorCode != 0 {
				t.Fatalf("heartbeat: %+v", resp)
			}
		}
		time.Sleep(11 * time.Second)
		if resp := b.Heartbeat(ctx, hb); resp.ErrorCode != kerr.UnknownMemberID.Code {
			t.Errorf("after the session timed out: %+v", resp)
		}
	})
}

func TestJoinThatIsGivenUpEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 2)
		defer b.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req := joinRequest(b.groupIn(0), "")
		req.Version = 3
		if resp := b.JoinGroup(ctx, Client{}, req); resp.ErrorCode != kerr.CoordinatorNotAvailable.Code {
			t.Errorf("%+v", resp)
		}
	})
}

func TestResignedShardAnswersNotCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 2)
		defer b.stop()
		req := joinRequest(b.groupIn(0), "")
		req.Version = 3
		waiting := make(chan *kmsg.JoinGroupResponse, 1)
		go func() { waiting <- b.JoinGroup(t.Context(), Client{}, req) }()
		synctest.Wait()
		b.Resign(0)
		if resp := <-waiting; resp.ErrorCode != kerr.NotCoordinator.Code {
			t.Errorf("waiting join: %+v", resp)
		}
		if resp := b.JoinGroup(t.Context(), Client{}, req); resp.ErrorCode != kerr.NotCoordinator.Code {
			t.Errorf("later join: %+v", resp)
		}
		b.Elect(0, b.journals[0])
		synctest.Wait()
		list := b.ListGroups(t.Context(), kmsg.NewPtrListGroupsRequest())
		if list.ErrorCode != 0 || len(list.Groups) != 0 {
			t.Errorf("elected again: %+v", list)
		}
	})
}

// stuckJournal never finishes loading.
type stuckJournal struct{ coordtest.Journal }

func (j *stuckJournal) Load(ctx context.Context, _ func(int64, coord.Record) error) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestLoadingShardAsksToRetryButAcceptsHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 2)
		defer b.stop()
		b.Elect(1, &stuckJournal{})
		synctest.Wait()
		ctx, group := t.Context(), b.groupIn(1)
		loading := kerr.CoordinatorLoadInProgress.Code
		if resp := b.JoinGroup(ctx, Client{}, joinRequest(group, "")); resp.ErrorCode != loading {
			t.Errorf("join: %+v", resp)
		}
		hb := kmsg.NewPtrHeartbeatRequest()
		hb.Group, hb.MemberID = group, "m"
		if resp := b.Heartbeat(ctx, hb); resp.ErrorCode != 0 {
			t.Errorf("heartbeat: %+v", resp)
		}
		if resp := b.ListGroups(ctx, kmsg.NewPtrListGroupsRequest()); resp.ErrorCode != loading {
			t.Errorf("list: %+v", resp)
		}
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version, fetch.Group = 5, group
		if resp := b.OffsetFetch(ctx, fetch); resp.ErrorCode != loading {
			t.Errorf("fetch: %+v", resp)
		}
	})
}

func TestGroupsAndOffsetsAreListedAndDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 3)
		defer b.stop()
		ctx := t.Context()
		b.topics.set("t", 2)
		consumer, simple := b.groupIn(0), b.groupIn(1)

		hb := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		hb.Version, hb.Group, hb.MemberID, hb.RebalanceTimeoutMillis = 1, consumer, "m", 1000
		hb.SubscribedTopicNames, hb.Topics = []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if resp := b.ConsumerGroupHeartbeat(ctx, Client{ID: "c", Host: "/h"}, hb); resp.ErrorCode != 0 || *resp.MemberID != "m" || len(resp.Assignment.Topics) != 1 {
			t.Fatalf("heartbeat: %+v", resp)
		}
		for _, expression := range []string{"(", "a)|(b", `\Qt`} {
			hb.SubscribedTopicRegex = &expression
			if resp := b.ConsumerGroupHeartbeat(ctx, Client{}, hb); resp.ErrorCode != kerr.InvalidRegularExpression.Code || resp.ErrorMessage == nil {
				t.Errorf("heartbeat with %s: %+v", expression, resp)
			}
		}
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Version, commit.Group, commit.Generation = 9, simple, -1
		for _, topic := range []string{"t", "nowhere"} {
			ct := kmsg.NewOffsetCommitRequestTopic()
			ct.Topic = topic
			for p := range int32(3) {
				cp := kmsg.NewOffsetCommitRequestTopicPartition()
				cp.Partition, cp.Offset = p, 7
				ct.Partitions = append(ct.Partitions, cp)
			}
			commit.Topics = append(commit.Topics, ct)
		}
		commit.Topics[0].Partitions[0].Metadata = pointer(string(make([]byte, 5000)))
		wantCommit := "t [OFFSET_METADATA_TOO_LARGE ok UNKNOWN_TOPIC_OR_PARTITION] nowhere [UNKNOWN_TOPIC_OR_PARTITION UNKNOWN_TOPIC_OR_PARTITION UNKNOWN_TOPIC_OR_PARTITION] "
		got := ""
		for _, rt := range b.OffsetCommit(ctx, commit).Topics {
			var codes []string
			for _, p := range rt.Partitions {
				codes = append(codes, codeName(p.ErrorCode))
			}
			got += fmt.Sprint(rt.Topic, " ", codes, " ")
		}
		if got != wantCommit {
			t.Errorf("commit: %s\nwant    %s", got, wantCommit)
		}

		list := func(states, types []string) (out []string) {
			req := kmsg.NewPtrListGroupsRequest()
			req.Version, req.StatesFilter, req.TypesFilter = 5, states, types
			for _, g := range b.ListGroups(ctx, req).Groups {
				out = append(out, fmt.Sprint(g.Group, " ", g.GroupState, " ", g.GroupType, " ", g.ProtocolType))
			}
			return out
		}
		inConsumer, inSimple := consumer+" Stable consumer consumer", simple+" Empty classic "
		both := []string{inConsumer, inSimple}
		slices.Sort(both)
		for _, tc := range []struct{ states, types, want []string }{
			{nil, nil, both},
			{[]string{"stable"}, nil, []string{inConsumer}},
			{[]string{"Empty", "dead"}, nil, []string{inSimple}},
			{nil, []string{"Consumer"}, []string{inConsumer}},
			{[]string{"stable"}, []string{"classic"}, nil},
			{nil, []string{"share"}, nil},
		} {
			if got := list(tc.states, tc.types); !slices.Equal(got, tc.want) {
				t.Errorf("list %v %v: %v, want %v", tc.states, tc.types, got, tc.want)
			}
		}

		describe := kmsg.NewPtrDescribeGroupsRequest()
		describe.Version, describe.Groups = 6, []string{simple, consumer, "none" + b.groupIn(2)}
		got = ""
		for _, g := range b.DescribeGroups(ctx, describe).Groups {
			got += g.State + " " + codeName(g.ErrorCode) + " "
		}
		if want := "Empty ok Dead GROUP_ID_NOT_FOUND  NOT_COORDINATOR "; got != want && b.FindShard(describe.Groups[2]) == 2 {
			t.Errorf("describe: %s\nwant      %s", got, want)
		}
		cd := kmsg.NewPtrConsumerGroupDescribeRequest()
		cd.Version, cd.Groups = 1, []string{consumer, simple, ""}
		resp := b.ConsumerGroupDescribe(ctx, cd)
		if g := resp.Groups[0]; g.ErrorCode != 0 || g.State != "Stable" || g.AssignorName != "uniform" || len(g.Members) != 1 ||
			g.Members[0].Assignment.TopicPartitions[0].Topic != "t" || g.Members[0].MemberType != memberTypeConsumer {
			t.Errorf("describe consumer group: %+v", g)
		}
		if resp.Groups[1].ErrorCode != kerr.GroupIDNotFound.Code || resp.Groups[2].ErrorCode != kerr.InvalidGroupID.Code {
			t.Errorf("describe others: %+v", resp.Groups[1:])
		}

		members, err := b.Members(ctx, consumer)
		if err != nil || len(members) != 1 || members[0].ID != resp.Groups[0].Members[0].MemberID || len(members[0].Assigned["t"]) == 0 {
			t.Errorf("members of the consumer group: %+v %v", members, err)
		}
		if members, err := b.Members(ctx, simple); err != nil || len(members) > 0 {
			t.Errorf("members of the simple group: %+v %v", members, err)
		}

		del := kmsg.NewPtrDeleteGroupsRequest()
		del.Groups = []string{consumer, simple, "x" + simple}
		got = ""
		for _, g := range b.DeleteGroups(ctx, del).Groups[:2] {
			got += codeName(g.ErrorCode) + " "
		}
		if got != "NON_EMPTY_GROUP ok " {
			t.Errorf("delete: %s", got)
		}
	})
}

func TestOffsetsByTopicID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 2)
		defer b.stop()
		ctx, group := t.Context(), b.groupIn(0)
		b.topics.set("t", 1)
		_, id, _ := b.topics.Partitions("t")
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Version, commit.Group, commit.Generation = 10, group, -1
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version = 10
		fg := kmsg.NewOffsetFetchRequestGroup()
		fg.Group = group
		for _, id := range []topicID{id, {9}} {
			ct := kmsg.NewOffsetCommitRequestTopic()
			ct.TopicID = id
			ct.Partitions = []kmsg.OffsetCommitRequestTopicPartition{kmsg.NewOffsetCommitRequestTopicPartition()}
			ct.Partitions[0].Offset = 3
			commit.Topics = append(commit.Topics, ct)
			ft := kmsg.NewOffsetFetchRequestGroupTopic()
			ft.TopicID, ft.Partitions = id, []int32{0}
			fg.Topics = append(fg.Topics, ft)
		}
		resp := b.OffsetCommit(ctx, commit)
		if resp.Topics[0].Partitions[0].ErrorCode != 0 || resp.Topics[1].Partitions[0].ErrorCode != kerr.UnknownTopicID.Code {
			t.Errorf("commit: %+v", resp)
		}
		all := fg
		all.Topics = nil
		fetch.Groups = []kmsg.OffsetFetchRequestGroup{fg, all}
		groups := b.OffsetFetch(ctx, fetch).Groups
		if ts := groups[0].Topics; ts[0].Partitions[0].Offset != 3 || ts[1].Partitions[0].ErrorCode != kerr.UnknownTopicID.Code {
			t.Errorf("fetch: %+v", groups[0])
		}
		if ts := groups[1].Topics; len(ts) != 1 || ts[0].TopicID != id || ts[0].Partitions[0].Offset != 3 {
			t.Errorf("fetch all: %+v", groups[1])
		}
		if err := b.TopicDeleted(ctx, id, "t"); err != nil {
			t.Fatal(err)
		}
		if ts := b.OffsetFetch(ctx, fetch).Groups[1].Topics; len(ts) != 0 {
			t.Errorf("after the topic was deleted: %+v", ts)
		}
	})
}

// TestGroupThatIsListedTwiceIsAnsweredTwice, each time with what it was not answered about before.
func TestGroupThatIsListedTwiceIsAnsweredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 2)
		defer b.stop()
		ctx, group := t.Context(), b.groupIn(0)
		b.topics.set("t", 3)
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Version, commit.Group, commit.Generation = 9, group, -1
		commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t"}}
		for p := range int32(3) {
			cp := kmsg.NewOffsetCommitRequestTopicPartition()
			cp.Partition, cp.Offset = p, int64(10+p)
			commit.Topics[0].Partitions = append(commit.Topics[0].Partitions, cp)
		}
		b.OffsetCommit(ctx, commit)
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version = 9
		for _, partitions := range [][]int32{{0}, {1, 0, 1}, nil, nil} {
			g := kmsg.NewOffsetFetchRequestGroup()
			if g.Group = group; partitions != nil {
				g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: partitions}}
			}
			fetch.Groups = append(fetch.Groups, g)
		}
		var got []string
		for _, g := range b.OffsetFetch(ctx, fetch).Groups {
			line := fmt.Sprint(g.Group == group, g.ErrorCode)
			for _, topic := range g.Topics {
				for _, p := range topic.Partitions {
					line += fmt.Sprintf(" %d:%d", p.Partition, p.Offset)
				}
			}
			got = append(got, line)
		}
		if want := []string{"true 0 0:10", "true 0 1:11", "true 0 0:10 1:11 2:12", "true 0"}; !slices.Equal(got, want) {
			t.Errorf("answers are %q, expected %q", got, want)
		}
	})
}

func TestRequestsAreRefusedBeforeTheyReachAShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 2)
		defer b.stop()
		ctx := t.Context()
		join := joinRequest("g", "")
		join.SessionTimeoutMillis = 5999
		large := joinRequest("g", "")
		large.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, maxProtocolBytes/2)}, {Name: "roundrobin", Metadata: make([]byte, maxProtocolBytes/2)}}
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Version, sync.Group = 5, "g"
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Version, leave.Group, leave.MemberID = 1, b.groupIn(0), "m"
		del := kmsg.NewPtrOffsetDeleteRequest()
		b.topics.set("t", 2)
		pending := kmsg.NewPtrTxnOffsetCommitRequest()
		pending.Version, pending.Generation = 5, -1
		pending.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 0}}}}
		verified := func(context.Context) error { return nil }
		for what, got := range map[string][2]int16{
			"session too short":  {b.JoinGroup(ctx, Client{}, join).ErrorCode, kerr.InvalidSessionTimeout.Code},
			"join no group":      {b.JoinGroup(ctx, Client{}, joinRequest("", "")).ErrorCode, kerr.InvalidGroupID.Code},
			"join with too much": {b.JoinGroup(ctx, Client{}, large).ErrorCode, kerr.MessageTooLarge.Code},
			"sync no protocol":   {b.SyncGroup(ctx, sync).ErrorCode, kerr.InconsistentGroupProtocol.Code},
			"sync no group":      {b.SyncGroup(ctx, kmsg.NewPtrSyncGroupRequest()).ErrorCode, kerr.InvalidGroupID.Code},
			"heartbeat no group": {b.Heartbeat(ctx, kmsg.NewPtrHeartbeatRequest()).ErrorCode, kerr.InvalidGroupID.Code},
			"leave no group":     {b.LeaveGroup(ctx, kmsg.NewPtrLeaveGroupRequest()).ErrorCode, kerr.InvalidGroupID.Code},
			"leave unknown":      {b.LeaveGroup(ctx, leave).ErrorCode, kerr.UnknownMemberID.Code},
			"delete no group":    {b.OffsetDelete(ctx, del).ErrorCode, kerr.InvalidGroupID.Code},
			"pending, no group":  {b.TxnOffsetCommit(ctx, pending, verified).Topics[0].Partitions[0].ErrorCode, kerr.InvalidGroupID.Code},
		} {
			if got[0] != got[1] {
				t.Errorf("%s: %s, want %s", what, codeName(got[0]), codeName(got[1]))
			}
		}
	})
}

func TestMetricsReadLiveState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, 3)
		defer b.stop()
		b.topics.set("t", 2)
		b.topics.set("u", 1)
		group := b.groupIn(0)
		hb := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		hb.Version, hb.Group, hb.MemberID, hb.RebalanceTimeoutMillis = 1, group, "m", 1000
		hb.SubscribedTopicNames, hb.Topics = []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		epoch := b.ConsumerGroupHeartbeat(t.Context(), Client{}, hb).MemberEpoch
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Version, commit.Group, commit.MemberID, commit.Generation = 9, group, "m", epoch
		for _, topic := range []string{"t", "u"} {
			ct := kmsg.NewOffsetCommitRequestTopic()
			ct.Topic = topic
			ct.Partitions = []kmsg.OffsetCommitRequestTopicPartition{kmsg.NewOffsetCommitRequestTopicPartition()}
			ct.Partitions[0].Offset = 5
			commit.Topics = append(commit.Topics, ct)
		}
		b.OffsetCommit(t.Context(), commit)

		want := []string{
			`morrow_group_members{classic}=0`,
			`morrow_group_members{consumer}=1`,
			`morrow_group_members{share}=0`,
			`morrow_group_offset_commits_total=2`,
			`morrow_group_offsets=2`,
			`morrow_group_offsets_expired_total=0`,
			`morrow_group_rebalances_total{classic}=0`,
			`morrow_group_rebalances_total{consumer}=1`,
			`morrow_group_rebalances_total{share}=0`,
			`morrow_groups{consumer,Stable}=1`,
		}
		if got := scrape(t, b.registry); !slices.Equal(got, want) {
			t.Errorf("metrics %q,\nwant    %q", got, want)
		}

		_, id, _ := b.topics.Partitions("t")
		b.topics.drop("u")
		offsets := slices.Collect(b.Offsets())
		if want := []CommittedOffset{{group, "t", id, 0, 5}}; !slices.Equal(offsets, want) {
			t.Errorf("offsets %v, want %v: no series for what is gone", offsets, want)
		}
		b.Resign(0)
		if n := len(slices.Collect(b.Groups())); n != 0 {
			t.Errorf("%d groups after the shard was given up", n)
		}
	})
}

// scrape returns every series as name{label values}=value.
func scrape(t *testing.T, registry *prometheus.Registry) (out []string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			series := f.GetName()
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if len(labels) > 0 {
				series += "{" + strings.Join(labels, ",") + "}"
			}
			out = append(out, fmt.Sprintf("%s=%v", series, m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	return out
}
