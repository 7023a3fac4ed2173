package api

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/protocol"
)

// encode writes the response body by hand, because the records are not in memory: they are ranges
// of files, which the connection sends with sendfile. It also lists the error codes in the answer.
func (f *fetching) encode() (_ *protocol.Body, codes []int16) {
	parts := f.turn.parts
	e := fetchEncoder{
		encoder: encoder{version: f.req.Version, flexible: f.req.Version >= 12, dst: make([]byte, 0, 64+96*len(parts))},
		body:    new(protocol.Body),
		leaders: leaders{img: f.api.store.Image()},
	}
	e.int32(0) // throttle
	if e.version >= 7 {
		e.int16(0)
		e.int32(f.turn.id)
	}
	e.length(countTopics(parts))
	for len(parts) > 0 {
		topic := parts[:sameTopic(parts)]
		parts = parts[len(topic):]
		e.topic(topic[0].key.topicKey)
		e.length(len(topic))
		for i := range topic {
			fp := &topic[i]
			c := f.partitionCode(fp)
			if c != 0 {
				codes = append(codes, c)
			}
			e.partition(fp, c, f.req.IsolationLevel == 1)
		}
		e.noTags()
	}
	e.endpointTags(e.leaders.brokers, f.conn.Listener)
	e.flush()
	return e.body, codes
}

// partitionCode is the error code of a partition's answer. Clients before version 6 do not know
// KAFKA_STORAGE_ERROR.
func (f *fetching) partitionCode(fp *fetchPart) int16 {
	if fp.err == nil {
		return 0
	}
	topic := fp.key.name
	if fp.partition != nil {
		topic = fp.partition.Topic().Name
	}
	c := f.api.explain(fp.err, "fetch", topic, fp.key.partition)
	if c == kerr.KafkaStorageError.Code && f.req.Version < 6 {
		return kerr.NotLeaderForPartition.Code
	}
	return c
}

// sameTopic is how many parts from the first one on are of its topic.
func sameTopic(parts []fetchPart) int {
	n := 1
	for n < len(parts) && parts[n].key.topicKey == parts[0].key.topicKey {
		n++
	}
	return n
}

func countTopics(parts []fetchPart) (n int) {
	for ; len(parts) > 0; n++ {
		parts = parts[sameTopic(parts):]
	}
	return n
}

// fetchEncoder builds a body of byte runs and file ranges.
type fetchEncoder struct {
	encoder
	body    *protocol.Body
	leaders leaders
}

func (e *fetchEncoder) partition(fp *fetchPart, code int16, committed bool) {
	e.int32(fp.key.partition)
	e.int16(code)
	r := fp.read
	if r == nil {
		e.nothing(missing(fp.err))
		e.partitionTags(fp, code)
		return
	}
	e.int64(r.HighWatermark)
	e.int64(r.LastStable)
	if e.version >= 5 {
		e.int64(r.LogStart)
	}
	e.aborted(fp, committed)
	if e.version >= 11 {
		e.int32(-1) // preferred read replica
	}
	e.length(r.Size)
	if r.Size > 0 {
		e.flush()
		for _, fr := range r.Ranges {
			e.body.File(fr.File, fr.Pos, fr.Len)
		}
	}
	e.partitionTags(fp, code)
}

// nothing is what follows the error code when nothing could be read. As in Kafka, aborted
// transactions are an empty list where there is no such partition, and null otherwise.
func (e *fetchEncoder) nothing(missing bool) {
	e.int64(-1)
	e.int64(-1)
	if e.version >= 5 {
		e.int64(-1)
	}
	if missing {
		e.length(0)
	} else {
		e.length(-1)
	}
	if e.version >= 11 {
		e.int32(-1)
	}
	e.length(0)
}

// aborted lists aborted transactions, null for those who do not ask for committed records only.
func (e *fetchEncoder) aborted(fp *fetchPart, committed bool) {
	if !committed {
		e.length(-1)
		return
	}
	e.length(len(fp.read.Aborted))
	for _, t := range fp.read.Aborted {
		e.int64(t.ProducerID)
		e.int64(t.FirstOffset)
		e.noTags()
	}
}

// partitionTags carries the diverging epoch (tag 0, KIP-595) or the current leader (tag 1, KIP-951)
// when there is one to tell.
func (e *fetchEncoder) partitionTags(fp *fetchPart, code int16) {
	switch {
	case e.flexible && fp.read != nil && fp.read.Diverged():
		e.uvarint(1)
		e.uvarint(0)
		e.uvarint(13)
		e.int32(fp.read.Diverging.Epoch)
		e.int64(fp.read.Diverging.EndOffset)
		e.noTags()
	case e.version >= 16 && (code == kerr.NotLeaderForPartition.Code || code == kerr.FencedLeaderEpoch.Code):
		e.currentLeader(fp)
	default:
		e.noTags()
	}
}

func (e *fetchEncoder) currentLeader(fp *fetchPart) {
	t, err := find(e.leaders.img, fp.key.topicKey, true)
	if err != nil {
		e.noTags()
		return
	}
	l := e.leaders.of(t, fp.key.partition)
	if l == noLeader {
		e.noTags()
		return
	}
	e.uvarint(1)
	e.leaderTag(1, l)
}

// flush hands over the bytes so far; what follows is a new run.
func (e *fetchEncoder) flush() {
	if len(e.dst) > 0 {
		e.body.Write(e.dst)
		e.dst = e.dst[len(e.dst):]
	}
}
