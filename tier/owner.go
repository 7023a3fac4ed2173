package tier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Owner is who writes below a cluster id in a bucket. The marker keeps two installations that believe to be the same
// cluster from working on the same objects: a copy of a data directory, or a broker restored from the bucket while the old one still
// runs. It is a warning system; what really excludes a second writer are the leader epochs in the manifests.
type Owner struct {
	Instance string `json:"instance"` // unique to one installation: lost with its data directory
	Name     string `json:"name"`     // for people
	Seen     int64  `json:"seen"`     // last sign of life, ms since the epoch
}

// OwnedError says that another installation owns the cluster id in this bucket.
type OwnedError struct {
	Bucket string
	Owner  Owner
}

func (e *OwnedError) Error() string {
	return fmt.Sprintf("%s is in use by another broker with the same cluster id: %s, last seen %s",
		e.Bucket, e.Owner.Name, time.UnixMilli(e.Owner.Seen).UTC().Format(time.RFC3339))
}

const (
	ownerInterval = time.Minute
	// OwnerTTL is how long an owner may give no sign of life before it is taken for gone.
	OwnerTTL      = 5 * time.Minute
	maxOwnerBytes = 64 << 10
)

func ownerKey(cluster string) string { return cluster + "/" + ownerName }

// ReadOwner returns the owner of a cluster id and the ETag of the marker. ErrNotFound: nobody.
func ReadOwner(ctx context.Context, b Bucket, cluster string) (Owner, string, error) {
	data, obj, err := readObject(ctx, b, ownerKey(cluster), maxOwnerBytes)
	if err != nil {
		return Owner{}, "", err
	}
	var o Owner
	if err := json.Unmarshal(data, &o); err != nil {
		return Owner{}, "", fmt.Errorf("%s: %w: %w", ownerKey(cluster), ErrCorrupt, err)
	}
	return o, obj.ETag, nil
}

// ClaimOwner makes me the owner, or renews it, and returns when the store has confirmed the marker. *OwnedError: somebody else is, and has been seen lately;
// takeOver does not mind. A damaged marker, of which a store has kept half, say, does not tell whose it is: unless it is what we have just stored, it is
// ErrCorrupt until nobody has written it for OwnerTTL, and then it is replaced.
func ClaimOwner(ctx context.Context, b Bucket, cluster string, me Owner, takeOver bool) error {
	sent := "" // the ETag of what an earlier try has stored
	for try := 0; ; try++ {
		now, etag, err := ReadOwner(ctx, b, cluster)
		o := PutOptions{IfMatch: etag}
		switch {
		case errors.Is(err, ErrNotFound):
			o = PutOptions{IfNoneMatch: true}
		case errors.Is(err, ErrCorrupt):
			marker, herr := b.Head(ctx, ownerKey(cluster))
			if herr != nil {
				return herr
			}
			if marker.ETag != sent && !takeOver && me.Seen-marker.Modified.UnixMilli() < OwnerTTL.Milliseconds() {
				return err
			}
			o.IfMatch = marker.ETag
		case err != nil:
			return err
		case now == me:
			return nil // renewed by an earlier try
		case now.Instance != me.Instance && !takeOver && me.Seen-now.Seen < OwnerTTL.Milliseconds():
			return &OwnedError{Bucket: b.String(), Owner: now}
		}
		if sent, err = putOwner(ctx, b, cluster, me, o); err == nil || refused(err) || try == 3 {
			return err
		}
		// Changed meanwhile, damaged, or not known: look again.
	}
}

// putOwner stores the marker and has it confirmed. It returns the ETag of what it has stored, also if that is not confirmed.
func putOwner(ctx context.Context, b Bucket, cluster string, me Owner, o PutOptions) (etag string, err error) {
	data, err := json.Marshal(me)
	if err != nil {
		return "", err
	}
	body := BytesBody(b.Checksum(), data)
	put, err := b.Put(ctx, ownerKey(cluster), body, o)
	if err != nil {
		return "", err
	}
	_, err = confirm(ctx, b, ownerKey(cluster), body)
	return put.ETag, err
}

// WhileOwner runs do while it keeps the cluster id claimed in the name of me, whose Seen it sets. If somebody else takes it over, do's context ends and
// the *OwnedError is returned.
func WhileOwner(ctx context.Context, b Bucket, cluster string, me Owner, takeOver bool, do func(context.Context) error) error {
	claim := func(ctx context.Context, takeOver bool) error {
		me.Seen = time.Now().UnixMilli()
		return ClaimOwner(ctx, b, cluster, me, takeOver)
	}
	if err := claim(ctx, takeOver); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(ownerInterval):
			}
			if err := claim(ctx, false); errors.As(err, new(*OwnedError)) {
				cancel(err)
			}
		}
	}()
	err := do(ctx)
	if owned := context.Cause(ctx); errors.As(owned, new(*OwnedError)) {
		err = owned
	}
	cancel(nil)
	<-done
	return err
}

// LoadInstance returns the id of the installation that keeps its tier's files in dir, and makes both at the first time.
func LoadInstance(fsys vfs.FS, dir string) (string, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return "", err
	}
	name := vfs.Join(dir, "instance")
	data, err := vfs.ReadFile(fsys, name)
	if err == nil && len(strings.TrimSpace(string(data))) > 0 {
		return strings.TrimSpace(string(data)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := NewToken().String()
	return id, vfs.WriteFile(fsys, name, []byte(id+"\n"))
}
