package api

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/log/record"
)

// choices makes decisions out of bytes, so that a fuzzer that changes bytes changes decisions.
// After the last byte every decision is 0, which everywhere below stands for something sensible.
type choices struct{ left []byte }

func (c *choices) byte() byte {
	if len(c.left) == 0 {
		return 0
	}
	b := c.left[0]
	c.left = c.left[1:]
	return b
}

// one picks one of a few.
func one[T any](c *choices, of ...T) T { return of[int(c.byte())%len(of)] }

// requestMaker fills requests of any kind: with what exists on the broker, with nonsense, and with
// the largest and smallest of everything. It goes by the names of fields, and so knows requests
// that did not exist when it was written.
type requestMaker struct {
	choices
	topicID [16]byte
	now     int64
	left    int // elements and bytes that may still be made
}

// make returns a request of a key in a version.
func (m *requestMaker) make(key, version int16) kmsg.Request {
	m.left = 4 << 20
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	m.fill("", reflect.ValueOf(req).Elem())
	req.SetVersion(version)
	return req
}

func (m *requestMaker) fill(name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		m.fillStruct(v)
	case reflect.Slice:
		m.fillSlice(name, v)
	case reflect.Pointer:
		if m.byte()%8 == 7 {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		m.fill(name, v.Elem())
	case reflect.Array:
		id := one(&m.choices, m.topicID, [16]byte{}, [16]byte{1, 2, 3})
		reflect.Copy(v, reflect.ValueOf(id))
	case reflect.String:
		v.SetString(m.text(name))
	case reflect.Bool:
		v.SetBool(m.byte()%2 == 1)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(m.number(name))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(m.number(name)))
	case reflect.Float64:
		v.SetFloat(one(&m.choices, 0, 1, -1, math.Inf(1), math.NaN(), math.MaxFloat64))
	}
}

func (m *requestMaker) fillStruct(v reflect.Value) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		for range m.byte() % 2 {
			tags.Set(1000+uint32(m.byte()), bytes.Repeat([]byte{7}, int(m.byte())))
		}
		return
	}
	if d, ok := v.Addr().Interface().(interface{ Default() }); ok {
		d.Default()
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Name != "Version" {
			m.fill(f.Name, v.Field(i))
		}
	}
}

// fillSlice makes bytes, or an array of few elements, or rarely of the same one over and over.
func (m *requestMaker) fillSlice(name string, v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		p := m.bytes(name)
		m.left -= len(p)
		v.SetBytes(p)
		return
	}
	n := one(&m.choices, 1, 0, 2, 1, 3, 1, 1000, 1)
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	before := m.left
	for i := range n {
		switch {
		case m.left <= 0:
			v.SetLen(i)
			return
		case i < 4:
			m.left--
			m.fill(name, v.Index(i))
		default:
			v.Index(i).Set(v.Index(i % 4))
			m.left -= (before - m.left) / i
		}
	}
}

var (
	topicNames = []string{"orders", "payments", "nowhere", "__consumer_offsets", "__schedule.orders", "", "a/b", "..", strings.Repeat("t", 250)}
	groupNames = []string{"group", "other", "", "share", strings.Repeat("g", 32767)}
	txnNames   = []string{"transaction", "", "other"}
	wordsOf    = map[string][]string{
		"Topic": topicNames, "Topics": topicNames, "TopicName": topicNames, "SubscribedTopicNames": topicNames,
		"Group": groupNames, "Groups": groupNames, "GroupID": groupNames, "GroupIDs": groupNames, "CoordinatorKey": groupNames, "CoordinatorKeys": groupNames,
		"TransactionalID": txnNames, "TransactionalIDs": txnNames,
		"ResourceName":   {"orders", "7", "", "group", "8", "nowhere", "007"},
		"Name":           {"orders", "retention.ms", "range", "cleanup.policy", "max.message.bytes", ""},
		"ConfigNames":    {"retention.ms", "nothing", ""},
		"Value":          {"1000", "", "compact", "-1", "99999999999999999999", "compact,delete"},
		"ProtocolType":   {"consumer", "", "connect"},
		"ServerAssignor": {"uniform", "range", "", "nobody"},
		"Cursor":         topicNames,
	}
	anyWords = []string{"x", "", "range", "\xff\xfe\x00", "1", strings.Repeat("x", 32767)}
)

func (m *requestMaker) text(name string) string {
	words := wordsOf[name]
	if words == nil {
		words = anyWords
	}
	text := one(&m.choices, words...)
	m.left -= len(text)
	return text
}

func (m *requestMaker) number(name string) int64 {
	switch name {
	case "Acks":
		return one[int64](&m.choices, -1, 1, 0, 2)
	case "SessionTimeoutMillis", "RebalanceTimeoutMillis":
		return one[int64](&m.choices, 10_000, 0, -1, 6_000, math.MaxInt32)
	case "TimeoutMillis", "MaxWaitMillis":
		return one[int64](&m.choices, 1, 0, -1, 10, math.MaxInt32)
	case "MaxBytes", "PartitionMaxBytes":
		return one[int64](&m.choices, 1<<20, 0, -1, 1, math.MaxInt32)
	case "Timestamp":
		return one(&m.choices, -1, -2, -3, -4, -5, -6, 0, m.now, math.MaxInt64, math.MinInt64)
	case "ResourceType":
		return one[int64](&m.choices, 2, 4, 8, 16, 32, 0, -1)
	case "ReplicationFactor":
		return one[int64](&m.choices, 1, -1, 0, 3, math.MaxInt16)
	case "NumPartitions", "Count":
		return one[int64](&m.choices, 2, -1, 0, 1, math.MaxInt32, 100_001)
	}
	return one[int64](&m.choices, 0, -1, 1, 2, 7, -2, math.MaxInt8, math.MaxInt16, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64)
}

// bytes are batches where a request has records; where else it has bytes, they hardly matter.
func (m *requestMaker) bytes(name string) []byte {
	if name != "Records" {
		return one(&m.choices, []byte("\x00\x01\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff"), nil, bytes.Repeat([]byte{0xff}, 2000), make([]byte, 100_000))
	}
	codec := record.Codec(m.byte() % 5)
	b := one(&m.choices, batchOf(codec, values("a", "b")...), batchOf(codec, delayed("later", "1h"), rec{value: "now"}),
		batchOf(codec, delayed("bad", "soon")), batchOf(codec, rec{value: strings.Repeat("0", 2<<20)}),
		nil, batchOf(codec, rec{headers: []string{"morrow-cancel", "0"}}))
	b = bytes.Clone(b)
	for range m.byte() % 3 { // damage, some of it under a good checksum
		if len(b) > 0 {
			b[(int(m.byte())<<8|int(m.byte()))%len(b)] ^= 1 << (m.byte() % 8)
		}
	}
	if len(b) > 61 && m.byte()%2 == 1 {
		b.Stamp(b.Attributes(), b.MaxTimestamp())
	}
	return b
}

// damage changes a frame at the places that edits name, four bytes each, and returns what is to be
// sent of it. The first four bytes of a frame are its size.
func damage(frame, edits []byte) []byte {
	for len(edits) >= 4 && len(frame) > 0 {
		at := (int(edits[0])<<8 | int(edits[1])) % len(frame)
		switch edits[2] % 6 {
		case 0:
			frame[at] = edits[3]
		case 1:
			frame[at] ^= 1 << (edits[3] % 8)
		case 2: // the rest never comes
			frame = frame[:at]
		case 3: // a length that claims much
			copy(frame[at:], []byte{0xff, 0xff, 0xff, 0xff, 0x0f})
		case 4:
			copy(frame[at:], []byte{0x00, 0x0f, 0x42, 0x40})
		case 5: // something is missing or too much
			frame = append(frame[:at:at], frame[min(len(frame), at+int(edits[3])):]...)
			if len(frame) >= 4 {
				binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
			}
		}
		edits = edits[4:]
	}
	return frame
}

// framed encodes a request whose header names another version than its body may have.
func framed(req kmsg.Request, version int16, correlationID int32) []byte {
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("hostile")).AppendRequest(nil, req, correlationID)
	binary.BigEndian.PutUint16(frame[6:], uint16(version))
	return frame
}

func newRequestMaker(w *world, decisions []byte) *requestMaker {
	m := &requestMaker{choices: choices{decisions}, now: time.Now().UnixMilli()}
	if t, ok := w.store.Image().Topic("orders"); ok {
		m.topicID = t.ID
	}
	return m
}
