package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consume joins a group and reads until n records have come, which it commits. The member leaves
// when the test ends.
func (b *liveBroker) consume(t *testing.T, group, topic string, n int, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(b.addr), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID("reader"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
	}, opts...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for got := 0; got < n; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		got += fetches.NumRecords()
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestGroupsOfBothProtocols(t *testing.T) {
	b := startBroker(t)
	newer := context.WithValue(t.Context(), "opt_in_kafka_next_gen_balancer_beta", true) //nolint:staticcheck // the key is the client's
	for _, test := range []struct {
		group, kind string
		opts        []kgo.Opt
	}{
		{"old", "classic", []kgo.Opt{kgo.InstanceID("static")}},
		{"new", "consumer", []kgo.Opt{kgo.WithContext(newer)}},
	} {
		b.morrow(t, "topic", "create", "orders", "-p", "2")
		b.produce(t, "orders", "one", "two")
		cl := b.consume(t, test.group, "orders", 2, test.opts...)
		b.produce(t, "orders", "more")

		d := decode[[]groupDescription](t, b, "group", "describe", test.group)[0]
		if d.Type != test.kind || d.State != "Stable" || d.Lag != 1 || len(d.Members) != 1 || len(d.Partitions) != 2 {
			t.Fatalf("group %s: %+v", test.group, d)
		}
		m := d.Members[0]
		if m.Client != "reader" || m.Host != "127.0.0.1" || len(m.Partitions) != 2 || (m.Epoch > 0) != (test.kind == "consumer") {
			t.Errorf("group %s: member %+v", test.group, m)
		}
		name := m.Member
		if test.kind == "classic" {
			if name = "static"; m.Instance != name {
				t.Errorf("group %s: member %+v", test.group, m)
			}
		}
		got := strings.NewReplacer(name, "M", d.Assignor, "ASSIGNOR").Replace(b.morrow(t, "group", "describe", test.group))
		equalText(t, squeeze(got), `
group: `+test.group+`
type: `+test.kind+`
state: Stable
assignor: ASSIGNOR
members: 1
lag: 1

MEMBER CLIENT HOST PARTITIONS
M reader 127.0.0.1 2

TOPIC PARTITION COMMITTED END LAG MEMBER
orders 0 2 3 1 M
orders 1 - 0 0 M`)
		b.refused(t, "morrow: orders-0: the group has members: stop its consumers first (UNKNOWN_MEMBER_ID)",
			"group", "reset", test.group, "--topic", "orders", "--to", "latest", "--partition", "0")
		b.refused(t, "morrow: "+test.group+": the group has members: stop its consumers first (NON_EMPTY_GROUP)", "group", "delete", test.group)
		cl.LeaveGroup()
		b.morrow(t, "topic", "delete", "orders")
		if test.kind == "classic" { // static members stay until their session ends
			continue
		}
		eventually(t, "group is empty", func() bool {
			return decode[[]groupDescription](t, b, "group", "describe", test.group)[0].State == "Empty"
		})
		equalText(t, b.morrow(t, "group", "delete", test.group), test.group+": deleted")
	}
	rows := decode[[]groupRow](t, b, "group", "list")
	if len(rows) != 1 || rows[0] != (groupRow{"old", "classic", "consumer", "Stable"}) {
		t.Errorf("groups %+v", rows)
	}
}

// squeeze leaves one space of several.
func squeeze(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestGroupReset(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders", "-p", "2")
	b.produce(t, "orders", "one", "two", "three")
	for _, test := range []struct{ args, want string }{
		{"--to earliest", "orders-0: billing reads from offset 0\norders-1: billing reads from offset 0"},
		{"--to latest", "orders-0: billing reads from offset 3\norders-1: billing reads from offset 0"},
		{"--to 1 --partition 0", "orders-0: billing reads from offset 1"},
		{"--to 1d", "orders-0: billing reads from offset 0\norders-1: billing reads from offset 0"},
		{"--to 2999-01-01T00:00:00Z", "orders-0: billing reads from offset 3\norders-1: billing reads from offset 0"},
		{"--to 2 --partition 0", "orders-0: billing reads from offset 2"},
	} {
		equalText(t, b.morrow(t, append(strings.Fields("group reset billing --topic orders"), strings.Fields(test.args)...)...), test.want)
	}
	equalText(t, b.morrow(t, "group", "describe", "billing"), `
group:    billing
type:     classic
state:    Empty
members:  0
lag:      1

TOPIC   PARTITION  COMMITTED  END  LAG  MEMBER
orders  0          2          3    1    -
orders  1          0          0    0    -`)
	equalText(t, b.morrow(t, "group", "list"), `
GROUP    TYPE     PROTOCOL  STATE
billing  classic  -         Empty`)

	for _, test := range []struct{ args, want string }{
		{"group reset billing --topic orders --to 9", "morrow: topic orders, partition 0 ends at offset 3: 9 is beyond"},
		{"group reset billing --topic orders --to 1 --partition 5", "morrow: topic orders has no partition 5"},
		{"group reset billing --topic nope --to 1", "morrow: topic nope does not exist"},
		{"group reset billing --topic orders --to then", `morrow: invalid value "then" for --to: must be earliest, latest, an offset, an RFC 3339 time, or a duration before now`},
		{"group describe nope billing gone", "morrow: group nope: no such group (GROUP_ID_NOT_FOUND)\nmorrow: group gone: no such group (GROUP_ID_NOT_FOUND)"},
		{"group delete nope", "morrow: nope: no such group (GROUP_ID_NOT_FOUND)"},
	} {
		b.refused(t, test.want, strings.Fields(test.args)...)
	}
	// A group may have committed on a topic that was deleted since.
	b.morrow(t, "topic", "delete", "orders")
	eventually(t, "offsets of the deleted topic are gone", func() bool {
		code, stdout, _ := b.try(t, "group", "describe", "billing")
		return code == 1 || !strings.Contains(stdout, "orders")
	})
}
