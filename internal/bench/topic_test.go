package bench

import (
	"slices"
	"testing"
)

func TestLanesCoverEveryPartition(t *testing.T) {
	l := layout{"a:1": {0, 2, 4}, "b:1": {1, 3}, "c:1": {5}}
	for _, connections := range []int{1, 2, 3, 5, 6, 7, 12, 100} {
		lanes := l.lanes(connections)
		var covered []int32
		for _, lane := range lanes {
			if len(lane.partitions) == 0 {
				t.Errorf("%d connections: one has nothing to do", connections)
			}
			for _, p := range lane.partitions {
				if !slices.Contains(l[lane.addr], p) {
					t.Errorf("%d connections: partition %d is not led by %s", connections, p, lane.addr)
				}
			}
			covered = append(covered, lane.partitions...)
		}
		slices.Sort(covered)
		if got := slices.Compact(covered); !slices.Equal(got, []int32{0, 1, 2, 3, 4, 5}) {
			t.Errorf("%d connections cover %v", connections, got)
		}
		if len(lanes) > max(connections, len(l)) {
			t.Errorf("%d connections became %d", connections, len(lanes))
		}
	}
}

func TestATopicThatExistsIsKept(t *testing.T) {
	brokers := broker(t, 1)
	l := load(t, brokers, 1)
	again, err := OpenTopic(t.Context(), brokers, l.Topic, 1, nil)
	if err != nil || again.Created() {
		t.Fatalf("created: %v, %v", again.Created(), err)
	}
	if err := again.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := findLayout(t.Context(), brokers, l.Topic); err != nil {
		t.Errorf("the topic is gone: %v", err)
	}
}
