package api

import (
	"slices"

	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/protocol"
)

// sharedPart is what the answer says of one partition.
type sharedPart struct {
	key           fetchKey
	code, ackCode int16
	text, ackText *string
	acquired      []share.Acquired
	ranges        []log.Range
}

// encode writes the response body by hand, as that of Fetch: the records are ranges of files. It
// also lists the error codes in the answer. All partitions of a new session are told, later ones if
// there is something to tell.
func (f *shareFetching) encode() (*protocol.Body, []int16) {
	parts := f.told()
	e := fetchEncoder{
		encoder: encoder{version: f.req.Version, flexible: true, dst: make([]byte, 0, 64+96*len(parts))},
		body:    new(protocol.Body),
		leaders: leaders{img: f.api.store.Image()},
	}
	e.int32(0) // throttle
	e.int16(0)
	e.nullableString(nil)
	e.int32(f.api.lockMillis(f.session.group))
	topics := byTopic(parts)
	e.length(len(topics))
	for _, topic := range topics {
		e.dst = append(e.dst, topic[0].key.id[:]...)
		e.length(len(topic))
		for i := range topic {
			e.shared(&topic[i])
		}
		e.noTags()
	}
	e.endpoints(e.leaders.brokers, f.conn.Listener)
	e.noTags()
	e.flush()
	return e.body, codesOf(parts)
}

// byTopic divides partitions where the topic changes.
func byTopic(parts []sharedPart) (topics [][]sharedPart) {
	for from, i := 0, 1; i <= len(parts); i++ {
		if i == len(parts) || parts[i].key.id != parts[from].key.id {
			topics = append(topics, parts[from:i])
			from = i
		}
	}
	return topics
}

// codesOf lists the codes that an answer has, for the metrics.
func codesOf(parts []sharedPart) (codes []int16) {
	for i := range parts {
		for _, c := range []int16{parts[i].code, parts[i].ackCode} {
			if c != 0 {
				codes = append(codes, c)
			}
		}
	}
	return codes
}

// told lists the partitions that the answer has something to say about, topic by topic.
func (f *shareFetching) told() []sharedPart {
	byKey := make(map[fetchKey]*sharedPart)
	var keys []fetchKey
	at := func(k fetchKey) *sharedPart {
		if byKey[k] == nil {
			byKey[k] = &sharedPart{key: k}
			keys = append(keys, k)
		}
		return byKey[k]
	}
	for _, ack := range f.acks {
		p := at(ack.key)
		if ack.err != nil {
			text := message(ack.err)
			p.ackCode, p.ackText = f.api.explain(ack.err, "acknowledge", f.api.topicName(ack.key), ack.key.partition), &text
		}
	}
	for i := range f.parts {
		sp := &f.parts[i]
		if sp.err == nil && len(sp.acquired) == 0 && f.req.ShareSessionEpoch != shareInitialEpoch {
			continue
		}
		p := at(sp.key)
		if sp.err != nil {
			text := message(sp.err)
			p.code, p.text = f.api.explain(sp.err, "share fetch", f.api.topicName(sp.key), sp.key.partition), &text
			continue
		}
		p.acquired, p.ranges = joinedAcquired(sp.acquired, int64(f.req.BatchSize)), sp.taken()
	}
	slices.SortStableFunc(keys, func(a, b fetchKey) int { return slices.Compare(a.id[:], b.id[:]) })
	parts := make([]sharedPart, 0, len(keys))
	for _, k := range keys {
		parts = append(parts, *byKey[k])
	}
	return parts
}

// taken are the bytes of the batches of which something was acquired, neighbours as one range.
func (sp *sharePart) taken() []log.Range {
	var ranges []log.Range
	i := 0
	for _, b := range sp.batches {
		for i < len(sp.acquired) && sp.acquired[i].End <= b.First {
			i++
		}
		if i == len(sp.acquired) {
			break
		}
		if sp.acquired[i].First >= b.End {
			continue
		}
		ranges = sp.read.Slice(ranges, b.pos, b.endPos)
	}
	return ranges
}

// joinedAcquired merges neighbours that were delivered equally often into ranges of at most size
// records. A batch is not split.
func joinedAcquired(acquired []share.Acquired, size int64) []share.Acquired {
	var out []share.Acquired
	for _, a := range acquired {
		if n := len(out); n > 0 && out[n-1].End == a.First && out[n-1].Count == a.Count && a.End-out[n-1].First <= size {
			out[n-1].End = a.End
		} else {
			out = append(out, a)
		}
	}
	return out
}

func (e *fetchEncoder) shared(p *sharedPart) {
	e.int32(p.key.partition)
	e.int16(p.code)
	e.nullableString(p.text)
	e.int16(p.ackCode)
	e.nullableString(p.ackText)
	l := e.leaders.sharing(p.key, p.code, p.ackCode)
	e.int32(l.id)
	e.int32(l.epoch)
	e.noTags()
	size := int64(0)
	for _, r := range p.ranges {
		size += r.Len
	}
	e.length(int(size))
	if size > 0 {
		e.flush()
		for _, r := range p.ranges {
			e.body.File(r.File, r.Pos, r.Len)
		}
	}
	e.length(len(p.acquired))
	for _, a := range p.acquired {
		e.int64(a.First)
		e.int64(a.End - 1)
		e.int16(a.Count)
		e.noTags()
	}
	e.noTags()
}
