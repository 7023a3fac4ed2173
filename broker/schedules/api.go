// Package schedules serves what is pending over HTTP, as JSON: list it, count it, look into it, cancel it, move it.
// docs/openapi.yaml describes the routes for clients.
//
// It decides nothing. A cancel or move becomes a record with a cancel header that takes the way of any producer's
// ([partition.Partition.Steer]): the outcome is fixed by the order of the log, and the answer leaves when the deciding record is
// committed. It has no goroutines and no state.
package schedules

import (
	"net/http"
	"strconv"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/cluster"
)

// API answers requests. Its handlers are safe for concurrent use.
type API struct {
	store      cluster.Store
	partitions *partition.Table
	now        func() time.Time
}

// New returns the API of the partitions of a broker.
func New(store cluster.Store, partitions *partition.Table, now func() time.Time) *API {
	return &API{store, partitions, now}
}

// Routes are all routes.
func (a *API) Routes() []rest.Route {
	const topic = "/api/v1/schedules/{topic}"
	return []rest.Route{
		kinds.Route(http.MethodGet, "/api/v1/schedules", a.topics),
		kinds.Route(http.MethodGet, topic, a.list, "partition", "from", "until", "prefix", "limit", "cursor"),
		kinds.Route(http.MethodGet, topic+"/timeline", a.timeline, "partition", "from", "until", "buckets"),
		kinds.Route(http.MethodGet, topic+"/sources", a.sources, "partition"),
		kinds.Route(http.MethodPost, topic+"/cancel", a.cancelMany),
		kinds.Route(http.MethodGet, topic+"/{partition}/{ticket}", a.show),
		kinds.Route(http.MethodDelete, topic+"/{partition}/{ticket}", a.cancel),
		kinds.Route(http.MethodPost, topic+"/{partition}/{ticket}/move", a.move),
	}
}

// topic finds the partitions of the topic that a request names, all or the one of its query parameter.
func (a *API) topic(r *http.Request) (parts []*partition.Partition, err error) {
	q := r.URL.Query()
	if !q.Has("partition") {
		return a.partitionsOf(r.PathValue("topic"), -1)
	}
	n, err := parsePartition(q.Get("partition"))
	if err != nil {
		return nil, err
	}
	return a.partitionsOf(r.PathValue("topic"), n)
}

// partitionsOf finds one partition of a topic, or all of them if number is -1. It fails if one is not here and ready: an
// answer without it would be wrong.
func (a *API) partitionsOf(name string, number int32) ([]*partition.Partition, error) {
	t, ok := a.store.Image().Topic(name)
	if !ok {
		return nil, rest.Refuse(http.StatusNotFound, "unknown_topic", "there is no topic %q", name)
	}
	first, end := int32(0), int32(len(t.Partitions))
	if number >= 0 {
		if number >= end {
			return nil, rest.Refuse(http.StatusNotFound, "unknown_partition", "topic %s has no partition %d, only 0 to %d", name, number, end-1)
		}
		first, end = number, number+1
	}
	var parts []*partition.Partition
	for n := first; n < end; n++ {
		p, err := a.partitions.Get(t.ID, n)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// record finds the partition and the ticket that a request's path names.
func (a *API) record(r *http.Request) (p *partition.Partition, ticket int64, err error) {
	n, err := parsePartition(r.PathValue("partition"))
	if err != nil {
		return nil, 0, err
	}
	ticket, err = strconv.ParseInt(r.PathValue("ticket"), 10, 64)
	if err != nil || ticket < 0 {
		return nil, 0, rest.BadRequest("ticket is %q, expected an offset", r.PathValue("ticket"))
	}
	parts, err := a.partitionsOf(r.PathValue("topic"), n)
	if err != nil {
		return nil, 0, err
	}
	return parts[0], ticket, nil
}

func parsePartition(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, rest.BadRequest("partition is %q, expected a number from 0", s)
	}
	return int32(n), nil
}
