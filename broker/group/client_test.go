package group

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord/coordtest"
)

// startCluster runs a kfake cluster whose groups are coordinated by this package.
func startCluster(t *testing.T) (addrs []string, c *Coordinator) {
	const partitions = 6
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	topics := newFakeTopics()
	topics.set("t", partitions)
	topics.topics["t"] = fakeTopic{partitions, topicIDOf(t, cluster, "t")}

	cfg := DefaultConfig()
	cfg.InitialRebalanceDelay, cfg.ConsumerHeartbeatInterval = 0, 50*time.Millisecond
	c = New(func() Config { return cfg }, topics, 1, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	c.Elect(0, &coordtest.Journal{})
	coordinate(cluster, c)
	return cluster.ListenAddrs(), c
}

// coordinate lets a Coordinator answer the group requests of a cluster.
func coordinate(cluster *kfake.Cluster, c *Coordinator) {
	ctx, client := context.Background(), Client{ID: "c", Host: "/127.0.0.1"}
	for _, key := range []int16{8, 9, 11, 12, 13, 14, 15, 16, 68, 69} {
		cluster.ControlKey(key, func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			var resp kmsg.Response
			cluster.SleepControl(func() {
				switch req := kreq.(type) {
				case *kmsg.OffsetCommitRequest:
					resp = c.OffsetCommit(ctx, req)
				case *kmsg.OffsetFetchRequest:
					resp = c.OffsetFetch(ctx, req)
				case *kmsg.JoinGroupRequest:
					resp = c.JoinGroup(ctx, client, req)
				case *kmsg.HeartbeatRequest:
					resp = c.Heartbeat(ctx, req)
				case *kmsg.LeaveGroupRequest:
					resp = c.LeaveGroup(ctx, req)
				case *kmsg.SyncGroupRequest:
					resp = c.SyncGroup(ctx, req)
				case *kmsg.DescribeGroupsRequest:
					resp = c.DescribeGroups(ctx, req)
				case *kmsg.ListGroupsRequest:
					resp = c.ListGroups(ctx, req)
				case *kmsg.ConsumerGroupHeartbeatRequest:
					resp = c.ConsumerGroupHeartbeat(ctx, client, req)
				case *kmsg.ConsumerGroupDescribeRequest:
					resp = c.ConsumerGroupDescribe(ctx, req)
				}
			})
			return resp, nil, true
		})
	}
}

func topicIDOf(t *testing.T, cluster *kfake.Cluster, name string) topicID {
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &name
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(context.Background(), cl)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].TopicID
}

// groupClient is a consumer that knows what it is assigned.
type groupClient struct {
	*kgo.Client
	mu       sync.Mutex
	assigned map[int32]bool
	changed  chan struct{} // 1-buffered
}

func newGroupClient(t *testing.T, addrs []string, opts ...kgo.Opt) *groupClient {
	c := &groupClient{assigned: map[int32]bool{}, changed: make(chan struct{}, 1)}
	note := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, p := range parts["t"] {
				if c.assigned[p] = true; !has {
					delete(c.assigned, p)
				}
			}
			select {
			case c.changed <- struct{}{}:
			default:
			}
		}
	}
	opts = append(opts, kgo.SeedBrokers(addrs...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"),
		kgo.HeartbeatInterval(50*time.Millisecond), kgo.FetchMaxWait(50*time.Millisecond), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(note(true)), kgo.OnPartitionsRevoked(note(false)), kgo.OnPartitionsLost(note(false)))
	var err error
	if c.Client, err = kgo.NewClient(opts...); err != nil {
		t.Fatal(err)
	}
	return c
}

// awaitSplit waits until every partition is assigned to exactly one client, and
// no client has two more than another.
func awaitSplit(t *testing.T, clients ...*groupClient) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		var all, sizes []int32
		for _, c := range clients {
			c.mu.Lock()
			for p := range c.assigned {
				all = append(all, p)
			}
			sizes = append(sizes, int32(len(c.assigned)))
			c.mu.Unlock()
		}
		slices.Sort(all)
		if slices.Equal(all, []int32{0, 1, 2, 3, 4, 5}) && slices.Max(sizes)-slices.Min(sizes) <= 1 {
			return
		}
		select {
		case <-clients[0].changed:
		case <-clients[len(clients)-1].changed:
		case <-deadline:
			t.Fatalf("assigned %v, in sizes %v", all, sizes)
		}
	}
}

// TestFranzGoConsumesInAGroup runs a real client, with kfake for everything but
// the groups.
func TestFranzGoConsumesInAGroup(t *testing.T) {
	for name, opts := range map[string][]kgo.Opt{
		"range":       {kgo.Balancers(kgo.RangeBalancer())},
		"cooperative": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		"static":      {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		"consumer":    {kgo.ServerSideBalancer()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addrs, coordinator := startCluster(t)
			identify := func(i int) []kgo.Opt {
				if name == "static" {
					return append(slices.Clone(opts), kgo.InstanceID(fmt.Sprint("i", i)))
				}
				return opts
			}
			produce(t, addrs, 60)
			a := newGroupClient(t, addrs, identify(0)...)
			defer a.Close()
			consume(t, a, 60)
			b := newGroupClient(t, addrs, identify(1)...)
			awaitSplit(t, a, b)
			want := protocolClassic
			if name == protocolConsumer {
				want = protocolConsumer
			}
			if groups := slices.Collect(coordinator.Groups()); len(groups) != 1 || groups[0].Protocol != want || groups[0].Members != 2 {
				t.Errorf("groups are %+v", groups)
			}
			if name == "static" {
				leaveStatic(t, b)
			}
			b.Close()
			awaitSplit(t, a)
			produce(t, addrs, 30)
			consume(t, a, 30)
		})
	}
}

func produce(t *testing.T, addrs []string, n int) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "t", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// consume reads n records, no more, and commits them.
func consume(t *testing.T, c *groupClient, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for n > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d records missing: %v", n, err)
		}
		n -= fetches.NumRecords()
		if err := c.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n < 0 {
		t.Fatalf("%d records too many", -n)
	}
}

// leaveStatic removes a static member as an admin does: it does not leave by itself.
func leaveStatic(t *testing.T, c *groupClient) {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = "g"
	m := kmsg.NewLeaveGroupRequestMember()
	m.InstanceID = pointer("i1")
	req.Members = append(req.Members, m)
	if _, err := req.RequestWith(context.Background(), c.Client); err != nil {
		t.Fatal(err)
	}
}

// TestFranzGoMigratesAGroup lets a client of the consumer protocol join one of
// the classic protocol, and leave again.
func TestFranzGoMigratesAGroup(t *testing.T) {
	addrs, coordinator := startCluster(t)
	protocol := func() string {
		for g := range coordinator.Groups() {
			return g.Protocol
		}
		return ""
	}
	produce(t, addrs, 60)
	old := newGroupClient(t, addrs, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	defer old.Close()
	consume(t, old, 60)
	next := newGroupClient(t, addrs, kgo.ServerSideBalancer())
	awaitSplit(t, old, next)
	if p := protocol(); p != protocolConsumer {
		t.Errorf("with both in it the group is %s", p)
	}
	next.Close()
	awaitSplit(t, old)
	if p := protocol(); p != protocolClassic {
		t.Errorf("after the new one left the group is %s", p)
	}
	produce(t, addrs, 30)
	consume(t, old, 30)
}
