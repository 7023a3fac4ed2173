package config

import (
	"os"
	"strings"
	"testing"
)

// kafkaDiffers are the configs whose type or default is another than Kafka's, and why.
var kafkaDiffers = map[string]string{
	"topic flush.messages":                                    "an acknowledged record is on stable storage",
	"broker log.flush.interval.messages":                      "an acknowledged record is on stable storage",
	"broker broker.id":                                        "unset is null: -1 means an id that ZooKeeper gives",
	"broker node.id":                                          "a broker starts without any configuration",
	"broker listeners":                                        "only the machine itself reaches a broker without configuration",
	"broker log.dir":                                          "the data is where the broker was started; and it is one directory, not a list",
	"broker queued.max.request.bytes":                         "memory is bounded",
	"broker socket.receive.buffer.bytes":                      "the operating system adapts it",
	"broker socket.send.buffer.bytes":                         "measured",
	"broker remote.log.storage.system.enable":                 "a topic can be tiered without more",
	"broker offsets.topic.replication.factor":                 "a single broker is the default",
	"broker share.coordinator.state.topic.replication.factor": "a single broker is the default",
	"broker transaction.state.log.replication.factor":         "a single broker is the default",
	"broker transaction.state.log.min.isr":                    "a single broker is the default",
}

// kafkaOnly are the topic configs that Kafka has and Morrow refuses.
var kafkaOnly = map[string]string{
	"errors.deadletterqueue.group.enable": "a group's dead-letter topic is whatever the group names",
	"max.decompressed.message.bytes":      "no batch may decompress to more than 128 MiB",
	"remote.copy.lag.bytes":               "closed segments are copied at once",
	"remote.copy.lag.ms":                  "closed segments are copied at once",
}

// TestTypesAndDefaultsAreKafkas compares all that both have with what Kafka itself says, and looks
// that no topic config is missing.
func TestTypesAndDefaultsAreKafkas(t *testing.T) {
	text, err := os.ReadFile("testdata/kafka-4.4.0.tsv")
	if err != nil {
		t.Fatal(err)
	}
	scopes := map[string]Scope{"topic": ScopeTopic, "broker": ScopeBroker}
	differs := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			continue
		}
		d, ok := Lookup(scopes[f[0]], f[1])
		if !ok {
			if kafkaOnly[f[1]] == "" {
				t.Errorf("there is no %s config %s", f[0], f[1])
			}
			continue
		}
		value := d.Default
		if d.Null {
			value = "null"
		}
		switch same, reason := d.Type.String() == f[2] && value == f[3], kafkaDiffers[f[0]+" "+f[1]]; {
		case !same && reason == "":
			t.Errorf("%s config %s has type %s and default %q; Kafka's are %s and %q", f[0], f[1], d.Type, value, f[2], f[3])
		case same && reason != "":
			t.Errorf("%s config %s is as in Kafka and need not be excused", f[0], f[1])
		case !same:
			differs++
		}
	}
	if differs != len(kafkaDiffers) {
		t.Errorf("%d of %d excuses are used", differs, len(kafkaDiffers))
	}
}
