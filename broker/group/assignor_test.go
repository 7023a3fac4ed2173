package group

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawGroup draws topics and members, some of whom hold what an earlier
// assignment gave them, some of it of topics that have changed since.
func drawGroup(t *rapid.T, assign assignor, sameTopics bool) ([]assignee, map[topicID]int32) {
	draw := func(partitions map[topicID]int32, n int) []assignee {
		var members []assignee
		for i := range n {
			a := assignee{id: fmt.Sprintf("m%02d", i), topics: map[topicID]bool{}}
			for id := range partitions {
				if sameTopics || rapid.Bool().Draw(t, "subscribed") {
					a.topics[id] = true
				}
			}
			members = append(members, a)
		}
		return members
	}
	partitions := map[topicID]int32{}
	for i := range rapid.IntRange(1, 4).Draw(t, "topics") {
		partitions[topicID{byte(i)}] = int32(rapid.IntRange(1, 9).Draw(t, "partitions"))
	}
	before := draw(partitions, rapid.IntRange(1, 8).Draw(t, "members before"))
	target := assign(before, partitions)

	for id := range maps.Clone(partitions) {
		partitions[id] = max(1, partitions[id]+int32(rapid.IntRange(-2, 2).Draw(t, "growth")))
	}
	members := draw(partitions, rapid.IntRange(1, 8).Draw(t, "members"))
	for i := range members {
		members[i].previous = target[members[i].id]
	}
	return members, partitions
}

// checkTarget: every partition goes to exactly one of those who want it.
func checkTarget(t *rapid.T, members []assignee, partitions map[topicID]int32, target map[string]partitionSet) {
	owners := map[topicPartition]string{}
	for _, m := range members {
		set, ok := target[m.id]
		if !ok {
			t.Fatalf("nothing is said about %s", m.id)
		}
		for id, parts := range set {
			if !m.topics[id] || !slices.IsSorted(parts) || parts[len(parts)-1] >= partitions[id] {
				t.Fatalf("%s is given %v of topic %x", m.id, parts, id[0])
			}
			for _, p := range parts {
				if other, taken := owners[topicPartition{id, p}]; taken {
					t.Fatalf("%x/%d goes to %s and %s", id[0], p, other, m.id)
				}
				owners[topicPartition{id, p}] = m.id
			}
		}
	}
	for id, n := range partitions {
		wanted := slices.ContainsFunc(members, func(m assignee) bool { return m.topics[id] })
		for p := range n {
			if owner := owners[topicPartition{id, p}]; (owner != "") != wanted {
				t.Fatalf("%x/%d goes to %q", id[0], p, owner)
			}
		}
	}
}

func size(set partitionSet) (n int) {
	for _, parts := range set {
		n += len(parts)
	}
	return n
}

func TestAssignorsGiveEveryPartitionToOneSubscriber(t *testing.T) {
	for name, assign := range assignors {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				members, partitions := drawGroup(t, assign, false)
				target := assign(members, partitions)
				checkTarget(t, members, partitions, target)
				reversed := slices.Clone(members)
				slices.Reverse(reversed)
				if again := assign(reversed, partitions); !maps.EqualFunc(again, target, partitionSet.equal) {
					t.Fatalf("in another order of members: %v, not %v", again, target)
				}
			})
		})
	}
}

func TestUniformIsBalancedAndStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, partitions := drawGroup(t, assignUniform, false)
		target := assignUniform(members, partitions)
		for _, m := range members {
			for id := range target[m.id] {
				for _, other := range members {
					if other.topics[id] && size(target[m.id]) > size(target[other.id])+1 {
						t.Fatalf("%s has %d, %s has %d and subscribes to %x", m.id, size(target[m.id]), other.id, size(target[other.id]), id[0])
					}
				}
			}
		}
		for i := range members {
			members[i].previous = target[members[i].id]
		}
		if again := assignUniform(members, partitions); !maps.EqualFunc(again, target, partitionSet.equal) {
			t.Fatalf("computed again it is %v, not %v", again, target)
		}
	})
}

// With equal subscriptions nobody loses partitions to get others instead.
func TestUniformMovesNoMoreThanItHasTo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, partitions := drawGroup(t, assignUniform, true)
		target := assignUniform(members, partitions)
		for _, m := range members {
			had, kept := 0, 0
			for id, parts := range m.previous {
				for _, p := range parts {
					if p < partitions[id] {
						had++
						if slices.Contains(target[m.id][id], p) {
							kept++
						}
					}
				}
			}
			if now := size(target[m.id]); kept < min(had, now) {
				t.Fatalf("%s had %d, has %d, kept %d", m.id, had, now, kept)
			}
		}
	})
}

func TestRangeIsContiguousAndCoPartitioned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, partitions := drawGroup(t, assignRange, true)
		n := partitions[topicID{}]
		for id := range partitions {
			partitions[id] = n
		}
		for _, set := range assignRange(members, partitions) {
			first := set[topicID{}]
			for id, parts := range set {
				if !slices.Equal(parts, first) {
					t.Fatalf("%v of topic %x, %v of the first", parts, id[0], first)
				}
			}
			if len(first) > 0 && int(first[len(first)-1]-first[0]) != len(first)-1 {
				t.Fatalf("%v is not a range", first)
			}
		}
	})
}

func TestRangeKeepsStaticMembersInTheirPlace(t *testing.T) {
	topics := map[topicID]bool{{1}: true}
	members := func(ids ...string) (out []assignee) {
		for _, id := range ids {
			out = append(out, assignee{id: id, instance: "i" + id[:1], topics: topics})
		}
		return append(out, assignee{id: "0", topics: topics})
	}
	before := assignRange(members("a-9", "b-1"), map[topicID]int32{{1}: 6})
	after := assignRange(members("b-1", "a-0"), map[topicID]int32{{1}: 6})
	if !before["a-9"].equal(after["a-0"]) || !before["b-1"].equal(after["b-1"]) || !before["0"].equal(after["0"]) {
		t.Errorf("a restart of a changes %v to %v", before, after)
	}
}
