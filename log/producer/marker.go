package producer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log/record"
)

// Marker is the control record that ends a transaction in one partition.
type Marker struct {
	ProducerID       int64
	Epoch            int16
	CoordinatorEpoch int32
	Commit           bool
}

// Batch is the marker as it is stored, written at a time in ms.
func (m Marker) Batch(now int64) record.Batch {
	kind := uint16(typeAbort)
	if m.Commit {
		kind = typeCommit
	}
	key := binary.BigEndian.AppendUint16(make([]byte, 2, 4), kind)
	value := binary.BigEndian.AppendUint32(make([]byte, 2, 6), uint32(m.CoordinatorEpoch))
	var w record.Builder
	w.Reset(record.Transactional|record.Control, now)
	w.SetProducer(m.ProducerID, m.Epoch, None)
	w.Add(0, now, key, value)
	b, err := w.Finish()
	if err != nil {
		panic(fmt.Sprintf("producer: marker cannot be built: %v", err)) // one small record always can
	}
	return b
}

var errMarker = errors.New("control batch is not a transaction marker")

// Control record types.
const (
	typeAbort  = 0
	typeCommit = 1
)

// ParseMarker reads the one record of a transaction's control batch:
//
//	key    version int16, type int16 (0 abort, 1 commit)
//	value  version int16, coordinator epoch int32
func ParseMarker(b record.Batch) (Marker, error) {
	p := parser(b.Payload())
	p.varint() // length
	p.bytes(1) // attributes
	p.varint() // timestamp delta
	p.varint() // offset delta
	key := p.bytes(p.varint())
	value := p.bytes(p.varint())
	if len(key) < 4 || len(value) < 6 {
		return Marker{}, errMarker
	}
	kind := binary.BigEndian.Uint16(key[2:])
	if kind != typeAbort && kind != typeCommit {
		return Marker{}, errMarker
	}
	return Marker{
		ProducerID:       b.ProducerID(),
		Epoch:            b.ProducerEpoch(),
		CoordinatorEpoch: int32(binary.BigEndian.Uint32(value[2:])),
		Commit:           kind == typeCommit,
	}, nil
}

// parser reads the fields of a record; after the first that is cut short everything is empty.
type parser []byte

func (p *parser) varint() int64 {
	v, n := binary.Varint(*p)
	if n <= 0 {
		*p = nil
		return -1
	}
	*p = (*p)[n:]
	return v
}

func (p *parser) bytes(n int64) []byte {
	if n < 0 || n > int64(len(*p)) {
		*p = nil
		return nil
	}
	b := (*p)[:n]
	*p = (*p)[n:]
	return b
}
