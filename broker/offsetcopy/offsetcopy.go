// Package offsetcopy keeps a copy of what consumer groups have committed in the tier, beside the
// records it is about: a restore from the bucket would otherwise let every group begin anew. The
// topic that groups are kept in is compacted, and so not tiered as others are.
//
// The copy is replaced once a minute, if something has changed, and when the broker stops: a broker
// that is lost takes up to a minute of commits with it, and their groups read the records since
// then again. Only topics in the tier are in it.
//
// Goroutines: one, owned by [Copier.Run].
package offsetcopy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/tier"
)

const (
	interval = time.Minute
	// lastTry is how long a broker that stops waits for the store.
	lastTry = 5 * time.Second
)

// Copier keeps the copy.
type Copier struct {
	Node  int32
	Image func() *cluster.Image
	// Positions is what groups have committed, false if not all of it is known: then nothing is copied.
	Positions func() ([]group.Position, bool)
	// Put stores a copy unless it is there already. See [tier.Tier.PutGroupOffsets].
	Put    func(context.Context, *tier.GroupOffsets) error
	Now    func() time.Time
	Logger *slog.Logger

	kept    bool // there has been something to copy
	failing bool
}

// Run copies until ctx ends, and then once more: everybody who commits must have been stopped by
// then, and whoever knows what was committed must not.
func (c *Copier) Run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.copy(ctx)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTry)
			defer cancel()
			c.copy(ctx)
			return nil
		}
	}
}

// copy stores what is committed now.
func (c *Copier) copy(ctx context.Context) {
	g := c.take()
	if g == nil {
		return
	}
	err := c.Put(ctx, g)
	switch {
	case errors.Is(err, context.Canceled): // the broker stops; there is another try
		return
	case errors.Is(err, tier.ErrNotAdmitted): // who admits the store says why it does not
	case err != nil && !c.failing:
		c.Logger.Warn("what groups have committed could not be copied to the tier, will try again", "err", err)
	case err == nil && c.failing:
		c.Logger.Info("what groups have committed is copied to the tier again")
	}
	c.failing = err != nil
}

// take returns what there is to copy, in a fixed order; nil if nothing can or need be copied.
func (c *Copier) take() *tier.GroupOffsets {
	image := c.Image()
	journal, ok := image.Topic(cluster.OffsetsTopic)
	if !ok {
		return nil
	}
	positions, complete := c.Positions()
	if !complete {
		return nil
	}
	g := &tier.GroupOffsets{
		Time: c.Now().UnixMilli(), Node: c.Node, Journal: tier.TopicID(journal.ID), Shards: int32(len(journal.Partitions)), Config: journal.Config,
	}
	for _, p := range positions {
		if t, ok := image.Topic(p.Topic); !ok || t.ID != p.TopicID || t.Config["remote.storage.enable"] != "true" {
			continue
		}
		g.Offsets = append(g.Offsets, tier.GroupOffset{
			Group: p.Group, TopicName: p.Topic, Topic: p.TopicID, Partition: p.Partition, Offset: p.Offset,
			LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, Committed: p.Committed, Expires: p.Expires,
		})
	}
	slices.SortFunc(g.Offsets, func(x, y tier.GroupOffset) int {
		return cmp.Or(cmp.Compare(x.Group, y.Group), cmp.Compare(x.TopicName, y.TopicName), cmp.Compare(x.Partition, y.Partition))
	})
	c.kept = c.kept || len(g.Offsets) > 0
	if !c.kept {
		return nil
	}
	return g
}
