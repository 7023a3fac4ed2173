package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/protocol"
)

// ShareAcknowledge, key 79, versions 1-2 (KIP-932, KIP-1222).
//
// Every partition's acknowledgements count as a whole or not at all, and are durable before the answer.

func (a *API) shareAcknowledge(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ShareAcknowledgeRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.ShareAcknowledgeResponse)
		resp.AcquisitionLockTimeoutMillis = a.lockMillis(deref(req.GroupID))
		s, err := a.acknowledgingSession(req)
		if err != nil {
			resp.ErrorCode, resp.ErrorMessage = refusal(err)
			return protocol.Answer{Message: resp}, nil
		}
		acks := requestAcks(req)
		a.acknowledge(ctx, s.shareMember, req.IsRenewAck, acks)
		if req.ShareSessionEpoch == shareFinalEpoch && a.shareSessions.remove(s) {
			a.leaveShares(s)
		}
		a.answerAcks(resp, acks, r.Conn.Listener)
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) acknowledgingSession(req *kmsg.ShareAcknowledgeRequest) (*shareSession, error) {
	m, err := checkShareMember(req.GroupID, req.MemberID)
	if err != nil {
		return nil, err
	}
	if req.ShareSessionEpoch == shareInitialEpoch { // a session begins with a fetch
		return nil, kerr.InvalidShareSessionEpoch
	}
	s, err := a.shareSessions.find(m, nil)
	if err != nil {
		return nil, err
	}
	return s, s.turn(req.ShareSessionEpoch)
}

func requestAcks(req *kmsg.ShareAcknowledgeRequest) []shareAck {
	var acks []shareAck
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			ack := shareAck{key: shareKeyOf(t.TopicID, p.Partition)}
			for _, b := range p.AcknowledgementBatches {
				ack.acks = append(ack.acks, share.Ack{First: b.FirstOffset, End: shareEnd(b.LastOffset), Types: b.AcknowledgeTypes})
			}
			acks = append(acks, ack)
		}
	}
	return acks
}

// answerAcks says for every partition what became of its acknowledgements.
func (a *API) answerAcks(resp *kmsg.ShareAcknowledgeResponse, acks []shareAck, listener string) {
	named := leaders{img: a.store.Image()}
	topics := make(map[[16]byte]int)
	for i := range acks {
		ack := &acks[i]
		n, ok := topics[ack.key.id]
		if !ok {
			n = len(resp.Topics)
			topics[ack.key.id] = n
			rt := kmsg.NewShareAcknowledgeResponseTopic()
			rt.TopicID = ack.key.id
			resp.Topics = append(resp.Topics, rt)
		}
		rp := kmsg.NewShareAcknowledgeResponseTopicPartition()
		rp.Partition = ack.key.partition
		if ack.err != nil {
			rp.ErrorCode = a.explain(ack.err, "acknowledge", a.topicName(ack.key), ack.key.partition)
			rp.ErrorMessage = kmsg.StringPtr(message(ack.err))
		}
		l := named.sharing(ack.key, rp.ErrorCode)
		rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = l.id, l.epoch
		resp.Topics[n].Partitions = append(resp.Topics[n].Partitions, rp)
	}
	for _, b := range named.brokers {
		ne := kmsg.NewShareAcknowledgeResponseNodeEndpoint()
		host, port, _ := endpoint(b, listener)
		ne.NodeID, ne.Host, ne.Port, ne.Rack = b.ID, host, port, optional(b.Rack)
		resp.NodeEndpoints = append(resp.NodeEndpoints, ne)
	}
}

// sharing returns the leader of a partition for an answer that says that it is another broker, and
// noLeader for any other.
func (l *leaders) sharing(k fetchKey, codes ...int16) leader {
	for _, c := range codes {
		if c == kerr.NotLeaderForPartition.Code || c == kerr.FencedLeaderEpoch.Code {
			if t, err := find(l.img, k.topicKey, true); err == nil {
				return l.of(t, k.partition)
			}
		}
	}
	return noLeader
}
