package index

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// lastDue is as late as dues are: the end of the year 9999.
const lastDue = 253402300799999

func TestIndexBehavesLikeASortedSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New()
		x.most = rapid.SampledFrom([]int{64, 300, bucketCap}).Draw(t, "most")
		model := map[int64]Entry{}
		sorted := func() []Entry {
			var es []Entry
			for _, e := range model {
				es = append(es, e)
			}
			slices.SortFunc(es, Entry.Compare)
			return es
		}
		next := int64(0)
		// Few dues make long runs of equal ones; far ones do not fit into one bucket's range.
		due := rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 10_000), rapid.Int64Range(0, 1<<40),
			rapid.Int64Range(-1<<33, 1<<33), rapid.Just(int64(lastDue)))
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if x.count != len(model) {
					t.Fatalf("count %d, want %d", x.count, len(model))
				}
				checkIndex(t, x)
				if es := sorted(); len(es) > 0 {
					if e, ok := x.Min(); !ok || e != es[0] {
						t.Fatalf("first is %v, %v, want %v", e, ok, es[0])
					}
				} else if e, ok := x.Min(); ok {
					t.Fatalf("first is %v of none", e)
				}
			},
			"insert many": func(t *rapid.T) {
				n := rapid.IntRange(1, 150).Draw(t, "n")
				d, step := due.Draw(t, "due"), rapid.SampledFrom([]int64{0, 1, -1, 1000, -1 << 20, 1 << 33}).Draw(t, "step")
				for range n {
					e := Entry{Due: min(d, lastDue), Ticket: next, Size: unpackSize(packSize(int32(next % 5000)))}
					next += 1 + next%3
					x.Insert(e)
					model[e.Ticket] = e
					d += step
				}
			},
			"insert at random": func(t *rapid.T) {
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
				span := rapid.SampledFrom([]int64{10, 1000, 1 << 34}).Draw(t, "span")
				for range 100 {
					e := Entry{Due: rng.Int64N(span), Ticket: next, Size: 7}
					next++
					x.Insert(e)
					model[e.Ticket] = e
				}
			},
			"remove": func(t *rapid.T) {
				es := sorted()
				if len(es) == 0 {
					t.Skip("empty")
				}
				i := rapid.IntRange(0, len(es)-1).Draw(t, "first")
				n := rapid.IntRange(1, min(len(es)-i, 200)).Draw(t, "n")
				step := rapid.IntRange(1, 5).Draw(t, "step")
				for ; n > 0 && i < len(es); n, i = n-1, i+step {
					if got, ok := x.Remove(Entry{Due: es[i].Due, Ticket: es[i].Ticket}); !ok || got != es[i] {
						t.Fatalf("remove %v: got %v, %v", es[i], got, ok)
					}
					delete(model, es[i].Ticket)
				}
			},
			"remove what is not there": func(t *rapid.T) {
				e := Entry{Due: due.Draw(t, "due"), Ticket: next + 1}
				if _, ok := x.Remove(e); ok || x.Contains(e) {
					t.Fatalf("removed %v", e)
				}
			},
			"pop due": func(t *rapid.T) {
				now, n := due.Draw(t, "now"), rapid.IntRange(1, 200).Draw(t, "n")
				var want []Entry
				for _, e := range sorted() {
					if e.Due <= now && len(want) < n {
						want = append(want, e)
						delete(model, e.Ticket)
					}
				}
				if got := x.PopDue(nil, now, n, math.MaxInt); !slices.Equal(got, want) {
					t.Fatalf("popped %v, want %v", got, want)
				}
			},
			"count and list": func(t *rapid.T) {
				after, until := due.Draw(t, "after"), due.Draw(t, "until")
				es := sorted()
				n := 0
				for _, e := range es {
					if after < e.Due && e.Due <= until {
						n++
					}
				}
				if got := x.CountBetween(after, until); got != n {
					t.Fatalf("%d between %d and %d, want %d", got, after, until, n)
				}
				from := Entry{Due: after, Ticket: rapid.Int64Range(0, next+1).Draw(t, "ticket")}
				want := slices.DeleteFunc(es, func(e Entry) bool { return e.Less(from) })
				var got []Entry
				x.Ascend(from, func(e Entry) bool {
					got = append(got, e)
					return true
				})
				if !slices.Equal(got, want) {
					t.Fatalf("from %v: %v, want %v", from, got, want)
				}
			},
		})
	})
}

func TestRadixSortIsAStableSortByDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		span := rapid.SampledFrom([]int64{1, 1000, 1 << 22, 1 << 40, math.MaxInt64}).Draw(t, "span")
		entries := make([]Entry, rapid.IntRange(1, 5000).Draw(t, "n"))
		for i := range entries {
			entries[i] = Entry{Due: rng.Int64N(span) - rng.Int64N(span), Ticket: int64(i)}
		}
		want := slices.Clone(entries)
		slices.SortFunc(want, Entry.Compare)
		if got, _ := radixSort(entries, make([]Entry, len(entries))); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// checkIndex checks the invariants of the index.
func checkIndex(t interface{ Fatalf(string, ...any) }, x *Index) {
	high, n := First, 0
	x.tree.Ascend(func(l leaf) bool {
		b := l.bucket
		if b.n == 0 || b.n > x.most {
			t.Fatalf("bucket with %d entries", b.n)
		}
		if high != First && high != b.low || leafOf(b) != l {
			t.Fatalf("bucket begins at %v, the one before ends at %v", b.low, high)
		}
		high = b.high
		for i := range b.n {
			e := b.at(i)
			if e.Less(b.low) || !e.Less(b.high) || b.last.Less(e) {
				t.Fatalf("%v in bucket [%v, %v), last %v", e, b.low, b.high, b.last)
			}
			if 0 < i && i < b.sorted && !b.at(i-1).Less(e) {
				t.Fatalf("bucket is not sorted")
			}
		}
		n += b.n
		return true
	})
	for _, e := range x.inbox.entries {
		if e.Less(x.inbox.first) {
			t.Fatalf("%v is in the inbox, all should be at or after %v", e, x.inbox.first)
		}
	}
	if n+len(x.inbox.entries) != x.count || n > 0 && high != Last {
		t.Fatalf("%d entries up to %v and %d in the inbox, count is %d", n, high, len(x.inbox.entries), x.count)
	}
}

func TestSizesSurviveTheIndexUnchangedOrRoundedUpALittle(t *testing.T) {
	for _, n := range []int32{0, 1, 2047, 2048, 2049, 4097, 1 << 20, 1<<20 + 1, 123456789, math.MaxInt32} {
		got := unpackSize(packSize(n))
		if got < n || float64(got) > float64(n)*1.001 || unpackSize(packSize(got)) != got {
			t.Errorf("size %d becomes %d, then %d", n, got, unpackSize(packSize(got)))
		}
	}
}

// indexLoads are the shapes of due times that an index meets.
var indexLoads = map[string]func(i int, rng *rand.Rand) int64{
	"random over a day":  func(_ int, rng *rand.Rand) int64 { return rng.Int64N(24 * 60 * 60 * 1000) },
	"random over a year": func(_ int, rng *rand.Rand) int64 { return rng.Int64N(365 * 24 * 60 * 60 * 1000) },
	"one fixed delay":    func(i int, _ *rand.Rand) int64 { return int64(i / 100) },
	"levels": func(i int, rng *rand.Rand) int64 {
		return int64(i/100) + []int64{1e3, 1e4, 6e4, 36e5, 72e5}[rng.IntN(5)]
	},
	"one instant": func(int, *rand.Rand) int64 { return 1 << 40 },
}

func BenchmarkIndex(b *testing.B) {
	const n = 10_000_000
	for name, due := range indexLoads {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				runIndex(b, n, due)
			}
		})
	}
}

func runIndex(b *testing.B, n int, due func(int, *rand.Rand) int64) {
	b.StopTimer()
	rng := rand.New(rand.NewPCG(1, 2))
	dues := make([]int64, n)
	for i := range dues {
		dues[i] = due(i, rng)
	}
	before := heapBytes()
	b.StartTimer()
	x := New()
	for i, d := range dues {
		x.Insert(Entry{Due: d, Ticket: int64(i), Size: 100})
	}
	b.StopTimer()
	inserted := b.Elapsed()
	b.ReportMetric(float64(n)*float64(b.N)/inserted.Seconds()/1e6, "Minserts/s")
	b.ReportMetric(float64(heapBytes()-before)/float64(n), "B/record")
	runtime.KeepAlive(x)
	runtime.KeepAlive(dues)
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestPackedOrder: what is packed is compared as what it stands for.
func TestPackedOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	dues := []uint32{0, 1, 1<<31 - 1, 1 << 31, math.MaxUint32}
	tickets := []int64{math.MinInt64, -1, 0, 1, math.MaxInt64}
	any := func() (Entry, packed) {
		d, ticket := dues[rng.IntN(len(dues))], tickets[rng.IntN(len(tickets))]
		return Entry{Due: int64(d), Ticket: ticket}, pack(d, ticket, rng.Int32())
	}
	for range 1000 {
		e, p := any()
		f, q := any()
		if below, same := p.below(&q) == 1, p.same(&q); below != e.Less(f) || same != (e == f) || comparePacked(p, q) != e.Compare(f) {
			t.Fatalf("%+v, %+v: below %v, same %v, compare %d", e, f, below, same, comparePacked(p, q))
		}
	}
}
