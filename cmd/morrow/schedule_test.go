package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/broker/schedules"
)

// scheduleAgainst runs a schedule command against a server that answers as it is told, and returns
// what was asked and what was printed.
func scheduleAgainst(t *testing.T, answer any, status int, args ...string) (asked, stdout, stderr string) {
	t.Helper()
	var requests []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		requests = append(requests, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), strings.TrimSpace(body.String()))))
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer s.Close()
	var out, errs bytes.Buffer
	run(t.Context(), append([]string{"schedule", "--http", s.Listener.Addr().String()}, args...), &out, &errs)
	return strings.Join(requests, "\n"), out.String(), errs.String()
}

func TestScheduleCommandsAskTheAPI(t *testing.T) {
	for _, c := range []struct{ args, asked string }{
		{"list", "GET /api/v1/schedules"},
		{"list a/b -n 5 --prefix k/ -p 1 --from 1000", "GET /api/v1/schedules/a%2Fb?from=1000&limit=5&partition=1&prefix=k%2F"},
		{"timeline orders --buckets 3 --until 1970-01-01T00:00:01Z", "GET /api/v1/schedules/orders/timeline?buckets=3&until=1000"},
		{"show orders 0 7", "GET /api/v1/schedules/orders/0/7"},
		{"sources orders", "GET /api/v1/schedules/orders/sources"},
		{"sources orders -p 3", "GET /api/v1/schedules/orders/sources?partition=3"},
		{"cancel orders 0 7", "DELETE /api/v1/schedules/orders/0/7"},
		{"move orders 0 7 --delay 2d", `POST /api/v1/schedules/orders/0/7/move {"delay_ms":172800000}`},
		{"move orders 0 7 --due 1000", `POST /api/v1/schedules/orders/0/7/move {"due_ms":1000}`},
		{"cancel orders --prefix k --dry-run", `POST /api/v1/schedules/orders/cancel {"key_prefix":"k","dry_run":true,"limit":1000000}`},
	} {
		asked, _, stderr := scheduleAgainst(t, map[string]any{"done": true}, http.StatusOK, strings.Fields(c.args)...)
		if asked != c.asked || stderr != "" {
			t.Errorf("morrow schedule %s asked %s, expected %s (%s)", c.args, asked, c.asked, stderr)
		}
	}
}

func TestScheduleCommandsSayWhyTheyWereRefused(t *testing.T) {
	refusal := rest.Error{Code: "not_pending", Message: "cannot cancel: the record at offset 7 was delivered at offset 9"}
	if _, _, stderr := scheduleAgainst(t, refusal, http.StatusConflict, "cancel", "orders", "0", "7"); stderr != "morrow: "+refusal.Message+"\n" {
		t.Errorf("printed %q", stderr)
	}
	if _, _, stderr := scheduleAgainst(t, nil, http.StatusOK, "move", "orders", "0", "7", "--delay", "soon"); !strings.Contains(stderr, `invalid value "soon" for --delay`) {
		t.Errorf("printed %q", stderr)
	}
}

func TestCancellingOneRecordTakesNoFlagsForMany(t *testing.T) {
	for _, flag := range []string{"--dry-run", "--all", "--prefix=k", "--until=1h", "--from=1h", "-p=1"} {
		asked, _, stderr := scheduleAgainst(t, map[string]any{"done": true}, http.StatusOK, "cancel", "orders", "0", "7", flag)
		if asked != "" || !strings.Contains(stderr, "does not go with a ticket") {
			t.Errorf("with %s it asked %q and printed %q", flag, asked, stderr)
		}
	}
}

func TestLatenessIsToldInUnitsThatFit(t *testing.T) {
	topics := schedules.Topics{Topics: []schedules.Topic{{Topic: "orders", Lateness: schedules.Lateness{Count: 1, P99Ms: 600_000}}}}
	if _, stdout, _ := scheduleAgainst(t, topics, http.StatusOK, "list"); !strings.Contains(stdout, "10m0s") {
		t.Errorf("printed %q", stdout)
	}
}

func TestSumOfAllTopicsTakesNoFilters(t *testing.T) {
	for _, flag := range []string{"-p=1", "--from=1h", "--until=1h", "--prefix=k", "-n=5"} {
		if asked, _, stderr := scheduleAgainst(t, nil, http.StatusOK, "list", flag); asked != "" || !strings.Contains(stderr, "needs a topic") {
			t.Errorf("with %s it asked %q and printed %q", flag, asked, stderr)
		}
	}
}

func TestTimelineOfNothingHasNoRows(t *testing.T) {
	_, stdout, _ := scheduleAgainst(t, schedules.Timeline{Buckets: make([]schedules.Bucket, 24)}, http.StatusOK, "timeline", "orders")
	if stdout != "nothing is pending\n" {
		t.Errorf("printed %q", stdout)
	}
	_, stdout, _ = scheduleAgainst(t, schedules.Timeline{Before: 3, Buckets: make([]schedules.Bucket, 24)}, http.StatusOK, "timeline", "orders")
	if lines := strings.Fields(stdout); len(lines) != 5 || !strings.HasPrefix(stdout, "DUE FROM") || lines[3] != "before" || lines[4] != "3" {
		t.Errorf("of what is overdue alone it printed %q", stdout)
	}
}

func TestNegativeNumbersAreNotTakenForAll(t *testing.T) {
	if asked, _, stderr := scheduleAgainst(t, nil, http.StatusOK, "list", "orders", "-n", "-5"); asked != "" || !strings.Contains(stderr, "must not be negative") {
		t.Errorf("list -n -5 asked %q and printed %q", asked, stderr)
	}
	if asked, _, _ := scheduleAgainst(t, map[string]any{}, http.StatusOK, "list", "orders", "-p", "-2"); !strings.Contains(asked, "partition=-2") {
		t.Errorf("list -p -2 asked %q", asked)
	}
	if asked, _, _ := scheduleAgainst(t, map[string]any{"done": true}, http.StatusOK, "cancel", "orders", "-p", "-2", "--all"); !strings.Contains(asked, `"partition":-2`) {
		t.Errorf("cancel -p -2 asked %q", asked)
	}
}

func TestHTTPAddressesAreHostAndPort(t *testing.T) {
	for given, want := range map[string]string{"h:1": "h:1", "http://h:1": "h:1", "http://h:1/": "h:1", "[::1]:80": "[::1]:80", "h": "", "https://h:1": "", "h:1/x": "", "h:": ""} {
		got, err := (&apiClient{http: given}).address()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("--http %s means %q, %v", given, got, err)
		}
	}
}

func TestCancellingManyRecordsWantsToKnowWhich(t *testing.T) {
	if asked, _, stderr := scheduleAgainst(t, nil, http.StatusOK, "cancel", "orders"); asked != "" || !strings.Contains(stderr, "say which") {
		t.Errorf("it asked %q and printed %q", asked, stderr)
	}
}

func TestTimelineIsDrawnToScale(t *testing.T) {
	var w bytes.Buffer
	line := schedules.Timeline{Before: 2, After: 1}
	for i, n := range []int64{1000, 500, 1, 0} {
		line.Buckets = append(line.Buckets, schedules.Bucket{FromMs: int64(i) * 60_000, UntilMs: int64(i+1) * 60_000, Count: n})
	}
	drawTimeline(&w, line, 4)
	for _, want := range []string{"before\t\t2\t\n", "\tin 0s\t1000\t████\n", "\tin 1m0s\t500\t██\n", "\tin 2m0s\t1\t▏\n", "\tin 3m0s\t0\t\n", "later\t\t1\t\n"} {
		if !strings.Contains(w.String(), want) {
			t.Errorf("%q is missing in\n%s", want, w.String())
		}
	}
}
