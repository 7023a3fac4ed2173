package api

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/protocol"
)

// ListOffsets, key 2, versions 1-11.
//
// Latest (-1) is the visible end, or the visible last stable offset under read_committed; earliest
// (-2) the reported log start. Max timestamp is -3 (KIP-734), earliest local -4 (KIP-405), latest
// tiered -5 (KIP-1005), earliest pending upload -6 (KIP-1023). Delayed records that are not due
// have no place in any of these answers.
//
// A produce with acks=1 is answered before its records are on stable storage, and only then are
// they visible; with one replica Kafka shows them at once. So an answer about the newest records
// waits until what had been written when the request arrived is visible.

func (a *API) listOffsets(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ListOffsetsRequest)
	written := a.writtenIn(req)
	return func(ctx context.Context) (protocol.Answer, error) {
		ctx, cancel := within(ctx, listTimeout(req.TimeoutMillis, a.intConfig("remote.list.offsets.request.timeout.ms")))
		defer cancel()
		repeated := repeatedOffsets(req)
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for i := range req.Topics {
			t := &req.Topics[i]
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for j := range t.Partitions {
				want := &t.Partitions[j]
				if isAboutNewest(want.Timestamp) {
					written[i][j].awaitVisible(ctx)
				}
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition = want.Partition
				var err error = kerr.InvalidRequest
				if !repeated[namedPartition{t.Topic, want.Partition}] {
					err = a.listOffset(ctx, req, t.Topic, want, &rp)
				}
				if err != nil {
					rp.ErrorCode = a.explain(err, "list offsets", t.Topic, want.Partition)
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// isAboutNewest reports whether the newest record may be the answer.
func isAboutNewest(timestamp int64) bool {
	return timestamp >= 0 || timestamp == partition.Latest || timestamp == partition.MaxTimestamp
}

// written is how far the log of a partition had been written at one moment; the zero value is of a
// partition that cannot be served.
type written struct {
	log *log.Log
	end int64
}

func writtenBy(p *partition.Partition, err error) written {
	if err != nil {
		return written{}
	}
	return written{p.Log(), p.Log().Offsets().LogEnd}
}

// writtenIn is how far the partitions of a request have been written, by the indexes of topic and
// partition. They are asked before any is waited for: all of them are stored together.
func (a *API) writtenIn(req *kmsg.ListOffsetsRequest) [][]written {
	all := make([][]written, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		all[i] = make([]written, len(t.Partitions))
		for j := range t.Partitions {
			all[i][j] = writtenBy(a.partitionNamed(t.Topic, t.Partitions[j].Partition))
		}
	}
	return all
}

// awaitVisible waits until what had been written can be seen, or never will be because the log
// failed, or ctx ends. The last two are no matter of who waits: the answer is then of what can be
// seen.
func (w written) awaitVisible(ctx context.Context) {
	if w.log != nil {
		_ = w.log.Wait(ctx, w.end)
	}
}

// listTimeout is how long a request may take, in ms: as long as its client says, but no longer than
// the broker does (KIP-1075).
func listTimeout(client int32, broker int) int32 {
	broker = min(broker, math.MaxInt32)
	if client > 0 {
		return min(client, int32(broker))
	}
	return int32(broker)
}

// namedPartition is a partition by its topic's name.
type namedPartition struct {
	topic  string
	number int32
}

// repeatedOffsets finds the partitions a request asks for more than once, which it may not.
func repeatedOffsets(req *kmsg.ListOffsetsRequest) map[namedPartition]bool {
	repeated := make(map[namedPartition]bool)
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := namedPartition{t.Topic, t.Partitions[j].Partition}
			_, again := repeated[p]
			repeated[p] = again
		}
	}
	return repeated
}

// minListVersion is the first version in which a special timestamp may be asked for.
var minListVersion = map[int64]int16{
	partition.MaxTimestamp:          7,
	partition.EarliestLocal:         8,
	partition.LatestTiered:          9,
	partition.EarliestPendingUpload: 11,
}

func (a *API) listOffset(ctx context.Context, req *kmsg.ListOffsetsRequest, topic string, want *kmsg.ListOffsetsRequestTopicPartition, rp *kmsg.ListOffsetsResponseTopicPartition) error {
	if want.Timestamp < partition.EarliestPendingUpload || req.Version < minListVersion[want.Timestamp] {
		return kerr.UnsupportedVersion
	}
	p, err := a.partitionNamed(topic, want.Partition)
	if err != nil {
		return err
	}
	if err := p.CheckLeaderEpoch(want.CurrentLeaderEpoch); err != nil {
		return err
	}
	found, err := p.ListOffset(ctx, want.Timestamp, req.IsolationLevel == 1)
	if err != nil {
		return err
	}
	rp.Offset, rp.Timestamp, rp.LeaderEpoch = found.Offset, found.Timestamp, found.LeaderEpoch
	return nil
}
