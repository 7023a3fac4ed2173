package tier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// Owner is who writes below a cluster id in a bucket. The marker keeps two installations that
// believe to be the same cluster from working on the same objects: a copy of a data directory, or a
// broker restored from the bucket while the old one still runs. It is a warning system; what really
// excludes a second writer are the leader epochs in the manifests, and their lineage.
type Owner struct {
	Instance string `json:"instance"`        // of a data directory, and its copies: lost with it
	Claim    string `json:"claim,omitempty"` // what the owner has written last, and its copies have not; empty: it remembers none
	Name     string `json:"name"`            // for people
	Seen     int64  `json:"seen"`            // last sign of life, ms since the epoch
}

// OwnedError says that another installation owns the cluster id in this bucket.
type OwnedError struct {
	Bucket string
	Owner  Owner
	// Copy: the marker is of this installation, by its id, and says what it has never written.
	Copy bool
	// Moved: the marker is ours but for the name, so this may be a copy of a broker that lives. Its
	// next sign of life tells.
	Moved bool
}

func (e *OwnedError) Error() string {
	if e.Copy {
		return fmt.Sprintf("%s is in use by a broker with a copy of this data directory, or this one is the copy: %s, last seen %s, has written there what this one does not know of",
			e.Bucket, e.Owner.Name, time.UnixMilli(e.Owner.Seen).UTC().Format(time.RFC3339))
	}
	text := fmt.Sprintf("%s is in use by another broker with the same cluster id: %s, last seen %s",
		e.Bucket, e.Owner.Name, time.UnixMilli(e.Owner.Seen).UTC().Format(time.RFC3339))
	if e.Moved {
		text += "; if that was this one under another name, uploads begin in two minutes"
	}
	return text
}

// errCopied is what an OwnedError is about a copy.
var errCopied = errors.New("copied data directory")

// Is tells what an error is about to those who do not take it apart.
func (e *OwnedError) Is(target error) bool { return target == errCopied && e.Copy }

const (
	ownerInterval = time.Minute
	// OwnerTTL is how long an owner may give no sign of life before it is taken for gone.
	OwnerTTL = 5 * time.Minute
	// movedTTL is how long a marker is left alone that only its name tells from our own: a broker
	// that lives renews it in that time.
	movedTTL      = 2 * ownerInterval
	maxOwnerBytes = 64 << 10
)

func ownerKey(cluster string) string { return cluster + "/" + ownerName }

// ReadOwner returns the owner of a cluster id and the ETag of the marker. ErrNotFound: nobody.
func ReadOwner(ctx context.Context, b bucket.Bucket, cluster string) (Owner, string, error) {
	data, obj, err := bucket.ReadAll(ctx, b, ownerKey(cluster), maxOwnerBytes)
	if err != nil {
		return Owner{}, "", err
	}
	var o Owner
	if err := json.Unmarshal(data, &o); err != nil {
		return Owner{}, "", fmt.Errorf("%s: %w: %w", ownerKey(cluster), ErrCorrupt, err)
	}
	return o, obj.ETag, nil
}

// Claimant is an installation that owns a cluster id in a bucket, or wants to.
type Claimant struct {
	Bucket       bucket.Bucket
	Cluster      string
	Installation *Installation
	Name         string // for people
}

// Claim makes the claimant the owner, or renews that, and returns when the store has confirmed the
// marker. seen is the time, ms since the epoch; 0: the owner goes, and the next need not wait.
// *OwnedError: somebody else is the owner, and has been seen lately; takeOver does not mind. A
// damaged marker, of which a store has kept half, say, does not tell whose it is: unless it is what
// we have just stored, it is ErrCorrupt until nobody has written it for OwnerTTL, and then it is
// replaced.
func (c *Claimant) Claim(ctx context.Context, seen int64, takeOver bool) (Owner, error) {
	me := Owner{Instance: c.Installation.ID, Name: c.Name, Seen: seen}
	sent := "" // the ETag of what an earlier try has stored
	for try := 0; ; try++ {
		now, etag, err := ReadOwner(ctx, c.Bucket, c.Cluster)
		o := bucket.PutOptions{IfMatch: etag}
		switch {
		case errors.Is(err, bucket.ErrNotFound):
			o = bucket.PutOptions{IfNoneMatch: true}
		case errors.Is(err, ErrCorrupt):
			marker, herr := c.Bucket.Head(ctx, ownerKey(c.Cluster))
			if herr != nil {
				return me, herr
			}
			if marker.ETag != sent && !takeOver && seen-marker.Modified.UnixMilli() < OwnerTTL.Milliseconds() {
				return me, err
			}
			o.IfMatch = marker.ETag
		case err != nil:
			return me, err
		case try > 0 && now == me:
			return me, nil // renewed by an earlier try
		case !takeOver:
			if err := c.Installation.judge(c.Bucket.String(), now, me); err != nil {
				return me, err
			}
		}
		if me.Claim, err = c.Installation.intend(now.Claim); err != nil {
			return me, err
		}
		if sent, err = c.put(ctx, me, o); err == nil || bucket.Refused(err) || try == 3 {
			return me, err
		}
		// Changed meanwhile, damaged, or not known: look again.
	}
}

// put stores the marker and has it confirmed. It returns the ETag of what it has stored, also if
// that is not confirmed.
func (c *Claimant) put(ctx context.Context, me Owner, o bucket.PutOptions) (etag string, err error) {
	data, err := json.Marshal(me)
	if err != nil {
		return "", err
	}
	body := bucket.BytesBody(c.Bucket.Checksum(), data)
	put, err := c.Bucket.Put(ctx, ownerKey(c.Cluster), body, o)
	if err != nil {
		return "", err
	}
	_, err = confirm(ctx, c.Bucket, ownerKey(c.Cluster), body)
	return put.ETag, err
}

// While runs do while it keeps the cluster id claimed. If somebody else takes it over, do's context
// ends and the *OwnedError is returned. If do ends well the cluster id is free, unless the store
// does not hear of it.
func (c *Claimant) While(ctx context.Context, takeOver bool, do func(context.Context) error) error {
	claim := func(ctx context.Context, takeOver bool) error {
		_, err := c.Claim(ctx, time.Now().UnixMilli(), takeOver)
		return err
	}
	if err := claim(ctx, takeOver); err != nil {
		return err
	}
	working, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-working.Done():
				return
			case <-time.After(ownerInterval):
			}
			if err := claim(working, false); errors.As(err, new(*OwnedError)) {
				cancel(err)
			}
		}
	}()
	err := do(working)
	if owned := context.Cause(working); errors.As(owned, new(*OwnedError)) {
		err = owned
	}
	cancel(nil)
	<-done
	if err == nil {
		_, _ = c.Claim(ctx, 0, false) // whoever comes next waits otherwise
	}
	return err
}
