package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/cluster/config"
)

// configFile writes a config file and returns its path.
func configFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigFiles(t *testing.T) {
	want := config.Values{"log.retention.hours": "24", "num.partitions": "3", "auto.create.topics.enable": "false", "delay.levels": "1s 2s"}
	for name, text := range map[string]string{
		"flat.yaml": "log.retention.hours: 24\nnum.partitions: 3\nauto.create.topics.enable: false\ndelay.levels: 1s 2s\n",
		"nested.yml": `
log:
  retention.hours: 24
num: {partitions: "3"}
auto.create:
  topics:
    enable: false
delay:
  levels: 1s 2s
`,
		"flat.json":   `{"log.retention.hours": 24, "num.partitions": 3, "auto.create.topics.enable": false, "delay.levels": "1s 2s"}`,
		"nested.json": `{"log": {"retention": {"hours": 24}}, "num": {"partitions": 3}, "auto.create.topics.enable": false, "delay": {"levels": "1s 2s"}}`,
		"some.toml":   "\"num.partitions\" = 3\n[log]\nretention.hours = 24\n[auto.create.topics]\nenable = false\n[delay]\nlevels = \"1s 2s\"\n",
		"server.properties": `# as Kafka's users have it
log.retention.hours=24
num.partitions = 3
! a comment
auto.create.topics.enable: false
delay.levels=1s \
  2s
`,
	} {
		got, err := loadConfig(configFile(t, name, text), nil, nil)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
}

func TestConfigValuesAsKafkaSpellsThem(t *testing.T) {
	for _, test := range []struct{ name, text, key, want string }{
		{"a.yaml", "log.retention.ms: 9223372036854775807", "log.retention.ms", "9223372036854775807"},
		{"a.json", `{"log.retention.ms": 604800000}`, "log.retention.ms", "604800000"},
		{"a.json", `{"log.cleaner.min.cleanable.ratio": 0.25}`, "log.cleaner.min.cleanable.ratio", "0.25"},
		{"a.yaml", "listeners:\n  - PLAINTEXT://:9092\n  - SSL://:9093\n", "listeners", "PLAINTEXT://:9092,SSL://:9093"},
		{"a.yaml", "log.dir: ''", "log.dir", ""},
		{"a.properties", "log.dir=${HOME}/data", "log.dir", "${HOME}/data"},
		{"a.properties", "listeners=PLAINTEXT://:9092", "listeners", "PLAINTEXT://:9092"},
	} {
		got, problems := readFile(configFile(t, test.name, test.text))
		if len(problems) > 0 || got[test.key] != test.want {
			t.Errorf("%s: %v, %v; want %q", test.text, got, problems, test.want)
		}
	}
}

func TestConfigPrecedence(t *testing.T) {
	file := configFile(t, "morrow.yaml", "num.partitions: 1\nlog.retention.hours: 1\nlog.level: debug\nnode.id: 4\n")
	environ := []string{"MORROW_NUM_PARTITIONS=2", "MORROW_LOG_RETENTION_HOURS=2", "HOME=/root", "MORROW_CONFIG=x", "MORROW_BOOTSTRAP=y", "MORROW_HTTP=z"}
	flags := config.Values{"num.partitions": "3"}
	got, err := loadConfig(file, environ, flags)
	want := config.Values{"num.partitions": "3", "log.retention.hours": "2", "log.level": "debug", "node.id": "4"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestLaterLogDirWinsOverLogDirs(t *testing.T) {
	file := configFile(t, "server.properties", "log.dirs=/kafka\n")
	got, err := loadConfig(file, nil, config.Values{"log.dir": "here"})
	if want := (config.Values{"log.dir": "here"}); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	got, err = loadConfig(configFile(t, "server.properties", "log.dirs=/kafka\nlog.dir=/tmp\n"), nil, nil)
	if want := (config.Values{"log.dirs": "/kafka", "log.dir": "/tmp"}); err != nil || !maps.Equal(got, want) {
		t.Errorf("in one file Kafka's rule holds: %v, %v; want %v", got, err, want)
	}
}

func TestEveryBrokerConfigHasAVariable(t *testing.T) {
	byVariable := map[string]string{configEnv: "", bootstrapEnv: ""}
	for _, d := range config.Broker() {
		if other, twice := byVariable[envName(d.Name)]; twice {
			t.Errorf("%s and %s are both %s", d.Name, other, envName(d.Name))
		}
		byVariable[envName(d.Name)] = d.Name
	}
}

func TestConfigProblems(t *testing.T) {
	for _, test := range []struct {
		name, text string // of the file
		environ    string
		flags      config.Values
		want       string // FILE is its path
	}{
		{name: "a.yaml", text: "log.retenton.hours: 24", want: `FILE: unknown broker config "log.retenton.hours" (did you mean "log.retention.hours"?)`},
		{name: "a.yaml", text: "retention.ms: 24", want: `FILE: unknown broker config "retention.ms"`},
		{name: "a.yaml", text: "log: {retention: {hours: soon}}\nnope: 1", want: `FILE: invalid value "soon" for config log.retention.hours: must be an integer of 32 bits
FILE: unknown broker config "nope"`},
		{name: "a.yaml", text: "log.level:", want: `FILE: invalid value for config log.level: must not be null`},
		{name: "a.yaml", text: "listeners: [{a: b}]", want: `FILE: invalid value for config listeners: must be a list of plain values`},
		{name: "a.yaml", text: "log: {level: info}\nlog.level: debug", want: `FILE: config log.level is set twice`},
		{name: "a.yaml", text: "a: b: c", want: `FILE: yaml: mapping values are not allowed in this context`},
		{name: "a.yaml", text: "- a\n- b", want: `FILE: yaml: unmarshal errors: line 1: cannot unmarshal !!seq into map[string]interface {}`},
		{name: "a.json", text: `{"log.dir": `, want: `FILE: unexpected end of JSON input`},
		{name: "a.properties", text: `log.dir=\u12`, want: `FILE: properties: Line 1: invalid unicode literal`},
		{name: "a.conf", want: `FILE: unknown kind of file: its name must end in .yaml, .json, .toml or .properties`},
		{environ: "MORROW_NODE_ID=one MORROW_FOO=1", want: `environment: MORROW_FOO names no config
environment: invalid value "one" for config node.id: must be an integer of 32 bits`},
		{environ: "MORROW_LOG_RETENTON_HOURS=1", want: `environment: MORROW_LOG_RETENTON_HOURS names no config (did you mean MORROW_LOG_RETENTION_HOURS?)`},
		{environ: "MORROW_SERVICE_HOST=10.0.0.1 MORROW_PORT_9092_TCP=tcp://10.0.0.1:9092 MORROW_PORT=tcp://10.0.0.1:9092", want: ``},
		{flags: config.Values{"log.level": "loud"}, want: `flags: invalid value "loud" for config log.level: must be one of debug, info, warn, error`},
		{flags: config.Values{"node.id": "1", "broker.id": "2"}, want: `invalid value "2" for config broker.id: must be unset or 1, the value of node.id`},
		// Each source is judged by itself: what wins does not hide what is wrong.
		{name: "a.yaml", text: "node.id: x", environ: "MORROW_NODE_ID=y", flags: config.Values{"node.id": "1"}, want: `FILE: invalid value "x" for config node.id: must be an integer of 32 bits
environment: invalid value "y" for config node.id: must be an integer of 32 bits`},
	} {
		file := ""
		if test.name != "" {
			file = configFile(t, test.name, test.text)
		}
		_, err := loadConfig(file, strings.Fields(test.environ), test.flags)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if file != "" {
			got = strings.ReplaceAll(got, file, "FILE")
		}
		if got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}

func TestConfigFileThatIsNotThere(t *testing.T) {
	if _, err := loadConfig("nope.yaml", nil, nil); err == nil || err.Error() != "nope.yaml: no such file or directory" {
		t.Error(err)
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add("a.yaml", "log:\n  dir: x\n")
	f.Add("a.properties", "log.dir=x\\\ny")
	f.Add("a.toml", "[log]\ndir = 1\n")
	f.Add("a.json", `{"log": [1, {"a": null}]}`)
	f.Fuzz(func(t *testing.T, name, text string) {
		if fileKinds[filepath.Ext(name)] == "" || filepath.Base(name) != name {
			t.Skip()
		}
		_, problems := readFile(configFile(t, name, text))
		if err := errors.Join(problems...); err != nil && strings.Contains(problems[0].Error(), "\n") {
			t.Errorf("more than a line: %v", err)
		}
	})
}
