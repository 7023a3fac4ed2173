package config

// brokerTierDefs are about the object store.
var brokerTierDefs = []Def{
	{Name: "tier.url", Type: String, Null: true, Valid: tierURL,
		Doc: "The object store: s3://bucket/prefix?region=…&endpoint=…, or file:///directory. Unset means the directory tier below the data directory."},
	{Name: "tier.cache.bytes", Type: Long, Default: "1073741824", Valid: atLeast(0),
		Doc: "Bytes of local disk for chunks read from the tier. A directory on the same file system as the data needs none."},
	{Name: "tier.copy.spread.ms", Type: Long, Default: "10000", Mode: ClusterWide, Valid: atLeast(0),
		Doc: "Milliseconds over which what waits to be copied to the tier is spread while producers write, so that bursts of theirs are stored first. They are at rest below 1 MiB a second; then, and with 0, it is copied as fast as possible."},
	{Name: "tier.scrub.interval.ms", Type: Long, Default: "604800000", Valid: atLeast(1000),
		Doc: "Milliseconds between two looks for damage in the tier."},
	{Name: "tier.scrub.bytes.per.second", Type: Long, Default: "0", Valid: atLeast(0),
		Doc: "Bytes a second the look for damage reads, to compute checksums anew. With 0 it only asks the store what it has."},
	{Name: "tier.sweep.interval.ms", Type: Long, Default: "21600000", Valid: atLeast(1000),
		Doc: "Milliseconds between two looks for objects in the tier that no manifest names."},
	{Name: "tier.sweep.grace.ms", Type: Long, Default: "86400000", Valid: atLeast(43200000),
		Doc: "Age in milliseconds at which an object that no manifest names is deleted. An upload may take half of the least value."},
	{Name: "remote.log.storage.system.enable", Type: Boolean, Default: "true",
		Doc: "Whether topics can be tiered at all. Kafka's default is false; a topic still has to ask for it with remote.storage.enable."},
	{Name: "remote.log.manager.copier.thread.pool.size", Type: Int, Default: "10", Valid: atLeast(1),
		Doc: "Segments copied to the tier at the same time."},
	{Name: "remote.log.manager.copy.max.bytes.per.second", Type: Long, Default: maxInt64, Mode: ClusterWide, Valid: atLeast(1),
		Doc: "Bytes a second copied to the tier."},
	{Name: "remote.log.manager.fetch.max.bytes.per.second", Type: Long, Default: maxInt64, Mode: ClusterWide, Valid: atLeast(1),
		Doc: "Bytes a second read from the tier."},
	{Name: "remote.fetch.max.wait.ms", Type: Int, Default: "500", Mode: ClusterWide, Valid: atLeast(1),
		Doc: "Milliseconds a fetch waits for the tier. What arrives later is kept for the next try."},
	{Name: "remote.list.offsets.request.timeout.ms", Type: Long, Default: "30000", Mode: ClusterWide, Valid: atLeast(1),
		Doc: "Milliseconds a look-up of an offset waits for the tier."},
}

// brokerDelayDefs are about delayed delivery: what topics fall back to, and
// what all schedules share.
var brokerDelayDefs = []Def{
	{Name: "delay.enable", Type: Boolean, Default: "true", Mode: ClusterWide,
		Doc: "Whether delay headers are honoured in topics that do not say."},
	{Name: "delay.dialects", Type: List, Default: "morrow", Mode: ClusterWide, Valid: dialects,
		Doc: "Whose delay headers are understood in topics that do not say."},
	{Name: "delay.default.ms", Type: Long, Default: "0", Mode: ClusterWide, Valid: atLeast(0),
		Doc: "Delay of records without a delay header in topics that do not say, in milliseconds."},
	{Name: "delay.max.ms", Type: Long, Default: defaultDelayMaxMs, Mode: ClusterWide, Valid: atLeast(1),
		Doc: "Longest delay accepted in topics that do not say, in milliseconds."},
	{Name: "delay.max.pending", Type: Long, Default: "-1", Mode: ClusterWide, Valid: atLeast(-1),
		Doc: "Pending records one partition may hold, for topics that do not say; -1 sets no bound."},
	{Name: "delay.levels", Type: String, Default: defaultDelayLevels, Mode: ClusterWide, Valid: delayLevels,
		Doc: "Delays that level numbers stand for in topics that do not say."},
	{Name: "delay.index.memory", Type: Long, Default: "134217728", Valid: atLeast(1 << 20),
		Doc: "Bytes of memory for the indexes of pending records, of all partitions together. What does not fit is written to schedule topics in order of delivery."},
	{Name: "delay.replay.bytes", Type: Long, Default: "4294967296", Valid: atLeast(1 << 20),
		Doc: "Bytes of logs, of all partitions together, that may have to be read again at a start to know what is pending. Above it, what lies behind delay.spill.distance.bytes is written to schedule topics in order of delivery."},
	{Name: "delay.spill.distance.bytes", Type: Long, Default: "268435456", Valid: atLeast(1 << 20),
		Doc: "Pending records within so many bytes of the end of their partition's log are not written to the schedule topic for the sake of delay.replay.bytes."},
}
