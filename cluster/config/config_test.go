package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestEveryDefinitionIsWhole(t *testing.T) {
	for _, scope := range []Scope{ScopeTopic, ScopeBroker, ScopeGroup} {
		for _, d := range scope.table().defs {
			if !d.Null && d.check(d.Default) != nil {
				t.Errorf("%s config %s: default %q is refused: %v", scope, d.Name, d.Default, d.check(d.Default))
			}
			if d.Null && d.Default != "" {
				t.Errorf("%s config %s: has a default and has none", scope, d.Name)
			}
			if d.Null && scope != ScopeBroker {
				t.Errorf("%s config %s: only broker configs can be null", scope, d.Name)
			}
			if !strings.HasSuffix(d.Doc, ".") {
				t.Errorf("%s config %s: documentation %q is no sentence", scope, d.Name, d.Doc)
			}
			if d.Type < Boolean || d.Type > Password {
				t.Errorf("%s config %s: type %d", scope, d.Name, d.Type)
			}
		}
	}
}

// What a topic or group inherits must be of its own type, and without any
// setting it must be what the topic's own definition says.
func TestSynonymsAgreeWithTheirConfigs(t *testing.T) {
	for _, scope := range []Scope{ScopeTopic, ScopeGroup} {
		inherited := Inherited(scope, Layers{})
		for _, d := range scope.table().defs {
			if got := inherited.String(d.Name); got != d.Default {
				t.Errorf("%s config %s: default %q, inherited %q", scope, d.Name, d.Default, got)
			}
			for _, s := range d.Synonyms {
				b := brokerTable.def(s.Name)
				if s.Factor == 1 && b.Type != d.Type {
					t.Errorf("%s config %s: type %d, synonym %s %d", scope, d.Name, d.Type, s.Name, b.Type)
				}
			}
		}
	}
}

func TestDefinitionsAreSortedByName(t *testing.T) {
	for _, defs := range [][]Def{Topic(), Broker(), Group()} {
		if !slices.IsSortedFunc(defs, func(a, b Def) int { return strings.Compare(a.Name, b.Name) }) {
			t.Error("not sorted")
		}
	}
}

// The defaults of Kafka 4.3, and what Morrow changes about them.
func TestTopicDefaultsAreKafkas(t *testing.T) {
	kafka := map[string]string{
		"cleanup.policy":                          "delete",
		"compression.gzip.level":                  "-1",
		"compression.lz4.level":                   "9",
		"compression.type":                        "producer",
		"compression.zstd.level":                  "3",
		"delete.retention.ms":                     "86400000",
		"file.delete.delay.ms":                    "60000",
		"flush.messages":                          "9223372036854775807",
		"flush.ms":                                "9223372036854775807",
		"follower.replication.throttled.replicas": "",
		"index.interval.bytes":                    "4096",
		"leader.replication.throttled.replicas":   "",
		"local.retention.bytes":                   "-2",
		"local.retention.ms":                      "-2",
		"max.compaction.lag.ms":                   "9223372036854775807",
		"max.message.bytes":                       "1048588",
		"message.timestamp.after.max.ms":          "3600000",
		"message.timestamp.before.max.ms":         "9223372036854775807",
		"message.timestamp.type":                  "CreateTime",
		"min.cleanable.dirty.ratio":               "0.5",
		"min.compaction.lag.ms":                   "0",
		"min.insync.replicas":                     "1",
		"preallocate":                             "false",
		"remote.log.copy.disable":                 "false",
		"remote.log.delete.on.disable":            "false",
		"remote.storage.enable":                   "false",
		"retention.bytes":                         "-1",
		"retention.ms":                            "604800000",
		"segment.bytes":                           "1073741824",
		"segment.index.bytes":                     "10485760",
		"segment.jitter.ms":                       "0",
		"segment.ms":                              "604800000",
		"unclean.leader.election.enable":          "false",
	}
	changed := map[string]string{"flush.messages": "1"}

	for _, d := range Topic() {
		want, ok := kafka[d.Name]
		if !ok && !strings.HasPrefix(d.Name, "delay.") {
			t.Errorf("%s is not Kafka's", d.Name)
		}
		if morrow, ok := changed[d.Name]; ok {
			want = morrow
		}
		if ok && d.Default != want {
			t.Errorf("%s: default %q, want %q", d.Name, d.Default, want)
		}
		delete(kafka, d.Name)
	}
	for name := range kafka {
		t.Errorf("%s is missing", name)
	}
}

func TestBadValuesSayWhatWasExpected(t *testing.T) {
	for _, c := range []struct {
		scope             Scope
		name, value, want string
	}{
		{ScopeTopic, "retention.ms", "7d", `invalid value "7d" for config retention.ms: must be an integer of 64 bits`},
		{ScopeTopic, "retention.ms", "-2", `invalid value "-2" for config retention.ms: must be an integer ≥ -1`},
		{ScopeTopic, "segment.bytes", "14", `invalid value "14" for config segment.bytes: must be an integer ≥ 1024`},
		{ScopeTopic, "segment.bytes", "3000000000", `invalid value "3000000000" for config segment.bytes: must be an integer of 32 bits`},
		{ScopeTopic, "cleanup.policy", "compact,purge", `invalid value "compact,purge" for config cleanup.policy: must be a list of compact, delete, each at most once`},
		{ScopeTopic, "cleanup.policy", "compact,compact", `invalid value "compact,compact" for config cleanup.policy: must be a list of compact, delete, each at most once`},
		{ScopeTopic, "compression.type", "brotli", `invalid value "brotli" for config compression.type: must be one of uncompressed, zstd, lz4, snappy, gzip, producer`},
		{ScopeTopic, "compression.gzip.level", "0", `invalid value "0" for config compression.gzip.level: must be -1 or an integer from 1 to 9`},
		{ScopeTopic, "compression.zstd.level", "23", `invalid value "23" for config compression.zstd.level: must be an integer from -131072 to 22`},
		{ScopeTopic, "min.cleanable.dirty.ratio", "1.5", `invalid value "1.5" for config min.cleanable.dirty.ratio: must be a number from 0 to 1`},
		{ScopeTopic, "min.cleanable.dirty.ratio", "NaN", `invalid value "NaN" for config min.cleanable.dirty.ratio: must be a number`},
		{ScopeTopic, "preallocate", "yes", `invalid value "yes" for config preallocate: must be true or false`},
		{ScopeTopic, "leader.replication.throttled.replicas", "0:1,2", `invalid value "0:1,2" for config leader.replication.throttled.replicas: must be * or a list of partition:broker pairs`},
		{ScopeTopic, "delay.dialects", "morrow,kafka", `invalid value "morrow,kafka" for config delay.dialects: must be a list of morrow, rocketmq, rabbitmq, each at most once`},
		{ScopeTopic, "delay.levels", "1s 5 10s", `invalid value "1s 5 10s" for config delay.levels: must be durations such as 500ms, 10s, 5m, 1h or 2d separated by spaces; "5" is none`},
		{ScopeTopic, "delay.levels", " ", `invalid value " " for config delay.levels: must hold at least one duration`},
		{ScopeTopic, "retension.ms", "1", `unknown topic config "retension.ms" (did you mean "retention.ms"?)`},
		{ScopeTopic, "purge", "1", `unknown topic config "purge"`},
		{ScopeTopic, "num.partitions", "1", `unknown topic config "num.partitions"`},
		{ScopeBroker, "num.partition", "1", `unknown broker config "num.partition" (did you mean "num.partitions"?)`},
		{ScopeBroker, "listeners", "9092", `invalid value "9092" for config listeners: must be a list of NAME://host:port, such as PLAINTEXT://127.0.0.1:9092; "9092" is none`},
		{ScopeBroker, "listeners", "A://:1,A://:2", `invalid value "A://:1,A://:2" for config listeners: must name each listener once; A is there twice`},
		{ScopeBroker, "listener.security.protocol.map", "A:TLS", `invalid value "A:TLS" for config listener.security.protocol.map: must be a list of NAME:PROTOCOL with a protocol of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL; "A:TLS" is none`},
		{ScopeBroker, "http.listen", "9644", `invalid value "9644" for config http.listen: must be host:port`},
		{ScopeBroker, "log.dirs", "/a,/b", `invalid value "/a,/b" for config log.dirs: must be one directory`},
		{ScopeBroker, "log.retention.ms", "0", `invalid value "0" for config log.retention.ms: must be -1 or an integer ≥ 1`},
		{ScopeBroker, "tier.url", "http://bucket", `invalid value "http://bucket" for config tier.url: must be s3://bucket/prefix or file:///directory`},
		{ScopeBroker, "tier.url", "file://dir", `invalid value "file://dir" for config tier.url: must be s3://bucket/prefix or file:///directory`},
		{ScopeBroker, "log.cleaner.io.max.bytes.per.second", "0", `invalid value "0" for config log.cleaner.io.max.bytes.per.second: must be a number > 0`},
		{ScopeBroker, "offsets.topic.replication.factor", "40000", `invalid value "40000" for config offsets.topic.replication.factor: must be an integer of 16 bits`},
		{ScopeBroker, "log.dir", "", `invalid value "" for config log.dir: must not be empty`},
		{ScopeGroup, "consumer.session.timeout.ms", "0", `invalid value "0" for config consumer.session.timeout.ms: must be an integer ≥ 1`},
		{ScopeGroup, "session.timeout.ms", "0", `unknown group config "session.timeout.ms"`},
	} {
		err := c.scope.Validate(c.name, c.value)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s = %q:\n got %v\nwant %s", c.name, c.value, err, c.want)
		}
	}
}

func TestGoodValuesAreAccepted(t *testing.T) {
	for _, c := range []struct {
		scope       Scope
		name, value string
	}{
		{ScopeTopic, "cleanup.policy", "compact, delete"},
		{ScopeTopic, "cleanup.policy", ""},
		{ScopeTopic, "preallocate", "TRUE"},
		{ScopeTopic, "retention.ms", " 1000 "},
		{ScopeTopic, "leader.replication.throttled.replicas", "*"},
		{ScopeTopic, "leader.replication.throttled.replicas", "0:1,1:2"},
		{ScopeTopic, "leader.replication.throttled.replicas", ""},
		{ScopeTopic, "delay.levels", "250ms 1h30m 2d 2d12h"},
		{ScopeBroker, "listeners", "PLAINTEXT://:9092, inner://[::1]:0"},
		{ScopeBroker, "http.listen", ""},
		{ScopeBroker, "tier.url", "s3://bucket/a/b?region=eu"},
		{ScopeBroker, "tier.url", "file:///var/tier"},
		{ScopeBroker, "group.consumer.migration.policy", "BIDIRECTIONAL"},
	} {
		if err := c.scope.Validate(c.name, c.value); err != nil {
			t.Error(err)
		}
	}
}

func TestSensitiveValuesAreNotShown(t *testing.T) {
	secret := Def{Name: "secret", Type: Password, Default: "swordfish", Sensitive: true, Valid: func(string) error { return errors.New("must be longer") }}
	if err := secret.check("xyzzy"); strings.Contains(err.Error(), "xyzzy") {
		t.Error(err)
	}
	if secret.shown("xyzzy") != nil {
		t.Error("shown")
	}
}

func FuzzValidate(f *testing.F) {
	for _, scope := range []Scope{ScopeTopic, ScopeBroker, ScopeGroup} {
		for _, d := range scope.table().defs {
			f.Add(uint8(scope), d.Name, d.Default)
		}
	}
	f.Add(uint8(ScopeTopic), "delay.levels", "1d 99999999999h 0s")
	f.Add(uint8(ScopeBroker), "listeners", "A://[::1]:99999,://")
	f.Fuzz(func(t *testing.T, scope uint8, name, value string) {
		s := Scope(scope % 3)
		if s.Validate(name, value) != nil {
			return
		}
		// What is accepted must be usable.
		values := Values{name: value}
		switch s {
		case ScopeTopic:
			_ = ValidateTopicSet(Layers{}, values)
			c := ResolveTopic(Layers{}, values)
			_ = ValidateTopicSet(Layers{}, ScheduleValues(&c))
		case ScopeBroker:
			_ = ValidateBrokerSet(values)
			DescribeBroker(Layers{Static: values})
			ResolveTopic(Layers{Static: values}, nil)
		case ScopeGroup:
			_ = ValidateGroupSet(Layers{}, values)
			DescribeGroup(Layers{}, values)
		}
	})
}
