package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// replica is a partition on a broker.
type replica struct {
	broker    int32
	topic     string
	partition int32
}

// replicaDir is where a replica is.
type replicaDir struct {
	dir    string
	bytes  int64 // on the disk
	remote int64 // in the tier, -1 if it is not tiered
}

// logDirs are replicas of all brokers.
type logDirs map[replica]replicaDir

// remoteSizeTag is the tagged field of a partition that holds its size in the tier. The library's
// client for administration leaves tagged fields out, so the request is sent without it.
const remoteSizeTag = 10000

// describeLogDirs asks every broker for some of its replicas.
func describeLogDirs(ctx context.Context, cl *cluster, topics kadm.TopicsSet) (logDirs, error) {
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{}
	for _, t := range topics.Sorted() {
		req.Topics = append(req.Topics, kmsg.DescribeLogDirsRequestTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	dirs := logDirs{}
	for _, shard := range cl.kgo.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, fmt.Errorf("log directories of broker %d: %w", shard.Meta.NodeID, shard.Err)
		}
		resp := shard.Resp.(*kmsg.DescribeLogDirsResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, fmt.Errorf("log directories of broker %d: %w", shard.Meta.NodeID, err)
		}
		for i := range resp.Dirs {
			dirs.add(shard.Meta.NodeID, &resp.Dirs[i])
		}
	}
	return dirs, nil
}

func (l logDirs) add(broker int32, dir *kmsg.DescribeLogDirsResponseDir) {
	for _, t := range dir.Topics {
		for _, p := range t.Partitions {
			l[replica{broker, t.Topic, p.Partition}] = replicaDir{dir.Dir, p.Size, remoteSize(p.UnknownTags)}
		}
	}
}

// remoteSize is what a tagged field says, -1 if it is not there.
func remoteSize(tags kmsg.Tags) int64 {
	size := int64(-1)
	tags.Each(func(tag uint32, value []byte) {
		if tag == remoteSizeTag && len(value) == 8 {
			size = int64(binary.BigEndian.Uint64(value))
		}
	})
	return size
}
