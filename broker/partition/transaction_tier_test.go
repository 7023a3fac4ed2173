package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// This file is scenario 44 of the tier's faults with real transactions: readers of committed
// records across the seam between the tier and the local log.

// txnHistory is what producers wrote to a partition, and what has become of it.
type txnHistory struct {
	w    *world
	name string
	// open are the values of each producer's open transaction with the offsets they got, epochs
	// those of the producers.
	open   map[int64]map[int64]string
	epochs map[int64]int16
	// committed are the values that readers of committed records see, by offset.
	committed map[int64]string
	count     int
}

func (w *world) txnHistory(name string) *txnHistory {
	return &txnHistory{w: w, name: name, open: map[int64]map[int64]string{}, epochs: map[int64]int16{}, committed: map[int64]string{}}
}

// value is different each time, and large enough that segments are small.
func (h *txnHistory) value() string {
	h.count++
	return fmt.Sprint(h.count, strings.Repeat(".", 200))
}

// plain writes outside of transactions.
func (h *txnHistory) plain() {
	h.w.Helper()
	v := h.value()
	h.committed[h.w.append(h.w.partition(h.name), plain(v))] = v
}

// write writes in the transaction of a producer, which it begins if there is none.
func (h *txnHistory) write(producer int64) {
	h.w.Helper()
	p, v := h.w.partition(h.name), h.value()
	if h.open[producer] == nil {
		h.open[producer] = map[int64]string{}
	}
	b := transactionalOf(producer, batch(h.w.clock(), plain(v)), h.epochs[producer], int32(len(h.open[producer])))
	pending, err := p.Append(h.w.Context(), b, p.Verify(b, true), h.w.clock())
	if err != nil {
		h.w.Fatalf("append in the transaction of %d: %v", producer, err)
	}
	h.open[producer][pending.BaseOffset] = v
}

// end ends the transaction of a producer, if it has one.
func (h *txnHistory) end(producer int64, commit bool) {
	h.w.Helper()
	if h.open[producer] == nil {
		return
	}
	h.epochs[producer]++
	m := log.Marker{ProducerID: producer, Epoch: h.epochs[producer], CoordinatorEpoch: 1, Commit: commit}
	if _, err := h.w.partition(h.name).EndTransaction(m, false, h.w.clock()); err != nil {
		h.w.Fatalf("end the transaction of %d: %v", producer, err)
	}
	if commit {
		for offset, v := range h.open[producer] {
			h.committed[offset] = v
		}
	}
	delete(h.open, producer)
}

// stable is where the first open transaction begins.
func (h *txnHistory) stable() int64 {
	first := h.w.partition(h.name).log.Offsets().LogEnd
	for _, values := range h.open {
		for offset := range values {
			first = min(first, offset)
		}
	}
	return first
}

// read reads from an offset as clients do that read committed records, a little at a time, and
// returns the values, and how many reads the tier served.
func (h *txnHistory) read(from int64) (got []string, remote int) {
	h.w.Helper()
	p := h.w.partition(h.name)
	for next := from; next < p.log.Offsets().LastStable; {
		wanted := ReadRequest{Offset: next, MaxBytes: 2000, MinOne: true, Committed: true, LeaderEpoch: -1, LastFetchedEpoch: -1}
		r, err := p.Read(wanted)
		if isTiered(err) {
			remote++
			r, err = p.ReadRemote(h.w.Context(), wanted)
		}
		if err != nil {
			h.w.Fatalf("read at %d: %v", next, err)
		}
		values, end := h.filtered(r, next)
		r.Release()
		if end <= next {
			h.w.Fatalf("nothing at %d, below the last stable offset %d", next, p.log.Offsets().LastStable)
		}
		got, next = append(got, values...), end
	}
	return got, remote
}

// filtered is what a client makes of an answer: it drops what the listed transactions wrote, up to
// their markers.
func (h *txnHistory) filtered(r *Read, from int64) (values []string, next int64) {
	h.w.Helper()
	aborted, skipping := slices.Clone(r.Aborted), map[int64]bool{}
	slices.SortFunc(aborted, func(a, b log.AbortedTxn) int { return int(a.FirstOffset - b.FirstOffset) })
	for _, at := range r.Ranges {
		data := make([]byte, at.Len)
		if _, err := at.File.ReadAt(data, at.Pos); err != nil {
			h.w.Fatal(err)
		}
		for len(data) > 0 {
			b, rest, err := record.Next(data)
			if err != nil {
				h.w.Fatal(err)
			}
			data, next = rest, b.EndOffset()
			for len(aborted) > 0 && aborted[0].FirstOffset <= b.LastOffset() {
				skipping[aborted[0].ProducerID] = true
				aborted = aborted[1:]
			}
			records, err := b.Decode()
			if err != nil {
				h.w.Fatal(err)
			}
			if b.Control() {
				if abort := binary.BigEndian.Uint16(records[0].Key[2:]) == 0; abort {
					delete(skipping, b.ProducerID())
				}
				continue
			}
			if b.Attributes()&record.Transactional != 0 && skipping[b.ProducerID()] {
				continue
			}
			for _, one := range records {
				if one.Offset >= from {
					values = append(values, string(bytes.TrimRight(one.Value, ".")))
				}
			}
		}
	}
	return values, next
}

// check reads from some offsets, and compares. It returns how many reads the tier served.
func (h *txnHistory) check(rng *rand.Rand) (remote int) {
	h.w.Helper()
	p := h.w.partition(h.name)
	stable := h.stable()
	if o := p.log.Offsets(); o.LastStable != stable {
		h.w.Errorf("last stable offset is %d, expected %d", o.LastStable, stable)
	}
	if end := p.remote.Load().Status().End; end > stable {
		h.w.Errorf("the tier has the log up to %d, and the first open transaction begins at %d", end, stable)
	}
	for _, from := range []int64{0, rng.Int64N(stable + 1), rng.Int64N(stable + 1)} {
		var want []string
		for offset := from; offset < stable; offset++ {
			if v, ok := h.committed[offset]; ok {
				want = append(want, strings.TrimRight(v, "."))
			}
		}
		got, n := h.read(from)
		if remote += n; !slices.Equal(got, want) {
			h.w.Fatalf("from %d, read %v, expected %v", from, got, want)
		}
	}
	return remote
}

// TestCommittedReadersAcrossTheSeamOfTheTier: transactions of several producers that interleave,
// and span what is evicted and what is not. Readers of committed records see what was committed and
// nothing else, wherever it lies and after a crash, and nothing undecided is uploaded.
func TestCommittedReadersAcrossTheSeamOfTheTier(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			tiered(t, func(t *testing.T, w *world) {
				w.create("orders", 1, "remote.storage.enable", "true", "segment.bytes", "2048", "local.retention.ms", "60000", "retention.ms", "-1", "flush.messages", "1")
				stop := w.start()
				w.awaitLoaded("orders")
				h, rng := w.txnHistory("orders"), rand.New(rand.NewPCG(seed, 44))
				remote := 0
				for round := range 8 {
					for range 40 {
						switch producer := 1 + rng.Int64N(4); rng.IntN(10) {
						case 0, 1, 2:
							h.plain()
						case 3, 4, 5, 6, 7:
							h.write(producer)
						default:
							h.end(producer, rng.IntN(2) == 0)
						}
						time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
					}
					if round == 5 { // one stays open meanwhile, and holds up what comes after it
						h.write(9)
					}
					time.Sleep(time.Duration(rng.IntN(600)) * time.Second)
					synctest.Wait()
					remote += h.check(rng)
				}
				if o := w.partition("orders").log.Offsets(); o.LocalStart == 0 || remote == 0 {
					t.Errorf("local log begins at %d, %d reads of the tier: the test is void", o.LocalStart, remote)
				}
				w.crash(stop, time.Second)
				w.awaitLoaded("orders")
				h.check(rng)
				for _, producer := range []int64{1, 2, 3, 4, 9} {
					h.end(producer, rng.IntN(2) == 0)
				}
				h.plain()
				time.Sleep(time.Hour)
				synctest.Wait()
				h.check(rng)
			})
		})
	}
}

// TestOnlyWhatIsDecidedIsOffered to the tier: no segment that an open transaction reaches into, nor
// one that is not committed. (Scenario 64)
func TestOnlyWhatIsDecidedIsOffered(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "delay.enable", "false", "segment.bytes", "4096")
		p, h := w.partition("orders"), w.txnHistory("orders")
		offered := func() int64 {
			closed, err := localSource{p}.Closed(0)
			if err != nil {
				t.Fatal(err)
			}
			if len(closed) == 0 {
				return 0
			}
			return closed[len(closed)-1].End
		}
		for range 50 {
			h.plain()
		}
		if got := offered(); got != 0 {
			t.Errorf("offered up to %d, nothing is committed", got)
		}
		begun := p.log.Offsets().LogEnd
		h.write(7)
		for range 50 {
			h.plain()
		}
		w.commit()
		if got := offered(); got == 0 || got > begun {
			t.Errorf("offered up to %d, a transaction is open from %d on", got, begun)
		}
		h.end(7, true)
		w.commit()
		if got := offered(); got <= begun {
			t.Errorf("offered up to %d, the transaction from %d on has ended", got, begun)
		}
	})
}
