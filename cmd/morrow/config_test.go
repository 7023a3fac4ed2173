package main

import (
	"os"
	"strings"
	"testing"
)

func TestConfigs(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders")
	equalText(t, b.morrow(t, "config", "get", "topic", "orders"), "topic orders has the default of every config (--all shows them)")
	equalText(t, b.morrow(t, "config", "set", "topic", "orders", "retention.ms=1000", "delay.levels=1s 2s"), `
topic orders: set delay.levels=1s 2s
topic orders: set retention.ms=1000`)
	equalText(t, b.morrow(t, "config", "get", "topic", "orders"), `
CONFIG        VALUE  SOURCE
delay.levels  1s 2s  DYNAMIC_TOPIC_CONFIG
retention.ms  1000   DYNAMIC_TOPIC_CONFIG`)
	equalText(t, b.morrow(t, "config", "unset", "topic", "orders", "delay.levels"), "topic orders: unset delay.levels")
	equalText(t, b.morrow(t, "config", "get", "topic", "orders", "delay.levels", "retention.ms", "follower.replication.throttled.replicas"), `
CONFIG                                   VALUE                                                       SOURCE
delay.levels                             1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h  DEFAULT_CONFIG
follower.replication.throttled.replicas  ""                                                          DEFAULT_CONFIG
retention.ms                             1000                                                        DYNAMIC_TOPIC_CONFIG`)

	b.morrow(t, "config", "set", "group", "billing", "consumer.session.timeout.ms=50000")
	equalText(t, b.morrow(t, "config", "get", "group", "billing"), `
CONFIG                       VALUE  SOURCE
consumer.session.timeout.ms  50000  GROUP_CONFIG`)

	equalText(t, b.morrow(t, "config", "set", "broker", "log.retention.ms=7000"), "all brokers: set log.retention.ms=7000")
	equalText(t, b.morrow(t, "config", "set", "broker", "1", "log.retention.bytes=8000"), "broker 1: set log.retention.bytes=8000")
	sources := map[string]string{}
	for _, r := range decode[[]configRow](t, b, "config", "get", "broker") {
		sources[r.Key] = r.Source
	}
	if sources["log.retention.ms"] != "DYNAMIC_DEFAULT_BROKER_CONFIG" || sources["log.retention.bytes"] != "DYNAMIC_BROKER_CONFIG" || sources["log.dir"] != "STATIC_BROKER_CONFIG" {
		t.Errorf("sources %v", sources)
	}
	all := decode[[]configRow](t, b, "config", "get", "broker", "1", "--all")
	if len(all) < 50 {
		t.Errorf("%d broker configs", len(all))
	}
	for _, r := range all {
		if r.Key == "log.dir" && !r.ReadOnly || r.Key == "log.retention.ms" && r.ReadOnly {
			t.Errorf("config %+v", r)
		}
	}
	equalText(t, b.morrow(t, "config", "unset", "broker", "log.retention.ms"), "all brokers: unset log.retention.ms")
}

func TestConfigErrors(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders")
	for _, test := range []struct{ args, want string }{
		{"config set topic orders retention.ms=soon", `morrow: topic orders: invalid value "soon" for config retention.ms: must be an integer of 64 bits (INVALID_CONFIG)`},
		{"config set topic orders retenton.ms=1", `morrow: topic orders: unknown topic config "retenton.ms" (did you mean "retention.ms"?) (INVALID_CONFIG)`},
		{"config set topic nope retention.ms=1", `morrow: topic nope: there is no topic "nope" (UNKNOWN_TOPIC_OR_PARTITION)`},
		{"config set broker 7 log.retention.ms=1", `morrow: there is no broker 7: there is 1`},
		{"config set broker log.dir=x", `morrow: all brokers: invalid value "x" for config log.dir: cannot be altered at run time; set it where the broker is configured and restart it (INVALID_CONFIG)`},
		{"config get topic nope", `morrow: topic nope: no such topic or partition (UNKNOWN_TOPIC_OR_PARTITION)`},
		{"config get topic orders nope", `morrow: there is no topic config nope`},
		{"config get topic", `morrow: name of the topic missing; usage: morrow config get {topic NAME | group NAME | broker [ID]} [KEY...]`},
		{"config get table x", `morrow: invalid target "table": must be topic, group or broker`},
		{"config set topic orders", `morrow: argument missing; usage: morrow config set {topic NAME | group NAME | broker [ID]} KEY=VALUE...`},
		{"config set topic orders x", `morrow: invalid config "x": must be key=value`},
		{"config unset broker 1", `morrow: argument missing; usage: morrow config unset {topic NAME | group NAME | broker [ID]} KEY...`},
		{"config docs nope", `morrow: there is no config nope`},
	} {
		b.refused(t, test.want, strings.Fields(test.args)...)
	}
}

func TestConfigDocsAreInStep(t *testing.T) {
	code, got, stderr := execute(t, "config", "docs")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	want, err := os.ReadFile("../../docs/CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/CONFIG.md is out of step: go run ./cmd/morrow config docs > docs/CONFIG.md")
	}
}

func TestConfigDocsOfSome(t *testing.T) {
	code, got, _ := execute(t, "config", "docs", "node.id", "consumer.session.timeout.ms")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	equalText(t, got, `
group config consumer.session.timeout.ms
  type int
  default 45000
  must be an integer ≥ 1
  while unset follows group.consumer.session.timeout.ms of the broker

  Milliseconds without a heartbeat after which a member of the group is removed.

broker config node.id
  type int
  default 1
  must be an integer ≥ 0
  changes at a restart

  Id of this broker. A data directory belongs to one id for ever.`)
}
