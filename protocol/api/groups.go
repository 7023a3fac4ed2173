package api

import (
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/protocol"
)

// The group requests are answered whole by package broker/group, which heads each of its methods
// with Kafka's rules:
//
//	OffsetCommit 8, OffsetFetch 9, JoinGroup 11, Heartbeat 12, LeaveGroup 13, SyncGroup 14,
//	DescribeGroups 15, ListGroups 16, DeleteGroups 42, OffsetDelete 47,
//	ConsumerGroupHeartbeat 68, ConsumerGroupDescribe 69, ShareGroupHeartbeat 76, ShareGroupDescribe 77
//
// as are those of transactions by package broker/txn:
//
//	InitProducerId 22, AddPartitionsToTxn 24, EndTxn 26, WriteTxnMarkers 27, DescribeTransactions 65, ListTransactions 66

// from makes a handler of a method that needs the request only.
func from[Req kmsg.Request, Resp kmsg.Response](answer func(context.Context, Req) Resp) protocol.Handler {
	return func(_ context.Context, r *protocol.Request) protocol.Reply {
		return func(ctx context.Context) (protocol.Answer, error) {
			return protocol.Answer{Message: answer(ctx, r.Message.(Req))}, nil
		}
	}
}

// fromMember makes a handler of a method that also wants to know who asks.
func fromMember[Req kmsg.Request, Resp kmsg.Response](answer func(context.Context, group.Client, Req) Resp) protocol.Handler {
	return func(_ context.Context, r *protocol.Request) protocol.Reply {
		return func(ctx context.Context) (protocol.Answer, error) {
			c := group.Client{ID: r.ClientID, Host: hostOf(r.Conn.RemoteAddr())}
			return protocol.Answer{Message: answer(ctx, c, r.Message.(Req))}, nil
		}
	}
}

// hostOf is an address as Kafka shows a member's: a slash, then the IP.
func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		host = addr.String()
	}
	return "/" + host
}
