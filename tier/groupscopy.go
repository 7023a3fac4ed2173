package tier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

const (
	groupsName     = "groups"
	maxGroupsBytes = 1 << 30
	claimMagic     = "MRWCLAIM"
	claimVersion   = 1
)

func groupsDir(cluster string) string { return cluster + "/" + groupsName + "/" }

func groupsKey(cluster string, node int32) string {
	return fmt.Sprintf("%s%d", groupsDir(cluster), node)
}

// claimOf is what every object with a copy ends with: whose it is. So no two installations ever
// store the same bytes, and an ETag that one of them knows is void once another has been there,
// also with stores that compute it from the bytes.
func claimOf(instance string) []byte { return seal(claimMagic, claimVersion, []byte(instance)) }

// groupsCopy is the copy that this broker keeps in the bucket. It is used by one goroutine.
type groupsCopy struct {
	etag string // of the object; "": not known
	sum  uint64 // of what is there, but for its time; 0: not known
}

// PutGroupOffsets replaces the copy of the groups' offsets in the bucket, and returns when the
// store has confirmed it. It does nothing if only the time has changed. It is for one goroutine at
// a time. *OwnedError: the cluster id has been taken over, and what its owner has stored or claimed
// stays.
func (t *Tier) PutGroupOffsets(ctx context.Context, g *GroupOffsets) error {
	t.groupsTried.CompareAndSwap(0, t.now().UnixMilli())
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

// replaceGroups replaces the object that is there if it is still the same after the owner has been
// asked. In this order: whoever takes the cluster id over changes the owner first and then the
// object, so either we see the new owner, or what we have seen of the object is void.
func (t *Tier) replaceGroups(ctx context.Context, g *GroupOffsets) error {
	key := groupsKey(t.cluster, g.Node)
	if t.groups.etag == "" {
		obj, err := t.bucket.Head(ctx, key)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
		t.groups.etag = obj.ETag
	}
	owner, _, err := ReadOwner(ctx, t.bucket, t.cluster)
	if err != nil {
		return err
	}
	if !t.installation.owns(owner) { // what a broker that was taken for dead knows must not replace what its successor does
		return &OwnedError{Bucket: t.bucket.String(), Owner: owner}
	}
	o := bucket.PutOptions{IfMatch: t.groups.etag, IfNoneMatch: t.groups.etag == ""}
	body := bucket.BytesBody(t.bucket.Checksum(), append(g.encode(), claimOf(t.installation.ID)...))
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

// GroupsCopied is when the copy of the groups' offsets was last known to be as they were; zero: not
// since the start.
func (t *Tier) GroupsCopied() time.Time {
	if ms := t.groupsAt.Load(); ms > 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// ReadGroupOffsets returns the copies that the brokers of a cluster have left in the bucket. One
// that is damaged is ErrCorrupt.
func ReadGroupOffsets(ctx context.Context, b bucket.Bucket, cluster string) ([]*GroupOffsets, error) {
	keys, err := groupsKeys(ctx, b, cluster)
	if err != nil {
		return nil, err
	}
	var all []*GroupOffsets
	for _, key := range keys {
		data, _, err := bucket.ReadAll(ctx, b, key, maxGroupsBytes)
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(data, []byte(claimMagic)) {
			continue // claimed before there was one
		}
		g, err := decodeGroups(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all = append(all, g)
	}
	return all, nil
}

func groupsKeys(ctx context.Context, b bucket.Bucket, cluster string) (keys []string, err error) {
	err = b.List(ctx, groupsDir(cluster), func(o bucket.Object) error {
		if !strings.Contains(strings.TrimPrefix(o.Key, groupsDir(cluster)), "/") {
			keys = append(keys, o.Key)
		}
		return nil
	})
	return keys, err
}

// ClaimGroupOffsets makes the copies of a cluster those of instance, which owns the cluster id,
// whatever they hold, and the one of node also if there is none: whoever had the cluster id before
// replaces none of them from now on, not even with a request that is under way. What
// [ReadGroupOffsets] finds afterwards is therefore the last that they stored. It can be repeated.
func ClaimGroupOffsets(ctx context.Context, b bucket.Bucket, cluster, instance string, node int32) error {
	keys, err := groupsKeys(ctx, b, cluster)
	if err != nil {
		return err
	}
	if own := groupsKey(cluster, node); !slices.Contains(keys, own) {
		keys = append(keys, own)
	}
	for _, key := range keys {
		if err := claimGroups(ctx, b, key, claimOf(instance)); err != nil {
			return fmt.Errorf("claim %s: %w", key, err)
		}
	}
	return nil
}

// claimTries is how often a claim is tried: who loses the cluster id may have replaced the object
// meanwhile, and the store may keep an answer to itself, or not keep what it acknowledged.
const claimTries = 5

// claimGroups appends a claim to an object, and returns when it has been read back.
func claimGroups(ctx context.Context, b bucket.Bucket, key string, claim []byte) error {
	var claimed []byte // what was sent last
	var putErr error
	for range claimTries {
		data, obj, err := bucket.ReadAll(ctx, b, key, maxGroupsBytes)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
		if bytes.HasSuffix(data, claim) {
			return nil
		}
		if claimed == nil || !bytes.HasPrefix(claimed, data) { // else the store kept a part of it only
			claimed = append(data, claim...)
		}
		o := bucket.PutOptions{IfMatch: obj.ETag, IfNoneMatch: obj.ETag == ""}
		if _, putErr = b.Put(ctx, key, bucket.BytesBody(b.Checksum(), claimed), o); bucket.Refused(putErr) {
			return putErr
		}
	}
	return errors.Join(bucket.ErrUnknown, putErr)
}
