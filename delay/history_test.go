package delay

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// history drives the real schedule, keeper and line of one partition through a random history of
// produces, cancels, deliveries, syncs, crashes, retention, spills, merges and progress, and
// compares them with what a reader of the whole history, nothing of it ever deleted, would say.
type history struct {
	*partition
	t       *rapid.T
	clock   int64
	journal *memoryJournal
	keeper  *Keeper
	line    *Line
	work    workspace
	// whole is everything that was ever stored and not truncated; batches is what retention left of
	// it, from start on.
	whole  []record.Batch
	synced int64
	copied copied
	// lost is what restores from copies have left out.
	lost []Range
	// unread is the part of the journal that cannot be read at the moment.
	unread Range
	// depth keeps actions within actions from nesting for ever.
	depth int
}

func newHistory(t *rapid.T, rules *Rules) *history {
	h := &history{partition: newPartition(rules), t: t, clock: testNow, journal: new(memoryJournal)}
	h.now = func() time.Time { return time.UnixMilli(h.clock) }
	h.wait = func(context.Context, int64) error { return nil }
	h.watch()
	h.recover()
	return h
}

// watch makes what happens to the journal happen to its copy, and parts of it unreadable.
func (h *history) watch() {
	h.journal.dropped = h.dropCopy
	h.journal.unread = func(offset int64) error {
		if h.unread.overlaps(Range{offset, offset + 1}) {
			return errInjected
		}
		return nil
	}
}

// recover is the start of a broker: the schedule is made from the journal and the log.
func (h *history) recover() {
	var err error
	h.unread = Range{}
	h.keeper, h.schedule, err = OpenKeeper(context.Background(), KeeperConfig{
		Journal: h.journal, Lost: h.lost, FS: vfs.NewMem(), Dir: "spill", SortBytes: 2000, Now: h.now,
	}, Range{h.start, h.end})
	if err != nil {
		h.dumpJournal()
		h.t.Fatalf("open: %v", err)
	}
	h.keeper.pick = h.pick
	if from := h.schedule.End(); from < h.start {
		h.t.Fatalf("the schedule needs the log from %d on, it begins at %d", from, h.start)
	}
	h.schedule.AdvanceHighWatermark(rapid.SampledFrom([]int64{0, h.end}).Draw(h.t, "known high watermark"))
	for _, b := range h.batches {
		if b.EndOffset() > h.schedule.End() {
			if err := h.schedule.Apply(b); err != nil {
				h.t.Fatalf("apply: %v", err)
			}
		}
	}
	// All that survived is durable.
	h.synced = h.end
	h.schedule.CaughtUp(h.end)
	h.schedule.AdvanceHighWatermark(h.synced)
	if err := h.keeper.Renew(context.Background(), 0); err != nil {
		h.t.Fatalf("renew: %v", err)
	}
	h.lead()
}

// lead is the start of the deliveries.
func (h *history) lead() {
	d := NewDispatcher(DispatcherConfig{Now: h.now, CacheBytes: 1 << 16})
	h.line = d.Attach("history-0", h.schedule, h)
	d.queue = nil
}

// remember copies what was appended since the last time into the whole history.
func (h *history) remember() {
	end := int64(0)
	if n := len(h.whole); n > 0 {
		end = h.whole[n-1].EndOffset()
	}
	for _, b := range h.batches {
		if b.BaseOffset() >= end {
			h.whole = append(h.whole, b)
		}
	}
}

// truth is what a record of the whole history is about.
type truth struct {
	due       int64
	name      string
	value     string
	finished  string
	delivered int
	// producer is the transaction's that is to decide about it, 0 if none is.
	producer int64
}

// truths reads the whole history. It knows the format, and shares no code with what it checks.
func (h *history) truths() map[int64]*truth {
	h.remember()
	all := map[int64]*truth{}
	for _, b := range h.whole {
		rs, err := b.Decode()
		if err != nil {
			h.t.Fatalf("decode: %v", err)
		}
		for _, r := range rs {
			h.readTruth(all, b, r)
		}
	}
	return all
}

func (h *history) readTruth(all map[int64]*truth, b record.Batch, r record.Record) {
	headers := map[string]string{}
	for _, x := range r.Headers {
		headers[x.Key] = string(x.Value)
	}
	number := func(name string) int64 {
		n, err := strconv.ParseInt(headers[name], 10, 64)
		if err != nil {
			h.t.Fatalf("header %s: %v", name, err)
		}
		return n
	}
	switch {
	case b.Control():
		for ticket, x := range all {
			if x.producer != b.ProducerID() {
				continue
			}
			if x.producer = 0; r.Key[3] == 0 {
				delete(all, ticket)
			}
		}
	case b.Delivery():
		if headers[HeaderKey]+headers[HeaderDelay]+headers[HeaderFinishes] != "" {
			h.t.Fatalf("ticket %d is delivered with %v", number(HeaderTicket), headers)
		}
		x := all[number(HeaderTicket)]
		x.delivered++
		if x.finished != "" || x.delivered > 1 {
			h.t.Fatalf("ticket %d is delivered at %d, and was %s before", number(HeaderTicket), r.Offset, x.finished)
		}
		x.finished = "delivered"
		if x.due > r.Timestamp || number(HeaderDue) != x.due || string(r.Value) != x.value || headers["user"] != x.value {
			h.t.Fatalf("ticket %d, %+v, is delivered as %q at %d with %v", number(HeaderTicket), x, r.Value, r.Timestamp, headers)
		}
	case b.Hidden():
		if f := headers[HeaderFinishes]; f != "" {
			ticket, err := strconv.ParseInt(f[:bytes.IndexByte([]byte(f), '@')], 10, 64)
			if err != nil || all[ticket].finished != "" {
				h.t.Fatalf("offset %d finishes %s, which was %s: %v", r.Offset, f, all[ticket].finished, err)
			}
			all[ticket].finished = "cancelled"
		}
		if headers[HeaderDelay] != "" {
			all[r.Offset] = &truth{due: b.MaxTimestamp() + number(HeaderDelay), name: headers[HeaderKey], value: string(r.Value)}
			if b.Transactional() {
				all[r.Offset].producer = b.ProducerID()
			}
		}
	}
}

// pendingTruth lists the tickets that are pending, ascending.
func (h *history) pendingTruth() (tickets []int64, all map[int64]*truth) {
	all = h.truths()
	for ticket, x := range all {
		if x.finished == "" && x.producer == 0 {
			tickets = append(tickets, ticket)
		}
	}
	slices.Sort(tickets)
	return tickets, all
}

// check compares the schedule with the truth.
func (h *history) check() {
	defer h.readable()()
	want, all := h.pendingTruth()
	got := map[int64]int64{}
	add := func(e Entry) {
		if _, ok := got[e.Ticket]; ok {
			h.t.Fatalf("ticket %d is pending in two places", e.Ticket)
		}
		got[e.Ticket] = e.Due
	}
	s := h.schedule
	s.release(math.MaxInt)
	s.near.Ascend(index.First, func(e Entry) bool {
		add(e)
		return true
	})
	for _, r := range s.runs.list {
		d := newReader(r, h.journal, r.cursor)
		if err := d.fill(context.Background(), math.MaxInt64, math.MaxInt, math.MaxInt); err != nil {
			h.t.Fatalf("read run: %v", err)
		}
		n := int64(0)
		for _, it := range d.queue {
			if s.runs.contains(it.Entry) {
				add(it.Entry)
				n++
			}
		}
		if n != r.pending {
			h.t.Fatalf("run %d counts %d pending, %d are", r.from, r.pending, n)
		}
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		h.dump()
		h.t.Fatalf("pending are %v, should be %v", keys, want)
	}
	for ticket, due := range got {
		if all[ticket].due != due {
			h.t.Fatalf("ticket %d is due at %d, should be %d", ticket, due, all[ticket].due)
		}
	}
	next := int64(math.MaxInt64)
	for _, due := range got {
		next = min(next, due)
	}
	st := s.Stats(h.clock)
	if st.NextDue > next || len(got) == 0 && st.NextDue != next {
		h.dump()
		h.t.Fatalf("the next is due at %d, should be %d", st.NextDue, next)
	}
	if st.Pending != int64(len(want)) || st.Bytes < 0 || st.Overdue < 0 || st.Overdue > st.Pending || len(s.flights) > 0 {
		h.t.Fatalf("%d are pending, stats %+v, %d in flight", len(want), st, len(s.flights))
	}
	undecided := int64(0)
	for ticket, x := range all {
		if x.producer != 0 {
			undecided++
			if s.Gate() > ticket {
				h.t.Fatalf("gate is at %d, ticket %d is undecided", s.Gate(), ticket)
			}
		}
	}
	if st.Undecided != undecided {
		h.t.Fatalf("%d are undecided, stats %+v", undecided, st)
	}
	if gate := s.Gate(); len(want) > 0 && len(s.runs.list) == 0 && gate > want[0] {
		h.t.Fatalf("gate is at %d, ticket %d is pending", gate, want[0])
	}
}

// readable makes all of the journal readable, until the function that it returns is called.
func (h *history) readable() (as func()) {
	before := h.unread
	h.unread = Range{}
	return func() { h.unread = before }
}

// damage makes a part of the journal unreadable, or all of it readable again.
func (h *history) damage() {
	from := rapid.Int64Range(0, h.journal.end).Draw(h.t, "unreadable from")
	h.unread = Range{from, rapid.Int64Range(from, h.journal.end).Draw(h.t, "unreadable to")}
}

// dump logs what is known, to understand a failure.
func (h *history) dump() {
	for _, b := range h.whole {
		rs, _ := b.Decode()
		for _, r := range rs {
			h.t.Logf("log %d: %b %v", r.Offset, b.Attributes(), r.Headers)
		}
	}
	h.dumpJournal()
	s := h.schedule
	h.t.Logf("log [%d, %d), synced %d; schedule floor %d, folded %d, high watermark %d, end %d", h.start, h.end, h.synced, s.floor, s.folded, s.highWatermark, s.end)
	for _, r := range s.runs.list {
		h.t.Logf("run %d: tickets [%d, %d), %d records, %d live, %d pending, cursor %v, next %d", r.from, r.low, r.high, r.count, r.live, r.pending, r.cursor, r.next)
	}
	for _, d := range h.line.readers {
		h.t.Logf("reader of run %d: after %v, fence %d of %d, %d queued, handed %v, stop %+v", d.run.from, d.after, d.fence, len(d.run.data), len(d.queue), d.handed, d.stop)
	}
	h.t.Logf("clock %d, line %+v, near %+v, earliest %d, above %v, %d to undo, %d flights", h.clock, h.line.stop, h.line.near, s.earliest, s.runs.above, len(s.undo.lists), len(s.flights))
}

// dumpJournal logs what is in the journal.
func (h *history) dumpJournal() {
	for _, seg := range h.journal.segments {
		for _, b := range seg.batches {
			kind, value, _ := kindOf(b)
			h.t.Logf("journal %d-%d (segment %d) %s", b.BaseOffset(), b.EndOffset(), seg.base, kind)
			if kind == kindProgress {
				p, err := decodeProgress(value)
				h.t.Logf("  %+v %v", p, err)
			}
		}
	}
}

func (h *history) drawKey() string {
	return rapid.SampledFrom([]string{"", "", "", "a", "b", "c"}).Draw(h.t, "key")
}

// scheduleSome produces delayed records, ordinary ones between them.
func (h *history) scheduleSome() {
	var rs []record.Record
	for i := range rapid.IntRange(1, 12).Draw(h.t, "records") {
		value := fmt.Sprintf("%d-%d", h.end, i)
		r := with(value, "user", value, HeaderDelay, strconv.Itoa(rapid.IntRange(1, 400).Draw(h.t, "delay")))
		if key := h.drawKey(); key != "" {
			r.Headers = append(r.Headers, record.Header{Key: HeaderKey, Value: []byte(key)})
		}
		if rapid.IntRange(0, 9).Draw(h.t, "ordinary") == 0 {
			r.Headers = nil
		}
		rs = append(rs, r)
	}
	codec := rapid.SampledFrom([]record.Codec{record.None, record.LZ4}).Draw(h.t, "codec")
	if _, err := h.produce(batchOf(codec, h.now(), rs...)); err != nil && !errors.Is(err, errInjected) {
		h.t.Fatalf("produce: %v", err)
	}
}

// scheduleTransactional produces delayed records in a transaction of one of a few producers.
func (h *history) scheduleTransactional() {
	producer := rapid.Int64Range(1, producers).Draw(h.t, "producer")
	var rs []record.Record
	for i := range rapid.IntRange(1, 5).Draw(h.t, "records") {
		value := fmt.Sprintf("%d-%d", h.end, i)
		rs = append(rs, with(value, "user", value, HeaderDelay, strconv.Itoa(rapid.IntRange(1, 400).Draw(h.t, "delay"))))
	}
	if _, err := h.produceIn(producer, rs...); err != nil {
		h.t.Fatalf("produce in a transaction: %v", err)
	}
}

// producers is how many have transactions.
const producers = 3

// endTransaction appends a marker.
func (h *history) endTransaction() {
	h.endTransactionOf(rapid.Int64Range(1, producers).Draw(h.t, "producer"))
}

func (h *history) endTransactionOf(producer int64) {
	if err := h.decide(producer, rapid.Bool().Draw(h.t, "commit")); err != nil {
		h.t.Fatalf("end a transaction: %v", err)
	}
}

// cancelOne cancels by ticket or key, and checks the answer.
func (h *history) cancelOne() {
	pending, all := h.pendingTruth()
	if h.end == 0 {
		return
	}
	ticket := rapid.Int64Range(0, h.end-1).Draw(h.t, "ticket")
	if len(pending) > 0 && rapid.Bool().Draw(h.t, "a pending one") {
		ticket = rapid.SampledFrom(pending).Draw(h.t, "ticket")
	}
	r, want := cancelOf(ticket), slices.Contains(pending, ticket)
	if key := h.drawKey(); key != "" {
		r = with("", HeaderCancel, "key", HeaderKey, key)
		want = slices.ContainsFunc(pending, func(t int64) bool { return all[t].name == key })
	}
	_, err := h.send(r)
	var refused *record.RecordErrors
	if errors.Is(err, errInjected) {
		return // nobody can tell now
	}
	if err == nil != want || err != nil && !errors.As(err, &refused) {
		h.t.Fatalf("cancel %v: %v; pending are %v", r.Headers, err, pending)
	}
}

// deliverSome lets the line take its turn. Other things may happen in the middle of it.
func (h *history) deliverSome() {
	h.clock += rapid.Int64Range(0, 60).Draw(h.t, "passed")
	if len(h.schedule.flights) > 0 {
		return // a delivery is under way: there is one line
	}
	h.partition.deliver = func() error { return h.meanwhile("during a delivery") }
	defer func() { h.partition.deliver = nil }()
	window := rapid.SampledFrom([]int{1, 3, 1000}).Draw(h.t, "window")
	if _, err := h.line.deliver(context.Background(), &h.work, window); err != nil && !errors.Is(err, errInjected) {
		h.t.Fatalf("deliver: %v", err)
	}
}

var errInjected = errors.New("injected failure")

// meanwhile lets something happen, or fail, in the middle of something else.
func (h *history) meanwhile(when string) error {
	if h.depth > 0 {
		return nil
	}
	h.depth++
	defer func() { h.depth-- }()
	switch rapid.IntRange(0, 9).Draw(h.t, when) {
	case 0:
		return errInjected
	case 1:
		h.scheduleSome()
	case 2, 3:
		h.cancelOne()
	case 4:
		h.sync()
	case 5, 6:
		h.deliverSome()
	case 7:
		h.endTransaction()
	}
	return nil
}

// sync commits a part of what was appended.
func (h *history) sync() {
	i := rapid.IntRange(0, len(h.batches)).Draw(h.t, "sync")
	for i < len(h.batches) && h.batches[i].Continued() {
		i++ // an atomic group is committed as a whole
	}
	if i < len(h.batches) && h.batches[i].EndOffset() > h.synced {
		h.synced = h.batches[i].EndOffset()
	} else {
		h.synced = h.end
	}
	h.schedule.AdvanceHighWatermark(h.synced)
}

// crash loses some of what was not committed, of the log and of the journal, and recovers.
func (h *history) crash() {
	h.remember()
	cut := rapid.IntRange(0, len(h.batches)).Draw(h.t, "cut")
	for len(h.batches) > cut && h.batches[len(h.batches)-1].EndOffset() > h.synced {
		h.dropLast()
		for len(h.batches) > 0 && h.batches[len(h.batches)-1].Continued() {
			h.dropLast() // an atomic group goes as a whole
		}
	}
	h.journal.truncate(rapid.Int64Range(h.journal.committed, max(h.journal.committed, h.journal.end)).Draw(h.t, "journal"))
	h.recover()
}

func (h *history) dropLast() {
	last := len(h.batches) - 1
	h.end = h.batches[last].BaseOffset()
	h.batches = h.batches[:last:last]
	h.whole = h.whole[:len(h.whole)-1]
}

// truncateLog is what a replica does that loses the leadership, and leads again: the schedule
// undoes, and another line delivers.
func (h *history) truncateLog() {
	h.remember()
	for len(h.batches) > 0 && h.batches[len(h.batches)-1].EndOffset() > h.synced && rapid.Bool().Draw(h.t, "truncate") {
		h.dropLast()
		for len(h.batches) > 0 && h.batches[len(h.batches)-1].Continued() {
			h.dropLast()
		}
	}
	switch err := h.schedule.Truncate(h.end); {
	case errors.Is(err, ErrRebuild):
		h.journal.truncate(h.journal.committed)
		h.recover()
	case err != nil:
		h.t.Fatalf("truncate: %v", err)
	default:
		h.lead()
	}
}

// retain deletes from the beginning of the log what the gate lets go.
func (h *history) retain() {
	h.remember()
	gate := min(h.schedule.Gate(), h.synced)
	n := sort.Search(len(h.batches), func(i int) bool { return h.batches[i].EndOffset() > gate })
	n = rapid.IntRange(0, n).Draw(h.t, "retain")
	for n > 0 && h.batches[n-1].Continued() {
		n--
	}
	if n > 0 {
		h.start = h.batches[n-1].EndOffset()
		h.batches = h.batches[n:]
	}
}

// keep runs one of the keeper's duties, with other things, or failures, in the middle.
func (h *history) keep(what string, duty func(context.Context) error) {
	h.journal.before = func() error { return h.meanwhile("during " + what) }
	defer func() { h.journal.before = nil }()
	if err := duty(context.Background()); err != nil && !errors.Is(err, errInjected) {
		h.t.Fatalf("%s: %v", what, err)
	}
}

// pick is pickMerge for runs of any number and size.
func (h *history) pick(list []*run) []*run {
	from := rapid.IntRange(0, len(list)).Draw(h.t, "merge from")
	return list[from:rapid.IntRange(from, len(list)).Draw(h.t, "merge to")]
}

func (h *history) spill() {
	below := rapid.Int64Range(h.schedule.nearFloor(), max(h.schedule.nearFloor(), h.end)).Draw(h.t, "below")
	h.keep("spill", func(ctx context.Context) error { return h.keeper.Spill(ctx, h, below, h.start) })
}

func (h *history) progress() {
	h.keep("progress", func(ctx context.Context) error { return h.keeper.Progress(ctx, h.start) })
}

// turn is the turn of a merge: others may have theirs before.
func (h *history) turn(write func() error) error {
	before := h.journal.before
	switch rapid.IntRange(0, 9).Draw(h.t, "before a turn") {
	case 0, 1:
		h.spill()
	case 2:
		h.progress()
	case 3:
		h.copyJournal()
	case 4:
		h.expireCopy()
	case 5:
		h.retain()
	}
	h.journal.before = before
	return write()
}

func TestEveryHistoryDeliversEachTicketOnce(t *testing.T) {
	rules := testRules(t, nil)
	rapid.Check(t, func(t *rapid.T) { everyHistory(t, rules) })
}

// TestThousandHistories are always the same, so that what they find is found again.
func TestThousandHistories(t *testing.T) {
	rules := testRules(t, nil)
	seed := flag.Lookup("rapid.seed").Value
	set := func(value string) {
		if err := seed.Set(value); err != nil {
			t.Fatal(err)
		}
	}
	asked := seed.String()
	defer set(asked)
	for i := range 10 {
		set(strconv.Itoa(i + 1))
		rapid.Check(t, func(t *rapid.T) { everyHistory(t, rules) })
	}
}

func everyHistory(t *rapid.T, rules *Rules) {
	h := newHistory(t, rules)
	t.Repeat(map[string]func(*rapid.T){
		"":                          func(*rapid.T) { h.check() },
		"schedule":                  func(*rapid.T) { h.scheduleSome() },
		"schedule in a transaction": func(*rapid.T) { h.scheduleTransactional() },
		"end a transaction":         func(*rapid.T) { h.endTransaction() },
		"cancel":                    func(*rapid.T) { h.cancelOne() },
		"deliver":                   func(*rapid.T) { h.deliverSome() },
		"sync":                      func(*rapid.T) { h.sync() },
		"crash":                     func(*rapid.T) { h.crash() },
		"truncate":                  func(*rapid.T) { h.truncateLog() },
		"retain":                    func(*rapid.T) { h.retain() },
		"damage":                    func(*rapid.T) { h.damage() },
		"spill":                     func(*rapid.T) { h.spill() },
		"merge": func(*rapid.T) {
			h.keep("merge", func(ctx context.Context) error {
				_, err := h.keeper.Merge(ctx, h.start, h.turn)
				return err
			})
		},
		"progress":            func(*rapid.T) { h.progress() },
		"copy":                func(*rapid.T) { h.copyJournal() },
		"copy the log":        func(*rapid.T) { h.copyLog() },
		"expire from a copy":  func(*rapid.T) { h.expireCopy() },
		"lose all but copies": func(*rapid.T) { h.lose() },
		"list":                func(t *rapid.T) { h.list(rapid.IntRange(1, 9).Draw(t, "page")) },
		"tidy": func(*rapid.T) {
			h.keep("tidy", func(ctx context.Context) error { return h.keeper.Tidy(ctx, h.start) })
		},
	})
	h.finish()
}

// list pages through all that is pending, and compares.
func (h *history) list(limit int) {
	defer h.readable()()
	tickets, all := h.pendingTruth()
	var want, got []string
	for _, t := range tickets {
		want = append(want, fmt.Sprintf("%d %09d %s", all[t].due, t, all[t].name))
	}
	slices.Sort(want)
	position := index.First
	for range 1000 {
		page, err := h.schedule.List(context.Background(), position, Filter{Until: LastDue}, limit)
		if err != nil || len(page.Records) > limit {
			h.t.Fatalf("list: %d records, %v", len(page.Records), err)
		}
		for _, r := range page.Records {
			got = append(got, fmt.Sprintf("%d %09d %s", r.Due, r.Ticket, r.Key))
		}
		if position = page.Next; page.Done {
			break
		}
	}
	if !slices.Equal(got, want) {
		h.t.Fatalf("list is %q, should be %q", got, want)
	}
}

// finish delivers everything, with or without a restart, and makes sure that nothing is left and
// that the keeper comes to rest.
func (h *history) finish() {
	if rapid.Bool().Draw(h.t, "restart") {
		h.crash()
	}
	for producer := range int64(producers) {
		h.endTransactionOf(producer + 1)
	}
	// All is due, and what had to rest may go on.
	h.unread = Range{}
	h.clock += (time.Second + maxBackoff).Milliseconds()
	pending, _ := h.pendingTruth()
	turns := 0
	for more := true; more; turns++ {
		var err error
		if more, err = h.line.deliver(context.Background(), &h.work, 7); err != nil {
			h.t.Fatalf("deliver: %v", err)
		}
		if turns > 10*(len(pending)+len(h.schedule.runs.list)+10) {
			h.dump()
			h.t.Fatalf("the line is never done with %d records", len(pending))
		}
	}
	if left, _ := h.pendingTruth(); len(left) > 0 {
		h.dump()
		h.t.Fatalf("%v of %v were not delivered in %d turns", left, pending, turns)
	}
	h.check()
	h.rest()
}

// rest commits everything, and has the keeper do what it does again and again until nothing is left
// to do: nothing is pending, so the journal begins with the present progress.
func (h *history) rest() {
	h.synced = h.end
	h.schedule.CaughtUp(h.end)
	h.schedule.AdvanceHighWatermark(h.end)
	for range 2 {
		if err := h.keeper.Progress(context.Background(), h.start); err != nil {
			h.t.Fatalf("progress: %v", err)
		}
		if err := h.keeper.Tidy(context.Background(), h.start); err != nil {
			h.t.Fatalf("tidy: %v", err)
		}
	}
	end := h.journal.end
	if err := h.keeper.Tidy(context.Background(), h.start); err != nil {
		h.t.Fatalf("tidy: %v", err)
	}
	if h.journal.end != end || h.journal.segments[0].base != h.keeper.segment || h.schedule.Gate() != math.MaxInt64 || h.schedule.NextDue() != math.MaxInt64 {
		h.dump()
		h.t.Fatalf("at rest the journal grows from %d to %d and begins at %d, the progress at %d; the gate is at %d, next due is %d",
			end, h.journal.end, h.journal.segments[0].base, h.keeper.segment, h.schedule.Gate(), h.schedule.NextDue())
	}
}
