package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The rules in this file span several keys. Each function reports all that is
// wrong at once: the errors it joins are *UnknownKeyError and *ValueError.

// ValidateTopicSet checks the overrides of a topic, each and all together with
// what the topic inherits.
func ValidateTopicSet(l Layers, topic Values) error {
	if err := checkEach(ScopeTopic, topic); err != nil {
		return err
	}
	r := resolveTopic(l, topic)
	return errors.Join(
		checkCompactionLag(r, "min.compaction.lag.ms"),
		checkTier(r, ResolveBroker(l).Bool("remote.log.storage.system.enable")))
}

// ValidateTopicChange checks what may not be changed about the overrides of a
// topic that exists. Both sets are valid by themselves.
func ValidateTopicChange(l Layers, was, now Values) error {
	before, after := resolveTopic(l, was), resolveTopic(l, now)
	if before.Bool("remote.storage.enable") && !after.Bool("remote.storage.enable") && !after.Bool("remote.log.delete.on.disable") {
		return valueError(after, "remote.storage.enable",
			"must stay true unless remote.log.delete.on.disable is set to true as well, which deletes what the topic holds in the tier; to keep it, set remote.log.copy.disable instead")
	}
	return nil
}

// ValidateBrokerSet checks the static configuration of a broker: what file,
// environment and flags say.
func ValidateBrokerSet(static Values) error {
	if err := checkEach(ScopeBroker, static); err != nil {
		return err
	}
	return ValidateBroker(Layers{Static: static})
}

// ValidateBroker checks what a broker's valid values say together.
func ValidateBroker(l Layers) error {
	b, t := ResolveBroker(l), resolveTopic(l, nil)
	return errors.Join(
		checkNodeID(l),
		checkListeners(b),
		checkCompactionLag(t, "log.cleaner.min.compaction.lag.ms"),
		checkLocalRetention(t, "local.retention.ms", "retention.ms", "log.local.retention.ms"),
		checkLocalRetention(t, "local.retention.bytes", "retention.bytes", "log.local.retention.bytes"),
		checkOrder(b, "group.min.session.timeout.ms", "group.max.session.timeout.ms"),
		checkOrder(b, "group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
		checkOrder(b, "group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
		checkHeartbeat(b, "group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"),
		checkOrder(b, "group.share.min.session.timeout.ms", "group.share.session.timeout.ms", "group.share.max.session.timeout.ms"),
		checkOrder(b, "group.share.min.heartbeat.interval.ms", "group.share.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
		checkHeartbeat(b, "group.share.heartbeat.interval.ms", "group.share.session.timeout.ms"),
		checkOrder(b, "group.share.min.record.lock.duration.ms", "group.share.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"),
		checkOrder(b, "group.share.min.delivery.count.limit", "group.share.delivery.count.limit", "group.share.max.delivery.count.limit"),
		checkOrder(b, "group.share.min.partition.max.record.locks", "group.share.partition.max.record.locks", "group.share.max.partition.max.record.locks"),
		checkQueue(b),
		checkOrder(b, "journal.segment.bytes", "journal.max.bytes"),
	)
}

// ValidateDynamic checks broker configs altered at run time, each by itself.
func ValidateDynamic(values Values) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if d, ok := Lookup(ScopeBroker, name); ok && d.Mode == ReadOnly {
			errs = append(errs, &ValueError{Def: d, Value: values[name], Reason: "cannot be altered at run time; set it where the broker is configured and restart it"})
			continue
		}
		errs = append(errs, ScopeBroker.Validate(name, values[name]))
	}
	return errors.Join(errs...)
}

// ValidateGroupSet checks the overrides of a group, each and against
// the bounds the broker sets.
func ValidateGroupSet(l Layers, group Values) error {
	if err := checkEach(ScopeGroup, group); err != nil {
		return err
	}
	g, b := ResolveGroup(l, group), ResolveBroker(l)
	return errors.Join(
		checkBounds(g, "consumer.session.timeout.ms", b, "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
		checkBounds(g, "consumer.heartbeat.interval.ms", b, "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
		checkHeartbeat(g, "consumer.heartbeat.interval.ms", "consumer.session.timeout.ms"),
		checkShare(g, b))
}

// checkShare checks what a share group sets against the bounds the broker sets.
func checkShare(g, b *Resolved) error {
	errs := []error{checkHeartbeat(g, "share.heartbeat.interval.ms", "share.session.timeout.ms")}
	for _, name := range []string{"session.timeout.ms", "heartbeat.interval.ms", "record.lock.duration.ms", "delivery.count.limit", "partition.max.record.locks"} {
		errs = append(errs, checkBounds(g, "share."+name, b, "group.share.min."+name, "group.share.max."+name))
	}
	return errors.Join(errs...)
}

// checkEach checks every value by itself.
func checkEach(s Scope, values Values) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		errs = append(errs, s.Validate(name, values[name]))
	}
	return errors.Join(errs...)
}

// valueError refuses the value in force of a config.
func valueError(r *Resolved, name, format string, args ...any) error {
	return &ValueError{Def: *r.table.def(name), Value: r.String(name), Reason: fmt.Sprintf(format, args...)}
}

// checkCompactionLag names the key at fault as it is called where it was set.
func checkCompactionLag(topic *Resolved, name string) error {
	least, most := topic.Int("min.compaction.lag.ms"), topic.Int("max.compaction.lag.ms")
	if least <= most {
		return nil
	}
	return &ValueError{Def: anyDef(name), Value: strconv.FormatInt(least, 10),
		Reason: fmt.Sprintf("must not be larger than the maximum compaction lag, %d", most)}
}

// checkTier refuses what cannot be done with a tiered topic.
func checkTier(r *Resolved, systemEnabled bool) error {
	if !r.Bool("remote.storage.enable") {
		return nil
	}
	var errs []error
	if !systemEnabled {
		errs = append(errs, valueError(r, "remote.storage.enable", "must be false while remote.log.storage.system.enable is false on the broker"))
	}
	if slices.Contains(r.List("cleanup.policy"), "compact") {
		errs = append(errs, valueError(r, "remote.storage.enable", "must be false for a topic whose cleanup.policy contains compact"))
	}
	for _, k := range []struct{ local, total string }{
		{"local.retention.ms", "retention.ms"},
		{"local.retention.bytes", "retention.bytes"},
	} {
		errs = append(errs,
			checkLocalRetention(r, k.local, k.total, k.local),
			checkCopyDisabled(r, k.local, k.total))
	}
	return errors.Join(errs...)
}

// checkLocalRetention requires the local share of a retention to fit in the
// whole. The key at fault is named as it is called where it was set.
func checkLocalRetention(topic *Resolved, local, total, name string) error {
	part, whole := topic.Int(local), topic.Int(total)
	if part == -2 || whole == -1 || (part != -1 && part <= whole) {
		return nil
	}
	return &ValueError{Def: anyDef(name), Value: strconv.FormatInt(part, 10),
		Reason: fmt.Sprintf("must be -2 or at most %d, the value of %s", whole, total)}
}

// checkCopyDisabled requires the local share to be all of a retention where
// nothing more is copied to the tier.
func checkCopyDisabled(r *Resolved, local, total string) error {
	if part := r.Int(local); !r.Bool("remote.log.copy.disable") || part == -2 || part == r.Int(total) {
		return nil
	}
	return valueError(r, local, "must be -2 or %s, the value of %s, while remote.log.copy.disable is true", r.String(total), total)
}

// checkNodeID lets the id of the broker be given under either name.
func checkNodeID(l Layers) error {
	older, byOlder := l.Static["broker.id"]
	id, both := l.Static["node.id"]
	if !byOlder || !both || strings.TrimSpace(older) == strings.TrimSpace(id) {
		return nil
	}
	return &ValueError{Def: anyDef("broker.id"), Value: older, Reason: "must be unset or " + id + ", the value of node.id"}
}

// checkListeners requires a protocol for every listener, and advertised
// addresses to belong to one.
func checkListeners(b *Resolved) error {
	own, _ := ParseListeners(b.String("listeners"))
	protocols, _ := ParseProtocolMap(b.String("listener.security.protocol.map"))
	known := map[string]bool{}
	var errs []error
	for _, l := range own {
		known[l.Name] = true
		if protocols[l.Name] == "" {
			errs = append(errs, valueError(b, "listeners", "must name listeners of listener.security.protocol.map, which has no %s", l.Name))
		}
	}
	advertised, _ := ParseListeners(b.String("advertised.listeners"))
	for _, l := range advertised {
		switch {
		case !known[l.Name]:
			errs = append(errs, valueError(b, "advertised.listeners", "must name listeners of listeners, which has no %s", l.Name))
		case l.Host == "" || l.Host == "0.0.0.0" || l.Host == "::":
			errs = append(errs, valueError(b, "advertised.listeners", "must hold addresses a client can connect to, which %q is not", l.Host))
		}
	}
	return errors.Join(errs...)
}

// checkOrder requires values that do not fall from one key to the next.
func checkOrder(r *Resolved, names ...string) error {
	var errs []error
	for i, name := range names[1:] {
		if below := names[i]; r.Int(name) < r.Int(below) {
			errs = append(errs, valueError(r, name, "must not be smaller than %s, %s", below, r.String(below)))
		}
	}
	return errors.Join(errs...)
}

func checkBounds(r *Resolved, name string, bounds *Resolved, least, most string) error {
	if n := r.Int(name); n >= bounds.Int(least) && n <= bounds.Int(most) {
		return nil
	}
	return valueError(r, name, "must be from %s to %s, the values of %s and %s of the broker",
		bounds.String(least), bounds.String(most), least, most)
}

func checkHeartbeat(r *Resolved, interval, timeout string) error {
	if r.Int(interval) < r.Int(timeout) {
		return nil
	}
	return valueError(r, interval, "must be smaller than %s, %s", timeout, r.String(timeout))
}

// checkQueue requires room for the largest request, or it would wait for ever.
func checkQueue(b *Resolved) error {
	queue := b.Int("queued.max.request.bytes")
	if queue == -1 || queue >= b.Int("socket.request.max.bytes") {
		return nil
	}
	return valueError(b, "queued.max.request.bytes", "must be -1 or at least socket.request.max.bytes, %s", b.String("socket.request.max.bytes"))
}

// anyDef returns the definition of a topic or broker config.
func anyDef(name string) Def {
	if hasKey(topicTable, name) {
		return *topicTable.def(name)
	}
	return *brokerTable.def(name)
}
