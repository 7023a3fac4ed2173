package tier

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
)

// GroupOffsets is a copy of what consumer groups have committed, kept in the bucket beside the records it is about. Package tier stores it
// and knows no more of it.
type GroupOffsets struct {
	Time int64 // when it was taken, ms since the epoch
	Node int32 // the broker whose groups these are
	// Journal, Shards and Config are id, partitions and configs of the topic that the groups are kept in.
	Journal TopicID
	Shards  int32
	Config  map[string]string
	Offsets []GroupOffset
}

// GroupOffset is a position of a group in a partition.
type GroupOffset struct {
	Group, TopicName string
	Topic            TopicID
	Partition        int32
	Offset           int64
	LeaderEpoch      int32
	Metadata         string
	Committed        int64 // ms since the epoch
	Expires          int64 // ms since the epoch; -1: as the broker's configs say
}

const (
	groupsMagic    = "MRWGROUP"
	groupsVersion  = 1
	groupsName     = "groups"
	maxGroupsBytes = 1 << 30
)

func groupsDir(cluster string) string { return cluster + "/" + groupsName + "/" }

// encode returns the copy as it is stored. FORMAT.md has the drawing.
func (g *GroupOffsets) encode() []byte {
	var e encoder
	e.int(g.Time)
	e.body(g)
	return seal(groupsMagic, groupsVersion, e.b)
}

// body is all but the time.
func (e *encoder) body(g *GroupOffsets) {
	e.int(int64(g.Node))
	e.raw(g.Journal[:])
	e.int(int64(g.Shards))
	e.config(g.Config)
	e.uint(uint64(len(g.Offsets)))
	for i := range g.Offsets {
		e.nested(g.Offsets[i].encode)
	}
}

func decodeGroups(b []byte) (*GroupOffsets, error) {
	body, _, err := unseal(groupsMagic, groupsVersion, b)
	if err != nil {
		return nil, err
	}
	d := decoder{b: body}
	g := &GroupOffsets{Time: d.int(), Node: int32(d.int())}
	copy(g.Journal[:], d.raw(len(g.Journal)))
	g.Shards = int32(d.int())
	g.Config = d.config()
	g.Offsets = make([]GroupOffset, d.count(minNested))
	for i := range g.Offsets {
		d.nested(g.Offsets[i].decode)
	}
	return g, d.err
}

func (o *GroupOffset) encode(e *encoder) {
	e.string(o.Group)
	e.string(o.TopicName)
	e.raw(o.Topic[:])
	e.int(int64(o.Partition))
	e.int(o.Offset)
	e.int(int64(o.LeaderEpoch))
	e.string(o.Metadata)
	e.int(o.Committed)
	e.int(o.Expires)
}

func (o *GroupOffset) decode(d *decoder) {
	o.Group, o.TopicName = d.string(), d.string()
	copy(o.Topic[:], d.raw(len(o.Topic)))
	o.Partition = int32(d.int())
	o.Offset = d.int()
	o.LeaderEpoch = int32(d.int())
	o.Metadata = d.string()
	o.Committed, o.Expires = d.int(), d.int()
}

// groupsCopy is the copy that this broker keeps in the bucket. It is used by one goroutine.
type groupsCopy struct {
	etag string // of the object; "": not known
	sum  uint64 // of what is there, but for its time; 0: not known
}

// PutGroupOffsets replaces the copy of the groups' offsets in the bucket, and returns when the store has confirmed it. It does nothing if
// only the time has changed. It is for one goroutine at a time.
func (t *Tier) PutGroupOffsets(ctx context.Context, g *GroupOffsets) error {
	if err := t.Admitted(); err != nil {
		return err
	}
	var e encoder
	e.body(g)
	h := fnv.New64a()
	h.Write(e.b)
	if h.Sum64() != t.groups.sum {
		if err := t.replaceGroups(ctx, g); err != nil {
			t.groups = groupsCopy{} // whatever is there now
			return err
		}
		t.groups.sum = h.Sum64()
	}
	t.groupsAt.Store(t.now().UnixMilli())
	return nil
}

func (t *Tier) replaceGroups(ctx context.Context, g *GroupOffsets) error {
	key := fmt.Sprintf("%s%d", groupsDir(t.cluster), g.Node)
	owner, _, err := ReadOwner(ctx, t.bucket, t.cluster)
	if err != nil {
		return err
	}
	if owner.Instance != t.instance { // what a broker that was taken for dead knows must not replace what its successor does
		return &OwnedError{Bucket: t.bucket.String(), Owner: owner}
	}
	if t.groups.etag == "" {
		obj, err := t.bucket.Head(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		t.groups.etag = obj.ETag
	}
	o := PutOptions{IfMatch: t.groups.etag, IfNoneMatch: t.groups.etag == ""}
	body := BytesBody(t.bucket.Checksum(), g.encode())
	if _, err := t.bucket.Put(ctx, key, body, o); err != nil {
		return err
	}
	obj, err := confirm(ctx, t.bucket, key, body)
	if err != nil {
		return err
	}
	t.groups.etag = obj.ETag
	return nil
}

// GroupsCopied is when the copy of the groups' offsets was last known to be as they were; zero: not since the start.
func (t *Tier) GroupsCopied() time.Time {
	if ms := t.groupsAt.Load(); ms > 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// ReadGroupOffsets returns the copies that the brokers of a cluster have left in the bucket. One that is damaged is ErrCorrupt.
func ReadGroupOffsets(ctx context.Context, b Bucket, cluster string) ([]*GroupOffsets, error) {
	var keys []string
	err := b.List(ctx, groupsDir(cluster), func(o Object) error {
		if !strings.Contains(strings.TrimPrefix(o.Key, groupsDir(cluster)), "/") {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []*GroupOffsets
	for _, key := range keys {
		data, _, err := readObject(ctx, b, key, maxGroupsBytes)
		if err != nil {
			return nil, err
		}
		g, err := decodeGroups(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all = append(all, g)
	}
	return all, nil
}
