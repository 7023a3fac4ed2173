package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/broker/remote"
)

// TestTierResume: a broker whose bucket another one has used with a copy of its data directory goes
// on from its log, once that is asked for.
func TestTierResume(t *testing.T) {
	b, url, n := tieredBroker(t)
	none := "morrow: topic orders does not exist, is not tiered, or has not stopped because of other records in the bucket"
	b.refused(t, none, "tier", "resume", "orders", "--http", b.http)
	before := b.records(t, "orders", n)
	b.stop(t)
	dir := b.dataDir
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	// alone takes away what would have a broker see that another one is there: here it is wanted.
	alone := func(dir string) {
		owners, err := filepath.Glob(filepath.Join(strings.TrimPrefix(url, "file://"), "*", "owner"))
		if err != nil || len(owners) != 1 {
			t.Fatalf("%v, %v", owners, err)
		}
		for _, name := range []string{owners[0], filepath.Join(dir, "remote", "claim")} {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	args := []string{"--set", "tier.url=" + url, "--set", "log.retention.check.interval.ms=100"}
	confirmed := func(b *liveBroker, above int64) {
		t.Helper()
		eventually(t, "it is confirmed", func() bool {
			s := decode[remote.Status](t, b, "tier", "status", "orders", "--http", b.http)
			return s.Usable && s.Partitions[0].Confirmed > above && s.Partitions[0].Lag.Segments == 0
		})
	}
	alone(copied)
	other := startBroker(t, append([]string{"--data-dir", copied}, args...)...)
	for range 30 {
		other.produce(t, "orders", strings.Repeat("theirs ", 200))
	}
	confirmed(other, int64(n)+10)
	other.stop(t)
	var s remote.Status
	stops := func() {
		t.Helper()
		alone(dir)
		b = startBroker(t, append([]string{"--data-dir", dir}, args...)...)
		eventually(t, "it stops", func() bool {
			s = decode[remote.Status](t, b, "tier", "status", "orders", "--http", b.http)
			return s.Partitions[0].Error != ""
		})
	}
	stops()
	if code, _, stderr := b.try(t, "tier", "resume", "orders", "--accept-loss", "--http", b.http); code != 1 || !strings.HasSuffix(stderr, "start it again\n") {
		t.Errorf("in the other one's leader epoch: exit code %d: %s", code, stderr)
	}
	b.stop(t)
	stops()
	if a := s.Alarms[0]; len(s.Alarms) != 1 || a.Name != "partition_stopped" || a.Subject != "orders-0" || !strings.Contains(a.Text, "morrow tier resume says what would be given up") {
		t.Fatalf("%+v", s.Alarms)
	}
	told := decode[[]remote.Resumed](t, b, "tier", "resume", "orders", "--http", b.http)
	if len(told) != 1 || told[0].Resumed || told[0].From != int64(n) || told[0].To <= told[0].From || len(told[0].Segments) == 0 {
		t.Fatalf("%+v", told)
	}
	if _, err := os.Stat(filepath.Join(strings.TrimPrefix(url, "file://"), told[0].Segments[0].Key)); err != nil {
		t.Error(err)
	}
	for range 30 {
		b.produce(t, "orders", strings.Repeat("ours ", 200))
	}
	text := b.morrow(t, "tier", "resume", "orders", "--accept-loss", "--http", b.http)
	if !strings.Contains(text, told[0].Segments[0].Key) || !strings.Contains(text, ": given up for the log of this broker\n") {
		t.Error(text)
	}
	confirmed(b, int64(n)+10)
	if s := decode[remote.Status](t, b, "tier", "status", "--http", b.http); len(s.Alarms) != 0 {
		t.Errorf("%+v", s.Alarms)
	}
	b.refused(t, none, "tier", "resume", "orders", "--accept-loss", "--http", b.http)
	for i, r := range b.records(t, "orders", 90) {
		if i < n && string(r.Value) != string(before[i].Value) || i >= 60 && !strings.HasPrefix(string(r.Value), "ours ") {
			t.Fatalf("record %d is %.20q", i, r.Value)
		}
	}
	_ = b.morrow(t, "tier", "verify", "orders", "--deep", "--url", url)
}
