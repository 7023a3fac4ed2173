package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/broker/rest"
)

// apiRequest is a request for an operation of docs/openapi.yaml.
type apiRequest struct {
	operation string
	path      string // values of the parameters in the path, in order
	query     string
	body      string
	want      int
}

// TestAnswersAreAsDocumented asks a broker that has records pending, in flight and in the tier for
// everything that is in docs/openapi.yaml, and for what is refused, and holds every answer against
// its schema.
func TestAnswersAreAsDocumented(t *testing.T) {
	b, _, _ := tieredBroker(t)
	b.morrow(t, "topic", "create", "jobs", "-p", "1")
	tickets := b.delay(t, "jobs", 5)
	b.hold(t, "jobs")
	d := readAPIDocument(t)
	operations := d.operations()
	asked := map[string]bool{}
	for _, r := range []apiRequest{
		{"index", "", "", "", 200},
		{"metrics", "", "", "", 200},
		{"livez", "", "", "", 200},
		{"readyz", "", "", "", 200},
		{"alarms", "", "", "", 200},
		{"alarms", "", "topic=jobs", "", 400},
		{"profiles", "", "", "", 200},
		{"cmdline", "", "", "", 200},
		{"profile", "", "seconds=1", "", 200},
		{"symbol", "", "", "", 200},
		{"trace", "", "seconds=0.1", "", 200},

		{"listTopics", "", "", "", 200},
		{"listRecords", "jobs", "", "", 200},
		{"listRecords", "jobs", "limit=1&partition=0&prefix=k", "", 200},
		{"listRecords", "jobs", "limit=0", "", 400},
		{"listRecords", "nope", "", "", 404},
		{"listRecords", "jobs", "partition=9", "", 404},
		{"timeline", "jobs", "buckets=3", "", 200},
		{"timeline", "jobs", "buckets=0", "", 400},
		{"listSources", "jobs", "", "", 200},
		{"listSources", "nope", "", "", 404},
		{"showRecord", "jobs 0 " + tickets[0], "", "", 200},
		{"showRecord", "jobs 0 99999", "", "", 404},
		{"moveRecord", "jobs 0 " + tickets[0], "", `{"delay_ms":7200000}`, 200},
		{"moveRecord", "jobs 0 " + tickets[0], "", `{"delay_ms":7200000}`, 409},
		{"moveRecord", "jobs 0 " + tickets[1], "", `{}`, 400},
		{"cancelRecord", "jobs 0 " + tickets[1], "", "", 200},
		{"cancelRecord", "jobs 0 " + tickets[1], "", "", 409},
		{"cancelRecords", "jobs", "", `{"all":true,"dry_run":true}`, 200},
		{"cancelRecords", "jobs", "", `{"all":true,"limit":1}`, 200},
		{"cancelRecords", "jobs", "", `{"nonsense":1}`, 400},

		{"shareGroup", "workers", "", "", 200},
		{"shareGroup", "nope", "", "", 404},

		{"consoleOverview", "", "", "", 200},
		{"consoleOverview", "", "find=jobs&internal=1", "", 200},
		{"consoleTopic", "jobs", "prefix=k", "", 200},
		{"consoleTopic", "orders", "", "", 200},
		{"consoleTopic", "nope", "", "", 404},
		{"consoleRecord", "jobs 0 " + tickets[3], "", "", 200},
		{"consoleRecord", "jobs 0 99999", "", "", 404},
		{"consoleCancel", "jobs 0 " + tickets[3], "", "", 303},
		{"consoleCancel", "jobs 0 " + tickets[3], "", "", 303},
		{"consoleMove", "jobs 0 " + tickets[4], "", "", 303},
		{"consoleCount", "jobs", "until=3h", "", 200},
		{"consoleCount", "jobs", "from=soon", "", 400},
		{"consoleCount", "nope", "", "", 404},
		{"consoleCancelTogether", "jobs", "", "", 303},
		{"consoleGroups", "", "find=work", "", 200},
		{"consoleGroup", "", "id=workers", "", 200},
		{"consoleGroup", "", "id=nope", "", 404},
		{"consoleTier", "", "", "", 200},
		{"consoleSegments", "orders", "", "", 200},
		{"consoleSegments", "nope", "", "", 404},
		{"consoleStatic", "console.css", "", "", 200},
		{"consoleStatic", "console.js", "", "", 200},
		{"consoleStatic", "icon.svg", "", "", 200},
		{"consoleStatic", "nope", "", "", 404},

		{"tierStatus", "", "", "", 200},
		{"tierStatus", "", "topic=orders", "", 200},
		{"tierSegments", "orders", "", "", 200},
		{"tierSegments", "nope", "", "", 404},
		{"tierSegments", "orders", "partition=x", "", 400},
		{"tierVerify", "orders 0", "", `{"deep":true}`, 200},
		{"tierVerify", "orders 7", "", "", 404},
		{"tierResume", "orders 0", "", `{"accept_loss":true}`, 409},
		{"tierResume", "orders 7", "", "", 404},
		{"tierSweep", "", "", "", 200},
		{"tierSweep", "", "", `{"delete":true}`, 200},
		{"tierSweep", "", "", `{"grace_ms":-1}`, 400},
		{"tierSweepLog", "", "last=5", "", 200},
		{"tierSweepLog", "", "last=0", "", 400},
	} {
		op, ok := operations[r.operation]
		if !ok {
			t.Errorf("%s is not documented", r.operation)
			continue
		}
		asked[r.operation] = true
		b.holdAgainst(t, d, op, r)
	}
	for name, op := range operations {
		if !asked[name] {
			t.Errorf("%s %s is documented and not asked for here", op.method, op.path)
		}
	}
}

// Whoever misspells a parameter is told which there are, and these are the ones that are documented.
func TestUnknownParametersAreRefusedWithTheDocumentedOnes(t *testing.T) {
	b := startBroker(t)
	for name, op := range readAPIDocument(t).operations() {
		if !strings.HasPrefix(op.path, "/api/") {
			continue
		}
		expected := strings.Join(op.query, ", ")
		switch len(op.query) {
		case 0:
			expected = "none"
		case 1:
		default:
			expected = "one of " + expected
		}
		req, err := http.NewRequestWithContext(t.Context(), op.method, "http://"+b.http+op.path+"?no_such=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var refused rest.Error
		err = json.NewDecoder(answer.Body).Decode(&refused)
		answer.Body.Close()
		want := `unknown parameter "no_such", expected ` + expected
		if err != nil || answer.StatusCode != http.StatusBadRequest || refused.Message != want {
			t.Errorf("%s: %s %q, %v; want %q", name, answer.Status, refused.Message, err, want)
		}
	}
}

// holdAgainst sends a request and compares the answer with the document.
func (b *liveBroker) holdAgainst(t *testing.T, d apiDocument, op operation, r apiRequest) {
	t.Helper()
	path := op.path
	for value := range strings.FieldsSeq(r.path) {
		before, rest, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(rest, "}")
		path = before + value + after
	}
	what := strings.TrimSpace(fmt.Sprintf("%s %s?%s %s", op.method, path, r.query, r.body))
	req, err := http.NewRequestWithContext(t.Context(), op.method, "http://"+b.http+path+"?"+r.query, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultTransport.RoundTrip(req) // which follows no redirects
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != r.want {
		t.Errorf("%s: %s, want %d: %.300s", what, answer.Status, r.want, body)
		return
	}
	if err := d.check(op, answer.StatusCode, answer.Header.Get("Content-Type"), body); err != nil {
		t.Errorf("%s: %v in %.500s", what, err, body)
	}
}

// delay produces n records that are due in an hour, with keys and headers, and returns their tickets.
func (b *liveBroker) delay(t *testing.T, topic string, n int) (tickets []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		r := &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte{0, 1, 0xff}, Headers: []kgo.RecordHeader{
			{Key: "morrow-delay", Value: []byte("3600000")}, {Key: "morrow-key", Value: fmt.Append(nil, "k", i)}, {Key: "empty"},
		}}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, fmt.Sprint(r.Offset))
	}
	return tickets
}

// hold has a member of the share group workers keep a record until the test ends.
func (b *liveBroker) hold(t *testing.T, topic string) {
	t.Helper()
	b.morrow(t, "config", "set", "group", "workers", "share.auto.offset.reset=earliest")
	b.produce(t, topic, "held")
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ShareGroup("workers"), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for cl.PollFetches(ctx).NumRecords() == 0 {
		if ctx.Err() != nil {
			t.Fatal("nothing came")
		}
	}
}
