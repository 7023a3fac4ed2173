package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Bucket is an object store: whole objects under flat keys. Every implementation passes
// buckettest.TestBucket.
//
// All methods are safe for concurrent use and end when ctx does. Errors are [*Error] and
// match one of the Err… values below with errors.Is.
type Bucket interface {
	// Put stores one object, whole or not at all. The store itself verifies body.Sum against
	// what it received.
	//
	// nil: the store says it has the object; ask it with Head before believing it. ErrExists,
	// ErrPrecondition, ErrChecksum, ErrDenied, ErrFull, ErrConfig: this call stored nothing (though
	// an earlier, retried try of it may have: ErrExists and ErrPrecondition can be one's own echo).
	// Anything else, ErrUnknown in particular: the object may be there, now or later.
	Put(ctx context.Context, key string, body Body, o PutOptions) (Object, error)
	// Head describes an object as the store has it. ErrNotFound if there is none.
	Head(ctx context.Context, key string) (Object, error)
	// Get reads n bytes from off; n < 0 reads to the end. A stream that ends early ends with an
	// error, never with io.EOF. A whole read (0, -1) comes with the ETag of the very bytes
	// delivered. ErrNotFound if there is no object.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, Object, error)
	// List calls visit with every object whose key begins with prefix, in key order, without
	// checksums, until visit returns an error, which it returns. What changes meanwhile may be seen or not.
	List(ctx context.Context, prefix string, visit func(Object) error) error
	// Delete removes objects for good. A missing one is no error.
	Delete(ctx context.Context, keys ...string) error
	// Checksum is the algorithm this store verifies, and so the one of every Body given to Put.
	Checksum() Algorithm
	// String is the bucket's URL without secrets, for messages.
	String() string
}

// InPlace is a Bucket whose objects are files that can be read where they lie.
type InPlace interface {
	Bucket
	// OpenFile opens the file of an object that is never replaced, for reading. Nothing has
	// verified what it holds. It stays readable while it is open, even if the object is deleted.
	// ErrNotFound if there is no object.
	OpenFile(key string) (vfs.File, Object, error)
	// Beside reports whether the objects are on the file system that holds dir.
	Beside(dir string) bool
}

// Body is what Put stores: Size bytes read from At, possibly several times, with the checksum they
// had when they were written.
type Body struct {
	At   io.ReaderAt
	Size int64
	Sum  Checksum
	// Pace, if set, is called before every n bytes that are sent, and waits as the rate limit wants.
	Pace func(ctx context.Context, n int) error
}

// PutOptions are the conditions of a Put. At most one is set.
type PutOptions struct {
	IfNoneMatch bool   // only if the key is free, else ErrExists
	IfMatch     string // only if the object's ETag is this, else ErrPrecondition
}

// Object is what the store knows about an object.
type Object struct {
	Key      string
	Size     int64
	ETag     string    // opaque; changes with the content
	Sum      Checksum  // of the whole object; zero if the store did not tell
	Modified time.Time // by the store's clock
}

// What can be wrong with a request. The order is from "an answer" to "a person must act".
var (
	ErrNotFound     = errors.New("no such object")
	ErrExists       = errors.New("object exists")
	ErrPrecondition = errors.New("object has changed")
	// ErrChecksum: the store refused bytes that do not match their checksum.
	ErrChecksum = errors.New("checksum refused by the store")
	// ErrUnknown: no usable answer; the request may have been carried out. Read back and decide.
	ErrUnknown = errors.New("outcome unknown")
	// ErrThrottled: the store asks for fewer requests. For a Put the outcome is unknown as well.
	ErrThrottled = errors.New("throttled by the store")
	// ErrDenied: credentials missing, expired or without the right. Retrying alone does not help.
	ErrDenied = errors.New("access denied by the store")
	// ErrFull: the store has no room left.
	ErrFull = errors.New("store is full")
	// ErrConfig: wrong region, missing bucket, TLS failure, unusable address. Retrying alone does not help.
	ErrConfig = errors.New("store is not configured correctly")
)

// Error is a failed request. Kind is one of the Err… values.
type Error struct {
	Op   string // put, head, get, list, delete
	Key  string
	Kind error
	Err  error // what the client library or the file system said; may be nil
}

func (e *Error) Error() string {
	what := e.Op
	if e.Key != "" { // else the whole bucket is listed
		what += " " + e.Key
	}
	if e.Err == nil {
		return fmt.Sprintf("%s: %v", what, e.Kind)
	}
	return fmt.Sprintf("%s: %v: %v", what, e.Kind, e.Err)
}

// Unwrap lets errors.Is find both the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// Refused reports whether a failed Put certainly stored nothing, not even by an earlier try of the
// same request.
func Refused(err error) bool {
	return errors.Is(err, ErrChecksum) || NeedsPerson(err)
}

// NeedsPerson reports whether err will not go away by waiting.
func NeedsPerson(err error) bool {
	return errors.Is(err, ErrDenied) || errors.Is(err, ErrConfig) || errors.Is(err, ErrFull)
}

// ReadAll reads a small object whole. More than maxBytes are ErrCorrupt.
func ReadAll(ctx context.Context, b Bucket, key string, maxBytes int64) ([]byte, Object, error) {
	r, obj, err := b.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, Object{}, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, Object{}, &Error{Op: "get", Key: key, Kind: ErrUnknown, Err: err}
	}
	if int64(len(data)) > maxBytes {
		return nil, Object{}, fmt.Errorf("%s: %w: larger than %d bytes", key, ErrCorrupt, maxBytes)
	}
	return data, obj, nil
}
