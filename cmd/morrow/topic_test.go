package main

import (
	"strings"
	"testing"

	"github.com/morrowmq/morrow/log"
)

func TestTopics(t *testing.T) {
	b := startBroker(t)
	equalText(t, b.morrow(t, "topic", "create", "orders", "payments", "-p", "2", "--set", "retention.ms=86400000", "--set", "segment.bytes=100000"), `
orders: created
payments: created`)
	b.produce(t, "orders", "one", "two", "three")

	list := decode[[]topicRow](t, b, "topic", "list")
	if len(list) != 2 || list[0].Name != "orders" || list[0].Partitions != 2 || list[0].Replicas != 1 || list[0].Internal || len(list[0].ID) != 22 {
		t.Fatalf("topics %+v", list)
	}
	equalText(t, b.morrow(t, "topic", "list"), strings.NewReplacer("ID1", list[0].ID, "ID2", list[1].ID).Replace(`
TOPIC     PARTITIONS  REPLICAS  ID
orders    2           1         ID1
payments  2           1         ID2`))

	ds := decode[[]topicDescription](t, b, "topic", "describe", "orders")
	d := ds[0].Details[0]
	if d.End != 3 || d.Start != 0 || d.Bytes == 0 || d.Leader != 1 || len(ds[0].Configs) != 2 {
		t.Errorf("described %+v", ds)
	}
	dir, _ := strings.CutSuffix(d.Directory, "-0")
	if _, ok := log.ParseID(d.Directory[strings.LastIndex(d.Directory, "/")+1:]); !ok || !strings.HasPrefix(dir, b.dataDir) {
		t.Errorf("log directory %s", d.Directory)
	}
	if code, _, stderr := execute(t, "log", "check", d.Directory); code != 0 {
		t.Errorf("log check %s: %s", d.Directory, stderr)
	}
	got := b.morrow(t, "topic", "describe", "orders")
	equalText(t, strings.NewReplacer(list[0].ID, "ID1", dir, "DIR").Replace(got), `
topic:   orders
id:      ID1
config:  retention.ms=86400000
config:  segment.bytes=100000
log:     DIR-*

PARTITION  LEADER  REPLICAS  ISR  START  END  BYTES  REMOTE
0          1       1         1    0      3    `+known(d.Bytes)+`    -
1          1       1         1    0      0    0      -`)

	equalText(t, b.morrow(t, "topic", "grow", "orders", "--to", "3"), "orders: grown")
	equalText(t, b.morrow(t, "topic", "trim", "orders", "--partition", "0", "--before", "2"), "orders-0: begins at offset 2")
	equalText(t, b.morrow(t, "topic", "trim", "orders", "--partition", "0", "--before", "end"), "orders-0: begins at offset 3")
	if ds := decode[[]topicDescription](t, b, "topic", "describe", "orders"); len(ds[0].Details) != 3 || ds[0].Details[0].Start != 3 {
		t.Errorf("after grow and trim: %+v", ds)
	}
	equalText(t, b.morrow(t, "topic", "delete", "orders"), "orders: deleted")
	if list := decode[[]topicRow](t, b, "topic", "list"); len(list) != 1 {
		t.Errorf("after delete: %+v", list)
	}
}

func TestTopicsThatExistOrNot(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders")
	equalText(t, b.morrow(t, "topic", "create", "orders", "payments", "--if-not-exists"), `
orders: unchanged
payments: created`)
	equalText(t, b.morrow(t, "topic", "delete", "orders", "nope", "--if-exists"), `
orders: deleted
nope: unchanged`)
	got := decode[outcomes](t, b, "topic", "create", "payments", "--if-not-exists")
	if len(got) != 1 || got[0] != (outcome{"payments", "unchanged", ""}) {
		t.Errorf("outcomes %+v", got)
	}
}

func TestTopicErrors(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders", "-p", "2")
	for _, test := range []struct{ args, want string }{
		{"topic create orders", `morrow: orders: topic "orders" already exists (TOPIC_ALREADY_EXISTS)`},
		{"topic create a@b", `morrow: a@b: topic name "a@b" contains '@': only letters, digits, '.', '_' and '-' are allowed (INVALID_TOPIC_EXCEPTION)`},
		{"topic create new -p 0", `morrow: new: number of partitions 0 must be at least 1, or -1 for the default (INVALID_PARTITIONS)`},
		{"topic create new --set nope=1", `morrow: new: unknown topic config "nope" (INVALID_CONFIG)`},
		{"topic create new --set nope", `morrow: invalid config "nope": must be key=value`},
		{"topic create new --set a=1 --set a=2", `morrow: config a is given twice`},
		{"topic describe nope orders gone", "morrow: topic nope does not exist\nmorrow: topic gone does not exist"},
		{"topic delete nope", `morrow: nope: no such topic or partition (UNKNOWN_TOPIC_OR_PARTITION)`},
		{"topic grow orders --to 1", `morrow: orders: topic "orders" has 2 partitions, which cannot be reduced to 1 (INVALID_PARTITIONS)`},
		{"topic grow nope --to 1", `morrow: nope: there is no topic "nope" (UNKNOWN_TOPIC_OR_PARTITION)`},
		{"topic grow orders", `morrow: --to missing; usage: morrow topic grow TOPIC... --to N`},
		{"topic trim orders --partition 7 --before 1", `morrow: topic orders has no partition 7`},
		{"topic trim orders --partition 0 --before 9", `morrow: orders-0: the offset is beyond the end of the partition (OFFSET_OUT_OF_RANGE)`},
		{"topic trim orders --partition 0 --before now", `morrow: invalid value "now" for --before: must be an offset or end`},
		{"topic trim nope --partition 0 --before 1", `morrow: topic nope does not exist`},
	} {
		b.refused(t, test.want, strings.Fields(test.args)...)
	}
	// What failed is in the JSON too.
	code, stdout, stderr := b.try(t, "topic", "create", "orders", "new", "-o", "json")
	if code != 1 || !strings.Contains(stdout, `"result": "created"`) || !strings.Contains(stdout, `"result": "failed"`) || stderr == "" {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}
