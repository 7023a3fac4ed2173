package partition

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestHoleOfTheCleanerReachesTheTier: a topic that was compacted goes to the tier. Of two segments
// with a hole between them only the first arrives there for a while. It is not evicted before the
// tier knows of the hole, which only the log can tell from a loss.
func TestHoleOfTheCleanerReachesTheTier(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("state", 1, "cleanup.policy", "compact", "segment.bytes", "1048576")
		w.load()
		p := w.partition("state")
		large := strings.Repeat("x", 600<<10)
		w.append(p, keyed("a", large))
		w.rolled(p, keyed("b", "1"))
		w.rolled(p, keyed("b", large))
		w.append(p, keyed("c", "1"))
		w.clean(p)
		if s := p.log.Segments(); len(s) != 3 || s[0].End != 1 || s[1].Base != 2 {
			t.Fatalf("segments %+v: the test is void", s)
		}
		w.store.must(cluster.SetTopicConfig{Topic: "state", Edit: cluster.ConfigEdit{Replace: config.Values{
			"cleanup.policy": "delete", "remote.storage.enable": "true", "local.retention.ms": "1", "retention.ms": "-1", "segment.bytes": "1048576",
		}}})
		w.follow()
		// After a failure one segment is tried alone. When the next one is to be committed the store is down.
		dir := fmt.Sprintf("c/%s/0/", tier.TopicID(w.topic("state").ID))
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Under: fmt.Sprintf("%s%020d", dir, 0), Fault: buckettest.Refuse})
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Under: dir + "manifest", After: 2, Times: buckettest.Forever, Fault: buckettest.Refuse})
		w.start()
		sleepMinutes(30)
		if p.confirmed() != 1 {
			t.Fatalf("confirmed to %d: the test is void", p.confirmed())
		}
		w.bucket.Heal()
		sleepMinutes(30)
		if o := p.log.Offsets(); p.confirmed() != 3 || o.LocalStart != 3 {
			t.Errorf("confirmed to %d, local from %d: %v", p.confirmed(), o.LocalStart, p.remote.Load().Err())
		}
		r, err := p.ReadRemote(t.Context(), ReadRequest{Offset: 1, MaxBytes: 1 << 20, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		if got := w.values(r); !slices.Equal(got, []string{"2:" + large}) {
			t.Errorf("read %d records", len(got))
		}
	})
}
