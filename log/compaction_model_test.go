package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// compactionTest is a compacted log on a file system that can crash, and everything that was ever
// appended to it.
type compactionTest struct {
	fsys  *vfs.Mem
	set   *Set
	log   *Log
	model *modelLog
	now   time.Time
	gate  int64 // what is hidden or a delivery and ends above it must stay
	// clean is below what nothing superseded may be left, and seen below what something may be missing.
	clean, seen int64
}

const tombstoneTime = time.Minute

func (c *compactionTest) open(t *rapid.T) {
	var err error
	c.set, err = Open(SetConfig{FS: c.fsys, Dir: "data", Now: func() time.Time { return c.now }, JournalSegmentBytes: minJournalFile, JournalMaxBytes: 3 * minJournalFile})
	must(t, err)
	for range c.set.commits.journal.files {
		must(t, c.set.commits.journal.prepare())
	}
	c.log, err = tryOpenLog(c.set, testID, func(cfg *Config) {
		cfg.Compact, cfg.Delete, cfg.SegmentBytes, cfg.IndexIntervalBytes = true, false, 1500, 200
		cfg.DeleteRetentionMs, cfg.ProducerIDExpirationMs = tombstoneTime.Milliseconds(), 1<<50
	})
	must(t, err)
}

// drawKeyed is drawGroup with keys, tombstones and deliveries.
func drawKeyed(t *rapid.T, m *modelLog) Group {
	var a record.Attributes
	id, epoch, seq := int64(-1), int16(-1), int32(-1)
	switch rapid.IntRange(0, 5).Draw(t, "producer") {
	case 0, 1:
	case 2:
		id = rapid.Int64Range(1, 3).Draw(t, "id")
		epoch, seq = nextSequence(m, id)
	default:
		id = rapid.Int64Range(11, 13).Draw(t, "transactional id")
		epoch, seq = nextSequence(m, id)
		a = record.Transactional
		if rapid.IntRange(0, 2).Draw(t, "ends") == 0 {
			return marker(id, epoch+int16(rapid.IntRange(0, 1).Draw(t, "bump")), rapid.Bool().Draw(t, "commit"))
		}
	}
	n := rapid.IntRange(1, 4).Draw(t, "records")
	pieces := 1
	if n > 1 && rapid.IntRange(0, 2).Draw(t, "split") == 0 {
		pieces = rapid.IntRange(2, n).Draw(t, "pieces")
	}
	g := Group{ProducerID: id, ProducerEpoch: epoch, BaseSequence: seq, LastSequence: -1, Span: int32(n)}
	if seq >= 0 {
		g.LastSequence = record.AddSequence(seq, int32(n)-1)
	}
	codec := record.Codec(rapid.IntRange(0, 4).Draw(t, "codec"))
	for i := range pieces {
		attr := a.WithCodec(codec)
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			attr |= record.Hidden
		case 1:
			if id < 0 {
				attr |= record.Delivery
			}
		}
		if i < pieces-1 {
			attr |= record.Continued
		}
		g.Pieces = append(g.Pieces, drawPiece(t, attr, id, epoch, seq, i*n/pieces, (i+1)*n/pieces))
	}
	return g
}

func drawPiece(t *rapid.T, a record.Attributes, id int64, epoch int16, seq int32, from, to int) record.Batch {
	var w record.Builder
	ts := now.UnixMilli() + rapid.Int64Range(0, 10).Draw(t, "timestamp")
	w.Reset(a, ts)
	w.SetProducer(id, epoch, seq)
	for k := from; k < to; k++ {
		var value []byte
		if rapid.IntRange(0, 3).Draw(t, "tombstone") > 0 {
			value = make([]byte, rapid.SampledFrom([]int{0, 10, 200}).Draw(t, "bytes"))
			value = fmt.Appendf(value, "%d", rapid.Uint8().Draw(t, "value"))
		}
		var key []byte
		if i := rapid.IntRange(0, 24).Draw(t, "key"); i > 0 {
			key = []byte{byte('a' + i)}
		}
		w.Add(int32(k), ts+int64(k), key, value, record.Header{Key: "h", Value: []byte{byte(k)}})
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

// stored is one record of a log.
type stored struct {
	record.Record
	hidden, delivery, control, aborted bool
	producer                           int64
}

// String tells everything about a record but whether it is hidden.
func (s stored) String() string {
	return fmt.Sprintf("%d: %q=%q (null: %t %t) at %d, headers %v", s.Offset, s.Key, s.Value, s.Key == nil, s.Value == nil, s.Timestamp, s.Headers)
}

// appendStored takes a batch apart.
func appendStored(all []stored, b record.Batch) []stored {
	rs, err := b.Decode()
	if err != nil {
		panic(err)
	}
	for _, r := range rs {
		all = append(all, stored{Record: r, hidden: b.Hidden(), delivery: b.Delivery(), control: b.Control(), producer: b.ProducerID()})
	}
	return all
}

// history is all records that were ever appended, by offset; those of aborted transactions are marked.
func (c *compactionTest) history() map[int64]stored {
	all := map[int64]stored{}
	s := producer.New(0)
	c.model.batches(c.model.end(), func(b record.Batch) {
		for _, r := range appendStored(nil, b) {
			all[r.Offset] = r
		}
		if done, ended, _ := s.Apply(b, 0); ended && done.Aborted {
			for o := done.First; o < done.Last; o++ {
				if r, ok := all[o]; ok && r.producer == done.ProducerID {
					r.aborted = true
					all[o] = r
				}
			}
		}
	})
	return all
}

// latest is the last committed visible value of every key: what a client ends up with that reads everything.
func latest(records []stored) map[string]string {
	values := map[string]string{}
	for _, r := range records {
		switch {
		case r.hidden || r.control || r.aborted || r.Key == nil:
		case r.Value == nil:
			delete(values, string(r.Key))
		default:
			values[string(r.Key)] = string(r.Value)
		}
	}
	return values
}

// compare holds the log against its history.
func (c *compactionTest) compare() error {
	o := c.log.Offsets()
	realStable, reported := c.model.lastStable()
	want := fmt.Sprint(c.model.hw, c.model.visibleEnd(), reported, realStable, c.model.end())
	if got := fmt.Sprint(o.HighWatermark, o.VisibleEnd, o.LastStable, o.RealLastStable, o.LogEnd); got != want {
		return fmt.Errorf("offsets (hw, visible, stable, real stable, end): got %s, want %s", got, want)
	}
	history := c.history()
	var everything, found []stored
	for _, offset := range slices.Sorted(maps.Keys(history)) {
		everything = append(everything, history[offset])
	}
	err := c.log.Scan(0, o.LogEnd, func(b record.Batch) error {
		if b.Count() == 0 && !b.Hidden() {
			return fmt.Errorf("empty batch at offset %d is visible", b.BaseOffset())
		}
		for _, r := range appendStored(nil, b) {
			want := history[r.Offset]
			if r.String() != want.String() || r.hidden != want.hidden || r.delivery != want.delivery {
				return fmt.Errorf("record is %v, was %v", r, want)
			}
			r.aborted = want.aborted
			found = append(found, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if got, want := latest(found), latest(everything); !maps.Equal(got, want) {
		return fmt.Errorf("values of the keys are %q, want %q", got, want)
	}
	if err := c.compareKept(found, everything); err != nil {
		return err
	}
	if err := c.compareVisible(found, o); err != nil {
		return err
	}
	return c.compareProducers()
}

// compareKept makes sure that nothing went that must stay, and nothing stays that must go.
func (c *compactionTest) compareKept(found, everything []stored) error {
	is := map[int64]bool{}
	last := map[string]int64{} // below the clean point
	end := int64(-1)           // the last visible one there, which may stay whatever it is
	for _, r := range found {
		is[r.Offset] = true
		if r.Offset < c.clean && !r.hidden {
			end = r.Offset
		}
		if r.Offset < c.clean && !r.hidden && !r.control && r.Key != nil && !r.aborted {
			last[string(r.Key)] = r.Offset
		}
	}
	for _, r := range everything {
		if is[r.Offset] {
			if at, ok := last[string(r.Key)]; ok && r.Offset < at && !r.hidden && !r.control && r.Key != nil && !r.aborted && !r.delivery {
				return fmt.Errorf("%v is there, and was superseded by %d", r, at)
			}
			if r.Offset < c.clean && r.Offset != end && r.aborted && !r.hidden && !r.delivery {
				return fmt.Errorf("%v is there, and was aborted", r)
			}
			continue
		}
		if r.Offset >= c.seen || (r.hidden || r.delivery) && r.Offset >= c.gate || r.Key == nil && !r.hidden && !r.control && !r.aborted {
			return fmt.Errorf("%v is gone", r)
		}
	}
	return nil
}

// compareVisible reads as clients do: every visible record that is there, nothing else, and with
// every aborted one its transaction.
func (c *compactionTest) compareVisible(found []stored, o Offsets) error {
	var want []string
	for _, r := range found {
		if !r.hidden && r.Offset < o.LastStable {
			want = append(want, r.String())
		}
	}
	var got []string
	for at := o.LogStart; at < o.LastStable; {
		read, err := c.log.Read(ReadRequest{Offset: at, MaxBytes: 500, MinOne: true, Committed: true})
		if err != nil {
			return err
		}
		next := at
		for _, b := range readBatches(read) {
			if b.Hidden() || b.Count() == 0 {
				return fmt.Errorf("read of %d returned what is hidden at %d", at, b.BaseOffset())
			}
			for _, r := range appendStored(nil, b) {
				got = append(got, r.String())
				marked := slices.ContainsFunc(read.Aborted, func(a AbortedTxn) bool {
					return a.ProducerID == r.producer && a.FirstOffset <= r.Offset && r.Offset < a.LastOffset
				})
				if aborted := slices.ContainsFunc(found, func(f stored) bool { return f.Offset == r.Offset && f.aborted }); aborted != (marked && b.Transactional() && !b.Control()) {
					return fmt.Errorf("%v: aborted is %t, the read says %t", r, aborted, marked)
				}
			}
			next = b.EndOffset()
		}
		read.Release()
		if next == at {
			return fmt.Errorf("read of %d found nothing, and clients expect something below %d", at, o.LastStable)
		}
		at = next
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

func readBatches(read *Read) (all []record.Batch) {
	for _, x := range read.Ranges {
		b := make([]byte, x.Len)
		if _, err := x.File.ReadAt(b, x.Pos); err != nil {
			panic(err)
		}
		for len(b) > 0 {
			first, rest, err := record.Next(b)
			if err != nil {
				panic(err)
			}
			all = append(all, first)
			b = rest
		}
	}
	return all
}

// compareProducers makes sure that the last batches of every producer are known, and its open transaction.
func (c *compactionTest) compareProducers() error {
	describe := func(infos []producer.Info) (all []string) {
		for _, p := range infos {
			p.LastTimestamp, p.CoordinatorEpoch = 0, 0
			all = append(all, fmt.Sprintf("%+v", p))
		}
		return all
	}
	want := c.model.producers()
	if got, want := describe(c.log.ActiveProducers()), describe(want.Producers()); !slices.Equal(got, want) {
		return fmt.Errorf("producers: got %v, want %v", got, want)
	}
	for _, g := range c.model.groups {
		if g.original.ProducerID < 0 || g.original.FirstSequence < 0 {
			continue
		}
		r, dup, err := want.Check(g.original)
		a, gotDup, gotErr := c.log.CheckProducer(g.original.ProducerID, g.original.Epoch, g.original.FirstSequence, g.original.LastSequence)
		if dup != gotDup || (err == nil) != (gotErr == nil) || dup && (a.BaseOffset != r.Base || a.EndOffset != r.End()) {
			return fmt.Errorf("sequences of %+v: got %+v %t %w, want %+v %t %w", g.original, a, gotDup, gotErr, r, dup, err)
		}
	}
	return nil
}

// check runs the checker of the product over what is on disk.
func (c *compactionTest) check() (err error) {
	_, cerr := Check(CheckOptions{FS: c.fsys, Dir: c.log.dir, Report: func(p segment.Problem) {
		if !p.Cache {
			err = errors.Join(err, p)
		}
	}})
	return errors.Join(err, cerr)
}

// reopen opens what a crash left.
func (c *compactionTest) reopen(t *rapid.T, fsys *vfs.Mem) {
	c.fsys = fsys
	c.open(t)
	must(t, c.model.recovered(c.log))
	must(t, c.compare())
	must(t, c.check())
}

// compact cleans, with room for as many keys.
func (c *compactionTest) compact(keys int64) error {
	done, err := c.log.Compact(context.Background(), c.now, Compaction{Gate: c.gate, MapBytes: keys * 24})
	if err == nil {
		c.clean, c.seen = max(c.clean, done.Clean), max(c.seen, done.To)
	}
	return err
}

// TestCompactionHistories appends, compacts, truncates and crashes at random. Whoever reads the log
// from its beginning ends up with the last committed value of every key; nothing that is pending is
// lost, nothing that was deleted comes back; and producers go on.
func TestCompactionHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &compactionTest{fsys: vfs.NewMem(), now: now, model: &modelLog{}}
		c.open(t)
		settle := func() {
			c.set.Sync()
			c.model.acknowledge(c.log)
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "groups") {
					must(t, c.model.append(c.log, drawKeyed(t, c.model), c.now))
				}
			},
			"sync": func(*rapid.T) { settle() },
			"roll": func(t *rapid.T) { must(t, c.log.Roll()) },
			"keep": func(t *rapid.T) {
				c.now = c.now.Add(time.Second)
				c.set.Keep(c.now)
			},
			"time": func(t *rapid.T) { c.now = c.now.Add(tombstoneTime) },
			"finish delayed records": func(t *rapid.T) {
				c.gate = max(c.gate, rapid.Int64Range(0, c.model.hw).Draw(t, "gate"))
			},
			"compact": func(t *rapid.T) {
				settle()
				must(t, c.compact(rapid.Int64Range(1, 100).Draw(t, "keys")))
				must(t, c.compare())
				must(t, c.check())
			},
			"truncate": func(t *rapid.T) {
				offset := rapid.Int64Range(c.model.hw, c.model.end()).Draw(t, "offset")
				c.model.truncate(offset)
				must(t, c.log.TruncateTo(offset))
			},
			"power loss": func(t *rapid.T) {
				c.reopen(t, c.fsys.Crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))))
			},
			"kill": func(t *rapid.T) { c.reopen(t, c.fsys.CrashProcess()) },
			"kill and lose caches": func(t *rapid.T) {
				after := c.fsys.CrashProcess()
				names, err := after.List(c.log.dir)
				must(t, err)
				for _, name := range names {
					if !strings.HasSuffix(name, segment.LogSuffix) && !strings.HasPrefix(name, "facts") && rapid.Bool().Draw(t, "lost") {
						must(t, after.Remove(c.log.path(name)))
					}
				}
				c.reopen(t, after)
			},
			"": func(t *rapid.T) { must(t, c.compare()) },
		})
	})
}
