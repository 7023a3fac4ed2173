// Package schedules serves what is pending over HTTP, as JSON: list it, count it, look into it,
// cancel it, move it. docs/openapi.yaml describes the routes for clients.
//
// It decides nothing. A cancel or move becomes a record with a cancel header that takes the way of
// any producer's ([partition.Partition.Steer]): the outcome is fixed by the order of the log, and
// the answer leaves when the deciding record is committed. It has no goroutines and no state.
package schedules

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/cluster"
)

// API answers requests, over HTTP and by its methods. It is safe for concurrent use.
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
		kinds.Route(http.MethodGet, "/api/v1/schedules", func(*http.Request) (any, error) { return a.Topics(), nil }),
		kinds.Route(http.MethodGet, topic, func(r *http.Request) (any, error) {
			return a.List(r.Context(), r.PathValue("topic"), r.URL.Query())
		}, "partition", "from", "until", "prefix", "limit", "cursor"),
		kinds.Route(http.MethodGet, topic+"/timeline", func(r *http.Request) (any, error) {
			return a.Timeline(r.PathValue("topic"), r.URL.Query())
		}, "partition", "from", "until", "buckets"),
		kinds.Route(http.MethodGet, topic+"/sources", func(r *http.Request) (any, error) {
			return a.Sources(r.PathValue("topic"), r.URL.Query())
		}, "partition"),
		kinds.Route(http.MethodPost, topic+"/cancel", func(r *http.Request) (any, error) {
			var c CancelMany
			if err := rest.Decode(r, &c); err != nil {
				return nil, err
			}
			return a.CancelMany(r.Context(), r.PathValue("topic"), c)
		}),
		kinds.Route(http.MethodGet, topic+"/{partition}/{ticket}", func(r *http.Request) (any, error) {
			return a.Show(r.Context(), nameOf(r))
		}),
		kinds.Route(http.MethodDelete, topic+"/{partition}/{ticket}", func(r *http.Request) (any, error) {
			return a.Cancel(r.Context(), nameOf(r))
		}),
		kinds.Route(http.MethodPost, topic+"/{partition}/{ticket}/move", func(r *http.Request) (any, error) {
			var m Move
			if err := rest.Decode(r, &m); err != nil {
				return nil, err
			}
			return a.Move(r.Context(), nameOf(r), m)
		}),
	}
}

// Name names a pending record as clients write it.
type Name struct{ Topic, Partition, Ticket string }

// nameOf is the record that a request's path names.
func nameOf(r *http.Request) Name {
	return Name{r.PathValue("topic"), r.PathValue("partition"), r.PathValue("ticket")}
}

// Classify says what a client is told of an error of this package.
func Classify(err error) *rest.Error { return kinds.Classify(err) }

// topic finds the partitions of a topic, all or the one of the query's parameter.
func (a *API) topic(name string, q url.Values) (parts []*partition.Partition, err error) {
	if !q.Has("partition") {
		return a.partitionsOf(name, -1)
	}
	n, err := parsePartition(q.Get("partition"))
	if err != nil {
		return nil, err
	}
	return a.partitionsOf(name, n)
}

// partitionsOf finds one partition of a topic, or all of them if number is -1. It fails if one is
// not here and ready: an answer without it would be wrong.
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

// record finds the partition and the ticket of a record.
func (a *API) record(name Name) (p *partition.Partition, ticket int64, err error) {
	n, err := parsePartition(name.Partition)
	if err != nil {
		return nil, 0, err
	}
	ticket, err = strconv.ParseInt(name.Ticket, 10, 64)
	if err != nil || ticket < 0 {
		return nil, 0, rest.BadRequest("ticket is %q, expected an offset", name.Ticket)
	}
	parts, err := a.partitionsOf(name.Topic, n)
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
