package config

// groupTable holds the configs of groups of the consumer protocol (KIP-848).
var groupTable = newTable([]Def{
	{Name: "consumer.session.timeout.ms", Type: Int, Default: "45000", Synonyms: same("group.consumer.session.timeout.ms"), Valid: atLeast(1),
		Doc: "Milliseconds without a heartbeat after which a member of the group is removed."},
	{Name: "consumer.heartbeat.interval.ms", Type: Int, Default: "5000", Synonyms: same("group.consumer.heartbeat.interval.ms"), Valid: atLeast(1),
		Doc: "Milliseconds between two heartbeats of a member, as the group tells its members."},
})
