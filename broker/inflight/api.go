// Package inflight serves what share groups have in flight over HTTP, as JSON: what Kafka's
// protocol has no request for. docs/openapi.yaml describes the route for clients.
//
// It decides nothing and has no goroutines.
package inflight

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
)

// API answers requests, over HTTP and by its methods. It is safe for concurrent use.
type API struct {
	image    func() *cluster.Image
	statuses func(group string) []share.Status
	known    func(group string) bool
}

// New returns the API of a broker's share groups: image is the metadata that names topics, statuses
// what a group has in flight, and known reports whether the broker coordinates a share group.
func New(image func() *cluster.Image, statuses func(group string) []share.Status, known func(group string) bool) *API {
	return &API{image, statuses, known}
}

// Partition is one partition as one share group sees it. Counts are of records.
type Partition struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start"` // the first offset that is not finished
	End       int64  `json:"end"`   // the first that nobody was given yet
	Available int64  `json:"available"`
	Waiting   int64  `json:"waiting"` // for their retry
	Acquired  int64  `json:"acquired"`
	Finished  int64  `json:"finished"` // between start and end
	Dying     int64  `json:"dying"`    // on their way to the dead-letter topic
	// Deliveries is how many of the unfinished records were delivered never, once, twice, ….
	Deliveries []int64 `json:"deliveries"`
	// Error is why records cannot be written to the dead-letter topic.
	Error string `json:"error,omitempty"`
}

// Routes are all routes.
func (a *API) Routes() []rest.Route {
	return []rest.Route{rest.Kinds{}.Route(http.MethodGet, "/api/v1/shares/{group}", func(r *http.Request) (any, error) { return a.List(r.PathValue("group")) })}
}

// List tells of the partitions of a group that have begun, by topic and number.
func (a *API) List(group string) ([]Partition, error) {
	out := []Partition{}
	img := a.image()
	statuses := a.statuses(group)
	if len(statuses) == 0 && !a.known(group) {
		return nil, rest.Refuse(http.StatusNotFound, "not_found", "this broker knows no share group %q", group)
	}
	for _, s := range statuses {
		t, ok := img.TopicByID(s.Topic)
		if !ok {
			continue // deleted, and soon forgotten
		}
		p := Partition{
			Group: s.Group, Topic: t.Name, Partition: s.Partition, Start: s.Start, End: s.End, Available: s.Available,
			Waiting: s.Waiting, Acquired: s.Acquired, Finished: s.Finished, Dying: s.Dying, Deliveries: append([]int64{}, s.Deliveries...),
		}
		if s.Stuck != nil {
			p.Error = s.Stuck.Error()
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out, nil
}
