package cluster

import "hash/maphash"

// shards is an immutable map from which a changed copy is made at the cost of
// the touched buckets alone: creating ten thousand topics one by one copies a
// few dozen entries each time instead of all of them.
type shards[K comparable, V any] struct {
	buckets [shardCount]*bucket[K, V] // nil when empty
	n       int
}

type bucket[K comparable, V any] struct{ m map[K]V }

const shardCount = 256

var shardSeed = maphash.MakeSeed()

func shardOf[K comparable](key K) int {
	return int(maphash.Comparable(shardSeed, key) % shardCount)
}

func (s *shards[K, V]) get(key K) (v V, ok bool) {
	if b := s.buckets[shardOf(key)]; b != nil {
		v, ok = b.m[key]
	}
	return v, ok
}

func (s *shards[K, V]) len() int { return s.n }

// all calls f for every entry, in no order, until it returns false.
func (s *shards[K, V]) all(f func(K, V) bool) {
	for _, b := range s.buckets {
		if b == nil {
			continue
		}
		for k, v := range b.m {
			if !f(k, v) {
				return
			}
		}
	}
}

// edit begins a changed copy; s itself stays as it is.
func (s *shards[K, V]) edit() *shardEdit[K, V] { return &shardEdit[K, V]{next: *s} }

// shardEdit is a copy being changed. It is used by one goroutine.
type shardEdit[K comparable, V any] struct {
	next  shards[K, V]
	owned [shardCount]bool // buckets that no other shards shares
}

func (e *shardEdit[K, V]) get(key K) (V, bool) { return e.next.get(key) }

func (e *shardEdit[K, V]) set(key K, v V) {
	m := e.own(shardOf(key))
	if _, ok := m[key]; !ok {
		e.next.n++
	}
	m[key] = v
}

func (e *shardEdit[K, V]) delete(key K) {
	if _, ok := e.next.get(key); !ok {
		return
	}
	i := shardOf(key)
	m := e.own(i)
	delete(m, key)
	e.next.n--
	if len(m) == 0 {
		e.next.buckets[i], e.owned[i] = nil, false
	}
}

func (e *shardEdit[K, V]) own(i int) map[K]V {
	old := e.next.buckets[i]
	if e.owned[i] {
		return old.m
	}
	m := make(map[K]V)
	if old != nil {
		for k, v := range old.m {
			m[k] = v
		}
	}
	e.next.buckets[i], e.owned[i] = &bucket[K, V]{m}, true
	return m
}

// done returns the changed copy. The edit must not be used afterwards.
func (e *shardEdit[K, V]) done() shards[K, V] { return e.next }

// diff calls f for every key whose value differs between old and s, looking
// only into buckets that were touched: inOld and inNew say where it exists.
func (s *shards[K, V]) diff(old *shards[K, V], f func(key K, inOld, inNew bool)) {
	for i, b := range s.buckets {
		was := old.buckets[i]
		if b == was {
			continue
		}
		if was != nil {
			for k := range was.m {
				if b == nil || !has(b.m, k) {
					f(k, true, false)
				}
			}
		}
		if b != nil {
			for k := range b.m {
				f(k, was != nil && has(was.m, k), true)
			}
		}
	}
}

func has[K comparable, V any](m map[K]V, key K) bool {
	_, ok := m[key]
	return ok
}
