package group

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// assignUniform spreads partitions evenly and moves as few as that takes:
//
//  1. Members keep what they have, where topic and subscription still exist.
//  2. What nobody has goes to the subscriber with the least.
//  3. As long as a member has at least two partitions more than another
//     subscriber of one of its topics, it hands one over.
//
// Each step of 3 lowers the sum of the squares of the loads, so it ends; then no
// two subscribers of a topic differ by two or more through it. If all members
// subscribe to the same topics, loads differ by at most one.
func assignUniform(members []assignee, partitions map[topicID]int32) map[string]partitionSet {
	u := newUniform(members, partitions)
	for _, p := range u.pools {
		u.keep(p)
	}
	for _, p := range u.pools {
		u.fill(p)
	}
	for moved := true; moved; {
		moved = false
		for _, p := range u.pools {
			moved = u.level(p) || moved
		}
	}
	return u.target()
}

// uniform is one computation. Members are indexes into members.
type uniform struct {
	members []assignee // by id
	load    []int      // partitions of each member
	pools   []*pool    // those with the fewest subscribers, who can least be chosen, first
}

// pool is the partitions of all topics with the same subscribers.
type pool struct {
	subscribers []int
	free        []topicPartition
	held        map[int][]topicPartition // by member
	partitions  map[topicID]int32        // in number
}

func newUniform(members []assignee, partitions map[topicID]int32) *uniform {
	u := &uniform{members: slices.SortedFunc(slices.Values(members), func(a, b assignee) int { return cmp.Compare(a.id, b.id) })}
	u.load = make([]int, len(u.members))
	bySubscribers := map[string]*pool{}
	for _, id := range slices.SortedFunc(maps.Keys(partitions), func(a, b topicID) int { return bytes.Compare(a[:], b[:]) }) {
		subscribers, key := u.subscribers(id)
		if len(subscribers) == 0 {
			continue
		}
		p := bySubscribers[key]
		if p == nil {
			p = &pool{subscribers: subscribers, held: map[int][]topicPartition{}, partitions: map[topicID]int32{}}
			bySubscribers[key] = p
			u.pools = append(u.pools, p)
		}
		p.partitions[id] = partitions[id]
		for part := range partitions[id] {
			p.free = append(p.free, topicPartition{id, part})
		}
	}
	slices.SortStableFunc(u.pools, func(a, b *pool) int { return cmp.Compare(len(a.subscribers), len(b.subscribers)) })
	return u
}

// subscribers returns who subscribes to a topic, and a string that is the same
// for topics with the same subscribers.
func (u *uniform) subscribers(id topicID) (subscribers []int, key string) {
	var b strings.Builder
	for i, m := range u.members {
		if m.topics[id] {
			subscribers = append(subscribers, i)
			b.WriteString(strconv.Itoa(i))
			b.WriteByte(',')
		}
	}
	return subscribers, b.String()
}

// keep leaves partitions with the members who have them.
func (u *uniform) keep(p *pool) {
	keeper := map[topicPartition]int{}
	for _, i := range p.subscribers {
		for id, n := range p.partitions {
			for _, part := range u.members[i].previous[id] {
				if _, taken := keeper[topicPartition{id, part}]; part < n && !taken {
					keeper[topicPartition{id, part}] = i
				}
			}
		}
	}
	free := p.free[:0]
	for _, tp := range p.free {
		if i, ok := keeper[tp]; ok {
			u.give(p, i, tp)
		} else {
			free = append(free, tp)
		}
	}
	p.free = free
}

// fill gives away what nobody has.
func (u *uniform) fill(p *pool) {
	for _, tp := range p.free {
		u.give(p, u.least(p), tp)
	}
	p.free = nil
}

// level hands partitions of a pool from the most loaded to the least loaded, and
// reports whether there was anything to do.
func (u *uniform) level(p *pool) (moved bool) {
	for {
		from, to := u.most(p), u.least(p)
		if u.load[from] <= u.load[to]+1 {
			return moved
		}
		last := len(p.held[from]) - 1
		tp := p.held[from][last]
		p.held[from] = p.held[from][:last]
		u.load[from]--
		u.give(p, to, tp)
		moved = true
	}
}

func (u *uniform) give(p *pool, member int, tp topicPartition) {
	p.held[member] = append(p.held[member], tp)
	u.load[member]++
}

// least returns the subscriber with the smallest load, the first of equals.
func (u *uniform) least(p *pool) int {
	return slices.MinFunc(p.subscribers, func(a, b int) int { return cmp.Compare(u.load[a], u.load[b]) })
}

// most returns the subscriber with the largest load among those who hold some
// of the pool, the first of equals.
func (u *uniform) most(p *pool) int {
	weight := func(i int) int {
		if len(p.held[i]) == 0 {
			return 0
		}
		return u.load[i]
	}
	return slices.MaxFunc(p.subscribers, func(a, b int) int { return cmp.Compare(weight(a), weight(b)) })
}

func (u *uniform) target() map[string]partitionSet {
	target := emptyTarget(u.members)
	for _, p := range u.pools {
		for i, held := range p.held {
			for _, tp := range held {
				set := target[u.members[i].id]
				set[tp.id] = append(set[tp.id], tp.partition)
			}
		}
	}
	for _, set := range target {
		for _, parts := range set {
			slices.Sort(parts)
		}
	}
	return target
}
