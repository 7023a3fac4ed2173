package share

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/morrowmq/morrow/broker/coord"
)

// The first two bytes of a key say what the value is. FORMAT.md draws both.
const (
	keySnapshot int16 = 0 // all of a share-partition; a tombstone ends it
	keyUpdate   int16 = 1 // what changed of it
)

// valueVersion starts every value.
const valueVersion int16 = 0

// fates as they are stored. An acquired record is stored as available: its lock
// does not outlive the broker, its deliveries do where they happen to be written.
const (
	storedAvailable byte = 0
	storedDone      byte = 1
	storedWaiting   byte = 2
	storedExhausted byte = 3
	storedRejected  byte = 4
)

var (
	errTruncated = errors.New("too short")
	errState     = errors.New("unknown state")
	errCount     = errors.New("more deliveries than there can be")
	errOrder     = errors.New("ranges beyond the largest offset")
)

func recordKey(kind int16, k Key) []byte {
	b := kbin.AppendInt16(make([]byte, 0, 24+len(k.Group)), kind)
	b = kbin.AppendString(b, k.Group)
	b = kbin.AppendUuid(b, k.Topic)
	return kbin.AppendInt32(b, k.Partition)
}

func readKey(b []byte) (kind int16, k Key, err error) {
	r := kbin.Reader{Src: b}
	kind = r.Int16()
	k.Group, k.Topic, k.Partition = r.String(), r.Uuid(), r.Int32()
	return kind, k, r.Complete()
}

// snapshot is the record of a whole share-partition.
func snapshot(k Key, p *runs) coord.Record {
	return coord.Record{Key: recordKey(keySnapshot, k), Value: encode(p.start, p.list)}
}

// delta is the record of changes to a share-partition.
func delta(k Key, start int64, changed []run) coord.Record {
	return coord.Record{Key: recordKey(keyUpdate, k), Value: encode(start, changed)}
}

func tombstone(k Key) coord.Record { return coord.Record{Key: recordKey(keySnapshot, k)} }

// encode writes the start and ranges in order. Offsets and times are small numbers:
// distances from what came before.
func encode(start int64, list []run) []byte {
	base := int64(0)
	for _, x := range list {
		if x.state == waiting {
			base = x.at
			break
		}
	}
	b := kbin.AppendInt16(make([]byte, 0, 20+6*len(list)), valueVersion)
	b = kbin.AppendInt64(b, start)
	b = kbin.AppendInt64(b, base)
	b = binary.AppendUvarint(b, uint64(len(list)))
	at := start
	for _, x := range list {
		b = binary.AppendVarint(b, x.first-at)
		b = binary.AppendUvarint(b, uint64(x.end-x.first))
		b = append(b, x.stored())
		b = binary.AppendUvarint(b, uint64(x.count))
		if x.state == waiting {
			b = binary.AppendVarint(b, x.at-base)
		}
		at = x.end
	}
	return b
}

func (f fate) stored() byte {
	switch f.state {
	case done:
		return storedDone
	case waiting:
		return storedWaiting
	case exhausted:
		return storedExhausted
	case rejected:
		return storedRejected
	}
	return storedAvailable
}

func decode(b []byte) (start int64, list []run, err error) {
	if len(b) < 18 {
		return 0, nil, errTruncated
	}
	if v := int16(binary.BigEndian.Uint16(b)); v != valueVersion {
		return 0, nil, fmt.Errorf("unknown value version %d", v)
	}
	start = int64(binary.BigEndian.Uint64(b[2:]))
	base := int64(binary.BigEndian.Uint64(b[10:]))
	d := decoder{b: b[18:]}
	at := start
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		x := d.run(at, base)
		if at = x.end; d.err == nil && (x.first < 0 || x.end < x.first) {
			d.err = errOrder
		}
		list = append(list, x)
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.b))
	}
	return start, list, d.err
}

// decoder reads varints until it fails.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) run(at, base int64) (x run) {
	x.first = at + d.varint()
	x.end = x.first + int64(d.uvarint())
	stored := d.byte()
	count := d.uvarint()
	if count > math.MaxInt16 {
		d.fail(errCount)
	}
	x.count = int16(count)
	switch stored {
	case storedAvailable:
	case storedDone:
		x.state = done
	case storedWaiting:
		x.state, x.at = waiting, base+d.varint()
	case storedExhausted:
		x.state = exhausted
	case storedRejected:
		x.state = rejected
	default:
		d.fail(errState)
	}
	return x
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err, d.b = err, nil
	}
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.fail(errTruncated)
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail(errTruncated)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

// replay applies one record.
func (s *machine) replay(r coord.Record) error {
	if r.End != coord.NoEnd {
		return nil // transactions do not write here: somebody named the partition all the same
	}
	kind, k, err := readKey(r.Key)
	switch {
	case err != nil:
		return err
	case kind != keySnapshot && kind != keyUpdate:
		return nil // of a later version
	case r.Value == nil:
		delete(s.parts, k)
		return nil
	}
	start, list, err := decode(r.Value)
	if err != nil {
		return err
	}
	p := s.parts[k]
	switch {
	case kind == keySnapshot && p == nil:
		p = &partition{runs: newRuns(start)}
		s.parts[k] = p
	case p == nil:
		return nil // the journal was trimmed between it and the snapshot before it; another follows
	}
	p.drop(start)
	for _, x := range list {
		if kind == keySnapshot {
			p.restore(x)
		} else {
			p.set(x.first, x.end, x.fate)
		}
	}
	return nil
}

// restore applies what a snapshot says of a range. Where the share-partition is
// known already it says the same, except that it cannot say who holds what.
func (p *partition) restore(stored run) {
	for _, x := range p.within(stored.first, stored.end) {
		if x.state != acquired {
			p.set(x.first, x.end, stored.fate)
		}
	}
	p.set(max(stored.first, p.end), stored.end, stored.fate)
}
