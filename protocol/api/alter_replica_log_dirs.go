package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// AlterReplicaLogDirs, key 34, versions 1-2 (KIP-113). There is one directory: whoever asks for it
// has what they ask for, and another is not found.

func (a *API) alterReplicaLogDirs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.AlterReplicaLogDirsRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
		at := map[string]int{} // topics have an entry each, though directories may repeat them
		for i := range req.Dirs {
			for j := range req.Dirs[i].Topics {
				t := &req.Dirs[i].Topics[j]
				k, ok := at[t.Topic]
				if !ok {
					k, at[t.Topic] = len(resp.Topics), len(resp.Topics)
					rt := kmsg.NewAlterReplicaLogDirsResponseTopic()
					rt.Topic = t.Topic
					resp.Topics = append(resp.Topics, rt)
				}
				for _, number := range t.Partitions {
					rp := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
					rp.Partition, rp.ErrorCode = number, code(a.checkLogDir(req.Dirs[i].Dir, t.Topic, number))
					resp.Topics[k].Partitions = append(resp.Topics[k].Partitions, rp)
				}
			}
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) checkLogDir(dir, topic string, number int32) error {
	if dir != a.dataDir {
		return kerr.LogDirNotFound
	}
	_, err := a.partitionNamed(topic, number)
	return err
}
