package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/protocol"
)

// ListOffsets, key 2, versions 1-11.
//
// Latest (-1) is the visible end, or the visible last stable offset under read_committed; earliest (-2) the
// reported log start. Max timestamp is -3 (KIP-734), earliest local -4 (KIP-405), latest tiered -5 (KIP-1005), earliest
// pending upload -6 (KIP-1023). Delayed records that are not due have no place in any of these answers.

func (a *API) listOffsets(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ListOffsetsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		if req.Version >= 10 && req.TimeoutMillis > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutMillis)*time.Millisecond)
			defer cancel()
		}
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for i := range req.Topics {
			t := &req.Topics[i]
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for j := range t.Partitions {
				rt.Partitions = append(rt.Partitions, a.listOffset(ctx, req, t.Topic, &t.Partitions[j]))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// minListVersion is the first version in which a special timestamp may be asked for.
var minListVersion = map[int64]int16{
	partition.MaxTimestamp:          7,
	partition.EarliestLocal:         8,
	partition.LatestTiered:          9,
	partition.EarliestPendingUpload: 11,
}

func (a *API) listOffset(ctx context.Context, req *kmsg.ListOffsetsRequest, topic string, want *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	rp := kmsg.NewListOffsetsResponseTopicPartition()
	rp.Partition = want.Partition
	rp.Offset, rp.Timestamp, rp.LeaderEpoch = -1, -1, -1
	found, err := func() (partition.FoundOffset, error) {
		if want.Timestamp < partition.EarliestPendingUpload || req.Version < minListVersion[want.Timestamp] {
			return partition.FoundOffset{}, coded(kerr.UnsupportedVersion, "timestamp %d is not known in version %d of ListOffsets", want.Timestamp, req.Version)
		}
		p, err := a.partition(false, topic, [16]byte{}, want.Partition)
		if err != nil {
			return partition.FoundOffset{}, err
		}
		if err := p.CheckLeaderEpoch(want.CurrentLeaderEpoch); err != nil {
			return partition.FoundOffset{}, err
		}
		return p.ListOffset(ctx, want.Timestamp, req.IsolationLevel == 1)
	}()
	if err != nil {
		rp.ErrorCode = code(err)
		return rp
	}
	rp.Offset, rp.Timestamp, rp.LeaderEpoch = found.Offset, found.Timestamp, found.LeaderEpoch
	return rp
}
