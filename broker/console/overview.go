package console

import (
	"net/http"
	"strings"

	"github.com/morrowmq/morrow/broker/alarms"
	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/schedules"
)

// overview is the first page.
type overview struct {
	Standing
	Uptime int64 // ms
	Alarms window[alarms.Alarm]
	Topics window[topicRow]
	// Find and Internal are what the form above the topics says.
	Find     string
	Internal bool
	// All counts the topics that there are to be found.
	All     int
	TierErr string
	TierOff bool
}

// topicRow is a topic in the list.
type topicRow struct {
	Topic
	// Schedule is nil for topics that never delay, Tier for those that are not tiered.
	Schedule *schedules.Topic
	Tier     *tiered
}

// tiered sums up what of a topic is in the tier.
type tiered struct {
	// Bytes are confirmed there, Waiting are closed and not confirmed, the oldest for Ms.
	Bytes, Waiting, Ms int64
	// Failing is how many partitions have an error.
	Failing int
}

func (c *Console) overview(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != Root {
		c.notFound(w, r)
		return
	}
	q := r.URL.Query()
	pending := make(map[string]*schedules.Topic)
	sums := c.Schedules.Topics().Topics
	for i := range sums {
		pending[sums[i].Topic] = &sums[i]
	}
	standing := c.Broker.Standing()
	body := overview{
		Standing: standing, Uptime: c.Now().Sub(standing.Started).Milliseconds(),
		Find: q.Get("find"), Internal: q.Get("internal") != "",
	}
	store, err := c.Tier.Status("")
	if err != nil {
		body.TierErr, body.TierOff = err.Error(), remote.Classify(err).Status == http.StatusNotFound
	}
	body.Alarms = part(r, "alarms", c.Alarms.List())
	stored := sumTier(store.Partitions)
	var rows []topicRow
	for _, t := range c.Broker.Topics() {
		if t.Internal && !body.Internal {
			continue
		}
		body.All++
		if !strings.Contains(t.Name, body.Find) {
			continue
		}
		rows = append(rows, topicRow{t, pending[t.Name], stored[t.Name]})
	}
	body.Topics = part(r, "skip", rows)
	c.show(w, r, http.StatusOK, "overview", page{Title: "Overview", Section: "overview", Live: true, Body: body})
}

// sumTier sums up the tiered partitions of each topic.
func sumTier(partitions []remote.Partition) map[string]*tiered {
	sums := make(map[string]*tiered)
	for _, p := range partitions {
		s := sums[p.Topic]
		if s == nil {
			s = &tiered{}
			sums[p.Topic] = s
		}
		s.Bytes += p.Bytes
		s.Waiting += p.Lag.Bytes
		s.Ms = max(s.Ms, p.Lag.Ms)
		if p.Error != "" {
			s.Failing++
		}
	}
	return sums
}

// linkOf says where more is said of an alarm; it may be nowhere.
func linkOf(a alarms.Alarm) string {
	switch {
	case a.Group != "":
		return groupPath(a.Group)
	case a.Topic != "":
		return topicPath(a.Topic)
	case strings.HasPrefix(a.Name, "tier_"):
		return Root + "tier"
	default:
		return ""
	}
}
