package cluster

import (
	"testing"

	"github.com/morrowmq/morrow/cluster/config"
)

// The configs of groups are worked out when they change, and must be there after every other change too.
func TestGroupConfigsOutliveOtherChanges(t *testing.T) {
	const limit = "share.delivery.count.limit"
	img := NewImage("c", 1, config.Values{})
	img = img.With(Change{GroupConfigs: map[string]config.Values{"g": {limit: "7"}}})
	img = img.With(Change{Brokers: []Broker{{ID: 1}}})
	if own, others := img.GroupConfig("g").Int(limit), img.GroupConfig("h").Int(limit); own != 7 || others != 5 {
		t.Errorf("limits are %d and %d, want 7 and 5", own, others)
	}
	img = img.With(Change{ClusterConfig: &config.Values{"group.share.delivery.count.limit": "6"}})
	if own, others := img.GroupConfig("g").Int(limit), img.GroupConfig("h").Int(limit); own != 7 || others != 6 {
		t.Errorf("with another default they are %d and %d, want 7 and 6", own, others)
	}
	img = img.With(Change{GroupConfigs: map[string]config.Values{"g": {}}})
	if own := img.GroupConfig("g").Int(limit); own != 6 {
		t.Errorf("without its own it is %d, want 6", own)
	}
}
