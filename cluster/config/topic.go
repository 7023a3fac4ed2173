package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	maxInt64 = "9223372036854775807"
	hourMs   = int64(time.Hour / time.Millisecond)
	minuteMs = int64(time.Minute / time.Millisecond)
	weekMs   = "604800000"
	dayMs    = "86400000"
)

// defaultDelayLevels is the table of delays RocketMQ made known.
const defaultDelayLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// defaultDelayMaxMs is a year.
const defaultDelayMaxMs = "31536000000"

// same makes the synonyms of a topic config from the broker configs it falls
// back to.
func same(names ...string) []Synonym {
	s := make([]Synonym, len(names))
	for i, n := range names {
		s[i] = Synonym{Name: n, Factor: 1}
	}
	return s
}

var topicTable = newTable(topicLogDefs, topicCleanerDefs, topicTierDefs, topicDelayDefs)

var topicLogDefs = []Def{
	{Name: "compression.type", Type: String, Default: "producer", Synonyms: same("compression.type"),
		Valid: codec,
		Doc:   "Codec of stored batches. With producer a batch keeps the codec it was sent with; any other value makes the broker recompress batches that come in another one."},
	{Name: "compression.gzip.level", Type: Int, Default: "-1", Synonyms: same("compression.gzip.level"), Valid: gzipLevel,
		Doc: "Level used when the broker itself compresses with gzip: 1 (fastest) to 9 (smallest), or -1 for the codec's own default."},
	{Name: "compression.lz4.level", Type: Int, Default: "9", Synonyms: same("compression.lz4.level"), Valid: between(1, 17),
		Doc: "Level used when the broker itself compresses with lz4: 1 (fastest) to 17 (smallest)."},
	{Name: "compression.zstd.level", Type: Int, Default: "3", Synonyms: same("compression.zstd.level"), Valid: between(-131072, 22),
		Doc: "Level used when the broker itself compresses with zstd: -131072 (fastest) to 22 (smallest)."},
	{Name: "file.delete.delay.ms", Type: Long, Default: "60000", Synonyms: same("log.segment.delete.delay.ms"), Valid: atLeast(0),
		Doc: "Milliseconds a removed segment file is kept on disk, so that reads under way can finish."},
	{Name: "flush.messages", Type: Long, Default: "1", Synonyms: same("log.flush.interval.messages"), Valid: atLeast(1),
		Doc: "Records that may be written to a partition before they are forced to stable storage. Morrow's default is 1: a produce with acks=all is answered only after its batch is synced. A larger value trades that guarantee for the operating system's write-back, which is Kafka's default."},
	{Name: "flush.ms", Type: Long, Default: maxInt64, Synonyms: same("log.flush.interval.ms", "log.flush.scheduler.interval.ms"), Valid: atLeast(0),
		Doc: "Milliseconds after which written records are forced to stable storage, when flush.messages has not done so before."},
	{Name: "follower.replication.throttled.replicas", Type: List, Default: "", Valid: throttledReplicas,
		Doc: "Replicas whose fetching is throttled while they catch up: a list of partition:broker pairs, or * for all."},
	{Name: "leader.replication.throttled.replicas", Type: List, Default: "", Valid: throttledReplicas,
		Doc: "Replicas whose leader throttles what it sends them: a list of partition:broker pairs, or * for all."},
	{Name: "index.interval.bytes", Type: Int, Default: "4096", Synonyms: same("log.index.interval.bytes"), Valid: atLeast(0),
		Doc: "Bytes of log between two entries of the offset index. Smaller finds offsets faster and makes larger indexes."},
	{Name: "max.message.bytes", Type: Int, Default: "1048588", Synonyms: same("message.max.bytes"), Valid: atLeast(0),
		Doc: "Largest record batch accepted, in bytes, as compressed by the producer. None can be longer than 268435456, whatever is set."},
	{Name: "message.timestamp.type", Type: String, Default: "CreateTime", Synonyms: same("log.message.timestamp.type"),
		Valid: oneOf("CreateTime", "LogAppendTime"),
		Doc:   "Whether records carry the time their producer gave them or the time the broker appended them."},
	{Name: "message.timestamp.before.max.ms", Type: Long, Default: maxInt64, Synonyms: same("log.message.timestamp.before.max.ms"), Valid: atLeast(0),
		Doc: "How far, in milliseconds, a producer's timestamp may lie before the broker's clock. Ignored with LogAppendTime."},
	{Name: "message.timestamp.after.max.ms", Type: Long, Default: "3600000", Synonyms: same("log.message.timestamp.after.max.ms"), Valid: atLeast(0),
		Doc: "How far, in milliseconds, a producer's timestamp may lie after the broker's clock. Ignored with LogAppendTime."},
	{Name: "min.insync.replicas", Type: Int, Default: "1", Synonyms: same("min.insync.replicas"), Valid: atLeast(1),
		Doc: "Replicas that must be in sync for a produce with acks=all to be accepted; more than the partition has count as that many, as in Kafka."},
	{Name: "preallocate", Type: Boolean, Default: "false", Synonyms: same("log.preallocate"),
		Doc: "Whether the file of a new segment is given its full size when it is created."},
	{Name: "segment.bytes", Type: Int, Default: "1073741824", Synonyms: same("log.segment.bytes"), Valid: atLeast(minSegmentBytes),
		Doc: "Size at which a segment file is closed and the next one begun. Kafka refuses less than 1 MiB; Morrow accepts 1 KiB and more, which costs a file per segment and is meant for tests and very small topics."},
	{Name: "segment.index.bytes", Type: Int, Default: "10485760", Synonyms: same("log.index.size.max.bytes"), Valid: atLeast(4),
		Doc: "Largest size of a segment's offset and time index. A segment whose index is full is closed."},
	{Name: "segment.jitter.ms", Type: Long, Default: "0", Valid: atLeast(0),
		Synonyms: []Synonym{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", hourMs}},
		Doc:      "Upper bound of a random time subtracted from segment.ms, so that many partitions do not roll at once."},
	{Name: "segment.ms", Type: Long, Default: weekMs, Valid: atLeast(1),
		Synonyms: []Synonym{{"log.roll.ms", 1}, {"log.roll.hours", hourMs}},
		Doc:      "Milliseconds after which a segment that holds records is closed even when it is not full."},
	{Name: "unclean.leader.election.enable", Type: Boolean, Default: "false", Synonyms: same("unclean.leader.election.enable"),
		Doc: "Whether a replica that was not in sync may become leader when no other is left. What it had not copied is lost."},
}

const minSegmentBytes = 1024

var topicCleanerDefs = []Def{
	{Name: "cleanup.policy", Type: List, Default: "delete", Synonyms: same("log.cleanup.policy"), Valid: cleanupPolicy,
		Doc: "What happens to old segments: delete removes them by retention, compact keeps the last record of each key. Both may be given, or none to keep everything (KIP-1161)."},
	{Name: "delete.retention.ms", Type: Long, Default: dayMs, Synonyms: same("log.cleaner.delete.retention.ms"), Valid: atLeast(0),
		Doc: "Milliseconds a tombstone is kept in a compacted topic, from its first compaction on. A consumer that reads from the beginning must finish within this time to see every deletion."},
	{Name: "max.compaction.lag.ms", Type: Long, Default: maxInt64, Synonyms: same("log.cleaner.max.compaction.lag.ms"), Valid: atLeast(1),
		Doc: "Milliseconds after which a record must have become eligible for compaction. Only closed segments are compacted, so one is closed when its first record is that old."},
	{Name: "min.cleanable.dirty.ratio", Type: Double, Default: "0.5", Synonyms: same("log.cleaner.min.cleanable.ratio"), Valid: ratio(0, 1),
		Doc: "Share of a compacted log that must be uncleaned before the cleaner works on it."},
	{Name: "min.compaction.lag.ms", Type: Long, Default: "0", Synonyms: same("log.cleaner.min.compaction.lag.ms"), Valid: atLeast(0),
		Doc: "Milliseconds a record stays uncompacted."},
	{Name: "retention.bytes", Type: Long, Default: "-1", Synonyms: same("log.retention.bytes"), Valid: atLeast(-1),
		Doc: "Bytes a partition keeps under the delete policy, local and tiered together; -1 sets no bound. Records whose delivery is pending do not fall under it."},
	{Name: "retention.ms", Type: Long, Default: weekMs, Valid: atLeast(-1),
		Synonyms: []Synonym{{"log.retention.ms", 1}, {"log.retention.minutes", minuteMs}, {"log.retention.hours", hourMs}},
		Doc:      "Milliseconds a record is kept under the delete policy, local and tiered together; -1 keeps it for ever. Records whose delivery is pending do not fall under it; a delivered record counts from its delivery."},
}

var topicTierDefs = []Def{
	{Name: "local.retention.bytes", Type: Long, Default: "-2", Synonyms: same("log.local.retention.bytes"), Valid: atLeast(-2),
		Doc: "Bytes of a tiered partition kept on the broker's disk. -2 means the value of retention.bytes, -1 no bound. Only what is confirmed in the tier is ever removed."},
	{Name: "local.retention.ms", Type: Long, Default: "-2", Synonyms: same("log.local.retention.ms"), Valid: atLeast(-2),
		Doc: "Milliseconds a segment of a tiered partition stays on the broker's disk. -2 means the value of retention.ms, -1 for ever. Only what is confirmed in the tier is ever removed."},
	{Name: "remote.storage.enable", Type: Boolean, Default: "false",
		Doc: "Whether closed segments are copied to the tier. Not possible for compacted topics."},
	{Name: "remote.log.copy.disable", Type: Boolean, Default: "false",
		Doc: "Stops further copies to the tier; what is there stays readable and expires by retention."},
	{Name: "remote.log.delete.on.disable", Type: Boolean, Default: "false",
		Doc: "Must be true to switch remote.storage.enable off again, and then has everything the topic holds in the tier deleted."},
}

var topicDelayDefs = []Def{
	{Name: "delay.enable", Type: Boolean, Default: "true", Synonyms: same("delay.enable"),
		Doc: "Whether delay headers of produced records are honoured. With false they are ordinary headers and produces are not looked into; what is already pending is still delivered."},
	{Name: "delay.dialects", Type: List, Default: "morrow", Synonyms: same("delay.dialects"), Valid: dialects,
		Doc: "Whose delay headers are understood: morrow, rocketmq (DELAY, TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS), rabbitmq (x-delay)."},
	{Name: "delay.default.ms", Type: Long, Default: "0", Synonyms: same("delay.default.ms"), Valid: atLeast(0),
		Doc: "Delay, in milliseconds, of records that carry no delay header. 0 means none."},
	{Name: "delay.max.ms", Type: Long, Default: defaultDelayMaxMs, Synonyms: same("delay.max.ms"), Valid: atLeast(1),
		Doc: "Longest delay accepted, in milliseconds. A record that asks for more is refused."},
	{Name: "delay.max.pending", Type: Long, Default: "-1", Synonyms: same("delay.max.pending"), Valid: atLeast(-1),
		Doc: "Pending records one partition may hold; further delayed records are refused with a retriable error. -1 sets no bound."},
	{Name: "delay.levels", Type: String, Default: defaultDelayLevels, Synonyms: same("delay.levels"), Valid: delayLevels,
		Doc: "Delays that level numbers stand for, first level first, separated by spaces. A change does not move what is already pending."},
}

var (
	codec    = oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
	dialects = someOf("morrow", "rocketmq", "rabbitmq")
)

// cleanupPolicy accepts delete, compact, both, or none.
func cleanupPolicy(value string) error {
	if len(SplitList(value)) == 0 {
		return nil
	}
	return someOf("compact", "delete")(value)
}

func gzipLevel(value string) error {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || (n != -1 && (n < 1 || n > 9)) {
		return errors.New("must be -1 or an integer from 1 to 9")
	}
	return nil
}

// throttledReplicas accepts "*" or a list of partition:broker pairs.
func throttledReplicas(value string) error {
	for _, item := range SplitList(value) {
		partition, broker, ok := strings.Cut(item, ":")
		_, errP := strconv.ParseUint(partition, 10, 31)
		_, errB := strconv.ParseUint(broker, 10, 31)
		if item != "*" && (!ok || errP != nil || errB != nil) {
			return errors.New("must be * or a list of partition:broker pairs")
		}
	}
	return nil
}

func delayLevels(value string) error {
	_, err := parseDelayLevels(value)
	return err
}

// parseDelayLevels parses the value of delay.levels: durations of whole
// milliseconds, spelled 250ms, 5s, 2m, 1h30m or 2d, separated by spaces.
func parseDelayLevels(value string) ([]time.Duration, error) {
	fields := strings.Fields(value)
	levels := make([]time.Duration, 0, len(fields))
	for _, f := range fields {
		d, err := parseDelay(f)
		if err != nil {
			return nil, fmt.Errorf("must be durations such as 500ms, 10s, 5m, 1h or 2d separated by spaces; %q is none", f)
		}
		levels = append(levels, d)
	}
	if len(levels) == 0 {
		return nil, errors.New("must hold at least one duration")
	}
	return levels, nil
}

// maxDelay keeps a level far from the end of a 64-bit count of nanoseconds.
const maxDelay = 100 * 365 * 24 * time.Hour

func parseDelay(s string) (time.Duration, error) {
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, err
		}
		total, s = time.Duration(n)*24*time.Hour, rest
	}
	if s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, err
		}
		if d < 0 || d > maxDelay || d%time.Millisecond != 0 {
			return 0, errors.New("out of range")
		}
		total += d
	}
	if total <= 0 || total > maxDelay {
		return 0, errors.New("out of range")
	}
	return total, nil
}
