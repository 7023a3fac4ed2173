// Package alarms gathers what a person should look at, from all parts of a broker: over HTTP, as
// JSON, and for the console. docs/openapi.yaml describes the route for clients.
//
// An alarm lasts as long as what it tells of. Nothing is remembered here, and nothing waits: all
// comes from memory. It has no goroutines.
package alarms

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/when"
)

// Alarms is the answer of GET /api/v1/alarms, by subject.
type Alarms struct {
	Alarms []Alarm `json:"alarms"`
}

// Alarm is something that a person should look at.
type Alarm struct {
	// Name is for programs: one word for each kind of alarm. Those of the tier begin with tier_.
	Name string `json:"name"`
	// Subject is what it is about: a partition, a topic, the disk.
	Subject string `json:"subject"`
	// Text is for people.
	Text string `json:"text"`
	// Topic and Group are where to look, if that is one of these.
	Topic string `json:"topic,omitempty"`
	Group string `json:"group,omitempty"`
}

// Tier says how the tier stands: [remote.API.Status].
type Tier func(topic string) (remote.Status, error)

// Config is what an API asks. All fields are needed.
type Config struct {
	Image      func() *cluster.Image
	Partitions *partition.Table
	Shares     func(group string) []share.Status
	Tier       Tier
	// ClockStep is by how much the wall clock last jumped, and when; zero if it never did.
	ClockStep func() (at time.Time, by time.Duration)
	Now       func() time.Time
}

// API answers requests, over HTTP and by its methods. It is safe for concurrent use.
type API struct{ Config }

// New returns the API of a broker.
func New(c Config) *API { return &API{c} }

// Routes are all routes.
func (a *API) Routes() []rest.Route {
	return []rest.Route{rest.Kinds{}.Route(http.MethodGet, "/api/v1/alarms", func(*http.Request) (any, error) { return Alarms{a.List()}, nil })}
}

// List tells what is wrong now, by subject.
func (a *API) List() []Alarm {
	all := []Alarm{}
	for name, err := range a.Partitions.Offline() {
		all = append(all, Alarm{Name: "partition_offline", Subject: name, Text: "offline: " + err.Error()})
	}
	at, by := a.ClockStep()
	all = append(all, clockStep(at, by, a.Now())...)
	all = append(all, a.ofPartitions()...)
	all = append(all, deadLetters(a.Shares(""), a.Image())...)
	if s, err := a.Tier(""); err == nil { // else it is off
		all = append(all, ofTier(s)...)
	}
	slices.SortFunc(all, func(x, y Alarm) int {
		return cmp.Or(cmp.Compare(x.Subject, y.Subject), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Text, y.Text))
	})
	return all
}

// ofPartitions tells of the disk, and of what fails in partitions that are served.
func (a *API) ofPartitions() (all []Alarm) {
	full, stopped := false, make(map[string]int64)
	for p := range a.Partitions.All {
		full = full || p.Log().Full()
		topic := p.Topic().Name
		all = append(all, troubles(p.String(), topic, p)...)
		sources, _ := p.ScheduleSources() // none of a topic that never delays, or that is still loading
		for _, s := range sources {
			if s.Stopped != nil {
				stopped[topic]++
			}
		}
	}
	if full {
		all = append(all, Alarm{Name: "disk_full", Subject: "disk", Text: "less is free than disk.reserve.bytes: producers are refused, and try again"})
	}
	for topic, n := range stopped {
		all = append(all, Alarm{"source_stopped", topic, "nothing is delivered at the moment from " + plural(n, "source") + " of delayed records", topic, ""})
	}
	return all
}

// worker is a partition's work in the background.
type worker interface {
	Setbacks() (spills, merges int64)
	Compaction() (partition.Compaction, bool)
}

// troubles tells which of a partition's work in the background fails.
func troubles(name, topic string, w worker) (all []Alarm) {
	failing := func(kind, task string, n int64) {
		if n > 0 {
			all = append(all, Alarm{kind, name, "the last " + task + " failed, " + plural(n, "time") + " in a row; it is tried again, and the broker's log says why", topic, ""})
		}
	}
	spills, merges := w.Setbacks()
	failing("spill_failing", "spill", spills)
	failing("merge_failing", "merge or deletion of runs", merges)
	c, ok := w.Compaction()
	switch {
	case !ok:
	case c.Uncleanable != nil:
		all = append(all, Alarm{"compaction_stopped", name, "it is not compacted any more, and grows: " + c.Uncleanable.Error() + "; a restart tries again", topic, ""})
	case c.Failures > 1: // a log that has changed meanwhile is common
		failing("compaction_failing", "compaction", c.Failures)
	}
	return all
}

// clockMemory is how long a step of the clock is worth a look.
const clockMemory = 24 * time.Hour

func clockStep(at time.Time, by time.Duration, now time.Time) []Alarm {
	if by == 0 || now.Sub(at) > clockMemory {
		return nil
	}
	return []Alarm{{Name: "clock_stepped", Subject: "clock", Text: "the wall clock jumped by " + by.Round(time.Millisecond).String() + " at " + when.RFC3339(at.UnixMilli()) + "; delayed records are due by the new time"}}
}

// deadLetters tells of the share groups that cannot give up what they have to.
func deadLetters(statuses []share.Status, img *cluster.Image) (all []Alarm) {
	for _, s := range statuses {
		if t, ok := img.TopicByID(s.Topic); ok && s.Stuck != nil {
			all = append(all, Alarm{"dead_letter_failing", fmt.Sprintf("%s-%d", t.Name, s.Partition), fmt.Sprintf("group %q cannot write to its dead-letter topic: %v", s.Group, s.Stuck), t.Name, s.Group})
		}
	}
	return all
}

func ofTier(s remote.Status) (all []Alarm) {
	for _, x := range s.Alarms {
		all = append(all, Alarm{Name: "tier_" + x.Name, Subject: x.Subject, Text: x.Text})
	}
	if len(s.Alarms) == 0 && !s.Usable {
		all = append(all, Alarm{Name: "tier_store_unusable", Subject: s.Bucket, Text: "the store is not in use: " + s.Error})
	}
	if len(all) > 0 && s.DiskFullInMs != nil { // something waits for a store that works, too
		left := when.Span(time.Duration(*s.DiskFullInMs) * time.Millisecond)
		all = append(all, Alarm{Name: "tier_disk_full", Subject: "disk", Text: "full in " + left + " if the store stays away"})
	}
	return all
}

func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
