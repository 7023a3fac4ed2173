package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/broker/schedules"
)

func TestTopicTellsOfItsPartitionsAndConfigs(t *testing.T) {
	w := newWorld()
	d := w.withTopic("orders")
	d.Settings = []Setting{{"retention.ms", "1000", "topic"}}
	d.Parts = append(d.Parts, Partition{Number: 1, Err: errors.New("<gone>")}, Partition{Number: 2, Loading: true})
	w.tier.Partitions = []remote.Partition{{Topic: "orders", RemoteStart: -1, RemoteEnd: 5000}}
	page := w.get(t, "/console/topics/orders", http.StatusOK)
	has(t, page, "<h1>orders</h1>", "Nothing is pending.", "<code>retention.ms</code>", "<code>1000</code>", "&lt;gone&gt;", "loading", `<td class="n first">–</td><td class="n">5,000</td>`, `<a href="/console/tier/orders">segments</a>`)
	d.Delays, d.Settings, w.tier.Partitions = false, nil, nil
	page = w.get(t, "/console/topics/orders", http.StatusOK)
	has(t, page, "<p>None.</p>")
	lacks(t, page, "Pending records", "Tier start", "segments</a>")
}

func TestTopicListsWhatIsPending(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	run := int64(4)
	due := noon.UnixMilli() + 90_000
	w.page = schedules.Page{Next: "a.0.1", Records: []schedules.Entry{
		{Partition: 2, Ticket: 17, DueMs: due, Bytes: 2048, Key: `<script>alert("1")</script>`},
		{Partition: 0, Ticket: 9, DueMs: noon.UnixMilli() - 1500, Key: "\xff\xfe", Run: &run, InFlight: true},
	}}
	w.sources = []schedules.Source{{Partition: 0}, {Partition: 2, Run: &run, Pending: 12, NextDueMs: &due, Stopped: "the payload is <missing>"}}
	page := w.get(t, "/console/topics/orders?prefix=%3Cs&cursor=x", http.StatusOK)
	has(t, page, "<time>2026-11-27 12:01:30</time> <span>in 1m30s</span>", `<a href="/console/topics/orders/records/2/17">17</a>`, "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;", "&#34;\\xff\\xfe&#34;", "being delivered",
		`action="/console/topics/orders/records/2/17/cancel"`, `action="/console/topics/orders/records/2/17/move"`, `href="/console/topics/orders?cursor=a.0.1&amp;prefix=%3Cs"`, ">First</a>", `value="&lt;s"`,
		"run 4", "the payload is &lt;missing&gt;")
	lacks(t, page, "<script>alert", "none of them stopped.")
	if want := (url.Values{"limit": {"25"}, "prefix": {"<s"}, "cursor": {"x"}}); w.asked.Encode() != want.Encode() {
		t.Errorf("asked for %v", w.asked)
	}
}

// The parts that ask for what is pending say why they fail; the others are there.
func TestTopicIsThereWhileItsScheduleIsLoading(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	w.pendErr = errors.New("the schedule is still being read")
	page := w.get(t, "/console/topics/orders", http.StatusOK)
	if n := strings.Count(page, `<p class="failed">the schedule is still being read</p>`); n != 3 {
		t.Errorf("it is said %d times in %s", n, page)
	}
	has(t, page, "<h2>Partitions</h2>")
}

// What does not answer holds the page up for a while, and leaves the rest of it as it is.
func TestTopicIsThereWhileAStoreDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.withTopic("orders")
		w.stuck = true
		began := time.Now()
		has(t, w.get(t, "/console/topics/orders", http.StatusOK), `<p class="failed">there was no answer within 5s</p>`, "<h2>Partitions</h2>")
		if took := time.Since(began); took != patience {
			t.Errorf("it took %v", took)
		}
	})
}

func TestTimelineIsDrawnToScale(t *testing.T) {
	line := schedules.Timeline{Before: 2, After: 1}
	for i, n := range []int64{1000, 500, 1, 0} {
		line.Buckets = append(line.Buckets, schedules.Bucket{FromMs: int64(i) * 60_000, UntilMs: int64(i+1) * 60_000, Count: n})
	}
	drawn := draw(line)
	var got []string
	for _, b := range drawn.Bars {
		got = append(got, fmt.Sprintf("%d at %v: %v from %v, %v wide", b.Count, b.X, b.Height, b.Y, b.Width))
	}
	want := "1000 at 0: 120 from 0, 238 wide; 500 at 240: 60 from 60, 238 wide; 1 at 480: 2 from 118, 238 wide"
	if strings.Join(got, "; ") != want || drawn.Until != 240_000 || drawn.Middle != 120_000 || drawn.Overdue != 2 || drawn.Later != 1 {
		t.Errorf("%s: %+v", got, drawn)
	}
	if !draw(schedules.Timeline{}).Empty() {
		t.Error("nothing is not empty")
	}
	w := newWorld()
	w.withTopic("orders")
	w.line = line
	has(t, w.get(t, "/console/topics/orders", http.StatusOK), "<title>500 records due from 1970-01-01 00:01:00", "The highest bar is 1,000 records. 1 record due later.", "2 overdue")
}

func TestRecordIsShownWithItsContents(t *testing.T) {
	w := newWorld()
	key, value, header := schedules.Bytes("k\xff"), schedules.Bytes("<b>bold</b>"), schedules.Bytes("")
	w.record = &schedules.Record{Topic: "orders", Entry: schedules.Entry{Partition: 2, Ticket: 17, DueMs: noon.UnixMilli() + 1000}, RecordKey: &key, Value: &value, Headers: []schedules.Header{{Key: "<h>", Value: &header}, {Key: "null", Value: nil}}}
	page := w.get(t, "/console/topics/orders/records/2/17", http.StatusOK)
	has(t, page, "Ticket 17 of orders-2", "<pre>&#34;k\\xff&#34;</pre>", "<pre>&lt;b&gt;bold&lt;/b&gt;</pre>", "&lt;h&gt;", "<pre>&#34;&#34;</pre>", "<pre>null</pre>", `action="/console/topics/orders/records/2/17/move"`)
	lacks(t, page, "console.js") // it is what was pending, not what is
}

const record17 = "/console/topics/orders/records/2/17"

func TestCancelSaysWhatBecameOfTheRecord(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	page := w.post(t, record17+"/cancel", nil)
	has(t, page, `<p class="outcome done" role="status">Ticket 17 of partition 2 is cancelled, durably, by the record at offset 40.</p>`, "<h1>orders</h1>")
	if len(w.cancels) != 1 || w.cancels[0] != (schedules.Name{Topic: "orders", Partition: "2", Ticket: "17"}) {
		t.Errorf("cancelled %v", w.cancels)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{rest.Refuse(http.StatusConflict, "not_pending", "ticket 17 was <delivered>"), "Ticket 17 of partition 2 was not cancelled: ticket 17 was &lt;delivered&gt;"},
		{context.DeadlineExceeded, "It is not known whether ticket 17 of partition 2 is cancelled: context deadline exceeded"},
	} {
		w.err = c.err
		has(t, w.post(t, record17+"/cancel", nil), `<p class="outcome failed" role="status">`+c.want)
	}
	lacks(t, w.get(t, "/console/topics/orders?outcome=You+won", http.StatusOK), "You won", `class="outcome`)
}

func TestTopicListsOnlyWhatIsSelected(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	page := w.get(t, "/console/topics/orders?prefix=k&from=now&until=2026-11-27+13:00&cursor=x", http.StatusOK)
	has(t, page, `name="from" value="now"`, `name="until" value="2026-11-27 13:00"`, "No pending record on this page is like that.", `href="/console/topics/orders?cursor=&amp;from=now&amp;prefix=k&amp;until=2026-11-27&#43;13%3A00">First</a>`)
	want := url.Values{"limit": {"25"}, "prefix": {"k"}, "cursor": {"x"}, "from": {"1795780800000"}, "until": {"1795784400000"}}
	if w.asked.Encode() != want.Encode() {
		t.Errorf("asked for %v", w.asked)
	}
	has(t, w.get(t, "/console/topics/orders?until=%3Csoon%3E", http.StatusOK), `<p class="failed">due until &#34;&lt;soon&gt;&#34;: it must be now, a duration`, "<h2>Partitions</h2>")
}

func TestRecordsAreCountedBeforeTheyAreCancelledTogether(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	w.many = schedules.CancelledMany{Matched: 1234, Done: true}
	page := w.get(t, "/console/topics/orders/cancel?prefix=%3Ck%3E&until=1h", http.StatusOK)
	has(t, page, "<dt>Pending</dt><dd>1,234</dd>", "<dd>&lt;k&gt;</dd>", "<time>2026-11-27 13:00:00</time>", "<button>Cancel 1,234 records</button>",
		`<form class="find" method="post" action="/console/topics/orders/cancel">`, `name="prefix" value="&lt;k&gt;"`, `name="until" value="1795784400000"`)
	lacks(t, page, `name="all"`, `name="from"`)
	if len(w.together) != 1 || !w.together[0].DryRun || w.together[0].All || w.together[0].KeyPrefix != "<k>" || deref(w.together[0].UntilMs) != noon.UnixMilli()+3_600_000 {
		t.Errorf("asked for %+v", w.together)
	}
	w.many.Done = false
	has(t, w.get(t, "/console/topics/orders/cancel", http.StatusOK), "all that is pending in the topic", "1,234 or more", "Cancel the first 1,234 records", `name="all" value="1"`)
	w.many = schedules.CancelledMany{Done: true}
	page = w.get(t, "/console/topics/orders/cancel?from=now", http.StatusOK)
	has(t, page, "No pending record is like that.", `<a href="/console/topics/orders">Back to the topic</a>`)
	lacks(t, page, "<button>")
	for _, asked := range w.together {
		if !asked.DryRun {
			t.Errorf("asked for %+v", asked)
		}
	}
}

// What cannot be counted is not cancelled: there is nothing to confirm.
func TestWhatCannotBeCountedIsNotCancelled(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	w.err = rest.Refuse(http.StatusServiceUnavailable, "loading", "the schedule is still being read")
	page := w.get(t, "/console/topics/orders/cancel", http.StatusOK)
	has(t, page, `<p class="failed">They cannot be counted: the schedule is still being read</p>`)
	lacks(t, page, "<button>")
	w.err = rest.Refuse(http.StatusNotFound, "unknown_topic", "there is no topic <b>")
	has(t, w.get(t, "/console/topics/nope/cancel", http.StatusNotFound), "These records cannot be cancelled: there is no topic &lt;b&gt;")
	has(t, w.get(t, "/console/topics/orders/cancel?from=soon", http.StatusBadRequest), "It is not clear which records are meant. due from &#34;soon&#34;: it must be")
}

func TestCancellingTogetherSaysWhatBecameOfTheRecords(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	const path = "/console/topics/orders/cancel"
	for want, done := range map[string]schedules.CancelledMany{
		"1 record cancelled, durably.": {Matched: 1, Cancelled: 1, Done: true},
		"1,000 records cancelled, durably. It was too late for 2: delivered, or cancelled by others. There are more of them.": {Matched: 1002, Cancelled: 1000, TooLate: 2},
		"Nothing was cancelled: none of these records is pending any more.":                                                   {Done: true},
	} {
		w.many, w.together = done, nil
		has(t, w.post(t, path, url.Values{"prefix": {"k"}, "from": {"1000"}}), `<p class="outcome done" role="status">`+want+`</p>`)
		if len(w.together) != 1 || w.together[0].DryRun || w.together[0].All || w.together[0].KeyPrefix != "k" || deref(w.together[0].FromMs) != 1000 || w.together[0].Limit != maxTogether {
			t.Errorf("asked for %+v", w.together)
		}
	}
	w.together = nil
	has(t, w.post(t, path, url.Values{"until": {"<soon>"}}), `<p class="outcome failed" role="status">Nothing was cancelled. due until &#34;&lt;soon&gt;&#34;: it must be`)
	if w.together != nil {
		t.Errorf("asked for %+v", w.together)
	}
	w.post(t, path, url.Values{"all": {"1"}})
	if len(w.together) != 1 || !w.together[0].All {
		t.Errorf("asked for %+v", w.together)
	}
	w.err = rest.Refuse(http.StatusServiceUnavailable, "no_space", "after 7 were cancelled: the <disk> is full")
	has(t, w.post(t, path, url.Values{"all": {"1"}}), "It is not certain that all of them are cancelled: after 7 were cancelled: the &lt;disk&gt; is full")
}

func TestMoveSaysWhatBecameOfTheRecord(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	for due, want := range map[string]int64{
		"now": noon.UnixMilli(), " 15m ": noon.UnixMilli() + 900_000, "2026-11-27 13:00:00": noon.UnixMilli() + 3_600_000, "1700000000000": 1_700_000_000_000,
	} {
		w.moves = nil
		has(t, w.post(t, record17+"/move", url.Values{"due": {due}}), "Ticket 17 of partition 2 is moved to 2026-11-27T12:00:00.000Z and waits as ticket 41.")
		if len(w.moves) != 1 || deref(w.moves[0].DueMs) != want || w.moves[0].DelayMs != nil {
			t.Errorf("%q: moved %+v", due, w.moves)
		}
	}
	w.moves = nil
	has(t, w.post(t, record17+"/move", url.Values{"due": {"<soon>"}}), "was not moved: due &#34;&lt;soon&gt;&#34;: it must be now, a duration")
	if w.moves != nil {
		t.Errorf("moved %v", w.moves)
	}
	w.err = rest.Refuse(http.StatusConflict, "not_pending", "too late")
	has(t, w.post(t, record17+"/move", url.Values{"due": {"1m"}}), "Ticket 17 of partition 2 was not moved: too late")

	large := httptest.NewRequest(http.MethodPost, record17+"/move", strings.NewReader("due="+strings.Repeat("x", maxForm)))
	large.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	has(t, w.ask(t, large, http.StatusBadRequest), "The form cannot be read")
}

func deref(ms *int64) int64 {
	if ms == nil {
		return -1
	}
	return *ms
}
