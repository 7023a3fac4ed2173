package group

import (
	"cmp"
	"slices"
)

// assignee is a member as an assignor sees it.
type assignee struct {
	id       string
	instance string           // "" for a dynamic member
	topics   map[topicID]bool // subscribed, existing
	previous partitionSet     // its present target
}

// assignor computes a target assignment, by member id: every partition of every
// subscribed topic goes to exactly one of the members subscribed to it. It is a
// function of its arguments; their order does not matter.
type assignor func(members []assignee, partitions map[topicID]int32) map[string]partitionSet

var assignors = map[string]assignor{
	AssignorUniform: assignUniform,
	AssignorRange:   assignRange,
}

// assignRange gives each member a contiguous range of every topic, the same
// range of topics with the same number of partitions and subscribers, so that
// partitions with the same number end up together. Members are ordered by
// instance id, static ones first, so that a restart changes nothing.
func assignRange(members []assignee, partitions map[topicID]int32) map[string]partitionSet {
	members = slices.SortedFunc(slices.Values(members), func(a, b assignee) int {
		return cmp.Or(
			-cmp.Compare(min(len(a.instance), 1), min(len(b.instance), 1)),
			cmp.Compare(a.instance, b.instance),
			cmp.Compare(a.id, b.id),
		)
	})
	target := emptyTarget(members)
	for id, n := range partitions {
		subscribers := subscribersOf(members, id)
		if len(subscribers) == 0 {
			continue
		}
		each, extra := n/int32(len(subscribers)), n%int32(len(subscribers))
		next := int32(0)
		for i, m := range subscribers {
			size := each
			if int32(i) < extra {
				size++
			}
			for end := next + size; next < end; next++ {
				target[m.id][id] = append(target[m.id][id], next)
			}
		}
	}
	return target
}

func emptyTarget(members []assignee) map[string]partitionSet {
	target := make(map[string]partitionSet, len(members))
	for _, m := range members {
		target[m.id] = partitionSet{}
	}
	return target
}

func subscribersOf(members []assignee, id topicID) []*assignee {
	var out []*assignee
	for i := range members {
		if members[i].topics[id] {
			out = append(out, &members[i])
		}
	}
	return out
}
