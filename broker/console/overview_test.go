package console

import (
	"errors"
	"net/http"
	"testing"

	"github.com/morrowmq/morrow/broker/alarms"
	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/rest"
)

func TestOverviewOfAnEmptyBroker(t *testing.T) {
	w := newWorld()
	w.tierErr = rest.Refuse(http.StatusNotFound, "no_tier", "tiering is switched off")
	page := w.get(t, "/console/", http.StatusOK)
	has(t, page, "<dd><span class=\"good\">ready</span></dd>", "<dd>1h00m</dd>", "<dd>off</dd>", `<p class="good">None.</p>`, "There are no topics.", "<dd>v1</dd>", "<code>abc</code>")
	lacks(t, page, "Disk free", "<table>")
}

func TestOverviewTellsOfTopicsByWhatTheyHave(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	due := noon.UnixMilli() + 250_000
	w.sums[0].Pending, w.sums[0].Overdue, w.sums[0].NextDueMs, w.sums[0].Loading = 1234, 3, &due, 1
	d := w.withTopic("__offsets")
	d.Internal = true
	w.sums = w.sums[:1]
	w.tier.Partitions = []remote.Partition{
		{Topic: "orders", Bytes: 1024, Lag: remote.Lag{Bytes: 2048, Ms: 61_000}},
		{Topic: "orders", Partition: 1, Bytes: 1024, Lag: remote.Lag{Ms: 5}, Error: "the store is away"},
	}
	page := w.get(t, "/console/", http.StatusOK)
	has(t, page, `<a href="/console/topics/orders">orders</a>`, ">1,234 <span class=\"warn\">1 loading</span>", `<span class="warn">3</span>`, `<time title="2026-11-27 12:04:10">in 4m10s</time>`,
		">2.0 KiB</td>", "1 failing", `2.0 KiB <span class="note">for 1m1s</span>`, "1 of 1")
	lacks(t, page, "__offsets")
	has(t, w.get(t, "/console/?internal=1", http.StatusOK), "__offsets", "2 of 2")
}

func TestOverviewTellsWhatIsWrong(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	w.sums[0].StoppedSources = 2
	w.standing.NotReady = errors.New("the broker is starting or stopping")
	w.wrong = []alarms.Alarm{
		{Subject: "disk", Text: "<disk> on fire"}, {Subject: "orders-0", Text: "a", Topic: "orders"},
		{Subject: "jobs-0", Text: "b", Topic: "jobs", Group: "<g>"}, {Name: "tier_damage", Subject: "orders-1", Text: "c"},
	}
	page := w.get(t, "/console/", http.StatusOK)
	has(t, page, "not ready: the broker is starting or stopping", `"subject">disk</th><td class="wide">&lt;disk&gt; on fire</td>`, "2 stopped",
		`<a href="/console/topics/orders">orders-0</a>`, `<a href="/console/group?id=%3Cg%3E">jobs-0</a>`, `<a href="/console/tier">orders-1</a>`)
	lacks(t, page, "None.")
}

// A tier that cannot be asked leaves the rest of the page as it is.
func TestOverviewIsThereWithoutTheTier(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	w.tierErr = errors.New("the store does not answer")
	has(t, w.get(t, "/console/", http.StatusOK), "the store does not answer", ">orders</a>")
}

func TestTierTellsOfTopics(t *testing.T) {
	w := newWorld()
	has(t, w.get(t, "/console/tier", http.StatusOK), "in use", "No topic is tiered.")
	at := noon.UnixMilli()
	w.tier.Sweep = &remote.Sweep{AtMs: at, Objects: 9, Orphans: 2}
	w.tier.Alarms = []remote.Alarm{{Subject: "b-0", Text: "an object is <damaged>"}}
	w.tier.Partitions = []remote.Partition{
		{Topic: "b", Bytes: 1024, Segments: 2, Error: "gap"}, {Topic: "a", Bytes: 1, Segments: 1, Lag: remote.Lag{Bytes: 3072, Ms: 4000}}, {Topic: "b", Partition: 1, Bytes: 1024, Segments: 3, Error: "fenced"},
	}
	page := w.get(t, "/console/tier", http.StatusOK)
	has(t, page, "<dt>Waiting</dt><dd>3.0 KiB</dd>", "2 of 9 objects were orphans", "an object is &lt;damaged&gt;", "2 partitions: gap", `<td class="n">5</td><td class="n">2.0 KiB</td>`, `<a href="/console/tier/b">segments</a>`)

	w.tierErr = rest.Refuse(http.StatusNotFound, "no_tier", "tiering is switched off")
	has(t, w.get(t, "/console/tier", http.StatusOK), "<p>tiering is switched off</p>")
	has(t, w.get(t, "/console/tier/a", http.StatusNotFound), "The segments of a cannot be explained: tiering is switched off")
}

func TestSegmentsAreExplained(t *testing.T) {
	w := newWorld()
	w.segments.Segments = []remote.Segment{{Partition: 1, Base: 1000, End: 2000, Bytes: 1024, Where: "remote", Why: "it is <confirmed>"}}
	has(t, w.get(t, "/console/tier/a", http.StatusOK), "Segments of a", "1,000", "remote", "it is &lt;confirmed&gt;")
}
