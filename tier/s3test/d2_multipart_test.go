package s3test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/morrowmq/morrow/tier/proxytest"
)

// This file is D2 for segments that are sent in parts.

// partSize is the least that a store takes, and d2Parts how many of them a segment of d2Large makes.
const (
	partSize = 5 << 20
	d2Parts  = 3
	d2Large  = "11534336"
	// Records that fill one such segment and a small part of another.
	d2LargeRecords = 11_200
)

// newD2Multipart is a D2 whose topics fill a segment before its time is up, on a slow machine too.
func newD2Multipart(t *testing.T, cases []d2Case) *d2 {
	t.Helper()
	d := newD2(installParts(t, partSize), cases, d2LargeRecords, "segment.bytes", d2Large, "segment.ms", "3600000")
	d.closeLater = true
	return d
}

func putPart(number int) request {
	return request{fmt.Sprintf("part %d", number), func(r *http.Request) bool {
		return r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == fmt.Sprint(number)
	}}
}

var (
	beginParts = request{"begin", func(r *http.Request) bool {
		return r.Method == http.MethodPost && r.URL.Query().Has("uploads")
	}}
	completeParts = request{"complete", func(r *http.Request) bool {
		return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
	}}
	abortParts = request{"abort", func(r *http.Request) bool {
		return r.Method == http.MethodDelete && r.URL.Query().Has("uploadId")
	}}
)

func d2MultipartCases() (all []d2Case) {
	add := func(x request, times int, faults ...proxytest.Fault) {
		for _, f := range faults {
			all = append(all, d2Case{f, times, x, 0})
		}
	}
	add(beginParts, 1, proxytest.Internal, proxytest.LoseReply)
	add(putPart(1), 1, proxytest.LoseReply, proxytest.Truncate)
	add(putPart(2), 1, proxytest.BreakBody, proxytest.Truncate)
	add(putPart(d2Parts), 1, proxytest.Internal, proxytest.KeepMum, proxytest.LoseReply, proxytest.BreakBody, proxytest.Truncate, proxytest.Stall)
	add(putPart(d2Parts), 20, proxytest.Internal)
	add(completeParts, 1, proxytest.Internal, proxytest.KeepMum, proxytest.LoseReply, proxytest.FailAfter, proxytest.ErrorBody, proxytest.Stall)
	add(completeParts, 20, proxytest.Internal, proxytest.ErrorBody)
	add(completeParts, 3, proxytest.LoseReply, proxytest.FailAfter) // each try of one call
	add(headSegment, 2, proxytest.NotFound)
	return all
}

// TestD2PartsOfALargeSegment: whatever happens to the beginning, to any part, or to the end of a
// multipart upload, the segment is confirmed in the end, nothing local goes before, and no
// unfinished upload stays.
func TestD2PartsOfALargeSegment(t *testing.T) {
	t.Parallel()
	// The last case is an upload that fails and cannot be given up either.
	cases := append(d2MultipartCases(), d2Case{proxytest.Internal, 3, putPart(2), 0})
	d := newD2Multipart(t, cases)
	d.proxy.Inject(proxytest.Internal, 3, func(r *http.Request) bool { return abortParts.is(r) && d.topicIn(r) == topicOf(len(cases)-1) })
	d.run()
	if n, ok := d.metric("morrow_tier_abort_errors_total", ""); !ok || n < 1 { // a slow store may leave others, which the sweep finds, too
		t.Errorf("%v uploads could not be given up", n)
	}
	d.noOrphans()
}

// TestD2KilledBetweenParts kills the broker before and after each request of a multipart upload,
// once in every topic. What a dead broker's upload leaves in the store is found by the sweep.
func TestD2KilledBetweenParts(t *testing.T) {
	t.Parallel()
	var cases []d2Case
	for _, x := range []request{beginParts, putPart(1), putPart(2), putPart(d2Parts), completeParts} {
		cases = append(cases, d2Case{request: x}, d2Case{request: x})
	}
	d := newD2Multipart(t, cases)
	d.proxy.Watch = d.killOnce
	d.run()
	if len(d.killed) != len(cases) {
		t.Errorf("killed at %d points of %d", len(d.killed), len(cases))
	}
	if gatewayDir != "" && len(unfinished(t, d.prefix)) == 0 { // not every store tells
		t.Error("no upload was left unfinished: the test is void")
	}
	d.noOrphans()
}

// killOnce has the broker killed at the point of each topic: an even one's before the request
// reaches the store, an odd one's when the store has carried it out. The request is held until the
// broker is dead, so that it never hears of it.
func (d *d2) killOnce(r *http.Request, done bool) (cut bool) {
	topic, n := d.topicIn(r), 0
	for topicOf(n) != topic {
		if n++; n >= len(d.cases) {
			return false
		}
	}
	d.mu.Lock()
	now := d.cases[n].request.is(r) && done == (n%2 == 1) && !d.killed[topic]
	if now {
		d.killed[topic] = true
	}
	d.mu.Unlock()
	if now {
		d.kill <- topic
		_, _ = io.Copy(io.Discard, r.Body) // the server hears of a broken connection only then
		<-r.Context().Done()
	}
	return now
}
