package console

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/schedules"
)

const (
	// recordsOfPage is how many pending records a page shows.
	recordsOfPage = 25
	// bars is how many bars the timeline has at most.
	bars = 60
)

// topicPage is all of a topic.
type topicPage struct {
	TopicDetail
	// Schedule is nil for topics that never delay.
	Schedule *schedules.Topic
	Pending  pendingPart
	Timeline timelinePart
	Sources  sourcesPart
	// Stored sums up the tiered partitions, nil if the topic is not tiered; StoredErr is why that is not known.
	Stored    *tiered
	StoredErr string
	Parts     window[partitionRow]
}

// partitionRow is a partition in the list.
type partitionRow struct {
	Partition
	// Tier is nil if it is not tiered.
	Tier *remote.Partition
}

// pendingPart lists the next pending records.
type pendingPart struct {
	Records []schedules.Entry
	// Selection is what the form says.
	Selection selection
	// First leads back to the first page, Next to the next; empty if that is this one, or there is none.
	First, Next string
	Err         string
}

// sourcesPart lists the sources from which nothing is delivered.
type sourcesPart struct {
	Stopped window[schedules.Source]
	All     int
	Err     string
}

// topicPath is where a topic is shown.
func topicPath(name string) string { return Root + "topics/" + url.PathEscape(name) }

func (c *Console) topic(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	name := r.PathValue("topic")
	detail := c.Broker.Topic(name)
	if detail == nil {
		c.refuse(w, r, http.StatusNotFound, "There is no topic "+text(name)+".")
		return
	}
	body := topicPage{TopicDetail: *detail}
	if detail.Delays {
		body.Schedule = c.scheduleOf(name)
		body.Pending = c.pending(ctx, r, name)
		body.Timeline = c.timeline(name)
		body.Sources = c.sources(r, name)
	}
	store, err := c.Tier.Status(name)
	if err != nil && remote.Classify(err).Status != http.StatusNotFound {
		body.StoredErr = err.Error()
	}
	body.Stored = sumTier(store.Partitions)[name]
	body.Parts = part(r, "partitions", rowsOf(detail.Parts, store.Partitions))
	c.show(w, r, http.StatusOK, "topic", page{Title: name, Section: "overview", Live: true, Body: body})
}

func (c *Console) scheduleOf(topic string) *schedules.Topic {
	for _, t := range c.Schedules.Topics().Topics {
		if t.Topic == topic {
			return &t
		}
	}
	return nil
}

// rowsOf joins partitions with what the tier has of them.
func rowsOf(parts []Partition, stored []remote.Partition) []partitionRow {
	tier := make(map[int32]*remote.Partition, len(stored))
	for i := range stored {
		tier[stored[i].Partition] = &stored[i]
	}
	rows := make([]partitionRow, len(parts))
	for i, p := range parts {
		rows[i] = partitionRow{p, tier[p.Number]}
	}
	return rows
}

// pending lists what is due next, from the cursor of the request on.
func (c *Console) pending(ctx context.Context, r *http.Request, topic string) (p pendingPart) {
	asked := r.URL.Query()
	p.Selection = selectionOf(asked)
	which, err := p.Selection.filter(c.Now())
	if err != nil {
		p.Err = err.Error()
		return p
	}
	q := which.Query()
	q.Set("limit", strconv.Itoa(recordsOfPage))
	if cursor := asked.Get("cursor"); cursor != "" {
		q.Set("cursor", cursor)
		p.First = with(r, "cursor", "")
	}
	found, err := c.Schedules.List(ctx, topic, q)
	if err != nil {
		p.Err = why(err)
		return p
	}
	p.Records = found.Records
	if found.Next != "" {
		p.Next = with(r, "cursor", found.Next)
	}
	return p
}

func (c *Console) sources(r *http.Request, topic string) (s sourcesPart) {
	found, err := c.Schedules.Sources(topic, url.Values{})
	if err != nil {
		s.Err = err.Error()
		return s
	}
	var stopped []schedules.Source
	for _, src := range found.Sources {
		if src.Stopped != "" {
			stopped = append(stopped, src)
		}
	}
	s.All, s.Stopped = len(found.Sources), part(r, "sources", stopped)
	return s
}
