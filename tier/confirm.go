package tier

import (
	"context"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/tier/bucket"
)

// ErrConflict says that another object than ours is under a key that only we can have made. It is
// never overwritten.
var ErrConflict = errors.New("store holds a different object under this key")

// putConfirmed stores an object under a new key and returns once the store has been asked,
// separately, whether it has exactly this object. Until it returns nil the object may or may not
// exist; it can be called again with the same arguments and finds what an earlier call stored.
func putConfirmed(ctx context.Context, b bucket.Bucket, key string, body bucket.Body) (bucket.Object, error) {
	put, err := b.Put(ctx, key, body, bucket.PutOptions{IfNoneMatch: true})
	if bucket.Refused(err) {
		return bucket.Object{}, err
	}
	// Success, ErrExists and every kind of silence are the same here: what counts is what the store has.
	obj, herr := confirm(ctx, b, key, body)
	if herr != nil {
		return bucket.Object{}, errors.Join(err, herr)
	}
	if err == nil && put.ETag != "" && put.ETag != obj.ETag {
		return bucket.Object{}, fmt.Errorf("%s: %w: etag %s after storing %s", key, ErrConflict, obj.ETag, put.ETag)
	}
	return obj, nil
}

// confirm asks the store whether key holds exactly body. ErrNotFound: not (yet) there. ErrConflict:
// something else is.
func confirm(ctx context.Context, b bucket.Bucket, key string, body bucket.Body) (bucket.Object, error) {
	ctx, cancel := bucket.OwnTime(ctx)
	defer cancel()
	obj, err := b.Head(ctx, key)
	if err != nil {
		return bucket.Object{}, err
	}
	if obj.Size != body.Size || obj.Sum != body.Sum {
		return bucket.Object{}, fmt.Errorf("%s: %w: %d bytes, %v instead of %d bytes, %v",
			key, ErrConflict, obj.Size, obj.Sum, body.Size, body.Sum)
	}
	return obj, nil
}
