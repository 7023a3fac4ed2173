package main

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// jsonDump writes one object per line.
type jsonDump struct{ enc *json.Encoder }

type dumpedBatch struct {
	Kind          string   `json:"kind"`
	BaseOffset    int64    `json:"base_offset"`
	LastOffset    int64    `json:"last_offset"`
	Position      int64    `json:"position"`
	Size          int      `json:"size"`
	Records       int32    `json:"records"`
	LeaderEpoch   int32    `json:"leader_epoch"`
	Codec         string   `json:"codec"`
	Attributes    []string `json:"attributes"`
	BaseTimestamp int64    `json:"base_timestamp"`
	MaxTimestamp  int64    `json:"max_timestamp"`
	ProducerID    int64    `json:"producer_id"`
	ProducerEpoch int16    `json:"producer_epoch"`
	BaseSequence  int32    `json:"base_sequence"`
	CRC           string   `json:"crc"`
}

func (j jsonDump) batch(b record.Batch, pos int64) error {
	return j.enc.Encode(dumpedBatch{
		"batch", b.BaseOffset(), b.LastOffset(), pos, len(b), b.Count(), b.LeaderEpoch(),
		b.Attributes().Codec().String(), attributes(b.Attributes()), b.BaseTimestamp(), b.MaxTimestamp(),
		b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), fmt.Sprintf("%08x", b.CRC()),
	})
}

type dumpedRecord struct {
	Kind      string         `json:"kind"`
	Offset    int64          `json:"offset"`
	Timestamp int64          `json:"timestamp"` // the producer's
	Key       any            `json:"key"`
	Value     any            `json:"value"`
	Headers   []dumpedHeader `json:"headers"`
}

type dumpedHeader struct {
	Key   any `json:"key"`
	Value any `json:"value"`
}

func (j jsonDump) record(b record.Batch, v *record.View) error {
	r := dumpedRecord{"record", b.BaseOffset() + int64(v.OffsetDelta), v.CreateTime(), jsonBytes(v.Key), jsonBytes(v.Value), []dumpedHeader{}}
	for k, val := range v.Headers {
		r.Headers = append(r.Headers, dumpedHeader{jsonBytes(k), jsonBytes(val)})
	}
	return j.enc.Encode(r)
}

// jsonBytes is a string, null, or hex in an object, so that no text can be taken for hex.
func jsonBytes(b []byte) any {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		return string(b)
	}
	return map[string]string{"hex": fmt.Sprintf("%x", b)}
}

type dumpedIndex struct {
	Kind          string `json:"kind"`
	Offset        int64  `json:"offset"`
	Position      *int64 `json:"position,omitempty"`
	Timestamp     *int64 `json:"timestamp,omitempty"`
	ProducerID    *int64 `json:"producer_id,omitempty"`
	AbortedFirst  *int64 `json:"first_offset,omitempty"`
	AbortedStable *int64 `json:"last_stable_offset,omitempty"`
}

func (j jsonDump) index(e segment.IndexEntry) error {
	d := dumpedIndex{Kind: "index", Offset: e.Offset}
	if e.BatchPos != segment.None {
		d.Position = &e.BatchPos
	}
	if e.Timestamp != segment.None {
		d.Timestamp = &e.Timestamp
	}
	if a := e.Aborted; a != nil {
		d.ProducerID, d.AbortedFirst, d.AbortedStable = &a.ProducerID, &a.FirstOffset, &a.LastStable
	}
	return j.enc.Encode(d)
}

func (j jsonDump) damage(p segment.Piece, reason error) error {
	return j.enc.Encode(struct {
		Kind     string `json:"kind"`
		Position int64  `json:"position"`
		Size     int64  `json:"size"`
		Problem  string `json:"problem"`
	}{"damage", p.Pos, p.EndPos - p.Pos, reason.Error()})
}
