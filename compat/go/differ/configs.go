package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	topicResource  = kmsg.ConfigResourceTypeTopic
	brokerResource = kmsg.ConfigResourceTypeBroker
	loggerResource = kmsg.ConfigResourceTypeBrokerLogger
	groupResource  = kmsg.ConfigResourceType(32)
	clientResource = kmsg.ConfigResourceType(16)
)

// settleTime is how long Kafka may take to show what was altered.
const settleTime = 100 * time.Millisecond

// trialValues are tried on every config: some are good for one type, some for none.
var trialValues = []string{"", "0", "1", "-1", "-2", "-3", "1.5", "true", "maybe", "2147483648", "9223372036854775808", "1048576", "a", "a,a"}

// particularValues are tried on single configs.
var particularValues = map[string][]string{
	"cleanup.policy":         {"delete", "compact", "compact,delete", "delete,compact", "delete,delete", "Compact", " compact ", "compact,", "none"},
	"compression.type":       {"gzip", "snappy", "lz4", "zstd", "producer", "uncompressed", "none", "GZIP"},
	"compression.gzip.level": {"9", "10"}, "compression.lz4.level": {"17", "18"}, "compression.zstd.level": {"22", "23", "-131072", "-131073"},
	"message.timestamp.type":                  {"CreateTime", "LogAppendTime", "createtime"},
	"leader.replication.throttled.replicas":   {"*", "0:0", "0:0,1:0", "0", "0:x", "0:1:2"},
	"follower.replication.throttled.replicas": {"*", "0:0", "0"},
	"segment.bytes":                           {"1048575"}, "segment.jitter.ms": {"5"}, "min.cleanable.dirty.ratio": {"0.5", "1.1", "-0.1", "1e-3"},
}

// topicConfigs tries every value on every topic config, without setting it.
func topicConfigs(s *side) {
	s.topic("configured", 1)
	s.ask("all", s.latest(kmsg.DescribeConfigs), describeConfigs(topicResource, "configured"))
	for _, name := range topicConfigNames {
		for _, value := range slices.Concat(trialValues, particularValues[name]) {
			req := alter(topicResource, "configured", set(name, value))
			req.ValidateOnly = true
			s.ask(fmt.Sprintf("%s=%s", name, value), 1, req)
		}
	}
	s.ask("described", s.latest(kmsg.DescribeConfigs), describeConfigs(topicResource, "configured", topicConfigNames...))
}

// topicConfigNames are the topic configs that both have.
var topicConfigNames = []string{
	"cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level",
	"delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms", "follower.replication.throttled.replicas",
	"index.interval.bytes", "leader.replication.throttled.replicas", "local.retention.bytes", "local.retention.ms",
	"max.compaction.lag.ms", "max.message.bytes", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms",
	"message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "preallocate",
	"remote.log.copy.disable", "remote.log.delete.on.disable", "remote.storage.enable", "retention.bytes", "retention.ms",
	"segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable",
}

// ourOwn reports whether a config is one of those that Morrow adds.
func ourOwn(name string) bool {
	for _, prefix := range []string{"delay.", "tier."} {
		if len(name) > len(prefix) && name[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

func describingConfigs(s *side) {
	s.topic("described", 1, "retention.ms", "1000")
	s.versions(kmsg.DescribeConfigs, func(v int16) {
		s.ask("nothing", v, kmsg.NewPtrDescribeConfigsRequest())
		s.ask("one of a topic", v, describeConfigs(topicResource, "described", "retention.ms"))
		s.ask("one that is unknown", v, describeConfigs(topicResource, "described", "no.such"))
		empty := describeConfigs(topicResource, "described")
		empty.Resources[0].ConfigNames = []string{}
		s.ask("none of a topic", v, empty)
		s.ask("no topic", v, describeConfigs(topicResource, "nowhere-described"))
		s.ask("a bad name", v, describeConfigs(topicResource, "a b"))
		s.ask("an empty name", v, describeConfigs(topicResource, ""))
		all := describeConfigs(topicResource, "described", topicConfigNames...)
		all.IncludeSynonyms, all.IncludeDocumentation = true, false
		s.ask("all of a topic with synonyms", v, all)
		s.ask("an internal topic", v, describeConfigs(topicResource, "__consumer_offsets", "cleanup.policy", "segment.bytes", "compression.type"))
		s.ask("a broker", v, describeConfigs(brokerResource, "1", "log.retention.ms", "node.id", "broker.id"))
		s.ask("all brokers", v, describeConfigs(brokerResource, "", "log.retention.ms"))
		s.ask("another broker", v, describeConfigs(brokerResource, "9"))
		s.ask("a broker without number", v, describeConfigs(brokerResource, "x"))
		s.ask("an unknown kind", v, describeConfigs(99, "x"))
		s.ask("no kind", v, describeConfigs(0, "x"))
		s.ask("a group", v, describeConfigs(groupResource, "g"))
		s.ask("an empty group", v, describeConfigs(groupResource, ""))
		s.ask("client metrics", v, describeConfigs(clientResource, "m"))
		s.ask("loggers of another broker", v, describeConfigs(loggerResource, "9"))
		s.ask("loggers without number", v, describeConfigs(loggerResource, "x"))
		s.ask("loggers of all", v, describeConfigs(loggerResource, ""))
		twice := describeConfigs(topicResource, "described", "retention.ms")
		twice.Resources = append(twice.Resources, twice.Resources[0])
		s.ask("twice", v, twice)
	})
}

func alteringConfigs(s *side) {
	s.topic("alter", 1)
	add, subtract := kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	s.versions(kmsg.IncrementalAlterConfigs, func(v int16) {
		do := func(name string, kind kmsg.ConfigResourceType, resource string, changes ...change) {
			s.ask(name, v, alter(kind, resource, changes...))
		}
		is := func() {
			time.Sleep(settleTime)
			s.ask("and then", s.latest(kmsg.DescribeConfigs), describeConfigs(topicResource, "alter", "cleanup.policy", "retention.ms", "leader.replication.throttled.replicas"))
		}
		s.ask("nothing", v, kmsg.NewPtrIncrementalAlterConfigsRequest())
		do("nothing of a topic", topicResource, "alter")
		do("set", topicResource, "alter", set("retention.ms", "1000"))
		is()
		do("set to null", topicResource, "alter", change{0, "retention.ms", nil})
		do("set to nothing", topicResource, "alter", set("retention.ms", ""))
		do("an empty name", topicResource, "alter", set("", "1"))
		do("set an unknown config", topicResource, "alter", set("no.such", "1"))
		do("unset an unknown config", topicResource, "alter", unset("no.such"))
		do("unset what is not set", topicResource, "alter", unset("segment.ms"))
		do("a good and a bad one", topicResource, "alter", set("retention.ms", "7"), set("segment.ms", "x"))
		is()
		do("twice", topicResource, "alter", set("retention.ms", "1"), set("retention.ms", "2"))
		do("append", topicResource, "alter", change{add, "cleanup.policy", ptr("compact")})
		is()
		do("append what is there", topicResource, "alter", change{add, "cleanup.policy", ptr("compact")})
		is()
		do("append null", topicResource, "alter", change{add, "cleanup.policy", nil})
		do("append rubbish", topicResource, "alter", change{add, "cleanup.policy", ptr("rubbish")})
		do("subtract", topicResource, "alter", change{subtract, "cleanup.policy", ptr("delete")})
		is()
		do("subtract what is not there", topicResource, "alter", change{subtract, "cleanup.policy", ptr("delete")})
		is()
		do("subtract all", topicResource, "alter", change{subtract, "cleanup.policy", ptr("compact")})
		is()
		do("append two", topicResource, "alter", change{add, "leader.replication.throttled.replicas", ptr("0:0,1:0")})
		is()
		do("append to a number", topicResource, "alter", change{add, "retention.ms", ptr("1")})
		do("append to an unknown config", topicResource, "alter", change{add, "no.such", ptr("1")})
		do("an unknown operation", topicResource, "alter", change{9, "retention.ms", ptr("1")})
		do("unset", topicResource, "alter", unset("retention.ms"), unset("cleanup.policy"), unset("leader.replication.throttled.replicas"))
		is()
		do("unset with a value", topicResource, "alter", change{1, "retention.ms", ptr("1")})
		do("no topic", topicResource, "nowhere-alter", set("retention.ms", "1"))
		do("a bad name", topicResource, "a b", set("retention.ms", "1"))
		do("an empty topic", topicResource, "", set("retention.ms", "1"))
		do("an internal topic", topicResource, "__consumer_offsets", set("segment.bytes", "10485760"))
		do("another broker", brokerResource, "9", set("log.retention.ms", "1"))
		do("a broker without number", brokerResource, "x", set("log.retention.ms", "1"))
		do("an unknown kind", 99, "x", set("a", "1"))
		do("no kind", 0, "x", set("a", "1"))
		do("loggers", loggerResource, "9", set("root", "INFO"))
		do("client metrics", clientResource, "m", set("no.such", "1"))
		twice := alter(topicResource, "alter", set("retention.ms", "1"))
		twice.Resources = append(twice.Resources, twice.Resources[0])
		s.ask("a topic twice", v, twice)
		only := alter(topicResource, "alter", set("retention.ms", "77"))
		only.ValidateOnly = true
		s.ask("only looking", v, only)
		is()
	})
	s.versions(kmsg.AlterConfigs, func(v int16) {
		do := func(name string, kind kmsg.ConfigResourceType, resource string, changes ...change) {
			s.ask("all: "+name, v, alterAll(kind, resource, changes...))
		}
		do("set", topicResource, "alter", set("retention.ms", "5000"))
		do("set another", topicResource, "alter", set("cleanup.policy", "compact"))
		time.Sleep(settleTime)
		s.ask("all: and then", s.latest(kmsg.DescribeConfigs), describeConfigs(topicResource, "alter", "cleanup.policy", "retention.ms"))
		do("null", topicResource, "alter", change{0, "retention.ms", nil})
		do("unknown", topicResource, "alter", set("no.such", "1"))
		do("bad", topicResource, "alter", set("retention.ms", "x"))
		do("twice", topicResource, "alter", set("retention.ms", "1"), set("retention.ms", "2"))
		do("no topic", topicResource, "nowhere-alter", set("retention.ms", "1"))
		do("an unknown kind", 99, "x", set("a", "1"))
		do("another broker", brokerResource, "9", set("log.retention.ms", "1"))
		do("nothing", topicResource, "alter")
	})
}

// brokerConfigs tries values on broker configs that change while the broker runs, and on some that do not.
func brokerConfigs(s *side) {
	for _, name := range []string{
		"log.retention.ms", "log.retention.bytes", "log.segment.bytes", "log.roll.ms", "log.cleanup.policy", "compression.type",
		"message.max.bytes", "min.insync.replicas", "unclean.leader.election.enable", "log.flush.interval.ms",
		"log.message.timestamp.type", "log.cleaner.min.cleanable.ratio", "log.cleaner.delete.retention.ms", "log.preallocate",
		"log.retention.hours", "log.dirs", "node.id", "listeners", "advertised.listeners", "num.io.threads", "num.network.threads",
		"max.connections", "max.connections.per.ip", "auto.create.topics.enable", "num.partitions", "default.replication.factor",
		"group.initial.rebalance.delay.ms", "transactional.id.expiration.ms", "leader.replication.throttled.rate", "no.such",
	} {
		for _, value := range []string{"1", "a", "", "-7"} {
			req := alter(brokerResource, "", set(name, value))
			req.ValidateOnly = true
			s.ask(fmt.Sprintf("%s=%s of all", name, value), 1, req)
			req = alter(brokerResource, "1", set(name, value))
			req.ValidateOnly = true
			s.ask(fmt.Sprintf("%s=%s of one", name, value), 1, req)
		}
		req := alter(brokerResource, "", unset(name))
		req.ValidateOnly = true
		s.ask(name+" unset", 1, req)
	}
}

func groupConfigs(s *side) {
	for _, name := range []string{
		"consumer.heartbeat.interval.ms", "consumer.session.timeout.ms", "share.heartbeat.interval.ms", "share.session.timeout.ms",
		"share.record.lock.duration.ms", "share.auto.offset.reset", "share.isolation.level", "share.delivery.count.limit",
		"share.partition.max.record.locks", "share.renew.acknowledge.enable", "streams.heartbeat.interval.ms", "no.such",
	} {
		for _, value := range []string{"", "1", "-1", "10", "100", "5000", "15000", "45000", "50000", "1000000000", "a", "latest", "earliest", "read_committed", "by_duration:PT1H", "true"} {
			s.ask(name+"="+value, 1, alter(groupResource, "configured", set(name, value)))
		}
		s.ask(name+" unset", 1, alter(groupResource, "configured", unset(name)))
	}
	time.Sleep(settleTime)
	s.ask("described", s.latest(kmsg.DescribeConfigs), describeConfigs(groupResource, "configured"))
	s.ask("an empty group", 1, alter(groupResource, "", set("consumer.session.timeout.ms", "45000")))
}
