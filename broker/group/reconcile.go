package group

import (
	"bytes"
	"maps"
	"slices"
)

// reconcile leads a member one step towards the target and returns its new
// position, and whether that differs. held are the partitions the member says it holds; nil when it did
// not say. free reports whether nobody else holds a partition.
//
//	          target moved, nothing to give up
//	Stable ─────────────────────────────────────► Stable, or Unreleased while
//	   │                                              others hold some of it
//	   │ something to give up                         ▲
//	   └────────────────► Unrevoked ──────────────────┘
//	                       member no longer holds it
//
// A member keeps its epoch until it has given up what it has to: the epoch of
// its commits and heartbeats stays valid, and nobody is assigned a partition
// that somebody else may still read.
func (p memberPosition) reconcile(target partitionSet, targetEpoch int32, held partitionSet, free func(topicID, int32) bool) (next memberPosition, moved bool) {
	switch {
	case p.state == memberStable && p.epoch == targetEpoch:
		return p, false
	case p.state == memberUnrevoked && holdsAny(held, p.revoking):
		return p, false
	}
	next = memberPosition{assigned: owned{}, revoking: owned{}}
	unreleased := false
	var wanted []topicPartition
	for id, parts := range target {
		for _, part := range parts {
			if since, ok := p.assigned[id][part]; ok {
				next.assigned.add(id, part, since)
				continue
			}
			if _, own := p.revoking[id][part]; own || free(id, part) {
				wanted = append(wanted, topicPartition{id, part})
			} else {
				unreleased = true
			}
		}
	}
	for id, parts := range p.assigned {
		for part, since := range parts {
			if _, keep := next.assigned[id][part]; !keep {
				next.revoking.add(id, part, since)
			}
		}
	}
	if len(next.revoking) > 0 && holdsAny(held, next.revoking) {
		next.state = memberUnrevoked
		next.epoch, next.previous = p.epoch, p.previous
		return next, !next.equal(p)
	}
	next.revoking = owned{}
	for _, w := range wanted {
		next.assigned.add(w.id, w.partition, targetEpoch)
	}
	next.state = memberStable
	if unreleased {
		next.state = memberUnreleased
	}
	next.epoch, next.previous = targetEpoch, p.epoch
	if p.epoch == targetEpoch {
		next.previous = p.previous
	}
	return next, !next.equal(p)
}

type topicPartition struct {
	id        topicID
	partition int32
}

// holdsAny reports whether a member still holds some of the set. One that does
// not say what it holds may.
func holdsAny(held partitionSet, set owned) bool {
	if held == nil {
		return true
	}
	for id, parts := range held {
		for _, part := range parts {
			if _, ok := set[id][part]; ok {
				return true
			}
		}
	}
	return false
}

// subsetOf reports whether a member holds nothing but what is in the set. One
// that does not say what it holds does not.
func (s partitionSet) subsetOf(set owned) bool {
	if s == nil {
		return false
	}
	for id, parts := range s {
		for _, part := range parts {
			if _, ok := set[id][part]; !ok {
				return false
			}
		}
	}
	return true
}

func (o owned) add(id topicID, partition, since int32) {
	if o[id] == nil {
		o[id] = map[int32]int32{}
	}
	o[id][partition] = since
}

// set returns the partitions without their epochs.
func (o owned) set() partitionSet {
	out := make(partitionSet, len(o))
	for id, parts := range o {
		out[id] = slices.Sorted(maps.Keys(parts))
	}
	return out
}

func (o owned) equal(other owned) bool {
	return maps.EqualFunc(o, other, func(a, b map[int32]int32) bool { return maps.Equal(a, b) })
}

// samePartitions is equal but for the epochs.
func (o owned) samePartitions(other owned) bool { return o.set().equal(other.set()) }

// topics returns the topics of the set, sorted.
func (s partitionSet) topics() []topicID {
	return slices.SortedFunc(maps.Keys(s), func(a, b topicID) int { return bytes.Compare(a[:], b[:]) })
}

func (s partitionSet) equal(other partitionSet) bool {
	return maps.EqualFunc(s, other, func(a, b []int32) bool { return slices.Equal(a, b) })
}

func (p memberPosition) equal(q memberPosition) bool {
	return p.epoch == q.epoch && p.previous == q.previous && p.state == q.state &&
		p.assigned.equal(q.assigned) && p.revoking.equal(q.revoking)
}
