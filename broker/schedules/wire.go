package schedules

import (
	"encoding/json"
	"net/url"
	"strconv"
	"unicode/utf8"
)

// Times are milliseconds since the epoch everywhere.

// Topics is the answer of GET /api/v1/schedules.
type Topics struct {
	Topics []Topic `json:"topics"`
}

// Topic sums up the partitions of a topic. Delivered, Cancelled, Replaced and Lateness count since
// the broker started.
type Topic struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	// Loading is how many partitions are still reading their logs; what is pending there is not counted yet.
	Loading   int   `json:"loading"`
	Pending   int64 `json:"pending"`
	Overdue   int64 `json:"overdue"`
	Undecided int64 `json:"undecided"`
	Bytes     int64 `json:"bytes"`
	// NextDueMs is absent if nothing is pending.
	NextDueMs      *int64   `json:"next_due_ms,omitempty"`
	Runs           int      `json:"runs"`
	Spilled        int64    `json:"spilled"`
	StoppedSources int      `json:"stopped_sources"`
	Delivered      int64    `json:"delivered"`
	Cancelled      int64    `json:"cancelled"`
	Replaced       int64    `json:"replaced"`
	Lateness       Lateness `json:"lateness"`
}

// Lateness is how long after their due time records were appended: upper bounds, in milliseconds.
type Lateness struct {
	Count uint64 `json:"count"`
	P50Ms int64  `json:"p50_ms"`
	P99Ms int64  `json:"p99_ms"`
}

// Page is the answer of GET /api/v1/schedules/{topic}.
type Page struct {
	Topic   string  `json:"topic"`
	Records []Entry `json:"records"`
	// Next is the cursor of the next page, absent after the last.
	Next string `json:"next,omitempty"`
}

// Entry is a pending record without its contents.
type Entry struct {
	Partition int32 `json:"partition"`
	Ticket    int64 `json:"ticket"`
	DueMs     int64 `json:"due_ms"`
	Bytes     int32 `json:"bytes"`
	// Key is the value of morrow-key.
	Key string `json:"key,omitempty"`
	// InFlight: it is being delivered right now.
	InFlight bool `json:"in_flight,omitempty"`
	// Run is the run it lies in; absent for the partition's own log.
	Run *int64 `json:"run,omitempty"`
}

// Record is the answer of GET /api/v1/schedules/{topic}/{partition}/{ticket}.
type Record struct {
	Topic string `json:"topic"`
	Entry
	ProducedAtMs int64    `json:"produced_at_ms"`
	RecordKey    *Bytes   `json:"record_key"`
	Value        *Bytes   `json:"value"`
	Headers      []Header `json:"headers"`
}

// Header is a header of a record.
type Header struct {
	Key   string `json:"key"`
	Value *Bytes `json:"value"`
}

// Bytes are a key or a value: {"text": …} if they are UTF-8, else {"base64": …}; null is null.
type Bytes []byte

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(map[string]string{"text": string(b)})
	}
	return json.Marshal(map[string][]byte{"base64": b})
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	var v struct {
		Text   *string `json:"text"`
		Base64 []byte  `json:"base64"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*b = v.Base64
	if v.Text != nil {
		*b = Bytes(*v.Text)
	}
	return nil
}

// nullable keeps null apart from empty.
func nullable(b []byte) *Bytes {
	if b == nil {
		return nil
	}
	return (*Bytes)(&b)
}

// Timeline is the answer of GET /api/v1/schedules/{topic}/timeline. Before and After are due before
// the first bucket and after the last.
type Timeline struct {
	Topic   string   `json:"topic"`
	NowMs   int64    `json:"now_ms"`
	Before  int64    `json:"before"`
	Buckets []Bucket `json:"buckets"`
	After   int64    `json:"after"`
}

// Bucket counts what is due in [FromMs, UntilMs).
type Bucket struct {
	FromMs  int64 `json:"from_ms"`
	UntilMs int64 `json:"until_ms"`
	Count   int64 `json:"count"`
}

// Sources is the answer of GET /api/v1/schedules/{topic}/sources.
type Sources struct {
	Topic   string   `json:"topic"`
	Sources []Source `json:"sources"`
}

// Source is where some of a partition's delayed records are delivered from.
type Source struct {
	Partition int32 `json:"partition"`
	// Run is the id of a run; absent for the partition's own log.
	Run       *int64 `json:"run,omitempty"`
	Pending   int64  `json:"pending"`
	NextDueMs *int64 `json:"next_due_ms,omitempty"`
	// Stopped is why nothing is delivered from there at the moment, absent if all is well.
	Stopped string `json:"stopped,omitempty"`
}

// Cancelled is the answer of DELETE /api/v1/schedules/{topic}/{partition}/{ticket}.
type Cancelled struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Ticket    int64  `json:"ticket"`
	// Offset is that of the record that cancelled it.
	Offset int64 `json:"offset"`
}

// Move is the body of POST /api/v1/schedules/{topic}/{partition}/{ticket}/move: either of the two.
type Move struct {
	// DueMs is the new due time. A past one means now.
	DueMs *int64 `json:"due_ms,omitempty"`
	// DelayMs counts from now.
	DelayMs *int64 `json:"delay_ms,omitempty"`
}

// Moved is the answer to a Move: the record waits under a new ticket.
type Moved struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	OldTicket int64  `json:"old_ticket"`
	Ticket    int64  `json:"ticket"`
	DueMs     int64  `json:"due_ms"`
}

// Filter selects pending records. The zero value selects all.
type Filter struct {
	Partition *int32
	// KeyPrefix is what morrow-key begins with.
	KeyPrefix string
	// FromMs and UntilMs bound the due time: FromMs <= due < UntilMs.
	FromMs, UntilMs *int64
}

// Query is the filter as parameters of a list.
func (f Filter) Query() url.Values {
	q := url.Values{}
	if f.Partition != nil {
		q.Set("partition", strconv.Itoa(int(*f.Partition)))
	}
	if f.KeyPrefix != "" {
		q.Set("prefix", f.KeyPrefix)
	}
	if f.FromMs != nil {
		q.Set("from", strconv.FormatInt(*f.FromMs, 10))
	}
	if f.UntilMs != nil {
		q.Set("until", strconv.FormatInt(*f.UntilMs, 10))
	}
	return q
}

// Cancel asks for what the filter selects to be cancelled.
func (f Filter) Cancel() CancelMany {
	return CancelMany{Partition: f.Partition, KeyPrefix: f.KeyPrefix, FromMs: f.FromMs, UntilMs: f.UntilMs}
}

// CancelMany is the body of POST /api/v1/schedules/{topic}/cancel. At least one of the filters, or
// All, must be given.
type CancelMany struct {
	Partition *int32 `json:"partition,omitempty"`
	KeyPrefix string `json:"key_prefix,omitempty"`
	// FromMs and UntilMs bound the due time: FromMs <= due < UntilMs.
	FromMs  *int64 `json:"from_ms,omitempty"`
	UntilMs *int64 `json:"until_ms,omitempty"`
	// All confirms that everything pending in the topic is meant.
	All bool `json:"all,omitempty"`
	// DryRun only counts.
	DryRun bool `json:"dry_run,omitempty"`
	// Limit is how many to cancel at most; 0 means 10,000.
	Limit int `json:"limit,omitempty"`
}

// CancelledMany is the answer to a CancelMany.
type CancelledMany struct {
	Topic  string `json:"topic"`
	DryRun bool   `json:"dry_run,omitempty"`
	// Matched is how many pending records passed the filters. Of them, Cancelled were cancelled,
	// durably, and TooLate were delivered or cancelled by others before their turn came.
	Matched   int64 `json:"matched"`
	Cancelled int64 `json:"cancelled"`
	TooLate   int64 `json:"too_late"`
	// Done is false if the limit was reached before everything was looked at.
	Done bool `json:"done"`
}
