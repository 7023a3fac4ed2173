package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// toolTopics are the topics that well-known tools create for themselves, with the configs they set;
// a tool that finds another value than it set, or none, gives up.
var toolTopics = []struct {
	tool, topic string
	configs     []string // name, value, ...
}{
	{"Kafka Connect", "connect-offsets", []string{"cleanup.policy", "compact"}},
	{"Kafka Connect, extra settings", "connect-status", []string{"cleanup.policy", "compact", "min.insync.replicas", "1", "unclean.leader.election.enable", "false", "compression.type", "producer"}},
	{"Kafka Streams, repartition", "app-by-key-repartition", []string{"cleanup.policy", "delete", "segment.bytes", "52428800", "retention.ms", "-1", "message.timestamp.type", "CreateTime"}},
	{"Kafka Streams, store", "app-store-changelog", []string{"cleanup.policy", "compact", "message.timestamp.type", "CreateTime"}},
	{"Kafka Streams, windowed store", "app-window-changelog", []string{"cleanup.policy", "compact,delete", "retention.ms", "90000000", "message.timestamp.type", "CreateTime"}},
	{"Kafka Streams, versioned store", "app-versions-changelog", []string{"cleanup.policy", "compact", "min.compaction.lag.ms", "90000000", "message.timestamp.type", "CreateTime"}},
	{"Schema Registry", "_schemas", []string{"cleanup.policy", "compact"}},
	{"Debezium, schema history", "dbz-history", []string{"cleanup.policy", "delete", "retention.ms", "9223372036854775807", "retention.bytes", "-1"}},
	{"Debezium, topic creation", "dbz.inventory.orders", []string{"cleanup.policy", "compact", "compression.type", "lz4", "delete.retention.ms", "604800000", "max.message.bytes", "2097152"}},
}

// toolReads are the configs that tools read of resources they did not make.
var toolReads = []struct {
	tool, name string
	kind       kmsg.ConfigResourceType
	of         kmsg.ConfigType
	value      string
}{
	{"Kafka Connect, Schema Registry", "cleanup.policy", topicResource, kmsg.ConfigTypeList, "delete"},
	{"Kafka Streams", "retention.ms", topicResource, kmsg.ConfigTypeLong, "604800000"},
	{"Kafka Streams", "retention.bytes", topicResource, kmsg.ConfigTypeLong, "-1"},
	{"Kafka Streams", "min.compaction.lag.ms", topicResource, kmsg.ConfigTypeLong, "0"},
	{"Schema Registry", "min.insync.replicas", topicResource, kmsg.ConfigTypeInt, "1"},
	{"Debezium", "default.replication.factor", brokerResource, kmsg.ConfigTypeInt, "1"},
	{"Debezium", "auto.create.topics.enable", brokerResource, kmsg.ConfigTypeBoolean, "true"},
	{"Kafka Connect", "message.max.bytes", brokerResource, kmsg.ConfigTypeInt, "1048588"},
	{"transactional applications", "transaction.max.timeout.ms", brokerResource, kmsg.ConfigTypeInt, "900000"},
	{"user interfaces", "delete.topic.enable", brokerResource, kmsg.ConfigTypeBoolean, "true"},
	{"user interfaces", "log.retention.ms", brokerResource, kmsg.ConfigTypeLong, ""},
	{"user interfaces", "num.partitions", brokerResource, kmsg.ConfigTypeInt, "1"},
}

func TestToolsFindTheConfigsOfTheirTopics(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for _, test := range toolTopics {
		w.create(test.topic, 1, test.configs...)
		r := c.describe(4, topicResource, test.topic)
		wantCode(t, test.tool, r.ErrorCode, nil)
		for i := 0; i < len(test.configs); i += 2 {
			e := entry(t, r, test.configs[i])
			if deref(e.Value) != test.configs[i+1] || e.Source != kmsg.ConfigSourceDynamicTopicConfig || e.IsSensitive || e.ReadOnly {
				t.Errorf("%s set %s=%s and finds %+v", test.tool, test.configs[i], test.configs[i+1], e)
			}
		}
	}
}

func TestToolsFindTheConfigsTheyLookFor(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	for _, test := range toolReads {
		resource := "orders"
		if test.kind == brokerResource {
			resource = fmt.Sprint(node)
		}
		e := entry(t, c.describe(4, test.kind, resource, test.name), test.name)
		if deref(e.Value) != test.value || e.Source != kmsg.ConfigSourceDefaultConfig || e.ConfigType != test.of {
			t.Errorf("%s finds %s as %+v, expected %q of type %s", test.tool, test.name, e, test.value, test.of)
		}
	}
}

// TestConfigsNobodyKnowsAreRefused: a typing error must not look like a setting.
func TestConfigsNobodyKnowsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	wantCode(t, "alter", w.connect().alter(topicResource, "orders", set("retention.millis", "1")).ErrorCode, kerr.InvalidConfig)
}
