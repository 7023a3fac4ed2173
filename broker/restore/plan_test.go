package restore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func TestTopicsAreChosenByNameOrID(t *testing.T) {
	b := buckettest.New()
	w := newLost(t, b, "c1")
	old := topic{id: cluster.TopicID{2, 15: 1}, name: "orders", count: 1}
	payments := topic{id: cluster.TopicID{3, 15: 1}, name: "payments", count: 1}
	gone := topic{id: cluster.TopicID{4, 15: 1}, name: "gone", count: 1}
	w.tiered(old, 0)
	w.tiered(payments, 0)
	w.tiered(gone, 0)
	before := now
	now = now.Add(1e9)
	w.tiered(orders, 0)
	now = before
	check(t, w.tier.DeleteTopic(tier.TopicID(gone.id), gone.name))
	tombstone := []string{"c1/" + tier.TopicID(gone.id).String() + "/deleted"}
	for !slices.Equal(b.Keys(tombstone[0][:len(tombstone[0])-len("deleted")]), tombstone) {
		time.Sleep(time.Millisecond)
	}
	w.stop()
	for _, c := range []struct {
		wanted string
		want   string // names and ids, or an error
	}{
		{"", "orders 1, payments 3; skipped orders 2"},
		{"payments", "payments 3; skipped"},
		{"orders", "orders 1; skipped orders 2"},
		{old.id.String(), "orders 2; skipped"},
		{old.id.String() + " payments", "orders 2, payments 3; skipped"},
		{old.id.String() + " orders", "orders 2; skipped orders 1"},
		{"__schedule.orders", `topic "__schedule.orders" is the broker's own: what the bucket has of it comes back with the topics it is about`},
		{"gone", `the bucket holds no topic "gone" of cluster c1; topics that are not tiered, as compacted ones, are not in it`},
	} {
		plan, err := MakePlan(t.Context(), b, "", strings.Fields(c.wanted))
		got := describe(plan)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.wanted, got, c.want)
		}
	}
	other := newLost(t, b, "c2")
	other.tiered(payments, 0)
	other.stop()
	if _, err := MakePlan(t.Context(), b, "", nil); err == nil || !strings.Contains(err.Error(), "several clusters; name the one to restore: c1, c2") {
		t.Error(err)
	}
	if plan, err := MakePlan(t.Context(), b, "c2", nil); err != nil || describe(plan) != "payments 3; skipped" {
		t.Errorf("%s, %v", describe(plan), err)
	}
	if _, err := MakePlan(t.Context(), b, "c3", nil); err == nil || !strings.Contains(err.Error(), "holds nothing of a cluster c3") {
		t.Error(err)
	}
	if _, err := MakePlan(t.Context(), buckettest.New(), "", nil); err == nil || !strings.Contains(err.Error(), "holds no topics") {
		t.Error(err)
	}
}

// describe names topics with the first byte of their ids.
func describe(p Plan) string {
	var topics, skipped []string
	for i := range p.Topics {
		topics = append(topics, p.Topics[i].Name+" "+string(rune('0'+p.Topics[i].ID[0])))
	}
	for _, s := range p.Skipped {
		id, err := cluster.ParseTopicID(s.ID)
		if err != nil {
			panic(err)
		}
		skipped = append(skipped, " "+s.Name+" "+string(rune('0'+id[0])))
	}
	return strings.Join(topics, ", ") + "; skipped" + strings.Join(skipped, ",")
}

// A manifest that cannot be read keeps its topic from coming back, and no other.
func TestDamagedManifestConcernsItsTopicOnly(t *testing.T) {
	schedule := topic{id: cluster.TopicID{3, 15: 9}, name: "__schedule.payments", count: 1, epoch: 1}
	payments := topic{id: cluster.TopicID{3, 15: 3}, name: "payments", schedule: schedule.id, count: 2, epoch: 1}
	for _, c := range []struct {
		name    string
		harm    topic
		number  int32
		wanted  string
		want    string // the plan, or what an error begins and ends with
		message string
	}{
		{"all are wanted", payments, 1, "", "topic payments cannot be restored: c1/", "name the others to restore them without it"},
		{"it is wanted", payments, 0, "payments orders", "topic payments cannot be restored: c1/", ""},
		{"its schedule", schedule, 0, "payments", "topic payments cannot be restored: c1/", ""},
		{"another is wanted", payments, 0, "orders", "orders 1; skipped", ""},
		{"another is wanted than that of the schedule", schedule, 0, "orders", "orders 1; skipped", ""},
		{"a topic whose name is not known", orders, 0, "", "topic " + orders.id.String() + " cannot be restored: c1/", "name the others to restore them without it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := buckettest.New()
			w := newLost(t, b, "c1")
			w.tiered(orders, 0)
			w.tiered(payments, 0)
			w.tiered(payments, 1)
			w.tiered(schedule, 0)
			w.stop()
			b.Damage(fmt.Sprintf("c1/%s/%d/manifest", tier.TopicID(c.harm.id), c.number))
			plan, err := MakePlan(t.Context(), b, "", strings.Fields(c.wanted))
			got := describe(plan)
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != c.want || err != nil && !(strings.HasPrefix(got, c.want) && strings.Contains(got, "corrupt") && strings.HasSuffix(got, c.message)) {
				t.Errorf("%s", got)
			}
		})
	}
}
