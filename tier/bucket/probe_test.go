package bucket_test

import (
	"errors"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestStoresThatLieAreRefused: each check of the probe by what it is there for. A store that passes
// is left as it was.
func TestStoresThatLieAreRefused(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "k")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	const (
		verifies = "refuses an object whose crc64nvme checksum is wrong"
		tells    = "tells the checksum and the size of a whole object"
		returns  = "returns the bytes that were stored, in ranges"
	)
	refused := map[buckettest.Lie]string{
		buckettest.Honest:                   "",
		buckettest.TellsNoKind:              "",
		buckettest.KnowsNoChecksums:         verifies,
		buckettest.VerifiesNothing:          verifies,
		buckettest.TellsNoChecksum:          tells,
		buckettest.TellsAnotherChecksum:     tells,
		buckettest.TellsAnotherSize:         tells,
		buckettest.TellsNoETag:              tells,
		buckettest.IgnoresRanges:            returns,
		buckettest.ReturnsOtherBytes:        returns,
		buckettest.IgnoresIfNoneMatch:       "does not replace an object that was to be new (If-None-Match)",
		buckettest.IgnoresIfMatch:           "does not replace an object that has changed (If-Match)",
		buckettest.ListsNothing:             "lists what is there",
		buckettest.VerifiesWholeObjectsOnly: "refuses an object in parts whose checksum as a whole is wrong",
		buckettest.TellsChecksumOfParts:     "tells the checksum and the size of an object in parts",
		buckettest.TellsChecksumOfPartsOnly: "tells the checksum and the size of an object in parts",
		buckettest.DeletesNothing:           "deletes",
	}
	checked := map[string]bool{}
	for told, check := range refused {
		store := buckettest.NewServer(told)
		server := httptest.NewServer(store)
		b, err := bucket.Open(t.Context(), "s3://b/p?checksum=crc64nvme&endpoint="+server.URL, vfs.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		var failed []string
		err = bucket.Probe(t.Context(), bucket.Patient(b), "c/", func(name string, err error) {
			checked[name] = true
			if err != nil {
				failed = append(failed, name)
			}
		})
		server.Close()
		if check == "" {
			if left := store.Objects(); len(left) > 0 {
				t.Errorf("the probe left %q", left)
			}
			if err != nil {
				t.Errorf("a store that is fit: %v", err)
			}
			continue
		}
		if !errors.Is(err, bucket.ErrUnfit) || !strings.HasPrefix(err.Error(), "check that the store "+check+": store is not fit for tiering: ") || !slices.Equal(failed, []string{check}) {
			t.Errorf("check %q: %v, failed %q", check, err, failed)
		}
	}
	for name := range checked {
		if !slices.Contains(slices.Collect(maps.Values(refused)), name) {
			t.Errorf("no lie is told to check %q", name)
		}
	}
}
