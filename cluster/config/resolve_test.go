package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTheStrongestLayerWins(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers Layers
		topic  Values
		want   int64
	}{
		{name: "nothing set", want: 168 * hourMs},
		{name: "hours in the file", layers: Layers{Static: Values{"log.retention.hours": "2"}}, want: 2 * hourMs},
		{name: "minutes before hours", layers: Layers{Static: Values{"log.retention.hours": "2", "log.retention.minutes": "3"}}, want: 3 * minuteMs},
		{name: "milliseconds before minutes", layers: Layers{Static: Values{"log.retention.minutes": "3", "log.retention.ms": "4"}}, want: 4},
		{name: "for ever in hours", layers: Layers{Static: Values{"log.retention.hours": "-1"}}, want: -1},
		{name: "cluster before file", layers: Layers{Static: Values{"log.retention.ms": "4"}, Cluster: Values{"log.retention.ms": "5"}}, want: 5},
		{name: "broker before cluster", layers: Layers{Cluster: Values{"log.retention.ms": "5"}, Broker: Values{"log.retention.ms": "6"}}, want: 6},
		{name: "topic before broker", layers: Layers{Broker: Values{"log.retention.ms": "6"}}, topic: Values{"retention.ms": "7"}, want: 7},
		{name: "hours beyond 64 bits", layers: Layers{Static: Values{"log.retention.hours": "2147483647"}}, want: 2147483647 * hourMs},
		{name: "damaged override", topic: Values{"retention.ms": "soon"}, want: 168 * hourMs},
	} {
		if got := ResolveTopic(c.layers, c.topic).RetentionMs; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestLocalRetentionIsAShareOfTheWhole(t *testing.T) {
	for _, c := range []struct {
		local, total string
		want         int64
	}{
		{"-2", "1000", 1000},
		{"-2", "-1", -1},
		{"500", "1000", 500},
		{"500", "-1", 500},
		{"-1", "-1", -1},
		{"2000", "1000", 1000}, // the broker's default was lowered afterwards
		{"-1", "1000", 1000},
	} {
		got := ResolveTopic(Layers{}, Values{
			"local.retention.ms": c.local, "retention.ms": c.total,
			"local.retention.bytes": c.local, "retention.bytes": c.total,
		})
		if got.LocalRetentionMs != c.want || got.LocalRetentionBytes != c.want {
			t.Errorf("local %s of %s: %d ms, %d bytes, want %d", c.local, c.total, got.LocalRetentionMs, got.LocalRetentionBytes, c.want)
		}
	}
}

func TestTopicConfigParsesValues(t *testing.T) {
	c := ResolveTopic(Layers{}, Values{
		"cleanup.policy":         "compact,delete",
		"compression.type":       "zstd",
		"compression.zstd.level": "7",
		"message.timestamp.type": "LogAppendTime",
		"delay.levels":           "1s 2m 1d",
		"delay.dialects":         "morrow, rabbitmq",
	})
	if !c.Compact || !c.Delete || c.CompressionLevel != 7 || !c.LogAppendTime {
		t.Errorf("%+v", c)
	}
	if fmt.Sprint(c.DelayLevels) != "[1s 2m0s 24h0m0s]" || fmt.Sprint(c.DelayDialects) != "[morrow rabbitmq]" {
		t.Errorf("%v %v", c.DelayLevels, c.DelayDialects)
	}
	if none := ResolveTopic(Layers{}, Values{"cleanup.policy": ""}); none.Compact || none.Delete {
		t.Errorf("%+v", none)
	}
	if all := ResolveTopic(Layers{}, nil).DelayLevels; len(all) != 18 || all[17] != 2*time.Hour {
		t.Errorf("%v", all)
	}
}

func TestAskingForAnUndefinedConfigPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	ResolveBroker(Layers{}).Int("no.such.config")
}

func TestScheduleValuesFollowTheOwner(t *testing.T) {
	l := Layers{Static: Values{"log.local.retention.ms": "60000", "log.segment.bytes": "2097152"}}
	owner := ResolveTopic(l, Values{"retention.ms": "120000", "cleanup.policy": "delete", "remote.storage.enable": "true", "delay.enable": "true"})
	values := ScheduleValues(&owner)
	if err := ValidateTopicSet(l, values); err != nil {
		t.Fatal(err)
	}
	s := ResolveTopic(l, values)
	if s.RetentionMs != -1 || s.RetentionBytes != -1 || s.Compact || !s.Delete || s.DelayEnable {
		t.Errorf("retention would remove pending records: %+v", s)
	}
	if !s.RemoteStorageEnable || s.LocalRetentionMs != 60000 || s.SegmentBytes != 2097152 || s.FlushMessages != 1 {
		t.Errorf("not the owner's: %+v", s)
	}
	loose := ResolveTopic(l, Values{"flush.messages": "1000"})
	if f := ResolveTopic(l, ScheduleValues(&loose)); f.FlushMessages != 1 {
		t.Error("what is deleted from the log of a topic would not be durable in its schedule")
	}
	compacted := ResolveTopic(l, Values{"cleanup.policy": "compact"})
	if c := ResolveTopic(l, ScheduleValues(&compacted)); c.Compact {
		t.Error("the schedule of a compacted topic would be compacted")
	}
}

// describe prints entries as "name=value (source) [synonyms]".
func printEntries(entries []Entry, names ...string) string {
	var b strings.Builder
	for _, e := range entries {
		for _, name := range names {
			if e.Name != name {
				continue
			}
			fmt.Fprintf(&b, "%s=%s %s ro=%v\n", e.Name, text(e.Value), e.Source, e.ReadOnly)
			for _, s := range e.Synonyms {
				fmt.Fprintf(&b, "  %s=%s %s\n", s.Name, text(s.Value), s.Source)
			}
		}
	}
	return b.String()
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func TestDescribeNamesEverySource(t *testing.T) {
	l := Layers{
		Broker:  Values{"log.segment.bytes": "4194304"},
		Cluster: Values{"log.segment.bytes": "3145728", "log.retention.ms": "9"},
		Static:  Values{"log.segment.bytes": "2097152", "log.retention.minutes": "5", "group.consumer.session.timeout.ms": "46000"},
	}
	for _, c := range []struct {
		name    string
		entries []Entry
		show    []string
		want    string
	}{
		{"topic", DescribeTopic(l, Values{"segment.bytes": "5242880"}), []string{"remote.storage.enable", "retention.ms", "segment.bytes"}, `
remote.storage.enable=false DEFAULT_CONFIG ro=false
retention.ms=9 DYNAMIC_DEFAULT_BROKER_CONFIG ro=false
  log.retention.ms=9 DYNAMIC_DEFAULT_BROKER_CONFIG
  log.retention.minutes=5 STATIC_BROKER_CONFIG
  log.retention.hours=168 DEFAULT_CONFIG
segment.bytes=5242880 DYNAMIC_TOPIC_CONFIG ro=false
  segment.bytes=5242880 DYNAMIC_TOPIC_CONFIG
  log.segment.bytes=4194304 DYNAMIC_BROKER_CONFIG
  log.segment.bytes=3145728 DYNAMIC_DEFAULT_BROKER_CONFIG
  log.segment.bytes=2097152 STATIC_BROKER_CONFIG
  log.segment.bytes=1073741824 DEFAULT_CONFIG
`},
		{"topic in another unit", DescribeTopic(Layers{Static: l.Static}, nil), []string{"retention.ms"}, `
retention.ms=300000 STATIC_BROKER_CONFIG ro=false
  log.retention.minutes=5 STATIC_BROKER_CONFIG
  log.retention.hours=168 DEFAULT_CONFIG
`},
		{"broker", DescribeBroker(l), []string{"log.retention.hours", "log.retention.minutes", "log.roll.ms", "log.segment.bytes", "node.id"}, `
log.retention.hours=168 DEFAULT_CONFIG ro=true
  log.retention.hours=168 DEFAULT_CONFIG
log.retention.minutes=5 STATIC_BROKER_CONFIG ro=true
  log.retention.minutes=5 STATIC_BROKER_CONFIG
  log.retention.hours=168 DEFAULT_CONFIG
log.roll.ms=null DEFAULT_CONFIG ro=false
  log.roll.hours=168 DEFAULT_CONFIG
log.segment.bytes=4194304 DYNAMIC_BROKER_CONFIG ro=false
  log.segment.bytes=4194304 DYNAMIC_BROKER_CONFIG
  log.segment.bytes=3145728 DYNAMIC_DEFAULT_BROKER_CONFIG
  log.segment.bytes=2097152 STATIC_BROKER_CONFIG
  log.segment.bytes=1073741824 DEFAULT_CONFIG
node.id=1 DEFAULT_CONFIG ro=true
  node.id=1 DEFAULT_CONFIG
`},
		{"all brokers", DescribeAllBrokers(l.Cluster), []string{"log.retention.ms", "log.segment.bytes", "node.id"}, `
log.retention.ms=9 DYNAMIC_DEFAULT_BROKER_CONFIG ro=false
  log.retention.ms=9 DYNAMIC_DEFAULT_BROKER_CONFIG
log.segment.bytes=3145728 DYNAMIC_DEFAULT_BROKER_CONFIG ro=false
  log.segment.bytes=3145728 DYNAMIC_DEFAULT_BROKER_CONFIG
`},
		{"group", DescribeGroup(l, Values{"consumer.heartbeat.interval.ms": "6000"}), []string{"consumer.heartbeat.interval.ms", "consumer.session.timeout.ms"}, `
consumer.heartbeat.interval.ms=6000 GROUP_CONFIG ro=false
  consumer.heartbeat.interval.ms=6000 GROUP_CONFIG
  group.consumer.heartbeat.interval.ms=5000 DEFAULT_CONFIG
consumer.session.timeout.ms=46000 STATIC_BROKER_CONFIG ro=false
  group.consumer.session.timeout.ms=46000 STATIC_BROKER_CONFIG
  group.consumer.session.timeout.ms=45000 DEFAULT_CONFIG
`},
	} {
		if got := printEntries(c.entries, c.show...); got != strings.TrimPrefix(c.want, "\n") {
			t.Errorf("%s:\n%s", c.name, got)
		}
	}
}

// What tools look for must be there: see the compatibility notes of each.
func TestDescribeHoldsWhatToolsLookFor(t *testing.T) {
	described := map[string]bool{}
	for _, e := range append(DescribeBroker(Layers{}), DescribeTopic(Layers{}, nil)...) {
		described[e.Name] = true
	}
	for _, name := range []string{
		"auto.create.topics.enable", "cleanup.policy", "default.replication.factor", "delete.topic.enable", "log.dirs",
		"log.retention.hours", "log.retention.ms", "max.message.bytes", "message.max.bytes", "min.insync.replicas",
		"num.io.threads", "num.network.threads", "num.partitions", "offsets.retention.minutes", "retention.bytes",
		"retention.ms", "segment.bytes", "transaction.max.timeout.ms", "unclean.leader.election.enable",
	} {
		if !described[name] {
			t.Errorf("%s is not described", name)
		}
	}
}
