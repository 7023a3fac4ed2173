package tier

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Layout of a bucket. Numbers are zero-padded so that a listing is in offset order.
//
//	<cluster>/owner                                              who writes here
//	<cluster>/groups/<node>                                      what groups have committed; replaced
//	<cluster>/sweeps/<time>-<token>.json                         what a sweep deletes
//	<cluster>/<topic id>/deleted                                 tombstone of a topic
//	<cluster>/<topic id>/<partition>/manifest                    replaced by every commit
//	<cluster>/<topic id>/<partition>/<base>-<epoch>-<token>.page
//	<cluster>/<topic id>/<partition>/<base>-<epoch>-<token>.segment
//
// Only owner, manifest and groups are ever replaced; every other key is used once (R1).
const (
	manifestName  = "manifest"
	segmentSuffix = ".segment"
	pageSuffix    = ".page"
	tombstoneName = "deleted"
	ownerName     = "owner"
)

// TopicID is a topic's unique id. A topic re-created under an old name has another one.
type TopicID [16]byte

func (t TopicID) String() string { return hex.EncodeToString(t[:]) }

// Kafka spells the id as Kafka's tools do.
func (t TopicID) Kafka() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// PartitionID names a partition. Name is the topic's name, for people; Topic is what counts.
type PartitionID struct {
	Topic     TopicID
	Name      string
	Partition int32
}

func (p PartitionID) String() string { return fmt.Sprintf("%s-%d", p.Name, p.Partition) }

// Token makes an object's key unique, whoever writes it and however often it is tried.
type Token [16]byte

// NewToken returns a random token.
func NewToken() Token {
	var t Token
	rand.Read(t[:])
	return t
}

func (t Token) String() string { return hex.EncodeToString(t[:]) }

// ObjectID is what tells the objects of one partition apart.
type ObjectID struct {
	Base  int64 // first offset
	Epoch int32 // leader epoch of the writer
	Token Token
}

func (o ObjectID) key(dir, suffix string) string {
	return fmt.Sprintf("%s%020d-%010d-%s%s", dir, o.Base, o.Epoch, o.Token, suffix)
}

// parseObjectKey takes apart what ObjectID.key built.
func parseObjectKey(dir, key string) (o ObjectID, suffix string, ok bool) {
	name, found := strings.CutPrefix(key, dir)
	dot := strings.IndexByte(name, '.')
	if !found || dot != 20+1+10+1+32 {
		return o, "", false
	}
	base, err1 := strconv.ParseInt(name[:20], 10, 64)
	epoch, err2 := strconv.ParseInt(name[21:31], 10, 32)
	token, err3 := hex.DecodeString(name[32:dot])
	if err1 != nil || err2 != nil || err3 != nil {
		return o, "", false
	}
	o = ObjectID{Base: base, Epoch: int32(epoch), Token: Token(token)}
	suffix = name[dot:]
	return o, suffix, o.key(dir, suffix) == key && (suffix == segmentSuffix || suffix == pageSuffix)
}

func topicDir(cluster string, topic TopicID) string { return cluster + "/" + topic.String() + "/" }

func partitionDir(cluster string, topic TopicID, partition int32) string {
	return fmt.Sprintf("%s%d/", topicDir(cluster, topic), partition)
}

// ParseTopicID reads what TopicID.String wrote.
func ParseTopicID(s string) (TopicID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(TopicID{}) {
		return TopicID{}, fmt.Errorf("topic id %q: expected 32 hexadecimal digits", s)
	}
	return TopicID(b), nil
}
