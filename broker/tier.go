package broker

import (
	"context"
	"fmt"
	"math"
	"os"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

func (b *broker) openTier(ctx context.Context) error {
	if !b.settings.Bool("remote.log.storage.system.enable") {
		return nil
	}
	store, err := bucket.Open(ctx, b.layout.TierURL, b.cfg.FS)
	if err != nil {
		return fmt.Errorf("tier.url: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a machine without a name"
	}
	b.tier, err = tier.Open(tier.Options{
		Bucket:     store,
		Cluster:    b.store.Image().ClusterID(),
		Name:       b.advertisedAddresses()[0] + " on " + host,
		FS:         b.cfg.FS,
		Dir:        b.tierDir(),
		Logger:     b.logger,
		Registerer: b.registry,
		Now:        b.cfg.Now,
		Uploads:    int(b.settings.Int("remote.log.manager.copier.thread.pool.size")),
		CacheBytes: b.settings.Int("tier.cache.bytes"),
		SweepEvery: millis(b.settings, "tier.sweep.interval.ms"),
		SweepGrace: millis(b.settings, "tier.sweep.grace.ms"),
		ScrubEvery: millis(b.settings, "tier.scrub.interval.ms"),
		ScrubRate:  b.settings.Int("tier.scrub.bytes.per.second"),
		CopyRate:   limit(b.settings.Int("remote.log.manager.copy.max.bytes.per.second")),
		FetchRate:  limit(b.settings.Int("remote.log.manager.fetch.max.bytes.per.second")),
		Spread:     millis(b.settings, "tier.copy.spread.ms"),
		Appended:   b.logs.Appended,
	})
	return err
}

// tierDir is where the tier keeps what it knows.
func (b *broker) tierDir() string { return vfs.Join(b.dataDir(), "remote") }

// deleteTiered sees to it that nothing of a deleted topic stays in the bucket. It returns when that
// is recorded.
func (b *broker) deleteTiered(topic tier.TopicID, name string) error {
	if b.tier == nil {
		return tier.RecordDeletion(b.cfg.FS, b.tierDir(), topic, name, b.cfg.Now())
	}
	return b.tier.DeleteTopic(topic, name)
}

// limit is a config's bytes per second as the tier takes it: 0 for none.
func limit(rate int64) int64 {
	if rate == math.MaxInt64 {
		return 0
	}
	return rate
}

// followTierRates sets the limits of the tier as they are configured at the moment, until ctx ends.
func (b *broker) followTierRates(ctx context.Context) error {
	changed, cancel := b.store.Watch()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		r := b.store.Image().BrokerConfig()
		b.tier.SetRates(limit(r.Int("remote.log.manager.copy.max.bytes.per.second")), limit(r.Int("remote.log.manager.fetch.max.bytes.per.second")))
		b.tier.SetSpread(millis(r, "tier.copy.spread.ms"))
	}
}
