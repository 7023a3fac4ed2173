package group

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
)

// assignorShare is the one assignor of share groups, by Kafka's name.
const assignorShare = "simple"

// assignShare gives every partition of a topic to at least one of its subscribers,
// and every subscriber at least one partition, as evenly as that goes: several
// members share a partition where there are more members than partitions. Each
// topic begins where the last one ended, so that small topics do not all meet the
// same members.
func assignShare(members []assignee, partitions map[topicID]int32) map[string]partitionSet {
	members = slices.SortedFunc(slices.Values(members), func(a, b assignee) int { return cmp.Compare(a.id, b.id) })
	target := emptyTarget(members)
	next := 0
	for _, id := range slices.SortedFunc(maps.Keys(partitions), func(a, b topicID) int { return bytes.Compare(a[:], b[:]) }) {
		subscribers, n := subscribersOf(members, id), int(partitions[id])
		if len(subscribers) == 0 || n == 0 {
			continue
		}
		for i := range max(n, len(subscribers)) {
			m := subscribers[(next+i)%len(subscribers)]
			target[m.id][id] = append(target[m.id][id], int32(i%n))
		}
		next += n
	}
	return target
}
