package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// fate is what a producer was told of a record.
type fate int

const (
	// pending: acknowledged, so it is delivered exactly once.
	pending fate = iota
	// cancelled: a cancel was acknowledged, so it is never delivered.
	cancelled
	// unknown: an answer was lost; it is delivered once or never.
	unknown
)

// promise is one record as its producer knows it.
type promise struct {
	// due is in milliseconds since the epoch; 0 if it is not known exactly.
	due       int64
	partition int32
	// ticket is -1 if it is not known.
	ticket int64
	fate   fate
}

// sighting is a record as it was delivered.
type sighting struct{ offset, ticket, due int64 }

// ledger holds what producers were told against what consumers see. Records are told apart by the
// value of their header "id"; their keys and values follow from it. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	promised map[string]*promise       // guarded by mu
	seen     map[string]sighting       // guarded by mu: by id
	tickets  map[[2]int64]string       // guarded by mu: (partition, ticket) delivered → id
	next     map[int32]int64           // guarded by mu: where consumption stands
	wrong    []string                  // guarded by mu
	order    []func(*kgo.Record) error // called for every delivery, in order of the partition
}

func newLedger() *ledger {
	return &ledger{promised: map[string]*promise{}, seen: map[string]sighting{}, tickets: map[[2]int64]string{}, next: map[int32]int64{}}
}

// record makes the record of an id, due at a time.
func (l *ledger) record(topic, id string, partition int32, due int64) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Partition: partition, Key: keyOf(id), Value: valueOf(id),
		Headers: []kgo.RecordHeader{
			{Key: "id", Value: []byte(id)},
			{Key: "morrow-deliver-at", Value: strconv.AppendInt(nil, due, 10)},
			{Key: "note", Value: []byte{0, 0xff}},
		},
	}
}

func keyOf(id string) []byte   { return []byte("key of " + id) }
func valueOf(id string) []byte { return bytes.Repeat([]byte(id+";"), 1+len(id)*int(id[len(id)-1])%40) }

// produced is for who produces a record: it notes the promise, or that there is none.
func (l *ledger) produced(id string, due int64) func(*kgo.Record, error) {
	return func(r *kgo.Record, err error) {
		if err != nil {
			l.complain("produce %s: %v", id, err)
			return
		}
		l.promise(id, r, due)
	}
}

// promise notes that a record was acknowledged at an offset.
func (l *ledger) promise(id string, r *kgo.Record, due int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised[id] = &promise{due: due, partition: r.Partition, ticket: r.Offset}
}

// settle notes what became of a record, by an answer to a cancel or a move. A move gives it another
// ticket and due time.
func (l *ledger) settle(id string, f fate, ticket, due int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.promised[id]
	p.fate, p.ticket, p.due = f, ticket, due
}

// complain notes something that must not be.
func (l *ledger) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// consume reads a topic from its beginning until the test ends.
func (l *ledger) consume(t *testing.T, b *testnet.Broker, topic string) {
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(l.see)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// see judges one record that a consumer was given.
func (l *ledger) see(r *kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong := func(format string, args ...any) {
		l.wrong = append(l.wrong, fmt.Sprintf("%s-%d offset %d: ", r.Topic, r.Partition, r.Offset)+fmt.Sprintf(format, args...))
	}
	if r.Offset < l.next[r.Partition] {
		wrong("consumed after offset %d", l.next[r.Partition]-1)
	}
	l.next[r.Partition] = r.Offset + 1
	id := header(r, "id")
	if id == "" {
		return // a record without a delay
	}
	if first, twice := l.seen[id]; twice {
		wrong("%s was delivered at offset %d already", id, first.offset)
	}
	if !bytes.Equal(r.Key, keyOf(id)) || !bytes.Equal(r.Value, valueOf(id)) || len(r.Headers) != 5 ||
		r.Headers[0].Key != "id" || r.Headers[1].Key != "note" || !bytes.Equal(r.Headers[1].Value, []byte{0, 0xff}) {
		wrong("%s was changed: key %q, value %.40q, headers %v", id, r.Key, r.Value, r.Headers)
	}
	due, err := strconv.ParseInt(header(r, "morrow-due"), 10, 64)
	if err != nil || r.Timestamp.UnixMilli() < due {
		wrong("%s was due at %d, and appended at %d", id, due, r.Timestamp.UnixMilli())
	}
	ticket, err := strconv.ParseInt(header(r, "morrow-ticket"), 10, 64)
	if err != nil || ticket >= r.Offset {
		wrong("%s has ticket %q", id, header(r, "morrow-ticket"))
	}
	at := [2]int64{int64(r.Partition), ticket}
	if other, twice := l.tickets[at]; twice {
		wrong("ticket %d of %s was delivered already as %s", ticket, id, other)
	}
	l.tickets[at] = id
	l.seen[id] = sighting{r.Offset, ticket, due}
	for _, check := range l.order {
		if err := check(r); err != nil {
			wrong("%v", err)
		}
	}
}

// await waits until nothing is pending in a topic and all of it has been consumed.
func (l *ledger) await(t *testing.T, b *testnet.Broker, topic string) {
	t.Helper()
	ctx := deadline(t, 90*time.Second)
	adm := kadm.NewClient(client(t, b))
	for {
		if s := summary(ctx, b, topic); s.Pending == 0 && s.Loading == 0 && s.Partitions > 0 {
			ends, err := adm.ListEndOffsets(ctx, topic)
			// What was just delivered may not be committed yet, and is not below these ends then.
			if err == nil && l.reached(ends) && l.complete() {
				return
			}
		}
		select {
		case <-ctx.Done():
			l.verify(t)
			t.Fatalf("still pending or not consumed: %+v", summary(context.WithoutCancel(ctx), b, topic))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// complete reports whether everything that must be delivered was.
func (l *ledger) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, p := range l.promised {
		if _, seen := l.seen[id]; !seen && p.fate == pending {
			return false
		}
	}
	return true
}

func (l *ledger) reached(ends kadm.ListedOffsets) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := true
	ends.Each(func(o kadm.ListedOffset) { all = all && o.Err == nil && l.next[o.Partition] >= o.Offset })
	return all
}

// verify holds what was promised against what was seen: I1 to I4 of delayed delivery.
func (l *ledger) verify(t *testing.T) (counts map[fate]int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	counts = map[fate]int{}
	wrong := slices.Clone(l.wrong)
	for _, id := range slices.Sorted(maps.Keys(l.promised)) {
		p := l.promised[id]
		r, seen := l.seen[id]
		counts[p.fate]++
		switch {
		case !seen && p.fate == pending:
			wrong = append(wrong, fmt.Sprintf("%s (partition %d, ticket %d, due %d) was acknowledged and never delivered", id, p.partition, p.ticket, p.due))
		case seen && p.fate == cancelled:
			wrong = append(wrong, fmt.Sprintf("%s (partition %d, ticket %d) was cancelled and delivered at offset %d", id, p.partition, p.ticket, r.offset))
		case seen && p.due != 0 && r.due != p.due:
			wrong = append(wrong, fmt.Sprintf("%s was due at %d, delivered as due at %d", id, p.due, r.due))
		case seen && p.ticket >= 0 && r.ticket != p.ticket:
			wrong = append(wrong, fmt.Sprintf("%s has ticket %d, delivered as %d", id, p.ticket, r.ticket))
		}
	}
	for i, w := range wrong {
		if i == 20 {
			t.Errorf("and %d more", len(wrong)-i)
			break
		}
		t.Error(w)
	}
	return counts
}

// topicSummary is what the API says of a topic.
type topicSummary struct {
	Topic                                           string
	Partitions, Loading                             int
	Pending, Overdue, Delivered, Cancelled, Spilled int64
	Runs                                            int
}

// summary asks the API; nothing is known if it does not answer.
func summary(ctx context.Context, b *testnet.Broker, topic string) (s topicSummary) {
	var all struct{ Topics []topicSummary }
	if err := api(ctx, b, http.MethodGet, "", nil, &all); err != nil {
		return s
	}
	for _, one := range all.Topics {
		if one.Topic == topic {
			s = one
		}
	}
	return s
}

// errRefused is an answer of the API with a status of 4xx: nothing was changed.
var errRefused = errors.New("refused")

// api asks for what the path names below /api/v1/schedules. An error other than errRefused means
// that nothing is known.
func api(ctx context.Context, b *testnet.Broker, method, path string, body, answer any) error {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.HTTP()+"/api/v1/schedules"+path, &sent)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var data bytes.Buffer
	if _, err := data.ReadFrom(resp.Body); err != nil {
		return err
	}
	switch {
	case resp.StatusCode/100 == 4:
		return fmt.Errorf("%w: %s", errRefused, strings.TrimSpace(data.String()))
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, data.String())
	case answer == nil:
		return nil
	}
	return json.Unmarshal(data.Bytes(), answer)
}
