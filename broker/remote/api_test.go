package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// localLog is a log of closed segments, one batch each, all of them local.
type localLog struct{ segments [][]byte }

func newLocalLog(n int) *localLog {
	l := &localLog{}
	for i := range n {
		var w record.Builder
		w.Reset(0, 1000)
		w.Add(0, 1000, nil, fmt.Append(nil, "value ", i))
		b, err := w.Finish()
		if err != nil {
			panic(err)
		}
		b.SetBaseOffset(int64(i))
		l.segments = append(l.segments, bytes.Clone(b))
	}
	return l
}

func (l *localLog) end() int64 { return int64(len(l.segments)) }

func (l *localLog) Offsets() tier.LocalOffsets {
	return tier.LocalOffsets{End: l.end(), SourceEnd: tier.NoOffset, Gate: math.MaxInt64}
}

func (l *localLog) Size() int64 { return 100 }

func (l *localLog) Epochs() []tier.EpochStart { return nil }

func (l *localLog) Closed(from int64) (all []tier.LocalSegment, _ error) {
	for i := from; i < l.end(); i++ {
		all = append(all, tier.LocalSegment{Base: i, End: i + 1, Size: int64(len(l.segments[i]))})
	}
	return all, nil
}

func (l *localLog) Open(s tier.LocalSegment) (tier.SegmentFile, error) {
	return file{bytes.NewReader(l.segments[s.Base])}, nil
}

func (*localLog) Aborted(int64, int64) ([]tier.AbortedTxn, error) { return nil, nil }
func (*localLog) Dropped(int64, int64) bool                       { return false }
func (*localLog) Outlook() tier.LocalOutlook                      { return tier.LocalOutlook{} }
func (*localLog) Since(int64) time.Time                           { return time.Time{} }
func (*localLog) Advance(int64, int64) error                      { return nil }

type file struct{ *bytes.Reader }

func (file) Close() error                      { return nil }
func (file) ProducerSnapshot() ([]byte, error) { return nil, nil }

// world is the API of a broker with a topic in the tier, in virtual time.
type world struct {
	*testing.T
	bucket *buckettest.Bucket
	mux    *http.ServeMux
}

// inWorld runs a test when everything is confirmed.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, bucket: buckettest.New(), mux: http.NewServeMux()}
		tr, err := tier.Open(tier.Options{
			Bucket: w.bucket, Cluster: "c1", Name: "b1", Instance: "i1", FS: vfs.NewMem(), Dir: "/tier", Logger: slog.New(slog.DiscardHandler), CacheReserve: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		id := tier.PartitionID{Topic: tier.TopicID{1}, Name: "orders", Partition: 2}
		if _, err := tr.Partition(id, newLocalLog(3), 5, func() tier.Config { return tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1} }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tr.Run(ctx) }()
		time.Sleep(time.Minute)
		w.serve(New(tr, time.Now))
		test(w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) serve(a *API) {
	for _, r := range a.Routes() {
		w.mux.HandleFunc(r.Method+" "+r.Path, r.Handler)
	}
}

// ask sends a request, and decodes the answer if it is as good as wanted.
func (w *world) ask(method, path, body string, status int, into any) string {
	w.Helper()
	answer := httptest.NewRecorder()
	w.mux.ServeHTTP(answer, httptest.NewRequest(method, "/api/v1/tier"+path, strings.NewReader(body)))
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.Fatal(err)
	}
	if answer.Code != status {
		w.Fatalf("%s %s %s: %d %s, want %d", method, path, body, answer.Code, text, status)
	}
	if into != nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			w.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return string(text)
}

func TestStatusTellsHowPartitionsStand(t *testing.T) {
	inWorld(t, func(w *world) {
		var s Status
		w.ask("GET", "", "", 200, &s)
		if !s.Usable || s.Bucket != "fake://bucket" || s.Cluster != "c1" || !s.Owner.Ours || s.Owner.Name != "b1" || s.Owner.SeenMs == nil || len(s.Alarms) != 0 || s.Sweep != nil {
			w.Errorf("%+v", s)
		}
		if len(s.Partitions) != 1 {
			w.Fatalf("%+v", s.Partitions)
		}
		p := s.Partitions[0]
		if p.Topic != "orders" || p.Partition != 2 || p.Confirmed != 3 || p.RemoteStart != 0 || p.RemoteEnd != 3 || p.Segments != 3 || p.Bytes == 0 ||
			p.CommittedMs == nil || p.Lag != (Lag{}) || p.AtRiskMs != 0 || p.Error != "" || p.Scrub != nil {
			w.Errorf("%+v", p)
		}
		w.ask("GET", "?topic=nope", "", 200, &s)
		if len(s.Partitions) != 0 {
			w.Errorf("of a topic that is not there: %+v", s.Partitions)
		}
		time.Sleep(7 * time.Hour)
		w.ask("GET", "", "", 200, &s)
		if s.Sweep == nil || s.Sweep.AtMs == 0 || s.Sweep.Error != "" {
			w.Errorf("after a sweep: %+v", s.Sweep)
		}
	})
}

func TestSegmentsAreExplained(t *testing.T) {
	inWorld(t, func(w *world) {
		var s Segments
		w.ask("GET", "/orders/segments?partition=2", "", 200, &s)
		if s.Topic != "orders" || len(s.Segments) != 3 || s.Segments[2].Base != 2 || s.Segments[2].End != 3 || s.Segments[2].Where == "" || s.Segments[2].Why == "" {
			w.Errorf("%+v", s)
		}
		for path, want := range map[string]string{
			"/nope/segments":                "topic nope does not exist, or is not tiered",
			"/orders/segments?partition=7":  "partition 7 of topic orders does not exist, or is not tiered",
			"/orders/segments?partition=-1": `partition is \"-1\", expected a number from 0`,
			"/orders/segments?partition=x":  `partition is \"x\", expected a number from 0`,
		} {
			status := 404
			if strings.Contains(want, "expected") {
				status = 400
			}
			if got := w.ask("GET", path, "", status, nil); !strings.Contains(got, want) {
				w.Errorf("%s: %s", path, got)
			}
		}
	})
}

func TestVerifyRepairsFromTheLocalCopy(t *testing.T) {
	inWorld(t, func(w *world) {
		var v Verified
		w.ask("POST", "/orders/2/verify", `{"deep":true,"bytes_per_second":1000000}`, 200, &v)
		if v.Topic != "orders" || v.Partition != 2 || v.Objects == 0 || v.Bytes == 0 || len(v.Damaged) != 0 {
			w.Errorf("%+v", v)
		}
		for _, key := range w.bucket.Keys("c1/") {
			if strings.Contains(key, "/00000000000000000001-") {
				w.bucket.Damage(key)
			}
		}
		w.ask("POST", "/orders/2/verify", `{"deep":true}`, 200, &v)
		if v.Repaired != 1 || len(v.Damaged) != 1 || v.Damaged[0].Base != 1 || v.Damaged[0].End != 2 || !v.Damaged[0].Repaired || v.Damaged[0].Error == "" {
			w.Errorf("%+v", v)
		}
		var s Status
		w.ask("GET", "", "", 200, &s)
		if x := s.Partitions[0].Scrub; x == nil || x.Damaged != 1 || x.Repaired != 1 {
			w.Errorf("%+v", x)
		}
		w.ask("POST", "/orders/2/verify", `{"depth":1}`, 400, nil)
		w.ask("POST", "/orders/9/verify", ``, 404, nil)
	})
}

func TestSweepIsToldAndRecorded(t *testing.T) {
	inWorld(t, func(w *world) {
		orphan := "c1/" + tier.TopicID{1}.String() + "/2/00000000000000000007-0000000000-" + tier.NewToken().String() + ".segment"
		if _, err := w.bucket.Put(w.Context(), orphan, bucket.BytesBody(w.bucket.Checksum(), []byte("left behind")), bucket.PutOptions{}); err != nil {
			w.Fatal(err)
		}
		time.Sleep(20 * time.Hour) // less than a broker's own grace
		var log SweepLog
		for _, c := range []struct {
			body     string
			orphans  int
			recorded int
		}{
			{``, 0, 0},
			{`{"grace_ms":43200000}`, 1, 0},
			{`{"grace_ms":43200000,"delete":true}`, 1, 1},
			{`{"grace_ms":43200000,"delete":true}`, 0, 1},
		} {
			var s Swept
			w.ask("POST", "/sweep", c.body, 200, &s)
			if s.Orphans != c.orphans || len(s.Found) != c.orphans || s.Deleted != strings.Contains(c.body, "delete") || s.Objects == 0 {
				w.Errorf("%s: %+v", c.body, s)
			}
			if w.ask("GET", "/sweeps", "", 200, &log); len(log.Sweeps) != c.recorded {
				w.Errorf("%s: recorded %+v", c.body, log)
			}
		}
		r := log.Sweeps[0]
		if r.By != "b1" || r.GraceMs != 43200000 || r.Error != "" || len(r.Deleted) != 1 || r.Deleted[0].Key != orphan || r.Deleted[0].Bytes != 11 {
			w.Errorf("recorded %+v", r)
		}
		for grace, want := range map[string]string{"-1": "the grace period is -1ms", "43199999": "the grace period is 11h59m59.999s, expected at least 12h0m0s"} {
			if got := w.ask("POST", "/sweep", `{"grace_ms":`+grace+`}`, 400, nil); !strings.Contains(got, want) {
				w.Errorf("%s: %s", grace, got)
			}
		}
		for _, last := range []string{"0", "1001", "x"} {
			w.ask("GET", "/sweeps?last="+last, "", 400, nil)
		}
	})
}

func TestErrorsOfTheStoreAreToldApart(t *testing.T) {
	for kind, code := range map[error]string{
		bucket.ErrDenied: "store_denies", bucket.ErrThrottled: "store_throttles", bucket.ErrUnknown: "store_unreachable", bucket.ErrConfig: "store_misconfigured",
	} {
		inWorld(t, func(w *world) {
			w.bucket.Add(buckettest.Rule{Ops: buckettest.OpList, Times: buckettest.Forever, Fault: buckettest.Refuse, Err: kind})
			for _, r := range [][2]string{{"POST", "/sweep"}, {"GET", "/sweeps"}} {
				if got := w.ask(r[0], r[1], "", 503, nil); !strings.Contains(got, `"error":"`+code+`"`) {
					w.Errorf("%v: %s", kind, got)
				}
			}
		})
	}
}

func TestWithoutATierEverythingIsRefused(t *testing.T) {
	w := &world{T: t, mux: http.NewServeMux()}
	a := New(nil, time.Now)
	w.serve(a)
	for _, r := range a.Routes() {
		path := strings.NewReplacer("{topic}", "orders", "{partition}", "0").Replace(strings.TrimPrefix(r.Path, "/api/v1/tier"))
		if got := w.ask(r.Method, path, "", 404, nil); !strings.Contains(got, `"error":"no_tier"`) {
			t.Errorf("%s %s: %s", r.Method, r.Path, got)
		}
	}
}

// TestResumeIsRefusedWhereNothingHasStopped: what it does is tested where it is done.
func TestResumeIsRefusedWhereNothingHasStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		if got := w.ask("POST", "/orders/2/resume", `{"accept_loss":true}`, 409, nil); !strings.Contains(got, `"not_diverged"`) {
			w.Error(got)
		}
		w.ask("POST", "/orders/2/resume", `{"accept":true}`, 400, nil)
		w.ask("POST", "/orders/9/resume", ``, 404, nil)
	})
}
