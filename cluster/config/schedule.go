package config

import "strconv"

// ScheduleValues returns the overrides of a schedule topic, which follow from
// the configuration of the topic it belongs to. Its records are removed when
// what they record is over, never by retention or compaction; its segments
// roll, and leave the local disk for the tier, as its owner's do. They are
// durable before anything is acknowledged even if the owner's are not: what
// moves there may have been durable for long, and is deleted where it was.
func ScheduleValues(owner *TopicConfig) Values {
	integer := func(n int64) string { return strconv.FormatInt(n, 10) }
	return Values{
		"cleanup.policy":   "delete",
		"retention.ms":     "-1",
		"retention.bytes":  "-1",
		"delay.enable":     "false",
		"compression.type": "producer",

		"segment.bytes":       integer(owner.SegmentBytes),
		"segment.ms":          integer(owner.SegmentMs),
		"flush.messages":      "1",
		"min.insync.replicas": strconv.Itoa(owner.MinInsyncReplicas),

		"remote.storage.enable":   strconv.FormatBool(owner.RemoteStorageEnable),
		"remote.log.copy.disable": strconv.FormatBool(owner.RemoteCopyDisable),
		"local.retention.ms":      integer(owner.LocalRetentionMs),
		"local.retention.bytes":   integer(owner.LocalRetentionBytes),
	}
}
