package chunk

import "container/list"

type element = list.Element

// recent remembers the keys that were added last, each with a value.
type recent[K comparable, V any] struct {
	order list.List // of recentEntry; the front is the newest
	keys  map[K]*element
}

type recentEntry[K comparable, V any] struct {
	key   K
	value V
}

// Add remembers a key, anew if it is known, and forgets the oldest ones above limit.
func (r *recent[K, V]) add(key K, value V, limit int) {
	if r.keys == nil {
		r.keys = map[K]*element{}
	}
	r.take(key)
	r.keys[key] = r.order.PushFront(recentEntry[K, V]{key, value})
	for r.order.Len() > limit {
		delete(r.keys, r.order.Remove(r.order.Back()).(recentEntry[K, V]).key)
	}
}

// Get returns the value of a key and whether it is remembered.
func (r *recent[K, V]) get(key K) (value V, ok bool) {
	if e := r.keys[key]; e != nil {
		return e.Value.(recentEntry[K, V]).value, true
	}
	return value, false
}

// take is get, and forgets the key.
func (r *recent[K, V]) take(key K) (value V, ok bool) {
	e := r.keys[key]
	if e == nil {
		return value, false
	}
	delete(r.keys, key)
	return r.order.Remove(e).(recentEntry[K, V]).value, true
}
