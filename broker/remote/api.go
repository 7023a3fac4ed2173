// Package remote serves what a broker has in the tier over HTTP, as JSON: how it stands, why
// segments are where they are, and the look for damage and for orphans by hand. docs/openapi.yaml
// describes the routes for clients.
//
// It decides nothing and has no goroutines. Looking for damage or orphans takes as long as it
// takes, and ends when the client goes away.
package remote

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// API answers requests, over HTTP and by its methods. It is safe for concurrent use.
type API struct {
	tier *tier.Tier
	now  func() time.Time
}

// New returns the API of a broker's tier, nil if tiering is switched off: then everything is refused.
func New(t *tier.Tier, now func() time.Time) *API { return &API{t, now} }

// kinds maps the errors of package tier.
var kinds = rest.Kinds{
	{Is: bucket.ErrNotFound, Status: http.StatusNotFound, Code: "not_found"},
	{Is: bucket.ErrThrottled, Status: http.StatusServiceUnavailable, Code: "store_throttles"},
	{Is: bucket.ErrUnknown, Status: http.StatusServiceUnavailable, Code: "store_unreachable"},
	{Is: bucket.ErrDenied, Status: http.StatusServiceUnavailable, Code: "store_denies"},
	{Is: bucket.ErrConfig, Status: http.StatusServiceUnavailable, Code: "store_misconfigured"},
	{Is: bucket.ErrUnfit, Status: http.StatusServiceUnavailable, Code: "store_unfit"},
	{Is: tier.ErrNotDiverged, Status: http.StatusConflict, Code: "not_diverged"},
	{Is: tier.ErrOnlyRemote, Status: http.StatusConflict, Code: "only_remote"},
	{Is: tier.ErrDiverged, Status: http.StatusConflict, Code: "diverged"},
	{Is: tier.ErrFenced, Status: http.StatusConflict, Code: "fenced"},
	{Is: tier.ErrRolledBack, Status: http.StatusConflict, Code: "rolled_back"},
	{Is: tier.ErrNotAdmitted, Status: http.StatusServiceUnavailable, Code: "store_not_probed"},
}

// errOff is the answer to everything if tiering is switched off.
var errOff = rest.Refuse(http.StatusNotFound, "no_tier", "tiering is switched off: remote.log.storage.system.enable is false")

// Classify says what a client is told of an error of this package.
func Classify(err error) *rest.Error { return kinds.Classify(err) }

// Routes are all routes.
func (a *API) Routes() []rest.Route {
	const path = "/api/v1/tier"
	on := func(f func(*http.Request) (any, error)) func(*http.Request) (any, error) {
		return func(r *http.Request) (any, error) {
			if a.tier == nil {
				return nil, errOff
			}
			return f(r)
		}
	}
	return []rest.Route{
		kinds.Route(http.MethodGet, path, func(r *http.Request) (any, error) { return a.Status(r.URL.Query().Get("topic")) }, "topic"),
		kinds.Route(http.MethodGet, path+"/{topic}/segments", func(r *http.Request) (any, error) {
			return a.Segments(r.Context(), r.PathValue("topic"), r.URL.Query().Get("partition"))
		}, "partition"),
		kinds.Route(http.MethodPost, path+"/{topic}/{partition}/verify", on(a.verify)),
		kinds.Route(http.MethodPost, path+"/{topic}/{partition}/resume", on(a.resume)),
		kinds.Route(http.MethodPost, path+"/sweep", on(a.sweep)),
		kinds.Route(http.MethodGet, path+"/sweeps", on(a.sweepLog), "last"),
	}
}

// Status tells how the tier stands, and all its partitions and deletions or, unless topic is empty,
// those of one.
func (a *API) Status(topic string) (out Status, err error) {
	if a.tier == nil {
		return out, errOff
	}
	s := a.tier.Status()
	out = Status{
		Bucket: s.Bucket, Cluster: s.Cluster, Usable: s.Refused == nil,
		Owner:     Owner{Name: s.Owner.Name, Instance: s.Owner.Instance, Ours: s.Ours},
		Deletions: []Deletion{}, Alarms: []Alarm{}, Partitions: []Partition{},
	}
	if s.Refused != nil {
		out.Error = s.Refused.Error()
	}
	if s.Owner.Seen > 0 {
		out.Owner.SeenMs = &s.Owner.Seen
	}
	if s.DiskFullKnown {
		ms := s.DiskFull.Milliseconds()
		out.DiskFullInMs = &ms
	}
	if !s.SweptAt.IsZero() {
		out.Sweep = &Sweep{
			AtMs: s.SweptAt.UnixMilli(), Objects: s.Swept.Objects, Orphans: s.Swept.Orphans, OrphanBytes: s.Swept.OrphanBytes, Uploads: s.Swept.Uploads,
		}
		if s.SweptErr != nil {
			out.Sweep.Error = s.SweptErr.Error()
		}
	}
	for _, d := range s.Deletions {
		if topic != "" && d.Name != topic {
			continue
		}
		x := Deletion{Topic: d.Name, ID: d.Topic.Kafka(), SinceMs: d.Since.UnixMilli()}
		if d.Err != nil {
			x.Error = tier.Advice(d.Err)
		}
		out.Deletions = append(out.Deletions, x)
	}
	for _, x := range s.Alarms {
		out.Alarms = append(out.Alarms, Alarm(x))
	}
	for _, p := range a.tier.Partitions() {
		if topic == "" || p.Name == topic {
			out.Partitions = append(out.Partitions, a.partition(p))
		}
	}
	return out, nil
}

func (a *API) partition(p tier.PartitionStatus) Partition {
	out := Partition{
		Topic: p.Name, Partition: p.Partition, LeaderEpoch: p.Epoch, Confirmed: p.Confirmed, LogStart: p.LogStart, LogEnd: p.LogEnd,
		RemoteStart: p.Start, RemoteEnd: p.End, Segments: p.Segments, Bytes: p.Bytes, Garbage: p.Garbage, CommittedMs: at(p.Committed),
		Lag:      Lag{Segments: p.Lag.Segments, Bytes: p.Lag.Bytes, Ms: a.since(p.Lag.Since)},
		AtRiskMs: a.since(p.Lag.AtRisk), Error: p.Err,
	}
	if ms := at(p.Scrubbed); ms != nil {
		out.Scrub = &Scrub{AtMs: *ms, Objects: p.Verified.Objects, Damaged: len(p.Verified.Damaged), Repaired: p.Verified.Repaired}
	}
	return out
}

// at is a time as it is sent: absent if it is zero.
func at(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// since is how long ago a time was, 0 if it never was.
func (a *API) since(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(0, a.now().Sub(t).Milliseconds())
}

// find finds a topic's open partitions, all or one.
func (a *API) find(topic, number string) (found []*tier.Partition, err error) {
	n := int64(-1)
	if number != "" {
		if n, err = strconv.ParseInt(number, 10, 32); err != nil || n < 0 {
			return nil, rest.BadRequest("partition is %q, expected a number from 0", number)
		}
	}
	for _, p := range a.tier.Partitions() {
		if p.Name != topic || n >= 0 && int64(p.Partition) != n {
			continue
		}
		if open := a.tier.Lookup(p.Topic, p.Partition); open != nil {
			found = append(found, open)
		}
	}
	if len(found) == 0 {
		what := "topic " + topic
		if n >= 0 {
			what = "partition " + number + " of " + what
		}
		return nil, rest.Refuse(http.StatusNotFound, "not_tiered", "%s does not exist, or is not tiered", what)
	}
	return found, nil
}

// Segments says for every segment of a topic, or of the partition of that number, where it is and why.
func (a *API) Segments(ctx context.Context, topic, partition string) (out Segments, err error) {
	if a.tier == nil {
		return out, errOff
	}
	found, err := a.find(topic, partition)
	if err != nil {
		return out, err
	}
	out = Segments{Topic: topic, Segments: []Segment{}}
	for _, p := range found {
		states, err := p.Explain(ctx)
		if err != nil {
			return out, err
		}
		for _, s := range states {
			out.Segments = append(out.Segments, Segment{
				Partition: p.ID().Partition, Base: s.Base, End: s.End, Bytes: s.Bytes, Where: s.Where, Why: s.Why,
			})
		}
	}
	return out, nil
}

// verify looks at the remote objects of a partition and repairs what it can.
func (a *API) verify(r *http.Request) (any, error) {
	var q VerifyRequest
	if err := rest.Decode(r, &q); err != nil {
		return nil, err
	}
	found, err := a.find(r.PathValue("topic"), r.PathValue("partition"))
	if err != nil {
		return nil, err
	}
	id := found[0].ID()
	v, err := found[0].Scrub(r.Context(), tier.VerifyOptions{Deep: q.Deep, BytesPerSecond: q.BytesPerSecond})
	if err != nil {
		return nil, err
	}
	out := Verified{Topic: id.Name, Partition: id.Partition, Objects: v.Objects, Bytes: v.Bytes, Repaired: v.Repaired, Damaged: []Damage{}}
	for _, d := range v.Damaged {
		out.Damaged = append(out.Damaged, Damage{Key: d.Key, Base: d.Entry.Base, End: d.Entry.End, Error: d.Err.Error(), Repaired: d.Repaired})
	}
	return out, nil
}

// resume has a partition that has stopped, since the bucket has other records, go on from its log.
func (a *API) resume(r *http.Request) (any, error) {
	var q ResumeRequest
	if err := rest.Decode(r, &q); err != nil {
		return nil, err
	}
	found, err := a.find(r.PathValue("topic"), r.PathValue("partition"))
	if err != nil {
		return nil, err
	}
	p := found[0]
	g, err := p.Resume(r.Context(), q.AcceptLoss)
	if err != nil {
		return nil, err
	}
	out := Resumed{Topic: p.ID().Name, Partition: p.ID().Partition, From: g.From, To: g.To, Bytes: g.Bytes, Segments: []GivenUp{}, Resumed: q.AcceptLoss}
	for i := range g.Segments {
		e := &g.Segments[i]
		out.Segments = append(out.Segments, GivenUp{Base: e.Base, End: e.End, Bytes: e.Bytes, Key: p.Key(e)})
	}
	return out, nil
}

// maxFound is how many orphans are listed.
const maxFound = 10_000

// sweep looks for orphans, and deletes them if it is asked to.
func (a *API) sweep(r *http.Request) (any, error) {
	var q SweepRequest
	if err := rest.Decode(r, &q); err != nil {
		return nil, err
	}
	out := Swept{Deleted: q.Delete, Found: []Orphan{}}
	s, err := a.tier.Sweep(r.Context(), tier.SweepOptions{
		DryRun: !q.Delete, Grace: time.Duration(q.GraceMs) * time.Millisecond,
		Found: func(o tier.Orphan) {
			if len(out.Found) < maxFound {
				out.Found = append(out.Found, Orphan{Key: o.Key, Bytes: o.Size, StoredMs: o.Modified.UnixMilli(), Why: o.Why})
			}
		},
	})
	if short := (*tier.GraceError)(nil); errors.As(err, &short) {
		return nil, rest.BadRequest("%v", short)
	}
	if err != nil {
		return nil, err
	}
	out.Objects, out.Orphans, out.OrphanBytes, out.Uploads = s.Objects, s.Orphans, s.OrphanBytes, s.Uploads
	return out, nil
}

// DefaultSweepLog is how many records of sweeps are told unless another number is asked for,
// MaxSweepLog how many at most.
const (
	DefaultSweepLog = 100
	MaxSweepLog     = 1000
)

// sweepLog tells what sweeps have deleted.
func (a *API) sweepLog(r *http.Request) (any, error) {
	last := DefaultSweepLog
	if s := r.URL.Query().Get("last"); s != "" {
		var err error
		if last, err = strconv.Atoi(s); err != nil || last < 1 || last > MaxSweepLog {
			return nil, rest.BadRequest("last is %q, expected a number from 1 to %d", s, MaxSweepLog)
		}
	}
	records, err := a.tier.SweepLog(r.Context(), last)
	if err != nil {
		return nil, err
	}
	return NewSweepLog(records), nil
}
