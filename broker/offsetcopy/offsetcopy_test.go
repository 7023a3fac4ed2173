package offsetcopy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/tier"
)

var orders, plain, journal = cluster.TopicID{1}, cluster.TopicID{2}, cluster.TopicID{3}

// world is a copier and what surrounds it.
type world struct {
	*Copier
	image     *cluster.Image
	positions []group.Position
	complete  bool
	fail      error
	stored    []string
	log       strings.Builder
}

func newWorld(topics ...*cluster.Topic) *world {
	w := &world{complete: true, image: cluster.NewImage("c", 1, nil).With(cluster.Change{Topics: topics})}
	w.Copier = &Copier{
		Node: 1, Image: func() *cluster.Image { return w.image },
		Positions: func() ([]group.Position, bool) { return w.positions, w.complete },
		Put: func(ctx context.Context, g *tier.GroupOffsets) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if w.fail != nil {
				return w.fail
			}
			s := fmt.Sprintf("%d shards:", g.Shards)
			for _, o := range g.Offsets {
				s += fmt.Sprintf(" %s %s-%d %d", o.Group, o.TopicName, o.Partition, o.Offset)
			}
			w.stored = append(w.stored, s)
			return nil
		},
		Now: time.Now, Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	return w
}

func topics() []*cluster.Topic {
	return []*cluster.Topic{
		{Name: "orders", ID: orders, Config: config.Values{"remote.storage.enable": "true"}, Partitions: make([]cluster.Partition, 2)},
		{Name: "plain", ID: plain, Partitions: make([]cluster.Partition, 1)},
		{Name: cluster.OffsetsTopic, ID: journal, Internal: true, Partitions: make([]cluster.Partition, 3)},
	}
}

func at(name, topic string, id cluster.TopicID, partition int32, offset int64) group.Position {
	return group.Position{CommittedOffset: group.CommittedOffset{Group: name, Topic: topic, TopicID: id, Partition: partition, Offset: offset}}
}

// run copies for a time, and then stops.
func (w *world) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(d, cancel).Stop()
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestCopyHasTieredTopicsInAFixedOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(topics()...)
		w.positions = []group.Position{
			at("g", "orders", orders, 1, 7), at("g", "plain", plain, 0, 8), at("g", "orders", orders, 0, 9), at("a", "orders", orders, 1, 2),
			at("g", "orders", cluster.TopicID{9}, 0, 3), // of an earlier topic of the name
		}
		w.run(t, 150*time.Second)
		const want = "3 shards: a orders-1 2 g orders-0 9 g orders-1 7"
		if got := fmt.Sprint(w.stored); got != fmt.Sprint([]string{want, want, want}) { // at 60 s, at 120 s, at the end
			t.Errorf("stored %s", got)
		}
	})
}

// A copy that is not whole must not replace one that is.
func TestNothingIsCopiedBeforeAllIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(topics()...)
		w.complete, w.positions = false, []group.Position{at("g", "orders", orders, 0, 1)}
		w.run(t, 3*time.Minute)
		if len(w.stored) > 0 {
			t.Errorf("stored %v", w.stored)
		}
		w = newWorld(topics()[:2]...) // nobody has ever committed
		w.run(t, 3*time.Minute)
		w = newWorld(topics()...) // not for tiered topics
		w.positions = []group.Position{at("g", "plain", plain, 0, 1)}
		w.run(t, 3*time.Minute)
		if len(w.stored) > 0 {
			t.Errorf("stored %v", w.stored)
		}
	})
}

func TestFailureIsToldOnceAndSoIsItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(topics()...)
		w.positions = []group.Position{at("g", "orders", orders, 0, 1)}
		w.fail = errors.New("store is down")
		w.run(t, 10*time.Minute)
		w.fail = nil
		w.run(t, 3*time.Minute)
		if n, again := strings.Count(w.log.String(), "could not be copied"), strings.Count(w.log.String(), "copied to the tier again"); n != 1 || again != 1 {
			t.Errorf("told %d and %d times:\n%s", n, again, w.log.String())
		}
		w.log.Reset()
		w.fail = tier.ErrNotAdmitted
		w.run(t, 3*time.Minute)
		if w.log.Len() > 0 {
			t.Errorf("somebody else says that: %s", w.log.String())
		}
	})
}
