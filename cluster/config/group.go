package config

// groupTable holds the configs of groups: of the consumer protocol (KIP-848), and share groups (KIP-932).
var groupTable = newTable([]Def{
	{Name: "consumer.session.timeout.ms", Type: Int, Default: "45000", Synonyms: same("group.consumer.session.timeout.ms"), Valid: atLeast(1),
		Doc: "Milliseconds without a heartbeat after which a member of the group is removed."},
	{Name: "consumer.heartbeat.interval.ms", Type: Int, Default: "5000", Synonyms: same("group.consumer.heartbeat.interval.ms"), Valid: atLeast(1),
		Doc: "Milliseconds between two heartbeats of a member, as the group tells its members."},
}, shareGroupDefs, deadLetterDefs)

// shareGroupDefs are about what a share group does with its records.
var shareGroupDefs = []Def{
	{Name: "share.auto.offset.reset", Type: String, Default: "latest", Valid: shareReset,
		Doc: "Where a share group begins in a partition it has not read: latest, earliest, or by_duration:<duration>, such as by_duration:PT1H, for records as old as that."},
	{Name: "share.delivery.count.limit", Type: Int, Default: "5", Synonyms: same("group.share.delivery.count.limit"), Valid: atLeast(1),
		Doc: "Deliveries after which a record that was not accepted is given up."},
	{Name: "share.heartbeat.interval.ms", Type: Int, Default: "5000", Synonyms: same("group.share.heartbeat.interval.ms"), Valid: atLeast(1),
		Doc: "Milliseconds between two heartbeats of a member, as the share group tells its members."},
	{Name: "share.isolation.level", Type: String, Default: "read_uncommitted", Valid: oneOf("read_uncommitted", "read_committed"),
		Doc: "Whether the share group gets records of transactions that are open or were aborted: read_committed keeps them away."},
	{Name: "share.partition.max.record.locks", Type: Int, Default: "2000", Synonyms: same("group.share.partition.max.record.locks"), Valid: atLeast(1),
		Doc: "Records of a partition that the share group may have in flight: held by members, or given back and waiting for one. Five times as many may wait for their retry; then no further ones are delivered."},
	{Name: "share.record.lock.duration.ms", Type: Int, Default: "30000", Synonyms: same("group.share.record.lock.duration.ms"), Valid: atLeast(1000),
		Doc: "Milliseconds for which a member holds the records it was given. Those it has not acknowledged by then are given to others."},
	{Name: "share.renew.acknowledge.enable", Type: Boolean, Default: "true",
		Doc: "Whether members may hold on to records for another share.record.lock.duration.ms (KIP-1222)."},
	{Name: "share.retry.delay.max.ms", Type: Long, Default: "3600000", Valid: between(0, maxRetryDelayMs),
		Doc: "Most milliseconds that share.retry.delay.ms grows to. Kafka has no such config."},
	{Name: "share.retry.delay.ms", Type: Long, Default: "0", Valid: between(0, maxRetryDelayMs),
		Doc: "Milliseconds after which a record that was released, or not acknowledged in time, is delivered again. Every further delivery doubles them, up to share.retry.delay.max.ms. 0 delivers it at once, as Kafka does, which has no such config."},
	{Name: "share.session.timeout.ms", Type: Int, Default: "45000", Synonyms: same("group.share.session.timeout.ms"), Valid: atLeast(1),
		Doc: "Milliseconds without a heartbeat after which a member of the share group is removed."},
}

// maxRetryDelayMs is a year.
const maxRetryDelayMs = 365 * 24 * 3600 * 1000

// deadLetterDefs are about the dead-letter topic of a share group (KIP-1191).
var deadLetterDefs = []Def{
	{Name: "errors.deadletterqueue.copy.record.enable", Type: Boolean, Default: "true",
		Doc: "Whether a record in the dead-letter topic has the key, value and headers of the one it is about, or only the headers that say where that one lies and what happened. Kafka's default is false; then it is lost once retention removes it."},
	{Name: "errors.deadletterqueue.topic.name", Type: String, Default: "", Valid: deadLetterTopic,
		Doc: "Topic that the share group's rejected records are written to, and those it was given share.delivery.count.limit times in vain. Empty: they are given up without a trace. It is created if it does not exist and auto.create.topics.enable is true."},
}
