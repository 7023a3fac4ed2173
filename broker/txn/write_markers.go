package txn

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/coord"
)

// WriteTxnMarkers serves key 27, versions 1 and 2: markers for partitions of this broker, from
// another coordinator or from an admin who ends a transaction that nobody else will end. The
// coordinator of a transaction is not asked.
func (c *Coordinator) WriteTxnMarkers(ctx context.Context, req *kmsg.WriteTxnMarkersRequest) *kmsg.WriteTxnMarkersResponse {
	resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	var g errgroup.Group
	g.SetLimit(maxMarkers)
	for i := range req.Markers {
		m := &req.Markers[i]
		marker := Marker{m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch, m.Committed, int16(m.TransactionVersion) >= version2}
		rm := kmsg.NewWriteTxnMarkersResponseMarker()
		rm.ProducerID = m.ProducerID
		for _, t := range m.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = t.Topic
			rt.Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(t.Partitions))
			for j, n := range t.Partitions {
				rp := &rt.Partitions[j]
				*rp = kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
				rp.Partition = n
				g.Go(func() error {
					rp.ErrorCode = markerCode(c.writeMarker(ctx, t.Topic, n, marker))
					return nil
				})
			}
			rm.Topics = append(rm.Topics, rt)
		}
		resp.Markers = append(resp.Markers, rm)
	}
	_ = g.Wait() // no part of it fails
	return resp
}

func (c *Coordinator) writeMarker(ctx context.Context, topic string, n int32, m Marker) error {
	p, refused := c.partition(topic, n)
	if refused != nil {
		return refused
	}
	return c.cluster.WriteMarker(ctx, p, m)
}

// markerCode is the code of a marker that was not written: whoever sent it tries again.
func markerCode(err error) int16 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrFenced):
		return kerr.InvalidProducerEpoch.Code
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return kerr.UnknownTopicOrPartition.Code
	case errors.Is(err, kerr.InvalidTopicException):
		return kerr.InvalidTopicException.Code
	case errors.Is(err, coord.ErrLoading):
		return kerr.CoordinatorLoadInProgress.Code
	}
	return kerr.NotLeaderForPartition.Code
}
