package tier_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func committedAt(offset int64) *tier.GroupOffsets {
	return &tier.GroupOffsets{
		Time: time.Now().UnixMilli(), Node: 4, Journal: tier.TopicID{7}, Shards: 50, Config: map[string]string{"cleanup.policy": "compact"},
		Offsets: []tier.GroupOffset{
			{Group: "g", TopicName: "orders", Topic: orders.Topic, Partition: 3, Offset: offset, LeaderEpoch: 2, Metadata: "m", Committed: 1000, Expires: -1},
			{Group: "h", TopicName: "orders", Topic: orders.Topic, Offset: 1, LeaderEpoch: -1, Expires: 5},
		},
	}
}

// TestGroupOffsetsAreReplacedByWhatIsNewer fails each request of it in every way. What a reader
// finds is a whole copy, and once the store works, the last.
func TestGroupOffsetsAreReplacedByWhatIsNewer(t *testing.T) {
	for _, f := range []buckettest.Fault{buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Vanish, buckettest.Truncate} {
		for n, fired := 0, true; fired; n++ {
			inWorld(t, func(w *world) {
				w.start()
				w.settle()
				first, second := committedAt(10), committedAt(20)
				if err := w.tier.PutGroupOffsets(w.t.Context(), first); err != nil {
					w.t.Fatal(err)
				}
				rule := w.bucket.Add(buckettest.Rule{After: n, Fault: f})
				err := w.tier.PutGroupOffsets(w.t.Context(), second)
				fired = w.bucket.Fired(rule) > 0
				w.bucket.Heal()
				got, rerr := tier.ReadGroupOffsets(w.calm(), w.bucket, cluster)
				switch {
				case errors.Is(rerr, tier.ErrCorrupt) && f == buckettest.Truncate && err != nil: // noticed
				case rerr != nil || len(got) != 1 || !reflect.DeepEqual(got[0], first) && !reflect.DeepEqual(got[0], second):
					w.t.Errorf("request %d, %v: read %+v, %v", n, f, got, rerr)
				case err == nil && !reflect.DeepEqual(got[0], second):
					w.t.Errorf("request %d, %v: said to be stored, read %+v", n, f, got[0])
				}
				w.bucket.DeliverLate()
				for range 2 { // the late one may have come between
					err = w.tier.PutGroupOffsets(w.t.Context(), second)
				}
				got, rerr = tier.ReadGroupOffsets(w.calm(), w.bucket, cluster)
				if err != nil || rerr != nil || len(got) != 1 || !reflect.DeepEqual(got[0], second) {
					w.t.Errorf("request %d, %v: in the end %+v, %v, %v", n, f, got, err, rerr)
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}

func TestGroupOffsetsThatHaveNotChangedAreNotStoredAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.settle()
		if !w.tier.GroupsCopied().IsZero() {
			w.t.Error("copied before there was anything")
		}
		for range 3 {
			if err := w.tier.PutGroupOffsets(w.t.Context(), committedAt(10)); err != nil {
				w.t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		puts := 0
		for _, r := range w.bucket.Requests() {
			if r == "put "+cluster+"/groups/4" {
				puts++
			}
		}
		if puts != 1 || time.Since(w.tier.GroupsCopied()) != time.Minute {
			w.t.Errorf("%d copies, the last was %v ago", puts, time.Since(w.tier.GroupsCopied()))
		}
	})
}

// TestBrokerThatWasTakenForDeadReplacesNoGroupOffsets: another owns the cluster id; what that one knows stays.
func TestBrokerThatWasTakenForDeadReplacesNoGroupOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer w.stop()
		w.settle()
		if err := w.tier.PutGroupOffsets(t.Context(), committedAt(10)); err != nil {
			t.Fatal(err)
		}
		if err := claimAs(w, "another", 0, true); err != nil {
			t.Fatal(err)
		}
		var owned *tier.OwnedError
		if err := w.tier.PutGroupOffsets(t.Context(), committedAt(20)); !errors.As(err, &owned) {
			t.Errorf("%v", err)
		}
		if got, err := tier.ReadGroupOffsets(w.calm(), w.bucket, cluster); err != nil || got[0].Offsets[0].Offset != 10 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestTakenOverGroupOffsetsAreNeverReplaced takes the cluster id over before each request of a
// broker that is about to replace the copy, whatever it knows of the object: what the taker finds
// stays, and so does what it stores.
func TestTakenOverGroupOffsetsAreNeverReplaced(t *testing.T) {
	for name, before := range map[string]func(w *world){
		"none":    func(*world) {},
		"its own": func(w *world) { w.must(w.tier.PutGroupOffsets(w.t.Context(), committedAt(10))) },
		"its own, from a restart": func(w *world) {
			w.must(w.tier.PutGroupOffsets(w.t.Context(), committedAt(10)))
			w.stop()
			w.start()
			w.settle()
		},
	} {
		for _, f := range []buckettest.Fault{buckettest.None, buckettest.Late} {
			for n, fired := 0, true; fired; n++ {
				inWorld(t, func(w *world) {
					w.start()
					w.settle()
					before(w)
					var found []*tier.GroupOffsets
					rule := w.bucket.Add(buckettest.Rule{After: n, Fault: f, Do: func() { found = takeOver(w) }})
					_ = w.tier.PutGroupOffsets(w.t.Context(), committedAt(20)) // it may have been in time
					if fired = w.bucket.Fired(rule) > 0; !fired {
						return
					}
					w.bucket.Heal()
					w.bucket.DeliverLate()
					stays := func(want []*tier.GroupOffsets) {
						if got, err := tier.ReadGroupOffsets(w.calm(), w.bucket, cluster); err != nil || !reflect.DeepEqual(got, want) {
							w.t.Errorf("%s, %v at request %d: %+v, %v; want %+v", name, f, n, got, err, want)
						}
					}
					stays(found)
					var owned *tier.OwnedError
					for range 2 {
						if err := w.tier.PutGroupOffsets(w.t.Context(), committedAt(30)); !errors.As(err, &owned) {
							w.t.Errorf("%s, %v at request %d: %v", name, f, n, err)
						}
						stays(found)
					}
				})
			}
		}
	}
}

// takeOver makes another installation the owner, as a restore does, and returns the copies that it finds.
func takeOver(w *world) []*tier.GroupOffsets {
	w.must(claimAs(w, "another", 0, true))
	w.must(tier.ClaimGroupOffsets(w.calm(), w.bucket, cluster, "another", 4))
	found, err := tier.ReadGroupOffsets(w.calm(), w.bucket, cluster)
	w.must(err)
	return found
}

// TestGroupOffsetsAreClaimedThroughFaults fails each request of a claim in every way: it is tried
// again, loses nothing, and changes the bytes, so that an ETag that is computed from them changes
// too.
func TestGroupOffsetsAreClaimedThroughFaults(t *testing.T) {
	for _, f := range []buckettest.Fault{buckettest.None, buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Vanish, buckettest.Truncate} {
		for n, fired := 0, true; fired; n++ {
			inWorld(t, func(w *world) {
				w.start()
				w.settle()
				first := committedAt(10)
				w.must(w.tier.PutGroupOffsets(w.t.Context(), first))
				stored := string(w.object(cluster + "/groups/4"))
				rule := w.bucket.Add(buckettest.Rule{After: n, Fault: f})
				err := tier.ClaimGroupOffsets(w.t.Context(), w.bucket, cluster, "another", 5)
				fired = w.bucket.Fired(rule) > 0
				w.bucket.Heal()
				w.bucket.DeliverLate()
				if err != nil { // only what looks at things
					w.must(tier.ClaimGroupOffsets(w.t.Context(), w.bucket, cluster, "another", 5))
				}
				got, rerr := tier.ReadGroupOffsets(w.calm(), w.bucket, cluster)
				if rerr != nil || len(got) != 1 || !reflect.DeepEqual(got[0], first) {
					w.t.Errorf("request %d, %v: %+v, %v", n, f, got, rerr)
				}
				claimed, none := string(w.object(cluster+"/groups/4")), string(w.object(cluster+"/groups/5"))
				if !strings.HasPrefix(claimed, stored) || !strings.Contains(claimed[len(stored):], "another") || !strings.Contains(none, "another") {
					w.t.Errorf("request %d, %v: stored %q, claimed %q, and where there was none %q", n, f, stored, claimed, none)
				}
			})
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
