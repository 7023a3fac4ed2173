package api

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// DescribeLogDirs, key 35, versions 1-5 (KIP-113, KIP-827). There is one directory, and it is never
// cordoned (KIP-1066). Topics and partitions that are not here are left out, as in Kafka. Sizes are
// those of the segments on disk, pending delayed records included. Kafka has no field for what a
// partition holds in the tier (KIP-1187 proposes one), and its size leaves that out: so does ours,
// and the tier's part is in a tagged field, which clients skip.

// remoteSizeTag is the tag of the bytes that a partition's confirmed segments take in the tier: an
// int64, big endian, from version 2 on. It is there if the partition is tiered, or ever was.
const remoteSizeTag = 10000

func (a *API) describeLogDirs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeLogDirsRequest)
	return func(context.Context) (protocol.Answer, error) {
		dir := kmsg.NewDescribeLogDirsResponseDir()
		dir.Dir = a.dataDir
		if usage, err := a.partitions.Usage(); err == nil {
			dir.TotalBytes, dir.UsableBytes = usage.Total, usage.Free
		}
		img := a.store.Image()
		add := func(t *cluster.Topic, numbers []int32) {
			if rt := a.logDirTopic(t, numbers); len(rt.Partitions) > 0 {
				dir.Topics = append(dir.Topics, rt)
			}
		}
		if req.Topics == nil {
			for _, t := range img.Topics() {
				add(t, allPartitions(t))
			}
		}
		for i := range req.Topics {
			if t, ok := img.Topic(req.Topics[i].Topic); ok {
				add(t, req.Topics[i].Partitions)
			}
		}
		resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
		resp.Dirs = append(resp.Dirs, dir)
		return protocol.Answer{Message: resp}, nil
	}
}

func allPartitions(t *cluster.Topic) []int32 {
	numbers := make([]int32, len(t.Partitions))
	for i := range numbers {
		numbers[i] = int32(i)
	}
	return numbers
}

// logDirTopic lists the sizes of some partitions of a topic.
func (a *API) logDirTopic(t *cluster.Topic, numbers []int32) kmsg.DescribeLogDirsResponseDirTopic {
	rt := kmsg.NewDescribeLogDirsResponseDirTopic()
	rt.Topic = t.Name
	for _, n := range numbers {
		if p, err := a.partitions.Get(t.ID, n); err == nil {
			rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			rp.Partition, rp.Size = n, p.Log().Size()
			if size, tiered := p.RemoteSize(); tiered {
				rp.UnknownTags.Set(remoteSizeTag, binary.BigEndian.AppendUint64(nil, uint64(size)))
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
	}
	return rt
}
