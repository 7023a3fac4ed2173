package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// TopicID names a topic for ever: a topic that is deleted and created again
// under its old name has another id (KIP-516). The zero value means none.
type TopicID [16]byte

// NewTopicID returns a random id.
func NewTopicID() TopicID {
	for {
		var id TopicID
		rand.Read(id[:]) // never fails
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if !id.reserved() {
			return id
		}
	}
}

// String returns the spelling Kafka's tools use: url-safe base64 without
// padding.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID is the inverse of String.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(id) {
		return TopicID{}, fmt.Errorf("topic id %q: want 22 characters of url-safe base64", s)
	}
	return TopicID(b), nil
}

// IsZero reports whether the id names no topic.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// MarshalText and UnmarshalText make ids readable in JSON, as map keys too. No
// id is the empty text.
func (id TopicID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return []byte{}, nil
	}
	return []byte(id.String()), nil
}

func (id *TopicID) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*id = TopicID{}
		return nil
	}
	*id, err = ParseTopicID(string(text))
	return err
}

// reserved reports whether Kafka gives the id a meaning of its own (the first
// hundred), or whether its spelling would be taken for a command-line flag.
func (id TopicID) reserved() bool {
	high, low := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	return (high == 0 && low < 100) || id.String()[0] == '-'
}
