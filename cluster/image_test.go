package cluster

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestTopicIDsAreSpeltAsInKafka(t *testing.T) {
	id := TopicID{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x4d, 0xef, 0x81, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	if got := id.String(); got != "ASNFZ4mrTe-BI0VniavN7w" {
		t.Errorf("%s", got)
	}
	if back, err := ParseTopicID(id.String()); err != nil || back != id {
		t.Errorf("%v %v", back, err)
	}
	for _, bad := range []string{"", "ASNFZ4mrTe-BI0VniavN7", "ASNFZ4mrTe+BI0VniavN7w", "ASNFZ4mrTe-BI0VniavN7x", "ASNFZ4mrTe-BI0VniavN7w=="} {
		if _, err := ParseTopicID(bad); err == nil {
			t.Errorf("%q is taken for a topic id", bad)
		}
	}
}

func TestTopicIDsSurviveJSON(t *testing.T) {
	type record struct {
		ID, None TopicID
		ByID     map[TopicID]int
	}
	want := record{ID: NewTopicID(), ByID: map[TopicID]int{{0: 9}: 1}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got record
	if err := json.Unmarshal(b, &got); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v %v", b, got, err)
	}
}

func TestNewTopicIDsAreNeverReserved(t *testing.T) {
	for range 1000 {
		if id := NewTopicID(); id.reserved() || id.String()[0] == '-' {
			t.Fatal(id)
		}
	}
	for _, id := range []TopicID{{}, {15: 1}, {15: 99}, {0: 0xfb}} {
		if !id.reserved() {
			t.Errorf("%s is not reserved", id)
		}
	}
	if (TopicID{15: 100}).reserved() {
		t.Error("the hundred-first id is reserved")
	}
}

func TestReservedIDsAreNotGivenToTopics(t *testing.T) {
	w := newWorld()
	w.play(t, "> broker 1\n")
	offered := []TopicID{{}, {15: 1}, {0: 1}, {0: 2}}
	next := func() TopicID {
		id := offered[0]
		offered = offered[1:]
		return id
	}
	change, err := Decide(w.img, CreateTopics{Topics: []NewTopic{{Name: "a", Partitions: 1, ReplicationFactor: 1}}}, w.now, next)
	if err != nil || change.Topics[0].ID != (TopicID{0: 1}) || change.Topics[1].ID != (TopicID{0: 2}) {
		t.Errorf("%+v %v", change, err)
	}
}

func TestWatchersAreWokenOnce(t *testing.T) {
	var f Feed
	f.Publish(NewImage("test", 1, nil))
	changed, cancel := f.Watch()
	select {
	case <-changed:
	default:
		t.Fatal("not signalled at the start")
	}
	next := f.Image().With(Change{})
	f.Publish(next)
	f.Publish(next)
	<-changed
	select {
	case <-changed:
		t.Error("signalled twice")
	default:
	}
	cancel()
	cancel()
	f.Publish(next)
	select {
	case <-changed:
		t.Error("signalled after cancel")
	default:
	}
	if f.Image() != next || next.Version() != 1 {
		t.Errorf("version %d", f.Image().Version())
	}
}

func TestShardsAreAMapThatIsNeverChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s shards[int, int]
		model := map[int]int{}
		key := rapid.IntRange(0, 2000)
		for range rapid.IntRange(0, 20).Draw(t, "edits") {
			old, oldModel := s, fmt.Sprint(model)
			e := s.edit()
			for range rapid.IntRange(0, 50).Draw(t, "changes") {
				k := key.Draw(t, "key")
				if rapid.Bool().Draw(t, "delete") {
					e.delete(k)
					delete(model, k)
				} else {
					e.set(k, k*2)
					model[k] = k * 2
				}
			}
			s = e.done()
			if fmt.Sprint(contents(&old)) != oldModel {
				t.Fatal("an edit has changed the map it began from")
			}
			checkDiff(t, &old, &s)
		}
		if fmt.Sprint(contents(&s)) != fmt.Sprint(model) || s.len() != len(model) {
			t.Fatalf("%v, want %v", contents(&s), model)
		}
	})
}

// checkDiff makes the new contents from the old and their difference.
func checkDiff(t *rapid.T, old, s *shards[int, int]) {
	made := contents(old)
	s.diff(old, func(k int, inOld, inNew bool) {
		if _, ok := old.get(k); ok != inOld {
			t.Fatalf("key %d", k)
		}
		delete(made, k)
		if v, ok := s.get(k); ok && inNew {
			made[k] = v
		}
	})
	if fmt.Sprint(made) != fmt.Sprint(contents(s)) {
		t.Fatal("the difference does not lead from the old map to the new")
	}
}

func contents(s *shards[int, int]) map[int]int {
	m := map[int]int{}
	s.all(func(k, v int) bool {
		m[k] = v
		return true
	})
	return m
}
