package cluster

import (
	"maps"
	"slices"

	"github.com/morrowmq/morrow/cluster/config"
)

// journals are the topics the broker keeps its own state in, each with the configs without which it
// would lose some. They have these from the start and cannot be altered away from them; all else
// about them is for operators to choose, as in Kafka, which lets them choose these as well.
var journals = map[string]config.Values{
	OffsetsTopic:      {"cleanup.policy": "compact"},
	TransactionsTopic: {"cleanup.policy": "compact"},
	// The broker itself deletes what is not needed any more.
	ShareStateTopic: {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
}

// journalConfig is what is set on a new topic of the broker's own.
func journalConfig(n NewTopic) config.Values {
	values := maps.Clone(n.Config)
	if values == nil {
		values = config.Values{}
	}
	maps.Copy(values, journals[n.Name])
	return values
}

// checkJournal refuses to alter what a journal depends on, and to tier one: it is read as a whole
// from the broker's disk. What was altered when nothing refused it can be set right step by step.
func checkJournal(t *Topic, values config.Values) error {
	needed, ok := journals[t.Name]
	if !ok {
		return nil
	}
	refuseOther := func(name, value string) error {
		return refuse(InvalidConfig, "config %s of %q must stay %s: the broker keeps state of its own there, and would lose some", name, t.Name, value)
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		now, ok := values[name]
		if was, had := t.Config[name]; now != needed[name] && (now != was || ok != had) {
			return refuseOther(name, needed[name])
		}
	}
	const tiered = "remote.storage.enable"
	if now, ok := values[tiered]; ok && now != "false" && now != t.Config[tiered] {
		return refuseOther(tiered, "false")
	}
	return nil
}
