package tier

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
)

// lie is something that a store does wrong.
type lie int

const (
	honest lie = iota
	verifiesNothing
	verifiesWholeObjectsOnly
	tellsNoChecksum
	tellsAnotherChecksum
	tellsChecksumOfParts
	tellsAnotherSize
	tellsNoETag
	ignoresRanges
	returnsOtherBytes
	ignoresIfNoneMatch
	ignoresIfMatch
	listsNothing
	deletesNothing
)

// lyingStore speaks as much S3 as the probe needs, and tells at most one lie.
type lyingStore struct {
	lie lie

	mu      sync.Mutex
	objects map[string]fakeObject // by path; guarded by mu
}

type fakeObject struct {
	data []byte
	sum  string // as it was sent
	kind string // of the checksum
}

func (o fakeObject) etag() string { return fmt.Sprintf("%q", SumOf(CRC32C, o.data).String()) }

const sumHeader, kindHeader = "X-Amz-Checksum-Crc64nvme", "X-Amz-Checksum-Type"

func (s *lyingStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, path := r.URL.Query(), r.URL.Path
	switch {
	case q.Has("list-type"):
		s.list(w, q.Get("prefix"))
	case q.Has("uploads") && r.Method == http.MethodGet:
		fmt.Fprint(w, "<ListMultipartUploadsResult></ListMultipartUploadsResult>")
	case q.Has("uploads"):
		fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case q.Has("partNumber"): // the probe sends one
		data, _ := io.ReadAll(r.Body)
		s.objects["part of "+path] = fakeObject{data: data}
		w.Header().Set("ETag", `"p"`)
	case q.Has("uploadId") && r.Method == http.MethodPost:
		if s.put(w, r, s.objects["part of "+path].data, s.lie == verifiesWholeObjectsOnly) {
			fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", s.objects[path].etag())
		}
	case q.Has("uploadId"):
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		data, _ := io.ReadAll(r.Body)
		if s.put(w, r, data, false) {
			w.Header().Set("ETag", s.objects[path].etag())
		}
	case r.Method == http.MethodDelete:
		if s.lie != deletesNothing {
			delete(s.objects, path)
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		s.get(w, r)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

// put stores an object and reports whether it did.
func (s *lyingStore) put(w http.ResponseWriter, r *http.Request, data []byte, unverified bool) bool {
	old, there := s.objects[r.URL.Path]
	sum := r.Header.Get(sumHeader)
	raw, _ := base64.StdEncoding.DecodeString(sum)
	switch match := r.Header.Get("If-Match"); {
	case r.Header.Get("If-None-Match") != "" && there && s.lie != ignoresIfNoneMatch,
		match != "" && (!there || match != old.etag()) && s.lie != ignoresIfMatch:
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return false
	case string(raw) != SumOf(CRC64NVME, data).Sum && s.lie != verifiesNothing && !unverified:
		fail(w, http.StatusBadRequest, "BadDigest")
		return false
	}
	o := fakeObject{data: data, sum: sum, kind: "FULL_OBJECT"}
	if r.Method == http.MethodPost && s.lie == tellsChecksumOfParts {
		o.kind = "COMPOSITE"
	}
	s.objects[r.URL.Path] = o
	return true
}

func (s *lyingStore) get(w http.ResponseWriter, r *http.Request) {
	o, there := s.objects[r.URL.Path]
	if !there {
		fail(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	h := w.Header()
	h.Set("ETag", o.etag())
	h.Set(sumHeader, o.sum)
	h.Set(kindHeader, o.kind)
	switch s.lie {
	case tellsNoETag:
		h.Del("ETag")
	case tellsNoChecksum:
		h.Del(sumHeader)
	case tellsAnotherChecksum:
		h.Set(sumHeader, *encodeSum(SumOf(CRC64NVME, []byte("something else"))))
	case tellsAnotherSize:
		o.data = append(bytes.Clone(o.data), '.')
	case returnsOtherBytes:
		o.data = bytes.ToLower(o.data)
		o.data[100] = '!'
	}
	from, to, ranged := 0, len(o.data)-1, false
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 && s.lie != ignoresRanges {
		ranged = true
	} else {
		from, to = 0, len(o.data)-1
	}
	h.Set("Content-Length", strconv.Itoa(to-from+1))
	if ranged {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(o.data[from : to+1])
}

func (s *lyingStore) list(w http.ResponseWriter, prefix string) {
	fmt.Fprint(w, "<ListBucketResult>")
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if key := strings.TrimPrefix(path, "/b/"); strings.HasPrefix(key, prefix) && s.lie != listsNothing {
			fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size></Contents>", key, len(s.objects[path].data))
		}
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

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
	refused := map[lie]string{
		honest:                   "",
		verifiesNothing:          verifies,
		tellsNoChecksum:          tells,
		tellsAnotherChecksum:     tells,
		tellsAnotherSize:         tells,
		tellsNoETag:              tells,
		ignoresRanges:            returns,
		returnsOtherBytes:        returns,
		ignoresIfNoneMatch:       "does not replace an object that was to be new (If-None-Match)",
		ignoresIfMatch:           "does not replace an object that has changed (If-Match)",
		listsNothing:             "lists what is there",
		verifiesWholeObjectsOnly: "refuses an object in parts whose checksum as a whole is wrong",
		tellsChecksumOfParts:     "tells the checksum and the size of an object in parts",
		deletesNothing:           "deletes",
	}
	checked := map[string]bool{}
	for told, check := range refused {
		store := &lyingStore{lie: told, objects: map[string]fakeObject{}}
		server := httptest.NewServer(store)
		b, err := OpenBucket(t.Context(), "s3://b/p?checksum=crc64nvme&endpoint="+server.URL, vfs.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		var failed []string
		err = Probe(t.Context(), Patient(b), "c/", func(name string, err error) {
			checked[name] = true
			if err != nil {
				failed = append(failed, name)
			}
		})
		server.Close()
		if check == "" {
			for path := range store.objects {
				if !strings.HasPrefix(path, "part of ") {
					t.Errorf("the probe left %s", path)
				}
			}
			if err != nil {
				t.Errorf("a store that is fit: %v", err)
			}
			continue
		}
		if !errors.Is(err, ErrUnfit) || !strings.HasPrefix(err.Error(), "check that the store "+check+": store is not fit for tiering: ") || !slices.Equal(failed, []string{check}) {
			t.Errorf("check %q: %v, failed %q", check, err, failed)
		}
	}
	for name := range checked {
		if !slices.Contains(slices.Collect(maps.Values(refused)), name) {
			t.Errorf("no lie is told to check %q", name)
		}
	}
}
