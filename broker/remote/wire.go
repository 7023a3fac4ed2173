package remote

import "github.com/morrowmq/morrow/tier"

// Times are milliseconds since the epoch; what ends in _ms and is a pointer is absent if it is not
// known or never was.

// Status is how the tier of a broker stands.
type Status struct {
	Bucket  string `json:"bucket"`
	Cluster string `json:"cluster"`
	// Usable says that the store has passed the probe and belongs to this cluster; Error why not.
	Usable bool   `json:"usable"`
	Error  string `json:"error,omitempty"`
	Owner  Owner  `json:"owner"`
	// DiskFullInMs is in how long the disk is full if the store stays away; absent if nothing
	// waits for it, or the disk lasts for a year.
	DiskFullInMs *int64 `json:"disk_full_in_ms,omitempty"`
	Sweep        *Sweep `json:"sweep,omitempty"`
	// Deletions are the deleted topics whose objects are not gone from the bucket yet.
	Deletions  []Deletion  `json:"deletions"`
	Alarms     []Alarm     `json:"alarms"`
	Partitions []Partition `json:"partitions"`
}

// Owner is whose cluster id it is in the bucket.
type Owner struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
	SeenMs   *int64 `json:"seen_ms,omitempty"`
	Ours     bool   `json:"ours"`
}

// Sweep is the last look for orphans that the broker took by itself.
type Sweep struct {
	AtMs        int64  `json:"at_ms"`
	Objects     int    `json:"objects"`
	Orphans     int    `json:"orphans"`
	OrphanBytes int64  `json:"orphan_bytes"`
	Uploads     int    `json:"uploads"`
	Error       string `json:"error,omitempty"`
}

// Deletion is a deleted topic whose objects are not gone yet, and why the last try failed.
type Deletion struct {
	Topic   string `json:"topic"`
	ID      string `json:"id"`
	SinceMs int64  `json:"since_ms"`
	Error   string `json:"error,omitempty"`
}

// Alarm is something that a person should look at.
type Alarm struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// Partition is how a tiered partition stands. Offsets are -1 if they are not known.
type Partition struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	LeaderEpoch int32  `json:"leader_epoch"`
	Confirmed   int64  `json:"confirmed"`
	LogStart    int64  `json:"log_start"`
	LogEnd      int64  `json:"log_end"`
	RemoteStart int64  `json:"remote_start"`
	RemoteEnd   int64  `json:"remote_end"`
	Segments    int    `json:"segments"`
	Bytes       int64  `json:"bytes"`
	Garbage     int    `json:"garbage"`
	CommittedMs *int64 `json:"committed_ms,omitempty"`
	Lag         Lag    `json:"lag"`
	// AtRiskMs is the age of the oldest record that is not confirmed; 0 if all are.
	AtRiskMs int64  `json:"at_risk_ms"`
	Error    string `json:"error,omitempty"`
	Scrub    *Scrub `json:"scrub,omitempty"`
}

// Lag is what is closed and not confirmed, and how long the oldest of it has waited.
type Lag struct {
	Segments int   `json:"segments"`
	Bytes    int64 `json:"bytes"`
	Ms       int64 `json:"ms"`
}

// Scrub is the last look for damage.
type Scrub struct {
	AtMs     int64 `json:"at_ms"`
	Objects  int   `json:"objects"`
	Damaged  int   `json:"damaged"`
	Repaired int   `json:"repaired"`
}

// Segments says what became of the segments of a topic, and why.
type Segments struct {
	Topic    string    `json:"topic"`
	Segments []Segment `json:"segments"`
}

// Segment is one segment, or a range that was dropped on record.
type Segment struct {
	Partition int32  `json:"partition"`
	Base      int64  `json:"base"`
	End       int64  `json:"end"`
	Bytes     int64  `json:"bytes"`
	Where     string `json:"where"`
	Why       string `json:"why"`
}

// VerifyRequest says how closely to look. The zero value asks the store what it has.
type VerifyRequest struct {
	Deep           bool  `json:"deep,omitempty"`
	BytesPerSecond int64 `json:"bytes_per_second,omitempty"`
}

// Verified is what was found in a partition. What was repaired is among the damaged.
type Verified struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Objects   int      `json:"objects"`
	Bytes     int64    `json:"bytes"`
	Repaired  int      `json:"repaired"`
	Damaged   []Damage `json:"damaged"`
}

// ResumeRequest asks what somebody else has put into the bucket in the place of a partition's
// records, or, with AcceptLoss, to give it up.
type ResumeRequest struct {
	AcceptLoss bool `json:"accept_loss,omitempty"`
}

// Resumed is what the bucket has of somebody else from an offset on, and whether it was given up for the log.
type Resumed struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	From      int64     `json:"from"`
	To        int64     `json:"to"`
	Bytes     int64     `json:"bytes"`
	Segments  []GivenUp `json:"segments"`
	Resumed   bool      `json:"resumed"`
}

// GivenUp is a segment of somebody else.
type GivenUp struct {
	Base  int64  `json:"base"`
	End   int64  `json:"end"`
	Bytes int64  `json:"bytes"`
	Key   string `json:"key"`
}

// Damage is an object that is missing or not what was stored.
type Damage struct {
	Key      string `json:"key"`
	Base     int64  `json:"base"`
	End      int64  `json:"end"`
	Error    string `json:"error"`
	Repaired bool   `json:"repaired"`
}

// SweepRequest says whether orphans are deleted or only listed, and how old they must be; 0 is the
// broker's grace period.
type SweepRequest struct {
	Delete  bool  `json:"delete,omitempty"`
	GraceMs int64 `json:"grace_ms,omitempty"`
}

// Swept is what a sweep found. Found holds the first ten thousand orphans.
type Swept struct {
	Deleted     bool     `json:"deleted"`
	Objects     int      `json:"objects"`
	Orphans     int      `json:"orphans"`
	OrphanBytes int64    `json:"orphan_bytes"`
	Uploads     int      `json:"uploads"`
	Found       []Orphan `json:"found"`
}

// Orphan is an object that no manifest names.
type Orphan struct {
	Key      string `json:"key"`
	Bytes    int64  `json:"bytes"`
	StoredMs int64  `json:"stored_ms"`
	Why      string `json:"why"`
}

// SweepLog is what sweeps have deleted, oldest first.
type SweepLog struct {
	Sweeps []SweepRecord `json:"sweeps"`
}

// SweepRecord is what a sweep was about to delete. Error says why it cannot be read.
type SweepRecord struct {
	AtMs    int64    `json:"at_ms"`
	By      string   `json:"by"`
	GraceMs int64    `json:"grace_ms"`
	Deleted []Orphan `json:"deleted"`
	Error   string   `json:"error,omitempty"`
}

// NewSweepLog makes records what is sent of them.
func NewSweepLog(records []tier.SweepRecord) SweepLog {
	out := SweepLog{Sweeps: []SweepRecord{}}
	for _, r := range records {
		x := SweepRecord{AtMs: r.Time, By: r.By, GraceMs: r.GraceMs, Deleted: []Orphan{}}
		for _, d := range r.Deleted {
			x.Deleted = append(x.Deleted, Orphan{Key: d.Key, Bytes: d.Bytes, StoredMs: d.Stored, Why: d.Why})
		}
		if r.Err != nil {
			x.Error = r.Err.Error()
		}
		out.Sweeps = append(out.Sweeps, x)
	}
	return out
}
