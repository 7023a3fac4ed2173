package config

import (
	"errors"
	"maps"
	"slices"
	"strconv"
)

// ValidateTopicSet checks the overrides of a topic, each and all together with
// what the topic inherits. All that is wrong is reported at once.
func ValidateTopicSet(l Layers, topic Values) error {
	if err := checkEach(ScopeTopic, topic); err != nil {
		return err
	}
	r := resolve(topicTable, l, orEmpty(topic), SourceDynamicTopic)
	return errors.Join(checkCompactionLag(r), checkTier(r))
}

func orEmpty(v Values) Values {
	if v == nil {
		return Values{}
	}
	return v
}

// checkEach checks every value by itself.
func checkEach(s Scope, values Values) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		errs = append(errs, s.Validate(name, values[name]))
	}
	return errors.Join(errs...)
}

func valueError(r *Resolved, name, reason string) error {
	return &ValueError{Name: name, Value: r.String(name), Reason: reason}
}

func checkCompactionLag(r *Resolved) error {
	if r.Int("min.compaction.lag.ms") > r.Int("max.compaction.lag.ms") {
		return valueError(r, "min.compaction.lag.ms", "must not be larger than max.compaction.lag.ms, "+r.String("max.compaction.lag.ms"))
	}
	return nil
}

// checkTier refuses what cannot be done with a tiered topic.
func checkTier(r *Resolved) error {
	if !r.Bool("remote.storage.enable") {
		return nil
	}
	var errs []error
	if slices.Contains(r.List("cleanup.policy"), "compact") {
		errs = append(errs, valueError(r, "remote.storage.enable", "must be false for a topic whose cleanup.policy contains compact"))
	}
	return errors.Join(append(errs,
		checkLocalRetention(r, "local.retention.ms", "retention.ms"),
		checkLocalRetention(r, "local.retention.bytes", "retention.bytes"))...)
}

// checkLocalRetention requires the local share of a retention to fit in the
// whole, and to be all of it where nothing is copied to the tier.
func checkLocalRetention(r *Resolved, local, total string) error {
	part, all := r.Int(local), r.Int(total)
	if part == -2 {
		return nil
	}
	if all != -1 && (part == -1 || part > all) {
		return valueError(r, local, "must be -2 or at most the value of "+total+", "+r.String(total))
	}
	if r.Bool("remote.log.copy.disable") && part != all {
		return valueError(r, local, "must be -2 or the value of "+total+", "+r.String(total)+", while remote.log.copy.disable is true")
	}
	return nil
}

// ValidateTopicChange checks what may not be changed about the overrides of a
// topic that exists. Both sets are valid by themselves.
func ValidateTopicChange(l Layers, was, now Values) error {
	before := resolve(topicTable, l, orEmpty(was), SourceDynamicTopic)
	after := resolve(topicTable, l, orEmpty(now), SourceDynamicTopic)
	if before.Bool("remote.storage.enable") && !after.Bool("remote.storage.enable") && !after.Bool("remote.log.delete.on.disable") {
		return valueError(after, "remote.storage.enable", "must stay true unless remote.log.delete.on.disable is set to true as well, which deletes what the topic holds in the tier; to keep it, set remote.log.copy.disable instead")
	}
	return nil
}

// TopicDefault returns what a topic config inherits where it is not overridden.
func TopicDefault(l Layers, name string) string {
	if !hasKey(topicTable, name) {
		return ""
	}
	return resolve(topicTable, l, Values{}, SourceDynamicTopic).String(name)
}

// ValidateDynamic checks a set of broker configs altered at run time: for one
// broker, or for all.
func ValidateDynamic(values Values, all bool) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		d, ok := Lookup(ScopeBroker, name)
		switch {
		case ok && d.Mode == ReadOnly:
			errs = append(errs, &ValueError{Name: name, Value: values[name], Reason: "cannot be altered at run time; set it in the configuration file and restart"})
		case ok && d.Mode == PerBroker && all:
			errs = append(errs, &ValueError{Name: name, Value: values[name], Reason: "can be altered for one broker only, not as the default of all"})
		default:
			errs = append(errs, ScopeBroker.Validate(name, values[name]))
		}
	}
	return errors.Join(errs...)
}

// ValidateBrokerSet checks the static configuration of a broker: what a file,
// environment and flags say. All that is wrong is reported at once.
func ValidateBrokerSet(static Values) error {
	return errors.Join(checkEach(ScopeBroker, static), ValidateBroker(Layers{Static: static}))
}

// ValidateBroker checks the rules that span several broker configs.
func ValidateBroker(l Layers) error {
	return nil
}

// ValidateGroupSet checks the overrides of a consumer group, each and against
// the bounds the broker sets.
func ValidateGroupSet(l Layers, group Values) error {
	return checkEach(ScopeGroup, group)
}

// ScheduleValues returns the overrides of a schedule topic, which follow from
// the configuration of the topic it belongs to. It is never removed by
// retention, but by what it records; its segments roll, are synced and leave the
// local disk for the tier as its owner's do.
func ScheduleValues(owner TopicConfig) Values {
	integer := func(n int64) string { return strconv.FormatInt(n, 10) }
	return Values{
		"cleanup.policy":          "delete",
		"retention.ms":            "-1",
		"retention.bytes":         "-1",
		"delay.enable":            "false",
		"message.timestamp.type":  "CreateTime",
		"compression.type":        "producer",
		"min.insync.replicas":     strconv.Itoa(owner.MinInsyncReplicas),
		"segment.bytes":           integer(owner.SegmentBytes),
		"segment.ms":              integer(owner.SegmentMs),
		"flush.messages":          integer(owner.FlushMessages),
		"flush.ms":                integer(owner.FlushMs),
		"remote.storage.enable":   strconv.FormatBool(owner.RemoteStorageEnable),
		"remote.log.copy.disable": strconv.FormatBool(owner.RemoteCopyDisable),
		"local.retention.ms":      integer(owner.LocalRetentionMs),
		"local.retention.bytes":   integer(owner.LocalRetentionBytes),
	}
}
