package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/morrowmq/morrow/tier/bucket"
)

// TestBucket is what every bucket must do. open returns an empty one, or one with a prefix of its
// own. large is the size of an object that the bucket stores in more than one part, 0 if it has no
// parts.
func TestBucket(t *testing.T, large int64, open func(t *testing.T) bucket.Bucket) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, bucket.Bucket)
	}{
		{"an object comes back as it was stored", testRoundTrip},
		{"an empty object is an object", testEmpty},
		{"ranges", testRanges},
		{"what is not there is not found", testMissing},
		{"a wrong checksum stores nothing", testWrongChecksum},
		{"a key can be claimed once", testIfNoneMatch},
		{"of many claims one wins", testClaimRace},
		{"a replacement needs the ETag of what it replaces", testIfMatch},
		{"of many replacements one wins", testReplaceRace},
		{"list is in key order and by prefix", testList},
		{"list stops when told", testListStop},
		{"delete is final and can be repeated", testDelete},
		{"what is listed can be deleted meanwhile", testDeleteWhileListing},
		{"a cancelled request ends", testCancelled},
		{"an object can be read where it lies", testInPlace},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
	if large > 0 {
		t.Run("a large object comes back as it was stored", func(t *testing.T) { testLarge(t, open(t), large) })
	}
}

func pattern(n int64, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8)*7 + byte(i)*31 + seed
	}
	return b
}

func body(b bucket.Bucket, data []byte) bucket.Body { return bucket.BytesBody(b.Checksum(), data) }

func put(t *testing.T, b bucket.Bucket, key string, data []byte) bucket.Object {
	t.Helper()
	o, err := b.Put(t.Context(), key, body(b, data), bucket.PutOptions{IfNoneMatch: true})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return o
}

func get(t *testing.T, b bucket.Bucket, key string, off, n int64) []byte {
	t.Helper()
	r, _, err := b.Get(t.Context(), key, off, n)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	return data
}

func expectKind(t *testing.T, err, kind error) {
	t.Helper()
	var be *bucket.Error
	if !errors.Is(err, kind) || !errors.As(err, &be) {
		t.Fatalf("got error %v, want a bucket.Error with %q", err, kind)
	}
}

func testRoundTrip(t *testing.T, b bucket.Bucket) {
	data := pattern(3<<20+17, 1)
	o := put(t, b, "c/t/0/object", data)
	h, err := b.Head(t.Context(), "c/t/0/object")
	if err != nil {
		t.Fatal(err)
	}
	if h.Size != int64(len(data)) || h.Sum != bucket.SumOf(b.Checksum(), data) || h.ETag == "" || h.ETag != o.ETag || h.Modified.IsZero() {
		t.Fatalf("head says %+v after put said %+v", h, o)
	}
	if !bytes.Equal(get(t, b, "c/t/0/object", 0, -1), data) {
		t.Fatal("got other bytes than were put")
	}
	r, whole, err := b.Get(t.Context(), "c/t/0/object", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if whole.ETag != h.ETag || whole.Size != h.Size {
		t.Fatalf("get says %+v, head %+v", whole, h)
	}
}

func testLarge(t *testing.T, b bucket.Bucket, size int64) {
	data := pattern(size, 2)
	o := put(t, b, "large", data)
	h, err := b.Head(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	if h.Size != size || h.Sum != bucket.SumOf(b.Checksum(), data) || h.ETag != o.ETag {
		t.Fatalf("head says %+v after put said %+v", h, o)
	}
	if !bytes.Equal(get(t, b, "large", 0, -1), data) {
		t.Fatal("got other bytes than were put")
	}
	bad := body(b, data)
	bad.Sum = bucket.SumOf(b.Checksum(), data[1:])
	_, err = b.Put(t.Context(), "large2", bad, bucket.PutOptions{IfNoneMatch: true})
	expectKind(t, err, bucket.ErrChecksum)
	_, err = b.Put(t.Context(), "large", body(b, data), bucket.PutOptions{IfNoneMatch: true})
	expectKind(t, err, bucket.ErrExists)
}

func testEmpty(t *testing.T, b bucket.Bucket) {
	put(t, b, "empty", nil)
	h, err := b.Head(t.Context(), "empty")
	if err != nil || h.Size != 0 || h.Sum != bucket.SumOf(b.Checksum(), nil) {
		t.Fatalf("head says %+v, %v", h, err)
	}
	if got := get(t, b, "empty", 0, -1); len(got) != 0 {
		t.Fatalf("got %d bytes", len(got))
	}
}

func testRanges(t *testing.T, b bucket.Bucket) {
	data := pattern(100_000, 3)
	put(t, b, "ranges", data)
	for _, r := range [][2]int64{{0, 1}, {0, 100_000}, {1, 99_999}, {50_000, 10}, {99_999, 1}, {77, -1}, {5, 0}} {
		want := data[r[0]:]
		if r[1] >= 0 {
			want = want[:r[1]]
		}
		if !bytes.Equal(get(t, b, "ranges", r[0], r[1]), want) {
			t.Errorf("range %v: other bytes", r)
		}
	}
	r, _, err := b.Get(t.Context(), "ranges", 99_990, 20)
	if err == nil {
		_, err = io.ReadAll(r)
		r.Close()
	}
	if err == nil {
		t.Error("a range beyond the end came back short, without an error")
	}
}

func testMissing(t *testing.T, b bucket.Bucket) {
	_, err := b.Head(t.Context(), "none/such")
	expectKind(t, err, bucket.ErrNotFound)
	_, _, err = b.Get(t.Context(), "none/such", 0, -1)
	expectKind(t, err, bucket.ErrNotFound)
	_, err = b.Put(t.Context(), "none/such", body(b, []byte("x")), bucket.PutOptions{IfMatch: "\"0123\""})
	expectKind(t, err, bucket.ErrPrecondition)
}

func testWrongChecksum(t *testing.T, b bucket.Bucket) {
	bad := body(b, []byte("right"))
	bad.Sum = bucket.SumOf(b.Checksum(), []byte("wrong"))
	_, err := b.Put(t.Context(), "bad", bad, bucket.PutOptions{IfNoneMatch: true})
	expectKind(t, err, bucket.ErrChecksum)
	_, err = b.Head(t.Context(), "bad")
	expectKind(t, err, bucket.ErrNotFound)
}

func testIfNoneMatch(t *testing.T, b bucket.Bucket) {
	put(t, b, "claim", []byte("first"))
	for _, again := range []string{"first", "second"} {
		_, err := b.Put(t.Context(), "claim", body(b, []byte(again)), bucket.PutOptions{IfNoneMatch: true})
		expectKind(t, err, bucket.ErrExists)
	}
	if got := get(t, b, "claim", 0, -1); string(got) != "first" {
		t.Fatalf("got %q", got)
	}
}

func testIfMatch(t *testing.T, b bucket.Bucket) {
	one := put(t, b, "manifest", []byte("one"))
	two, err := b.Put(t.Context(), "manifest", body(b, []byte("two")), bucket.PutOptions{IfMatch: one.ETag})
	if err != nil {
		t.Fatal(err)
	}
	if one.ETag == two.ETag {
		t.Fatal("different objects have the same ETag")
	}
	_, err = b.Put(t.Context(), "manifest", body(b, []byte("three")), bucket.PutOptions{IfMatch: one.ETag})
	expectKind(t, err, bucket.ErrPrecondition)
	if got := get(t, b, "manifest", 0, -1); string(got) != "two" {
		t.Fatalf("got %q", got)
	}
	if _, err := b.Put(t.Context(), "manifest", body(b, []byte("four")), bucket.PutOptions{}); err != nil {
		t.Fatalf("put without a condition: %v", err)
	}
}

// race runs n puts at once and returns how many said they won; all others must say why with kind.
func race(t *testing.T, b bucket.Bucket, key string, n int, o bucket.PutOptions, kind error) (winner []byte) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, errs[i] = b.Put(context.Background(), key, body(b, fmt.Appendf(nil, "writer %d", i)), o) })
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case err == nil && winner != nil:
			t.Fatal("two writers won")
		case err == nil:
			winner = fmt.Appendf(nil, "writer %d", i)
		case !errors.Is(err, kind) && !errors.Is(err, bucket.ErrUnknown):
			t.Fatalf("the loser was told %v", err)
		}
	}
	return winner
}

func testClaimRace(t *testing.T, b bucket.Bucket) {
	winner := race(t, b, "raced", 8, bucket.PutOptions{IfNoneMatch: true}, bucket.ErrExists)
	if got := get(t, b, "raced", 0, -1); winner != nil && !bytes.Equal(got, winner) {
		t.Fatalf("%q won, %q is stored", winner, got)
	}
}

func testReplaceRace(t *testing.T, b bucket.Bucket) {
	o := put(t, b, "raced", []byte("base"))
	winner := race(t, b, "raced", 8, bucket.PutOptions{IfMatch: o.ETag}, bucket.ErrPrecondition)
	if got := get(t, b, "raced", 0, -1); winner != nil && !bytes.Equal(got, winner) {
		t.Fatalf("%q won, %q is stored", winner, got)
	}
}

func testList(t *testing.T, b bucket.Bucket) {
	keys := []string{"l/a/1", "l/a/10", "l/a/2", "l/a-b/1", "l/a.b", "l/b/c/d", "l/b0", "m/x"}
	for _, key := range keys {
		put(t, b, key, []byte(key))
	}
	for _, prefix := range []string{"l/", "l/a", "l/a/", "l/a/1", "l/b/c/", "l/b0/", "nothing", "nothing/at/all"} {
		var want, got []string
		for _, key := range keys {
			if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
				want = append(want, key)
			}
		}
		slices.Sort(want)
		err := b.List(t.Context(), prefix, func(o bucket.Object) error {
			if o.Size != int64(len(o.Key)) || o.Modified.IsZero() {
				t.Errorf("listed %+v", o)
			}
			got = append(got, o.Key)
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("list %q: %q, %v, want %q", prefix, got, err, want)
		}
	}
}

func testListStop(t *testing.T, b bucket.Bucket) {
	put(t, b, "s/1", []byte("1"))
	put(t, b, "s/2", []byte("2"))
	stop := errors.New("stop")
	seen := 0
	err := b.List(t.Context(), "s/", func(bucket.Object) error { seen++; return stop })
	if !errors.Is(err, stop) || seen != 1 {
		t.Fatalf("saw %d objects, %v", seen, err)
	}
}

// testDeleteWhileListing: what is deleted as it is listed hides nothing behind it.
func testDeleteWhileListing(t *testing.T, b bucket.Bucket) {
	for i := range 30 {
		put(t, b, fmt.Sprintf("dl/%d/%02d", i/10, i), []byte("x"))
	}
	seen := 0
	err := b.List(t.Context(), "dl/", func(o bucket.Object) error {
		seen++
		return b.Delete(t.Context(), o.Key)
	})
	if err != nil || seen != 30 {
		t.Fatalf("saw %d objects, %v", seen, err)
	}
	if err := b.List(t.Context(), "dl/", func(o bucket.Object) error { return fmt.Errorf("%s is left", o.Key) }); err != nil {
		t.Fatal(err)
	}
}

func testDelete(t *testing.T, b bucket.Bucket) {
	put(t, b, "d/one", []byte("1"))
	put(t, b, "d/two", []byte("2"))
	put(t, b, "d/three", []byte("3"))
	for range 2 {
		if err := b.Delete(t.Context(), "d/one", "d/two", "d/never"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.Head(t.Context(), "d/one")
	expectKind(t, err, bucket.ErrNotFound)
	if got := get(t, b, "d/three", 0, -1); string(got) != "3" {
		t.Fatalf("got %q", got)
	}
	put(t, b, "d/one", []byte("again"))
}

func testCancelled(t *testing.T, b bucket.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Put(ctx, "x", body(b, []byte("x")), bucket.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Head(ctx, "x"); err == nil {
		t.Error("head ended well")
	}
}

// testInPlace is for buckets whose objects are files.
func testInPlace(t *testing.T, b bucket.Bucket) {
	p, ok := b.(bucket.InPlace)
	if !ok {
		return
	}
	data := pattern(100_000, 4)
	put(t, b, "in/place", data)
	f, o, err := p.OpenFile("in/place")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if o.Key != "in/place" || o.Size != int64(len(data)) || o.Modified.IsZero() {
		t.Errorf("opened %+v", o)
	}
	if err := b.Delete(t.Context(), "in/place"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other bytes once the object is deleted, %v", err)
	}
	_, _, err = p.OpenFile("in/place")
	expectKind(t, err, bucket.ErrNotFound)
	if p.Beside("/no/such/directory") {
		t.Error("beside a directory that does not exist")
	}
}
