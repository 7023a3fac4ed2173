package e2e

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// browse asks for a page as a browser does, and follows where it leads. With a form it posts that.
func browse(ctx context.Context, t *testing.T, b *testnet.Broker, path string, form url.Values) (status int, at, page string) {
	t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.HTTP()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Request.URL.Path, string(text)
}

// TestConsoleShowsAPendingRecordAndCancelsIt does with a browser's requests what a person would:
// from the address of the broker to the topic, the record, and the button.
func TestConsoleShowsAPendingRecordAndCancelsIt(t *testing.T) {
	b := start(t)
	ctx := deadline(t, time.Minute)
	createTopic(t, b, "orders", 1, map[string]string{"retention.ms": "7200000"})
	cl := client(t, b, kgo.ClientID("reader"), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	pending := &kgo.Record{Topic: "orders", Value: []byte("<later>"), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("150m")}, {Key: "morrow-key", Value: []byte("order/7")}}}
	if err := cl.ProduceSync(ctx, pending, &kgo.Record{Topic: "orders", Value: []byte("at once")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if read := cl.PollFetches(ctx); read.Err() != nil {
		t.Fatal(read.Err())
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	expect := func(path string, form url.Values, has ...string) string {
		t.Helper()
		status, at, page := browse(ctx, t, b, path, form)
		for _, text := range has {
			if status != http.StatusOK || !strings.Contains(page, text) {
				t.Errorf("%s leads to %s, %d, without %q:\n%s", path, at, status, text, page)
			}
		}
		return page
	}
	record := "/console/topics/orders/records/0/" + strconv.FormatInt(pending.Offset, 10)
	expect("/", nil, "<h1>Overview</h1>", `href="/console/topics/orders"`, "in 2h")
	expect("/console/topics/orders", nil, `href="`+record+`"`, "order/7", "<code>retention.ms</code>", "<code>7200000</code>")
	expect(record, nil, "&lt;later&gt;", `action="`+record+`/cancel"`)
	expect("/console/groups", nil, ">readers</a>", "<td>Stable</td>")
	expect("/console/group?id=readers", nil, "reader", "orders 0", "<dt>Lag</dt><dd>0</dd>")
	expect("/console/tier", nil, "in use", "No topic is tiered.")

	expect(record+"/move", url.Values{"due": {"3h"}}, "is moved to")
	expect(record+"/cancel", url.Values{}, "was not cancelled") // it has another ticket
	var listed struct{ Records []apiEntry }
	if err := api(ctx, b, http.MethodGet, "/orders", nil, &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed.Records) != 1 || listed.Records[0].Key != "order/7" || listed.Records[0].Due < time.Now().Add(2*time.Hour+50*time.Minute).UnixMilli() {
		t.Fatalf("pending is %+v", listed.Records)
	}
	record = "/console/topics/orders/records/0/" + strconv.FormatInt(listed.Records[0].Ticket, 10)
	expect(record+"/cancel", url.Values{}, "is cancelled, durably", "Nothing is pending.")
	if status, _, page := browse(ctx, t, b, record, nil); status != http.StatusNotFound {
		t.Errorf("the cancelled record is shown: %d\n%s", status, page)
	}
	if err := api(ctx, b, http.MethodGet, "/orders", nil, &listed); err != nil || len(listed.Records) > 0 {
		t.Errorf("pending is %+v, %v", listed.Records, err)
	}
}

// TestConsoleCancelsWhatWasCounted selects some of what is pending, sees how many that are, and
// cancels these and no others.
func TestConsoleCancelsWhatWasCounted(t *testing.T) {
	b := start(t)
	ctx := deadline(t, time.Minute)
	createTopic(t, b, "orders", 3, nil)
	cl := client(t, b)
	var records []*kgo.Record
	for i := range 30 {
		key, delay := "a/"+strconv.Itoa(i), "1h"
		if i%3 == 0 {
			key = "b/" + strconv.Itoa(i)
		}
		if i%2 == 0 {
			delay = "5h"
		}
		records = append(records, &kgo.Record{Topic: "orders", Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte(delay)}, {Key: "morrow-key", Value: []byte(key)}}})
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	const which = "?prefix=a%2F&until=2h" // ten of a/ are due in an hour, ten in five
	pages := []struct {
		path string
		form url.Values
		has  string
	}{
		{"/console/topics/orders" + which, nil, "a/1<"},
		{"/console/topics/orders/cancel" + which, nil, "<button>Cancel 10 records</button>"},
		{"/console/topics/orders/cancel", url.Values{"prefix": {"a/"}, "until": {"2h"}}, "10 records cancelled, durably."},
		{"/console/topics/orders/cancel" + which, nil, "No pending record is like that."},
		{"/console/topics/orders/cancel", nil, "<button>Cancel 20 records</button>"},
		{"/console/topics/orders/cancel", url.Values{}, "expected a filter"},
	}
	for _, p := range pages {
		if status, at, page := browse(ctx, t, b, p.path, p.form); status != http.StatusOK || !strings.Contains(page, p.has) {
			t.Errorf("%s leads to %s, %d, without %q:\n%s", p.path, at, status, p.has, page)
		}
	}
	var listed struct{ Records []apiEntry }
	if err := api(ctx, b, http.MethodGet, "/orders", nil, &listed); err != nil {
		t.Fatal(err)
	}
	for _, r := range listed.Records {
		if strings.HasPrefix(r.Key, "a/") && r.Due < time.Now().Add(2*time.Hour).UnixMilli() {
			t.Errorf("%+v is pending", r)
		}
	}
	if len(listed.Records) != 20 {
		t.Errorf("%d records are pending", len(listed.Records))
	}
}

// TestConsoleShowsGroupsOfEveryProtocol looks at a group of each newer kind: who is in it, what it
// has, and how far it is.
func TestConsoleShowsGroupsOfEveryProtocol(t *testing.T) {
	b := start(t)
	ctx := deadline(t, time.Minute)
	createTopic(t, b, "jobs", 2, nil)
	configureGroup(t, b, "workers", "share.auto.offset.reset", "earliest")
	newer := context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true) //nolint:staticcheck // the key is the client's
	readers := client(t, b, kgo.WithContext(newer), kgo.ClientID("<reader>"), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("jobs"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	workers := shareConsumer(t, b, "workers", "jobs", kgo.ClientID("<worker>"))
	if err := readers.ProduceSync(ctx, &kgo.Record{Topic: "jobs", Value: []byte("one")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, cl := range []*kgo.Client{readers, workers} {
		for cl.PollFetches(ctx).NumRecords() == 0 {
			if ctx.Err() != nil {
				t.Fatal("nothing came")
			}
		}
	}
	if err := readers.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/console/groups":           {">readers</a>", "<td>consumer</td>", ">workers</a>", "<td>share</td>"},
		"/console/group?id=readers": {"&lt;reader&gt;", "jobs 0, 1", "127.0.0.1", "<h2>Positions</h2>"},
		"/console/group?id=workers": {"&lt;worker&gt;", "jobs 0, 1", "127.0.0.1", "<dt>In flight</dt>", "<h2>In flight</h2>"},
	} {
		status, _, page := browse(ctx, t, b, path, nil)
		for _, text := range want {
			if status != http.StatusOK || !strings.Contains(page, text) {
				t.Errorf("%s: %d without %q:\n%s", path, status, text, page)
			}
		}
	}
}

// A page of another site cannot cancel anything, and who asks for text gets a line of it.
func TestConsoleIsForBrowsersOfItsOwnPages(t *testing.T) {
	b := start(t)
	ctx := deadline(t, time.Minute)
	for accept, want := range map[string]int{"text/html": http.StatusFound, "*/*": http.StatusOK, "": http.StatusOK} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.HTTP()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want || want == http.StatusOK && !strings.HasPrefix(string(text), "Morrow. See /console/, /metrics") {
			t.Errorf("accepting %q: %s %s %v", accept, resp.Status, text, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.HTTP()+"/console/topics/orders/records/0/0/cancel", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://evil.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a form of another site: %s", resp.Status)
	}
}
