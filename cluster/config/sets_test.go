package config

import (
	"strings"
	"testing"
)

// expect compares an error's lines with those wanted; none means no error.
func expect(t *testing.T, name string, err error, want ...string) {
	t.Helper()
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestTopicSetsAreCheckedAsAWhole(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers Layers
		topic  Values
		want   []string
	}{
		{name: "nothing set"},
		{name: "every bad key is named", topic: Values{"segment.ms": "0", "retention.mss": "1", "flush.ms": "-1"}, want: []string{
			`invalid value "-1" for config flush.ms: must be an integer ≥ 0`,
			`unknown topic config "retention.mss" (did you mean "retention.ms"?)`,
			`invalid value "0" for config segment.ms: must be an integer ≥ 1`,
		}},
		{name: "compaction lags in order", topic: Values{"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "5"}},
		{name: "compaction lags crossed", topic: Values{"min.compaction.lag.ms": "6", "max.compaction.lag.ms": "5"}, want: []string{
			`invalid value "6" for config min.compaction.lag.ms: must not be larger than the maximum compaction lag, 5`,
		}},
		{name: "compaction lag against the broker's", layers: Layers{Cluster: Values{"log.cleaner.max.compaction.lag.ms": "5"}},
			topic: Values{"min.compaction.lag.ms": "6"}, want: []string{
				`invalid value "6" for config min.compaction.lag.ms: must not be larger than the maximum compaction lag, 5`,
			}},
		{name: "tiered", topic: Values{"remote.storage.enable": "true", "local.retention.ms": "1000"}},
		{name: "tiered and compacted", topic: Values{"remote.storage.enable": "true", "cleanup.policy": "compact,delete"}, want: []string{
			`invalid value "true" for config remote.storage.enable: must be false for a topic whose cleanup.policy contains compact`,
		}},
		{name: "tiered without a tier", layers: Layers{Static: Values{"remote.log.storage.system.enable": "false"}},
			topic: Values{"remote.storage.enable": "true"}, want: []string{
				`invalid value "true" for config remote.storage.enable: must be false while remote.log.storage.system.enable is false on the broker`,
			}},
		{name: "local beyond total", topic: Values{"remote.storage.enable": "true", "local.retention.ms": "1000", "retention.ms": "999", "local.retention.bytes": "-1", "retention.bytes": "5"}, want: []string{
			`invalid value "1000" for config local.retention.ms: must be -2 or at most 999, the value of retention.ms`,
			`invalid value "-1" for config local.retention.bytes: must be -2 or at most 5, the value of retention.bytes`,
		}},
		{name: "local beyond total of a topic that is not tiered", topic: Values{"local.retention.ms": "1000", "retention.ms": "999"}},
		{name: "no copies and less local than in all", topic: Values{"remote.storage.enable": "true", "remote.log.copy.disable": "true", "local.retention.ms": "5", "retention.ms": "6"}, want: []string{
			`invalid value "5" for config local.retention.ms: must be -2 or 6, the value of retention.ms, while remote.log.copy.disable is true`,
		}},
	} {
		expect(t, c.name, ValidateTopicSet(c.layers, c.topic), c.want...)
	}
}

func TestTieringIsNotSwitchedOffByAccident(t *testing.T) {
	tiered := Values{"remote.storage.enable": "true"}
	refusal := `invalid value "false" for config remote.storage.enable: must stay true unless remote.log.delete.on.disable is set to true as well, which deletes what the topic holds in the tier; to keep it, set remote.log.copy.disable instead`
	expect(t, "dropped", ValidateTopicChange(Layers{}, tiered, Values{}), refusal)
	expect(t, "set to false", ValidateTopicChange(Layers{}, tiered, Values{"remote.storage.enable": "false"}), refusal)
	expect(t, "with deletion", ValidateTopicChange(Layers{}, tiered, Values{"remote.storage.enable": "false", "remote.log.delete.on.disable": "true"}))
	expect(t, "never on", ValidateTopicChange(Layers{}, nil, Values{"remote.storage.enable": "false"}))
}

func TestBrokerSetsAreCheckedAsAWhole(t *testing.T) {
	for _, c := range []struct {
		name   string
		static Values
		want   []string
	}{
		{name: "nothing set"},
		{name: "every bad key is named", static: Values{"num.partitions": "0", "lissteners": "x"}, want: []string{
			`unknown broker config "lissteners" (did you mean "listeners"?)`,
			`invalid value "0" for config num.partitions: must be an integer from 1 to 100000`,
		}},
		{name: "older name of the id", static: Values{"broker.id": "5"}},
		{name: "two ids", static: Values{"broker.id": "5", "node.id": "6"}, want: []string{
			`invalid value "5" for config broker.id: must be unset or 6, the value of node.id`,
		}},
		{name: "listener names", static: Values{"listeners": "INNER://:1,OUTER://:2", "listener.security.protocol.map": "INNER:PLAINTEXT,OUTER:PLAINTEXT", "advertised.listeners": "OUTER://example.org:2"}},
		{name: "listener without a protocol", static: Values{"listeners": "INNER://:1"}, want: []string{
			`invalid value "INNER://:1" for config listeners: must name listeners of listener.security.protocol.map, which has no INNER`,
		}},
		{name: "advertised in vain", static: Values{"advertised.listeners": "PLAINTEXT://0.0.0.0:1,SSL://h:2"}, want: []string{
			`invalid value "PLAINTEXT://0.0.0.0:1,SSL://h:2" for config advertised.listeners: must hold addresses a client can connect to, which "0.0.0.0" is not`,
			`invalid value "PLAINTEXT://0.0.0.0:1,SSL://h:2" for config advertised.listeners: must name listeners of listeners, which has no SSL`,
		}},
		{name: "sessions", static: Values{"group.min.session.timeout.ms": "10", "group.max.session.timeout.ms": "9", "group.consumer.session.timeout.ms": "61000"}, want: []string{
			`invalid value "9" for config group.max.session.timeout.ms: must not be smaller than group.min.session.timeout.ms, 10`,
			`invalid value "60000" for config group.consumer.max.session.timeout.ms: must not be smaller than group.consumer.session.timeout.ms, 61000`,
		}},
		{name: "retention", static: Values{"log.retention.hours": "1", "log.local.retention.ms": "3600001"}, want: []string{
			`invalid value "3600001" for config log.local.retention.ms: must be -2 or at most 3600000, the value of retention.ms`,
		}},
		{name: "request that never fits", static: Values{"queued.max.request.bytes": "1000"}, want: []string{
			`invalid value "1000" for config queued.max.request.bytes: must be -1 or at least socket.request.max.bytes, 104857600`,
		}},
		{name: "compaction lag", static: Values{"log.cleaner.min.compaction.lag.ms": "2", "log.cleaner.max.compaction.lag.ms": "1"}, want: []string{
			`invalid value "2" for config log.cleaner.min.compaction.lag.ms: must not be larger than the maximum compaction lag, 1`,
		}},
	} {
		expect(t, c.name, ValidateBrokerSet(c.static), c.want...)
	}
}

func TestOnlyDynamicConfigsAreAltered(t *testing.T) {
	expect(t, "dynamic", ValidateDynamic(Values{"log.retention.ms": "5"}))
	expect(t, "read-only", ValidateDynamic(Values{"node.id": "5"}),
		`invalid value "5" for config node.id: cannot be altered at run time; set it where the broker is configured and restart it`)
	expect(t, "unknown", ValidateDynamic(Values{"log.retention": "5"}),
		`unknown broker config "log.retention" (did you mean "log.retention.ms"?)`)
	expect(t, "bad value", ValidateDynamic(Values{"log.retention.ms": "0"}),
		`invalid value "0" for config log.retention.ms: must be -1 or an integer ≥ 1`)
}

func TestGroupSetsAreCheckedAgainstTheBroker(t *testing.T) {
	expect(t, "in bounds", ValidateGroupSet(Layers{}, Values{"consumer.session.timeout.ms": "50000"}))
	expect(t, "out of bounds", ValidateGroupSet(Layers{}, Values{"consumer.session.timeout.ms": "44999"}),
		`invalid value "44999" for config consumer.session.timeout.ms: must be from 45000 to 60000, the values of group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms of the broker`)
	wide := Layers{Static: Values{"group.consumer.min.session.timeout.ms": "1"}}
	expect(t, "heartbeat beyond the session", ValidateGroupSet(wide, Values{"consumer.session.timeout.ms": "5000"}),
		`invalid value "5000" for config consumer.heartbeat.interval.ms: must be smaller than consumer.session.timeout.ms, 5000`)
}
