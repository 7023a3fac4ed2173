package group

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/coord/coordtest"
)

// BenchmarkLoad replays a million commits of 100 groups for 1,000 partitions
// each, ten times over.
func BenchmarkLoad(b *testing.B) {
	w := newWorld()
	w.topics.set("topic-with-an-ordinary-name", 1000)
	_, id, _ := w.topics.Partitions("topic-with-an-ordinary-name")
	j := &coordtest.Journal{}
	for i := range 1_000_000 {
		k := offsetKey{fmt.Sprint("group-", i%100), "topic-with-an-ordinary-name", int32(i / 100 % 1000)}
		j.Records = append(j.Records, offsetRecord(k, id, committed{offset: int64(i), leaderEpoch: 1, commitMs: w.now.UnixMilli(), expireMs: -1}))
	}
	b.ReportAllocs()
	for b.Loop() {
		m := w.newMachine()
		for _, r := range j.Records {
			if err := m.Replay(r); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(j.Records))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkCommit commits ten partitions for a member of a stable group.
func BenchmarkCommit(b *testing.B) {
	w := newWorld()
	w.topics.set("t", 10)
	_, id, _ := w.topics.Partitions("t")
	var positions []position
	for p := range int32(10) {
		positions = append(positions, position{"t", id, p, committed{offset: 1, commitMs: 1, expireMs: -1}})
	}
	who := commitClaim{group: "g", generation: -1, version: 9}
	b.ReportAllocs()
	for b.Loop() {
		w.journal.Records, w.journal.Batches = w.journal.Records[:0], w.journal.Batches[:0]
		w.do(func(m *machine, tx *coord.Tx) {
			if err := m.commitOffsets(tx, who, positions); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkHeartbeat is what a member of a large consumer group costs when
// nothing happens, which is nearly always.
func BenchmarkHeartbeat(b *testing.B) {
	w := newWorld()
	w.topics.set("t", 2000)
	beat := func(i int, epoch int32) *kmsg.ConsumerGroupHeartbeatResponse {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = 1, "g", fmt.Sprint("m", i), epoch, -1
		if epoch == 0 {
			req.SubscribedTopicNames, req.Topics, req.RebalanceTimeoutMillis = []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}, 1000
		}
		var resp *kmsg.ConsumerGroupHeartbeatResponse
		w.do(func(m *machine, tx *coord.Tx) {
			var err error
			if resp, err = m.consumerHeartbeat(tx, Client{}, req); err != nil {
				b.Fatal(err)
			}
		})
		return resp
	}
	last := beat(0, 0)
	b.ReportAllocs()
	for b.Loop() {
		beat(0, last.MemberEpoch)
	}
}

// BenchmarkTarget computes the target of a thousand members for ten thousand
// partitions when one more joins.
func BenchmarkTarget(b *testing.B) {
	for name, assign := range assignors {
		b.Run(name, func(b *testing.B) {
			partitions := map[topicID]int32{}
			for i := range 100 {
				partitions[topicID{byte(i)}] = 100
			}
			var members []assignee
			for i := range 1000 {
				a := assignee{id: fmt.Sprint("m", i), topics: map[topicID]bool{}}
				for id := range partitions {
					a.topics[id] = true
				}
				members = append(members, a)
			}
			target := assign(members[1:], partitions)
			for i := range members {
				members[i].previous = target[members[i].id]
			}
			for b.Loop() {
				assign(members, partitions)
			}
		})
	}
}
