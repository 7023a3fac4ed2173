package tier

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Status is how a Tier stands.
type Status struct {
	Bucket, Cluster string
	// Refused is why the store is not in use; nil if it is.
	Refused error
	// Owner is who owns the cluster id in the bucket, as last heard of. Ours says whether that is
	// this installation.
	Owner Owner
	Ours  bool
	// DiskFull is in how long the disk is full if the bucket stays away; known only if something
	// waits for it and the disk does not last for a year.
	DiskFull      time.Duration
	DiskFullKnown bool
	// Swept is the last look for orphans of Run, SweptAt when that was; zero: there was none.
	Swept    Swept
	SweptAt  time.Time
	SweptErr error
	// Deletions are the deleted topics whose objects are not gone yet, the oldest first.
	Deletions []Deletion
	Alarms    []Alarm
}

// Status describes the Tier.
func (t *Tier) Status() Status {
	a := t.admitted.Load()
	s := Status{Bucket: t.bucket.String(), Cluster: t.cluster, Owner: a.owner, Ours: a.ok && t.installation.owns(a.owner), Deletions: t.deletions.all(), Alarms: t.Alarms()}
	if !a.ok {
		s.Refused = a.err
	}
	s.DiskFull, s.DiskFullKnown = t.DiskFull()
	if w := t.swept.Load(); w != nil {
		s.Swept, s.SweptAt, s.SweptErr = w.result, w.at, w.err
	}
	return s
}

// PartitionStatus is how a partition stands.
type PartitionStatus struct {
	PartitionID
	Epoch int32
	// Confirmed is the local delete bound, NoOffset if it is not known. LogStart and LogEnd are
	// those of the local log.
	Confirmed, LogStart, LogEnd int64
	// Start and End are the remote range, NoOffset if nothing ever was remote or the manifest has
	// not been read yet.
	Start, End int64
	Segments   int
	Bytes      int64
	Garbage    int       // segments that are unreachable and still to be deleted
	Committed  time.Time // when the manifest was last committed; zero: not known
	Lag        Lag
	// Err is why the last step failed, with what can be done about it; empty if it did not.
	Err string
	// Scrubbed is when the remote part was last looked at for damage, zero if never, with what was found.
	Scrubbed time.Time
	Verified Verified
}

// Partitions describes the open partitions, by topic and number.
func (t *Tier) Partitions() []PartitionStatus {
	all := t.all()
	out := make([]PartitionStatus, len(all))
	for i, p := range all {
		out[i] = p.Status()
	}
	slices.SortFunc(out, func(x, y PartitionStatus) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), cmp.Compare(x.Partition, y.Partition))
	})
	return out
}

// ID names the partition.
func (p *Partition) ID() PartitionID { return p.id }

// Size is how many bytes are confirmed in the bucket; 0 while the manifest has not been read.
func (p *Partition) Size() int64 {
	if m := p.view.Load().manifest; m != nil {
		return m.Summary().Bytes
	}
	return 0
}

// Status describes the partition.
func (p *Partition) Status() PartitionStatus {
	v, o := p.view.Load(), p.source.Offsets()
	s := PartitionStatus{PartitionID: p.id, Confirmed: p.Confirmed(), LogStart: o.Start, LogEnd: o.End, Start: NoOffset, End: NoOffset}
	if m := v.manifest; m != nil {
		sum := m.Summary()
		s.Epoch, s.Start, s.End, s.Segments, s.Bytes, s.Committed = m.Epoch, m.Start, m.End, sum.Segments, sum.Bytes, time.UnixMilli(m.Time)
		for i := range m.Garbage {
			s.Garbage += m.Garbage[i].Segments
		}
	}
	if lag, err := p.Lag(); err == nil {
		s.Lag = lag
	}
	if v.err != nil {
		s.Err = Advice(v.err)
	}
	if sc := p.scrubbed.Load(); sc != nil {
		s.Scrubbed, s.Verified = sc.at, sc.result
	}
	return s
}
