package console

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/morrowmq/morrow/broker/remote"
)

// tierPage is how the tier stands.
type tierPage struct {
	remote.Status
	// Err is why there is nothing to show.
	Err    string
	Topics window[tierRow]
	Alarms window[remote.Alarm]
	// Waiting sums up the bytes that are closed and not confirmed.
	Waiting int64
}

// tierRow is a topic in the list.
type tierRow struct {
	Topic      string
	Partitions int
	Segments   int
	tiered
	// Error is that of its first partition that has one.
	Error string
}

func (c *Console) tier(w http.ResponseWriter, r *http.Request) {
	var body tierPage
	var err error
	if body.Status, err = c.Tier.Status(""); err != nil {
		body.Err = err.Error()
	}
	rows := tierRows(body.Partitions)
	for _, t := range rows {
		body.Waiting += t.Waiting
	}
	body.Alarms = part(r, "alarms", body.Status.Alarms)
	body.Topics = part(r, "skip", rows)
	c.show(w, r, http.StatusOK, "tier", page{Title: "Tier", Section: "tier", Live: true, Body: body})
}

// tierRows sums up partitions by topic.
func tierRows(partitions []remote.Partition) []tierRow {
	var rows []tierRow
	at := make(map[string]int)
	sums := sumTier(partitions)
	for _, p := range partitions {
		i, ok := at[p.Topic]
		if !ok {
			i = len(rows)
			at[p.Topic] = i
			rows = append(rows, tierRow{Topic: p.Topic, tiered: *sums[p.Topic]})
		}
		rows[i].Partitions++
		rows[i].Segments += p.Segments
		rows[i].Error = cmp.Or(rows[i].Error, p.Error)
	}
	slices.SortFunc(rows, func(x, y tierRow) int { return cmp.Compare(x.Topic, y.Topic) })
	return rows
}

// segmentsPage says where the segments of a topic are, and why.
type segmentsPage struct {
	Topic    string
	Segments window[remote.Segment]
}

// segments shows what the tier says of each segment of a topic. Asking that takes a look at all of
// them; the page is not live.
func (c *Console) segments(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	topic := r.PathValue("topic")
	found, err := c.Tier.Segments(ctx, topic, "")
	if err != nil {
		c.refuse(w, r, remote.Classify(err).Status, "The segments of "+text(topic)+" cannot be explained: "+why(err))
		return
	}
	c.show(w, r, http.StatusOK, "segments", page{Title: "Segments of " + topic, Section: "tier", Body: segmentsPage{topic, part(r, "skip", found.Segments)}})
}

// segmentsPath is where the segments of a topic are shown.
func segmentsPath(topic string) string { return Root + "tier/" + url.PathEscape(topic) }
