package compact

import (
	"cmp"
	"slices"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// aborted tells, while a log is read in order, which batches belong to aborted transactions.
type aborted struct {
	byProducer map[int64][]segment.AbortedTxn // that are not over yet, by marker
}

func newAborted(all []segment.AbortedTxn) aborted {
	a := aborted{byProducer: make(map[int64][]segment.AbortedTxn)}
	for _, t := range all {
		a.byProducer[t.ProducerID] = append(a.byProducer[t.ProducerID], t)
	}
	for _, ts := range a.byProducer {
		slices.SortFunc(ts, func(x, y segment.AbortedTxn) int { return cmp.Compare(x.LastOffset, y.LastOffset) })
	}
	return a
}

// of returns the aborted transaction that a batch, data or marker, belongs to.
func (a *aborted) of(b record.Batch) (t segment.AbortedTxn, ok bool) {
	if !b.Transactional() {
		return t, false
	}
	id, at := b.ProducerID(), b.BaseOffset()
	ts := a.byProducer[id]
	for len(ts) > 0 && ts[0].LastOffset < at {
		ts = ts[1:]
		a.byProducer[id] = ts
	}
	if len(ts) == 0 || at < ts[0].FirstOffset {
		return t, false
	}
	return ts[0], true
}
