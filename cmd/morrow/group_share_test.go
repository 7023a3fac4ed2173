package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/broker/inflight"
)

func TestShareGroups(t *testing.T) {
	b := startBroker(t)
	b.morrow(t, "topic", "create", "jobs", "-p", "1")
	b.morrow(t, "config", "set", "group", "workers", "share.auto.offset.reset=earliest", "share.retry.delay.ms=3600000")
	b.produce(t, "jobs", "one", "two", "three")
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ShareGroup("workers"), kgo.ConsumeTopics("jobs"), kgo.ClientID("reader"), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for seen := 0; seen < 3; {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			seen++
			r.Ack(map[string]kgo.AckStatus{"one": kgo.AckRelease, "two": kgo.AckAccept, "three": kgo.AckAccept}[string(r.Value)])
		})
		if ctx.Err() != nil {
			t.Fatalf("%d records came", seen)
		}
	}
	if err := cl.FlushAcks(ctx); err != nil {
		t.Fatal(err)
	}

	rows := decode[[]groupRow](t, b, "group", "list")
	if len(rows) != 1 || rows[0] != (groupRow{"workers", "share", "share", "Stable"}) {
		t.Errorf("groups %+v", rows)
	}
	d := decode[[]groupDescription](t, b, "group", "describe", "workers")[0]
	if d.Type != "share" || d.Lag != 1 || len(d.Members) != 1 || len(d.Partitions) != 1 {
		t.Fatalf("described as %+v", d)
	}
	got := strings.ReplaceAll(b.morrow(t, "group", "describe", "workers"), d.Members[0].Member, "M")
	equalText(t, squeeze(got), `
group: workers
type: share
state: Stable
assignor: simple
members: 1
lag: 1

MEMBER CLIENT HOST PARTITIONS
M reader 127.0.0.1 1

TOPIC PARTITION COMMITTED END LAG MEMBER
jobs 0 0 3 1 -`)
	parts := decode[[]inflight.Partition](t, b, "group", "inflight", "workers", "--http", b.http)
	if len(parts) != 1 || parts[0].Waiting != 1 || parts[0].Finished != 2 || parts[0].Start != 0 || parts[0].End != 3 {
		t.Errorf("in flight %+v", parts)
	}
	equalText(t, squeeze(b.morrow(t, "group", "inflight", "workers", "--http", b.http)), `
TOPIC PARTITION START END AVAILABLE WAITING ACQUIRED DYING DELIVERIES
jobs 0 0 3 0 1 0 0 0 1`)

	b.refused(t, `morrow: this broker knows no share group "nobody"`, "group", "inflight", "nobody", "--http", b.http)
	b.refused(t, "morrow: the group has members: stop its consumers first (NON_EMPTY_GROUP)", "group", "reset", "workers", "--topic", "jobs", "--to", "latest")
	b.refused(t, "morrow: workers: the group has members: stop its consumers first (NON_EMPTY_GROUP)", "group", "delete", "workers")
	cl.Close()
	eventually(t, "group is empty", func() bool {
		return decode[[]groupDescription](t, b, "group", "describe", "workers")[0].State == "Empty"
	})
	equalText(t, b.morrow(t, "group", "reset", "workers", "--topic", "jobs", "--to", "latest"), "jobs-0: workers reads from offset 3")
	equalText(t, b.morrow(t, "group", "delete", "workers"), "workers: deleted")
}
