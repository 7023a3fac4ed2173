package api

import (
	"slices"

	"github.com/morrowmq/morrow/cluster"
)

// leader is who leads a partition, told to clients that asked the wrong broker or with an old epoch, so that
// they need no Metadata request to find out (KIP-951).
type leader struct{ id, epoch int32 }

// noLeader says nothing.
var noLeader = leader{-1, -1}

// leaders collects what one answer tells of leaders.
type leaders struct {
	img     *cluster.Image
	brokers []cluster.Broker // those named, once each
}

// of returns the leader of a partition and remembers where it is reached.
func (l *leaders) of(t *cluster.Topic, number int32) leader {
	if number < 0 || int(number) >= len(t.Partitions) {
		return noLeader
	}
	p := &t.Partitions[number]
	b, ok := l.img.Broker(p.Leader)
	if ok && !slices.ContainsFunc(l.brokers, func(have cluster.Broker) bool { return have.ID == b.ID }) {
		l.brokers = append(l.brokers, b)
	}
	return leader{p.Leader, p.LeaderEpoch}
}
