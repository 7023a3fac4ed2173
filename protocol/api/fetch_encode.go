package api

import (
	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/morrowmq/morrow/protocol"
)

// encode writes the response body by hand, because the records are not in memory:
// they are ranges of segment files, which the connection sends with sendfile.
// A test holds the bytes against kmsg's encoder.
func (f *fetching) encode(s *fetchSession) *protocol.Body {
	e := &fetchEncoder{version: f.req.Version, flexible: f.req.Version >= 12, body: new(protocol.Body)}
	e.dst = make([]byte, 0, 64+96*len(f.parts))
	e.int32(0) // throttle
	if e.version >= 7 {
		e.int16(0)
		e.int32(s.id)
	}
	groups := groupByTopic(s.answer(f.parts))
	e.arrayLen(len(groups))
	for _, g := range groups {
		if e.version >= 13 {
			e.dst = append(e.dst, g[0].key.id[:]...)
		} else {
			e.string(g[0].key.name)
		}
		e.arrayLen(len(g))
		for _, fp := range g {
			e.partition(fp)
		}
		e.noTags()
	}
	e.noTags()
	e.flush()
	return e.body
}

// groupByTopic cuts the parts into runs of one topic each, in order.
func groupByTopic(parts []*fetchPart) [][]*fetchPart {
	var groups [][]*fetchPart
	for i := 0; i < len(parts); {
		j := i + 1
		for j < len(parts) && parts[j].key.id == parts[i].key.id && parts[j].key.name == parts[i].key.name {
			j++
		}
		groups = append(groups, parts[i:j])
		i = j
	}
	return groups
}

// fetchEncoder builds a body of byte runs and file ranges.
type fetchEncoder struct {
	version  int16
	flexible bool
	body     *protocol.Body
	dst      []byte
}

func (e *fetchEncoder) partition(fp *fetchPart) {
	e.int32(fp.key.partition)
	e.int16(fp.errorCode())
	r := fp.read
	if r == nil {
		e.emptyPartition()
		return
	}
	e.int64(r.HighWatermark)
	e.int64(r.LastStable)
	if e.version >= 5 {
		e.int64(r.LogStart)
	}
	e.aborted(fp)
	if e.version >= 11 {
		e.int32(-1) // preferred read replica
	}
	e.bytesLen(r.Size)
	if r.Size > 0 {
		e.flush()
		for _, fr := range r.Ranges {
			e.body.File(fr.File, fr.Pos, fr.Len)
		}
	}
	e.body.OnRelease(r.Release)
	e.partitionTags(fp)
}

// emptyPartition is what follows the error code when nothing could be read.
func (e *fetchEncoder) emptyPartition() {
	e.int64(-1)
	e.int64(-1)
	if e.version >= 5 {
		e.int64(-1)
	}
	e.nullArray()
	if e.version >= 11 {
		e.int32(-1)
	}
	e.bytesLen(0)
	e.noTags()
}

func (e *fetchEncoder) aborted(fp *fetchPart) {
	if fp.read.Aborted == nil {
		e.nullArray()
		return
	}
	e.arrayLen(len(fp.read.Aborted))
	for _, t := range fp.read.Aborted {
		e.int64(t.ProducerID)
		e.int64(t.FirstOffset)
		e.noTags()
	}
}

// partitionTags carries the diverging epoch (tag 0, KIP-595) when there is one.
func (e *fetchEncoder) partitionTags(fp *fetchPart) {
	if !e.flexible || !fp.read.Diverged() {
		e.noTags()
		return
	}
	e.dst = append(e.dst, 1, 0, 13) // one tag: number 0, 13 bytes
	e.int32(fp.read.Diverging.Epoch)
	e.int64(fp.read.Diverging.EndOffset)
	e.noTags()
}

func (e *fetchEncoder) int16(v int16) { e.dst = kbin.AppendInt16(e.dst, v) }
func (e *fetchEncoder) int32(v int32) { e.dst = kbin.AppendInt32(e.dst, v) }
func (e *fetchEncoder) int64(v int64) { e.dst = kbin.AppendInt64(e.dst, v) }

func (e *fetchEncoder) string(s string) {
	if e.flexible {
		e.dst = kbin.AppendCompactString(e.dst, s)
	} else {
		e.dst = kbin.AppendString(e.dst, s)
	}
}

func (e *fetchEncoder) arrayLen(n int) {
	if e.flexible {
		e.dst = kbin.AppendCompactArrayLen(e.dst, n)
	} else {
		e.dst = kbin.AppendArrayLen(e.dst, n)
	}
}

func (e *fetchEncoder) nullArray() {
	if e.flexible {
		e.dst = append(e.dst, 0)
	} else {
		e.int32(-1)
	}
}

func (e *fetchEncoder) bytesLen(n int) {
	if e.flexible {
		e.dst = kbin.AppendUvarint(e.dst, uint32(n)+1)
	} else {
		e.int32(int32(n))
	}
}

func (e *fetchEncoder) noTags() {
	if e.flexible {
		e.dst = append(e.dst, 0)
	}
}

// flush hands over the bytes so far; what follows is a new run.
func (e *fetchEncoder) flush() {
	if len(e.dst) > 0 {
		e.body.Write(e.dst)
		e.dst = e.dst[len(e.dst):]
	}
}
