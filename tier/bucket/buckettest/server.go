package buckettest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/morrowmq/morrow/tier/bucket"
)

// Lie is something that a store does wrong.
type Lie int

// The lies.
const (
	Honest Lie = iota
	KnowsNoChecksums
	VerifiesNothing
	VerifiesWholeObjectsOnly
	TellsNoChecksum
	TellsAnotherChecksum
	TellsChecksumOfParts
	TellsChecksumOfPartsOnly // and not that it is one
	TellsNoKind              // of a checksum of the whole: no lie
	TellsAnotherSize
	TellsNoETag
	IgnoresRanges
	ReturnsOtherBytes
	IgnoresIfNoneMatch
	IgnoresIfMatch
	ListsNothing
	DeletesNothing
)

// Server is an HTTP handler that speaks as much S3 as a tier needs, and tells at most one lie. It
// takes whatever credentials, but the session token that has expired.
type Server struct {
	lie Lie

	mu      sync.Mutex
	objects map[string]fakeObject // by path; guarded by mu
	expired string                // guarded by mu
}

// NewServer returns a store of no objects.
func NewServer(lie Lie) *Server { return &Server{lie: lie, objects: map[string]fakeObject{}} }

// Expire has requests with a session token refused from here on.
func (s *Server) Expire(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = token
}

// Objects returns the paths of what is stored, in order.
func (s *Server) Objects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.objects)), func(path string) bool { return strings.HasPrefix(path, partOf) })
}

type fakeObject struct {
	data []byte
	sum  string // as it was sent
	kind string // of the checksum
}

func (o fakeObject) etag() string {
	return fmt.Sprintf("%q", bucket.SumOf(bucket.CRC32C, o.data).String())
}

// partOf begins the names of parts, which are kept among the objects.
const partOf = "part of "

const sumHeader, kindHeader = "X-Amz-Checksum-Crc64nvme", "X-Amz-Checksum-Type"

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, path := r.URL.Query(), r.URL.Path
	switch {
	case s.expired != "" && r.Header.Get("X-Amz-Security-Token") == s.expired:
		fail(w, http.StatusBadRequest, "ExpiredToken") // without a body, and so a reason, if it is a HEAD
	case q.Has("list-type"):
		s.list(w, q.Get("prefix"))
	case q.Has("uploads") && r.Method == http.MethodGet:
		fmt.Fprint(w, "<ListMultipartUploadsResult></ListMultipartUploadsResult>")
	case q.Has("uploads"):
		fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case q.Has("partNumber"): // the probe sends one
		data, _ := io.ReadAll(r.Body)
		s.objects[partOf+path] = fakeObject{data: data}
		w.Header().Set("ETag", `"p"`)
	case q.Has("uploadId") && r.Method == http.MethodPost:
		if s.put(w, r, s.objects[partOf+path].data, s.lie == VerifiesWholeObjectsOnly) {
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
		if s.lie != DeletesNothing {
			delete(s.objects, path)
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		s.get(w, r)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said the store</Message></Error>", code)
}

// put stores an object and reports whether it did.
func (s *Server) put(w http.ResponseWriter, r *http.Request, data []byte, unverified bool) bool {
	old, there := s.objects[r.URL.Path]
	sum := r.Header.Get(sumHeader)
	raw, _ := base64.StdEncoding.DecodeString(sum)
	switch match := r.Header.Get("If-Match"); {
	case s.lie == KnowsNoChecksums:
		fail(w, http.StatusNotImplemented, "NotImplemented")
		return false
	case r.Header.Get("If-None-Match") != "" && there && s.lie != IgnoresIfNoneMatch,
		match != "" && (!there || match != old.etag()) && s.lie != IgnoresIfMatch:
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return false
	case string(raw) != bucket.SumOf(bucket.CRC64NVME, data).Sum && s.lie != VerifiesNothing && !unverified:
		fail(w, http.StatusBadRequest, "BadDigest")
		return false
	}
	o := fakeObject{data: data, sum: sum, kind: "FULL_OBJECT"}
	switch inParts := r.Method == http.MethodPost; {
	case inParts && s.lie == TellsChecksumOfParts:
		o.kind = "COMPOSITE"
	case inParts && s.lie == TellsChecksumOfPartsOnly:
		o.sum, o.kind = sum+"-1", ""
	case s.lie == TellsNoKind:
		o.kind = ""
	}
	s.objects[r.URL.Path] = o
	return true
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	o, there := s.objects[r.URL.Path]
	if !there {
		fail(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	h := w.Header()
	h.Set("ETag", o.etag())
	h.Set(sumHeader, o.sum)
	if o.kind != "" {
		h.Set(kindHeader, o.kind)
	}
	switch s.lie {
	case TellsNoETag:
		h.Del("ETag")
	case TellsNoChecksum:
		h.Del(sumHeader)
	case TellsAnotherChecksum:
		h.Set(sumHeader, base64.StdEncoding.EncodeToString([]byte(bucket.SumOf(bucket.CRC64NVME, []byte("something else")).Sum)))
	case TellsAnotherSize:
		o.data = append(bytes.Clone(o.data), '.')
	case ReturnsOtherBytes:
		o.data = bytes.ToLower(o.data)
		o.data[100] = '!'
	}
	from, to, ranged := 0, len(o.data)-1, false
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 && s.lie != IgnoresRanges {
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

func (s *Server) list(w http.ResponseWriter, prefix string) {
	fmt.Fprint(w, "<ListBucketResult>")
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if key := strings.TrimPrefix(path, "/b/"); strings.HasPrefix(key, prefix) && s.lie != ListsNothing {
			fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size></Contents>", key, len(s.objects[path].data))
		}
	}
	fmt.Fprint(w, "</ListBucketResult>")
}
