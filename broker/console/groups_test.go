package console

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/morrowmq/morrow/broker/inflight"
)

const hostile = `<img src=x>&"/../`

func TestGroupsAreListed(t *testing.T) {
	w := newWorld()
	has(t, w.get(t, "/console/groups", http.StatusOK), "This broker coordinates no groups.")
	lags := []Lag{{"a", 1, 1000, 2}, {"b", 2, 500, 3}, {"c", 1, 0, 0}, {"d", 1, 0, 0}, {"e", 1, 0, 0}, {"f", 1, 0, 0}}
	w.groups[hostile] = &GroupDetail{Group: Group{ID: hostile, Protocol: "classic", State: "Stable", Members: 3, Lags: lags}}
	w.groups["work"] = &GroupDetail{Group: Group{ID: "work", Protocol: "share", State: "Empty", Lags: lags[:2]}}
	page := w.get(t, "/console/groups", http.StatusOK)
	has(t, page, "&lt;img src=x&gt;&amp;&#34;/../", `href="/console/group?id=%3Cimg&#43;src%3Dx%3E%26%22%2F..%2F"`, "<td>Stable</td>", `<td class="n">1,500</td> <td class="n"><span class="none">`, `<td class="n">1,500</td> <td class="n">5</td>`, ", and 1 more", "2 of 2")
	lacks(t, page, "<img")
	has(t, w.get(t, "/console/groups?find=or", http.StatusOK), "1 of 2")
	has(t, w.get(t, "/console/groups?find=%3Cb%3E", http.StatusOK), "No group has that in its id.")
}

func TestGroupTellsOfItsMembersAndPositions(t *testing.T) {
	w := newWorld()
	w.groups[hostile] = &GroupDetail{
		Group:     Group{ID: hostile, Protocol: "consumer", State: "Stable", Lags: []Lag{{"orders", 2, 1234, 0}}},
		List:      []Member{{ID: "m-1", Client: "<i>\xff", Host: "/127.0.0.1", Assigned: []string{"orders 0, 1"}}},
		Positions: []Position{{"orders", 0, 10, 1244, 1234}, {"orders", 1, 7, -1, 0}},
	}
	page := w.get(t, "/console/group?"+url.Values{"id": {hostile}}.Encode(), http.StatusOK)
	has(t, page, "<h1>&lt;img src=x&gt;", "&#34;&lt;i&gt;\\xff&#34;", "/127.0.0.1", "orders 0, 1", `<td class="n">1,244</td><td class="n">1,234</td>`, `<td class="n">7</td><td class="n none">–</td>`)
	lacks(t, page, "<img", "In flight")
	w.groupErr = errors.New("the coordinator is loading")
	has(t, w.get(t, "/console/group?id=x", http.StatusServiceUnavailable), "Group x cannot be described: the coordinator is loading")
}

func TestShareGroupTellsWhatIsInFlight(t *testing.T) {
	w := newWorld()
	w.groups["work"] = &GroupDetail{Group: Group{ID: "work", Protocol: "share", State: "Stable", Lags: []Lag{{"jobs", 1, 40, 3}}}}
	w.inFlight = []inflight.Partition{{Topic: "jobs", Partition: 1, Start: 1000, End: 1010, Acquired: 3, Waiting: 2, Error: "no dead-letter topic <here>"}}
	page := w.get(t, "/console/group?id=work", http.StatusOK)
	has(t, page, "<dt>In flight</dt><dd>3</dd>", `<td class="n">1,000</td><td class="n">1,010</td><td class="n">3</td>`, "no dead-letter topic &lt;here&gt;")
	lacks(t, page, "Positions")
}
