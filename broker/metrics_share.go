package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/broker/share"
)

// shareDescs describe what share groups do with their records, by group and topic.
type shareDescs struct {
	sessions, records, lag, stuck                                     *prometheus.Desc
	delivered, redelivered, accepted, archived, deadLetters, timeouts *prometheus.Desc
}

func newShareDescs(desc func(name, help string, labels ...string) *prometheus.Desc) shareDescs {
	return shareDescs{
		sessions:    desc("share_sessions", "Consumers of share groups that are connected and read."),
		records:     desc("share_records", "Records of a share group in flight: available again, waiting for their retry, acquired by a member, or dying, on their way to the dead-letter topic.", "group", "topic", "state"),
		lag:         desc("share_lag_records", "Offsets that a share group has not finished, up to the end a consumer can read.", "group", "topic"),
		stuck:       desc("share_dead_letters_stuck_partitions", "Partitions of which records could not be written to the dead-letter topic at the last try. They are kept and tried again.", "group", "topic"),
		delivered:   desc("share_delivered_records_total", "Records given to members of a share group, redeliveries included, since the broker started.", "group", "topic"),
		redelivered: desc("share_redelivered_records_total", "Records given to a member that had been given to one before, since the broker started.", "group", "topic"),
		accepted:    desc("share_accepted_records_total", "Records accepted by members, since the broker started.", "group", "topic"),
		archived:    desc("share_archived_records_total", "Records given up because a member rejected them, or they were delivered as often as is allowed, since the broker started.", "group", "topic"),
		deadLetters: desc("share_dead_lettered_records_total", "Records written to the dead-letter topic, since the broker started.", "group", "topic"),
		timeouts:    desc("share_lock_timeouts_total", "Records whose member did not acknowledge them in time, since the broker started.", "group", "topic"),
	}
}

// shareTotals adds up a share group's partitions of one topic.
type shareTotals struct {
	available, waiting, acquired, dying, lag, stuck int64
	totals                                          share.Totals
}

func (t *shareTotals) add(s share.Status, visibleEnd int64) {
	t.available += s.Available
	t.waiting += s.Waiting
	t.acquired += s.Acquired
	t.dying += s.Dying
	t.lag += s.Lag(visibleEnd)
	if s.Stuck != nil {
		t.stuck++
	}
	t.totals.Add(s.Totals)
}

// collectShares tells of the share-partitions that live.
func (c *collector) collectShares(to scrape) {
	type key struct{ group, topic string }
	all := make(map[key]*shareTotals)
	for _, s := range c.b.shares.Statuses("") {
		p, err := c.b.partitions.Get(s.Topic, s.Partition)
		if err != nil {
			continue // deleted, and soon forgotten
		}
		k := key{s.Group, p.Topic().Name}
		if all[k] == nil {
			all[k] = &shareTotals{}
		}
		all[k].add(s, p.Log().Offsets().VisibleEnd)
	}
	to.gauge(c.share.sessions, float64(c.handlers.ShareSessions()))
	for k, t := range all {
		for state, n := range map[string]int64{"available": t.available, "waiting": t.waiting, "acquired": t.acquired, "dying": t.dying} {
			to.gauge(c.share.records, float64(n), k.group, k.topic, state)
		}
		to.gauge(c.share.lag, float64(t.lag), k.group, k.topic)
		to.gauge(c.share.stuck, float64(t.stuck), k.group, k.topic)
		for d, n := range map[*prometheus.Desc]int64{
			c.share.delivered: t.totals.Delivered, c.share.redelivered: t.totals.Redelivered, c.share.accepted: t.totals.Accepted,
			c.share.archived: t.totals.Archived, c.share.deadLetters: t.totals.Buried, c.share.timeouts: t.totals.TimedOut,
		} {
			to.counter(d, float64(n), k.group, k.topic)
		}
	}
}
