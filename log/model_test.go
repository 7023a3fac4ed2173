package log

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
)

// modelLog is what a log should be, kept in the simplest way: the list of its groups.
type modelLog struct {
	groups   []modelGroup // from offset 0 on, removed ones included
	reported int64
	durable  int64 // acknowledged: must survive
	hw       int64
}

type modelGroup struct {
	base, end int64
	pieces    []record.Batch // as stored
	original  producer.Original
}

func (m *modelLog) end() int64 {
	if n := len(m.groups); n > 0 {
		return m.groups[n-1].end
	}
	return 0
}

// batches calls f for every batch below end.
func (m *modelLog) batches(end int64, f func(b record.Batch)) {
	for _, g := range m.groups {
		if g.end > end {
			return
		}
		for _, p := range g.pieces {
			f(p)
		}
	}
}

func (m *modelLog) visibleEnd() int64 {
	end := int64(0)
	m.batches(m.hw, func(b record.Batch) {
		if !b.Hidden() {
			end = b.EndOffset()
		}
	})
	return max(m.reported, end)
}

// lastStable is the real and the reported last stable offset.
func (m *modelLog) lastStable() (lastStable, reported int64) {
	open := map[int64]int64{}    // first offset by producer
	visible := map[int64]int64{} // visible end then
	first := m.hw
	last := int64(0)
	m.batches(m.end(), func(b record.Batch) {
		switch id := b.ProducerID(); {
		case b.Control() && b.EndOffset() <= m.hw:
			delete(open, id)
		case b.Transactional() && !b.Control():
			if _, ok := open[id]; !ok && b.BaseOffset() < m.hw {
				open[id], visible[id] = b.BaseOffset(), last
			}
		}
		if !b.Hidden() {
			last = b.EndOffset()
		}
	})
	reported = m.visibleEnd()
	for id, o := range open {
		if o < first {
			first = o
			reported = max(m.reported, visible[id])
		}
	}
	return first, reported
}

// visible is the visible batches of a read.
func (m *modelLog) visible(r ReadRequest) (found []record.Batch) {
	end := m.visibleEnd()
	if r.Committed {
		_, end = m.lastStable()
	}
	size := 0
	full := false
	m.batches(m.hw, func(b record.Batch) {
		if full || b.Hidden() || b.LastOffset() < r.Offset || b.EndOffset() > end {
			return
		}
		if size+len(b) > r.MaxBytes && !(r.MinOne && len(found) == 0) {
			full = true
			return
		}
		size += len(b)
		found = append(found, b)
	})
	return found
}

// producers replays the model.
func (m *modelLog) producers() *producer.State {
	s := producer.New(0)
	m.batches(m.end(), func(b record.Batch) {
		if _, _, err := s.Apply(b, 0); err != nil {
			panic(err)
		}
	})
	return s
}

// drawGroup draws a group: visible, hidden or mixed; plain, idempotent, transactional, or a marker.
func drawGroup(t *rapid.T, m *modelLog) Group {
	n := rapid.IntRange(1, 4).Draw(t, "records")
	var a record.Attributes
	id, epoch, seq := int64(-1), int16(-1), int32(-1)
	switch rapid.IntRange(0, 4).Draw(t, "producer") {
	case 0, 1:
	case 2, 3:
		id = rapid.Int64Range(1, 3).Draw(t, "id")
		epoch, seq = nextSequence(m, id)
	case 4:
		id = rapid.Int64Range(11, 12).Draw(t, "transactional id")
		epoch, seq = nextSequence(m, id)
		a = record.Transactional
		if rapid.IntRange(0, 2).Draw(t, "ends") == 0 {
			return marker(id, epoch, rapid.Bool().Draw(t, "commit"))
		}
	}
	pieces := 1
	if n > 1 && rapid.IntRange(0, 2).Draw(t, "split") == 0 {
		pieces = rapid.IntRange(2, n).Draw(t, "pieces")
	}
	// Mostly small ones, which are staged for the journal. A large one now and then is synced directly.
	sizes := []int{100, 300, 0, 700, 1500}
	if rapid.IntRange(0, 15).Draw(t, "large") == 15 {
		sizes = []int{40_000, 70_000}
	}
	g := Group{ProducerID: id, ProducerEpoch: epoch, BaseSequence: seq, LastSequence: -1, Span: int32(n)}
	if seq >= 0 {
		g.LastSequence = record.AddSequence(seq, int32(n)-1)
	}
	for i := range pieces {
		from, to := i*n/pieces, (i+1)*n/pieces
		attr := a
		if rapid.Bool().Draw(t, "hidden") {
			attr |= record.Hidden
		}
		if i < pieces-1 {
			attr |= record.Continued
		}
		var w record.Builder
		ts := now.UnixMilli() + rapid.Int64Range(0, 10).Draw(t, "timestamp")
		w.Reset(attr, ts)
		w.SetProducer(id, epoch, seq)
		for k := from; k < to; k++ {
			w.Add(int32(k), ts+int64(k), nil, make([]byte, rapid.SampledFrom(sizes).Draw(t, "bytes")))
		}
		b, err := w.Finish()
		if err != nil {
			panic(err)
		}
		g.Pieces = append(g.Pieces, b)
	}
	return g
}

// nextSequence is what a producer sends next.
func nextSequence(m *modelLog, id int64) (epoch int16, seq int32) {
	for _, p := range m.producers().Producers() {
		if p.ProducerID == id {
			if p.LastSequence < 0 {
				return p.Epoch, 0
			}
			return p.Epoch, record.AddSequence(p.LastSequence, 1)
		}
	}
	return 0, 0
}

// marker is a group that ends a transaction.
func marker(id int64, epoch int16, commit bool) Group {
	var w record.Builder
	w.Reset(record.Transactional|record.Control, now.UnixMilli())
	w.SetProducer(id, epoch, -1)
	kind := byte(0)
	if commit {
		kind = 1
	}
	w.Add(0, now.UnixMilli(), []byte{0, 0, 0, kind}, []byte{0, 0, 0, 0, 0, 5})
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return Group{Pieces: []record.Batch{b}, ProducerID: id, ProducerEpoch: epoch, BaseSequence: -1, LastSequence: -1, Span: 1}
}

// append appends to log and model.
func (m *modelLog) append(l *Log, g Group, at time.Time) error {
	if g.Pieces[0].Transactional() {
		g.Verification = l.Verify(g.ProducerID, g.ProducerEpoch, g.BaseSequence, g.LastSequence, false)
	}
	a, err := l.Append(1, at, g)
	if err != nil {
		return err
	}
	if a.Duplicate {
		return errors.New("taken for a duplicate")
	}
	if a.BaseOffset != m.end() || a.EndOffset != m.end()+int64(g.Span) {
		return fmt.Errorf("appended at [%d, %d), the end was %d", a.BaseOffset, a.EndOffset, m.end())
	}
	stored := modelGroup{base: a.BaseOffset, end: a.EndOffset, original: g.original()}
	for _, p := range g.Pieces {
		stored.pieces = append(stored.pieces, slices.Clone(p))
	}
	m.groups = append(m.groups, stored)
	return nil
}

// acknowledge learns from the log what has become durable.
func (m *modelLog) acknowledge(l *Log) {
	o := l.Offsets()
	m.hw = o.HighWatermark
	m.durable = max(m.durable, o.HighWatermark)
}

// recovered compares the log after a crash, and forgets what was lost. It must be the beginning of
// what was appended, and all that was acknowledged.
func (m *modelLog) recovered(l *Log) error {
	end := l.Offsets().LogEnd
	if end < m.durable {
		return fmt.Errorf("log ends at %d, acknowledged were %d", end, m.durable)
	}
	for n := len(m.groups); n > 0 && m.groups[n-1].end > end; n-- {
		m.groups = m.groups[:n-1]
	}
	if m.end() != end {
		return fmt.Errorf("log ends at %d, in the middle of a group that begins at %d", end, m.end())
	}
	m.hw = end
	m.durable = end
	return nil
}

// truncate takes back what ends above offset, acknowledged or not.
func (m *modelLog) truncate(offset int64) {
	n := len(m.groups)
	for ; n > 0 && m.groups[n-1].end > offset; n-- {
	}
	m.groups = m.groups[:n]
	m.durable, m.hw, m.reported = min(m.durable, m.end()), min(m.hw, m.end()), min(m.reported, m.end())
}

// compare holds the log against the model.
func (m *modelLog) compare(l *Log) error {
	o := l.Offsets()
	real, reported := m.lastStable()
	want := fmt.Sprint(m.reported, m.hw, m.visibleEnd(), reported, real, m.end())
	if got := fmt.Sprint(o.LogStart, o.HighWatermark, o.VisibleEnd, o.LastStable, o.RealLastStable, o.LogEnd); got != want {
		return fmt.Errorf("offsets (start, hw, visible, stable, real stable, end): got %s, want %s", got, want)
	}
	if o.RealStart > m.reported {
		return fmt.Errorf("real start %d above reported start %d", o.RealStart, m.reported)
	}
	if err := m.compareBatches(l, o); err != nil {
		return err
	}
	if err := m.compareTimestamps(l, o); err != nil {
		return err
	}
	if err := m.compareAborted(l, o); err != nil {
		return err
	}
	return m.compareProducers(l)
}

// compareTimestamps looks up every timestamp that tests use.
func (m *modelLog) compareTimestamps(l *Log, o Offsets) error {
	largest := int64(-1)
	for ts := now.UnixMilli() + 20; ts >= now.UnixMilli(); ts-- {
		want := int64(-1)
		m.batches(m.hw, func(b record.Batch) {
			if b.Hidden() || want >= 0 || b.EndOffset() <= max(o.LogStart, o.LocalStart) {
				return
			}
			rs, err := b.Decode()
			if err != nil {
				panic(err)
			}
			for _, r := range rs {
				if r.Timestamp >= ts && r.Offset >= max(o.LogStart, o.LocalStart) && want < 0 {
					want = r.Offset
				}
			}
		})
		got, _, ok, err := l.OffsetForTimestamp(ts)
		if err != nil {
			return err
		}
		if !ok {
			got = -1
		}
		if got != want {
			return fmt.Errorf("offset for timestamp +%d: got %d, want %d", ts-now.UnixMilli(), got, want)
		}
		if want >= 0 && largest < 0 {
			largest = want
		}
	}
	got, _, ok, err := l.MaxTimestamp()
	if err == nil && (ok != (largest >= 0) || ok && got != largest) {
		err = fmt.Errorf("max timestamp: got %d %t, want %d", got, ok, largest)
	}
	return err
}

// compareAborted compares the index of aborted transactions.
func (m *modelLog) compareAborted(l *Log, o Offsets) error {
	s := producer.New(0)
	var want []AbortedTxn
	m.batches(m.end(), func(b record.Batch) {
		done, ended, _ := s.Apply(b, 0)
		if ended && done.Aborted && done.Last >= o.LocalStart {
			want = append(want, aborted(done))
		}
	})
	got, err := l.Aborted(o.LocalStart, o.LogEnd)
	if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
		err = fmt.Errorf("aborted transactions: got %+v, want %+v", got, want)
	}
	return err
}

func (m *modelLog) compareBatches(l *Log, o Offsets) error {
	var want []record.Batch
	m.batches(m.end(), func(b record.Batch) {
		if b.EndOffset() > o.LocalStart {
			want = append(want, b)
		}
	})
	i := 0
	err := l.Scan(o.LocalStart, o.LogEnd, func(b record.Batch) error {
		if i == len(want) || string(b) != string(want[i]) {
			return fmt.Errorf("batch %d at offset %d differs", i, b.BaseOffset())
		}
		i++
		return nil
	})
	if err == nil && i != len(want) {
		err = fmt.Errorf("%d batches of %d", i, len(want))
	}
	return err
}

func (m *modelLog) compareProducers(l *Log) error {
	want := m.producers()
	var got, expected []string
	for _, p := range l.ActiveProducers() {
		p.LastTimestamp = 0
		got = append(got, fmt.Sprintf("%+v", p))
	}
	for _, p := range want.Producers() {
		p.LastTimestamp = 0
		expected = append(expected, fmt.Sprintf("%+v", p))
	}
	if !slices.Equal(got, expected) {
		return fmt.Errorf("producers: got %v, want %v", got, expected)
	}
	for _, g := range m.groups {
		if g.original.ProducerID < 0 || g.original.FirstSequence < 0 {
			continue
		}
		r, dup, err := want.Check(g.original)
		a, gotDup, gotErr := l.CheckProducer(g.original.ProducerID, g.original.Epoch, g.original.FirstSequence, g.original.LastSequence)
		if dup != gotDup || (err == nil) != (gotErr == nil) || dup && (a.BaseOffset != r.Base || a.EndOffset != r.End()) {
			return fmt.Errorf("sequences of %+v: got %+v %t %w, want %+v %t %w", g.original, a, gotDup, gotErr, r, dup, err)
		}
	}
	return nil
}

// compareRead holds one read against the model.
func (m *modelLog) compareRead(l *Log, r ReadRequest) error {
	read, err := l.Read(r)
	o := l.Offsets()
	if r.Offset < o.LogStart || r.Offset > o.LogEnd {
		if !errors.As(err, new(*OutOfRangeError)) {
			return fmt.Errorf("read of %d outside [%d, %d]: %w", r.Offset, o.LogStart, o.LogEnd, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %+v: %w", r, err)
	}
	defer read.Release()
	var got, want []byte
	for _, x := range read.Ranges {
		b := make([]byte, x.Len)
		if _, err := x.File.ReadAt(b, x.Pos); err != nil {
			return err
		}
		got = append(got, b...)
	}
	for _, b := range m.visible(r) {
		want = append(want, b...)
	}
	if r.Committed {
		if err := m.checkAborted(read, want); err != nil {
			return fmt.Errorf("read %+v: %w", r, err)
		}
	}
	if string(got) != string(want) {
		return fmt.Errorf("read %+v: got %s, want %s", r, describe(got), describe(want))
	}
	return nil
}

// checkAborted makes sure that a read names the transaction of every aborted batch in it.
func (m *modelLog) checkAborted(read *Read, found []byte) error {
	s := producer.New(0)
	want := map[int64]AbortedTxn{}
	m.batches(m.end(), func(b record.Batch) {
		if done, ended, _ := s.Apply(b, 0); ended && done.Aborted {
			want[done.First] = aborted(done)
		}
	})
	for len(found) > 0 {
		b, rest, err := record.Next(found)
		if err != nil {
			return err
		}
		found = rest
		for _, a := range want {
			if a.ProducerID == b.ProducerID() && a.FirstOffset <= b.BaseOffset() && b.BaseOffset() < a.LastOffset && !slices.Contains(read.Aborted, a) {
				return fmt.Errorf("aborted transaction %+v is missing", a)
			}
		}
	}
	return nil
}

// describe lists the batches in b.
func describe(b []byte) string {
	s := ""
	for len(b) > 0 {
		first, rest, err := record.Next(b)
		if err != nil {
			return fmt.Sprint(s, err)
		}
		s += fmt.Sprintf("[%d, %d) ", first.BaseOffset(), first.EndOffset())
		b = rest
	}
	return s
}
