package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// DescribeLogDirs, key 35, versions 1-5 (KIP-113, KIP-827). There is one directory, and nothing is ever cordoned (KIP-1066).

func (a *API) describeLogDirs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeLogDirsRequest)
	return func(context.Context) (protocol.Answer, error) {
		dir := kmsg.NewDescribeLogDirsResponseDir()
		dir.Dir = a.dataDir
		if usage, err := a.partitions.Usage(); err == nil {
			dir.TotalBytes, dir.UsableBytes = usage.Total, usage.Free
		}
		img := a.store.Image()
		if req.Topics == nil {
			for _, t := range img.Topics() {
				dir.Topics = append(dir.Topics, a.logDirTopic(t, nil))
			}
		}
		for i := range req.Topics {
			if t, ok := img.Topic(req.Topics[i].Topic); ok {
				dir.Topics = append(dir.Topics, a.logDirTopic(t, req.Topics[i].Partitions))
			}
		}
		resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
		resp.Dirs = append(resp.Dirs, dir)
		return protocol.Answer{Message: resp}, nil
	}
}

// logDirTopic lists the sizes of some partitions of a topic, of all if numbers is nil.
func (a *API) logDirTopic(t *cluster.Topic, numbers []int32) kmsg.DescribeLogDirsResponseDirTopic {
	rt := kmsg.NewDescribeLogDirsResponseDirTopic()
	rt.Topic = t.Name
	add := func(p *partition.Partition) {
		rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		rp.Partition, rp.Size = p.Number(), p.Log().Size()
		rt.Partitions = append(rt.Partitions, rp)
	}
	if numbers == nil {
		for n := range t.Partitions {
			numbers = append(numbers, int32(n))
		}
	}
	for _, n := range numbers {
		if p, err := a.partitions.Get(t.ID, n); err == nil {
			add(p)
		}
	}
	return rt
}
