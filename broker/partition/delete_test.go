package partition

import (
	"context"
	"testing"

	"github.com/morrowmq/morrow/cluster"
)

// TestDeletedTopicLeavesNothingOnDisk is P5 for the directories: those of the topic and of its schedule go, and the others stay.
func TestDeletedTopicLeavesNothingOnDisk(t *testing.T) {
	w := newWorld(t)
	gone := w.create("gone", 1)
	w.create("kept", 1)
	w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{gone.ID}})
	w.follow()
	w.table.clean(context.Background())
	if got, want := w.directories(), "__schedule.kept-0 kept-0"; got != want {
		t.Errorf("directories are %q, expected %q", got, want)
	}
}
