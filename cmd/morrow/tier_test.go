package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/broker/remote"
)

// tieredBroker is a broker with a bucket of its own and a topic of which n records are confirmed in it.
func tieredBroker(t *testing.T, args ...string) (b *liveBroker, url string, n int) {
	t.Helper()
	url = "file://" + filepath.Join(t.TempDir(), "bucket")
	b = startBroker(t, append([]string{"--set", "tier.url=" + url, "--set", "log.retention.check.interval.ms=100"}, args...)...)
	b.morrow(t, "topic", "create", "orders", "-p", "1", "--set", "remote.storage.enable=true", "--set", "segment.bytes=10000", "--set", "local.retention.bytes=10000", "--set", "retention.ms=7200000")
	var values []string
	for range 60 {
		var value [1000]byte
		rand.Read(value[:]) // does not compress
		values = append(values, string(value[:]))
	}
	b.produce(t, "orders", values...)
	eventually(t, "segments are confirmed", func() bool {
		s := decode[remote.Status](t, b, "tier", "status", "orders", "--http", b.http)
		n = int(s.Partitions[0].Confirmed)
		return n >= 50 && s.Partitions[0].Lag.Segments == 0
	})
	return b, url, n
}

// records reads n records of a topic from its beginning.
func (b *liveBroker) records(t *testing.T, topic string, n int) (got []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(got), n, err)
		}
		got = append(got, fs.Records()...)
	}
	return got[:n]
}

func TestTierCommandsShowWhatIsConfirmed(t *testing.T) {
	b, url, n := tieredBroker(t)
	all := decode[remote.Status](t, b, "tier", "status", "--http", b.http)
	if len(all.Partitions) != 2 || all.Partitions[0].Topic != "__schedule.orders" {
		t.Errorf("%+v", all)
	}
	s := decode[remote.Status](t, b, "tier", "status", "orders", "--http", b.http)
	if !s.Usable || !s.Owner.Ours || s.Bucket != url || len(s.Alarms) != 0 || len(s.Partitions) != 1 {
		t.Errorf("%+v", s)
	}
	if p := s.Partitions[0]; p.RemoteEnd != int64(n) || p.RemoteStart != 0 || p.LogEnd != 60 || p.AtRiskMs == 0 || p.Segments < 5 {
		t.Errorf("%+v", p)
	}
	text := b.morrow(t, "tier", "status", "--http", b.http)
	for _, want := range []string{"bucket: " + url + ", in use\n", ", this broker, seen ", "CONFIRMED", fmt.Sprintf("0 to %d", n)} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q", text, want)
		}
	}
	explained := decode[remote.Segments](t, b, "tier", "explain", "orders", "--http", b.http)
	if first := explained.Segments[0]; first.Base != 0 || !strings.Contains(first.Why, "kept: within retention; confirmed ") {
		t.Errorf("%+v", first)
	}
	if last := explained.Segments[len(explained.Segments)-1]; last.End != 60 || last.Where != "local" || !strings.Contains(last.Why, "kept: not closed yet; that happens before it outgrows segment.bytes (") {
		t.Errorf("%+v", last)
	}
	listed := slices.DeleteFunc(decode[[]tierRow](t, b, "tier", "ls", "--url", url), func(r tierRow) bool { return r.Topic == "__schedule.orders" })
	if len(listed) != 1 || listed[0].Topic != "orders" || listed[0].End != int64(n) {
		t.Errorf("%+v", listed)
	}
	shown := decode[[]tierSegment](t, b, "tier", "show", listed[0].ID, "--url", url)
	if len(shown) != s.Partitions[0].Segments || shown[0].Base != 0 || shown[len(shown)-1].End != int64(n) {
		t.Errorf("%+v", shown)
	}
	b.refused(t, "morrow: topic nope does not exist, or is not tiered", "tier", "status", "nope", "--http", b.http)
	b.refused(t, "morrow: topic nope does not exist, or is not tiered", "tier", "explain", "nope", "--http", b.http)
	b.refused(t, "morrow: partition 7 of topic orders does not exist, or is not tiered", "tier", "explain", "orders", "-p", "7", "--http", b.http)
	b.refused(t, "morrow: --url and --cluster go together; usage: morrow tier sweep", "tier", "sweep", "--url", url)
}

// A damaged object is found by both ways of looking, repaired while there is a local copy, and
// reported when there is not.
func TestTierVerifyFindsAndRepairs(t *testing.T) {
	b, url, _ := tieredBroker(t)
	eventually(t, "the first segment is remote only", func() bool {
		return decode[remote.Segments](t, b, "tier", "explain", "orders", "--http", b.http).Segments[0].Where == "remote"
	})
	objects, err := filepath.Glob(filepath.Join(strings.TrimPrefix(url, "file://"), "*", "*", "0", "*.segment"))
	if err != nil || len(objects) < 5 {
		t.Fatal(objects, err)
	}
	slices.Sort(objects)
	for _, name := range []string{objects[0], objects[len(objects)-1]} { // one that is remote only, one that is local too
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr := b.try(t, "tier", "verify", "--url", url)
	if code != 1 || stderr != "morrow: 2 objects are damaged or missing\n" || strings.Count(stdout, "damaged orders-0 [") != 2 {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = b.try(t, "tier", "verify", "orders", "--repair", "--deep", "--http", b.http)
	if code != 1 || stderr != "morrow: 1 objects are damaged or missing\n" || strings.Count(stdout, "repaired orders-0 [") != 1 || !strings.Contains(stdout, "damaged orders-0 [0, ") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	if s := decode[remote.Status](t, b, "tier", "status", "orders", "--http", b.http); len(s.Alarms) != 1 || s.Alarms[0].Name != "damage" || s.Partitions[0].Scrub.Repaired != 1 {
		t.Errorf("%+v", s)
	}
	code, _, stderr = b.try(t, "tier", "verify", "orders", "--url", url)
	if code != 1 || stderr != "morrow: 1 objects are damaged or missing\n" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
}

// A manifest that cannot be read is told of beside what can.
func TestTierCommandsWithADamagedManifest(t *testing.T) {
	b, url, _ := tieredBroker(t)
	b.stop(t)
	shown := decode[[]tierSegment](t, b, "tier", "show", "orders", "--url", url)
	var id string
	for _, r := range decode[[]tierRow](t, b, "tier", "ls", "--url", url) {
		if r.Topic == "orders" {
			id = r.ID
		}
	}
	dir := filepath.Dir(filepath.FromSlash(shown[0].Key))
	if err := os.WriteFile(filepath.Join(strings.TrimPrefix(url, "file://"), dir, "manifest"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	harm := filepath.ToSlash(dir) + "/manifest: corrupt"
	for _, c := range []struct {
		args           []string
		stdout, stderr string
	}{
		{[]string{"ls"}, "__schedule.orders", harm},
		{[]string{"show", id}, "PARTITION", harm},
		{[]string{"verify"}, "damaged " + id + "-0: " + harm, "1 objects are damaged or missing"},
		{[]string{"verify", id}, "damaged " + id + "-0: " + harm, "1 objects are damaged or missing"},
		{[]string{"restore", "--data-dir", t.TempDir(), "--dry-run"}, "", "topic " + id + " cannot be restored: " + harm},
	} {
		code, stdout, stderr := b.try(t, append([]string{"tier", "--url", url}, c.args...)...)
		if code != 1 || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%v: exit code %d: %s%s", c.args, code, stdout, stderr)
		}
	}
	if out := b.morrow(t, "tier", "show", "__schedule.orders", "--url", url); !strings.Contains(out, "PARTITION") {
		t.Error(out)
	}
}

func TestTierSweepDeletesOrphansOnlyWhenAsked(t *testing.T) {
	b, url, _ := tieredBroker(t)
	objects, err := filepath.Glob(filepath.Join(strings.TrimPrefix(url, "file://"), "*", "*", "0", "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	orphan := strings.Replace(objects[0], "-0000000000-", "-0000000001-", 1)
	orphan = orphan[:len(orphan)-len("00.segment")] + "00.segment"
	if err := os.WriteFile(orphan, []byte("left behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(orphan, old, old); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args    []string
		orphans int
		deleted bool
	}{
		{[]string{"--grace", "72h", "--delete"}, 0, true},
		{nil, 1, false},
		{[]string{"--delete"}, 1, true},
		{nil, 0, false},
	} {
		s := decode[remote.Swept](t, b, append([]string{"tier", "sweep", "--http", b.http}, c.args...)...)
		if s.Orphans != c.orphans || s.Deleted != c.deleted || len(s.Found) != c.orphans {
			t.Errorf("%v: %+v", c.args, s)
		}
	}
	if !strings.Contains(b.stderr.String(), "tier: swept") {
		t.Error("no line in the log")
	}
	listed := decode[[]tierRow](t, b, "tier", "ls", "--url", url)
	for _, args := range [][]string{{"--http", b.http}, {"--url", url, "--cluster", listed[0].Cluster}} {
		log := decode[remote.SweepLog](t, b, append([]string{"tier", "sweep", "--log"}, args...)...)
		if len(log.Sweeps) != 1 || len(log.Sweeps[0].Deleted) != 1 || !strings.HasSuffix(orphan, log.Sweeps[0].Deleted[0].Key) || log.Sweeps[0].AtMs == 0 {
			t.Errorf("%v: %+v", args, log)
		}
	}
	b.refused(t, "morrow: --last is 0, expected a number from 1 to 1000; usage: morrow tier sweep", "tier", "sweep", "--log", "--last", "0", "--http", b.http)
	for _, args := range [][]string{nil, {"--delete"}} {
		b.refused(t, "morrow: "+url+" holds nothing of cluster mistyped", append([]string{"tier", "sweep", "--url", url, "--cluster", "mistyped"}, args...)...)
	}
	b.refused(t, "morrow: the grace period is 1h0m0s, expected at least 12h0m0s: what is younger may belong to an upload that is under way", "tier", "sweep", "--grace", "1h", "--http", b.http)
	code, _, stderr := b.try(t, "tier", "sweep", "--delete", "--url", url, "--cluster", listed[0].Cluster)
	if code != 1 || !strings.Contains(stderr, "is in use by another broker") || strings.Contains(stderr, "--take-over") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// commit sets a group's offset in partition 0 of a topic.
func (b *liveBroker) commit(t *testing.T, group, topic string, offset int64) {
	t.Helper()
	var at kadm.Offsets
	at.Add(kadm.Offset{Topic: topic, At: offset, LeaderEpoch: -1})
	done, err := b.admin(t).CommitOffsets(t.Context(), group, at)
	if err != nil || done.Error() != nil {
		t.Fatal(err, done.Error())
	}
}

// committed is a group's offset in partition 0 of a topic, -1 if there is none.
func (b *liveBroker) committed(t *testing.T, group, topic string) int64 {
	t.Helper()
	at, err := b.admin(t).FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := at.Lookup(topic, 0); ok {
		return o.At
	}
	return -1
}

func (b *liveBroker) admin(t *testing.T) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// The data directory is lost and made again: what was confirmed is there, nothing is given out twice.
func TestTierRestore(t *testing.T) {
	b, url, n := tieredBroker(t)
	before := b.records(t, "orders", n)
	cluster := decode[[]tierRow](t, b, "tier", "ls", "--url", url)[0].Cluster
	b.commit(t, "billing", "orders", 17)
	b.commit(t, "audit", "orders", 60) // beyond what is confirmed
	b.stop(t)                          // copies what groups have committed
	dir := filepath.Join(t.TempDir(), "restored")
	args := []string{"tier", "restore", "--data-dir", dir, "--set", "tier.url=" + url}
	planned := decode[restored](t, b, append(args, "--dry-run")...)
	if len(planned.Topics) != 1 || planned.Topics[0].Name != "orders" || planned.Topics[0].Config["retention.ms"] != "7200000" || len(planned.Partitions) != 0 || planned.Groups.Offsets != 2 {
		t.Errorf("%+v", planned)
	}
	code, _, stderr := b.try(t, args...)
	if code != 1 || !strings.Contains(stderr, "is in use by another broker") || !strings.Contains(stderr, "or use --take-over") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := execute(t, "serve", "--data-dir", dir, "--listen", "PLAINTEXT://127.0.0.1:0", "--http", "127.0.0.1:0"); code != 1 || !strings.Contains(stderr, "was interrupted: run morrow tier restore again") {
		t.Errorf("serve on a half restored directory: exit code %d: %s", code, stderr)
	}
	b.refused(t, `morrow: the bucket holds no topic "nope" of cluster `+cluster+"; topics that are not tiered, as compacted ones, are not in it", append(args, "--take-over", "nope")...)
	shown := decode[[]tierSegment](t, b, "tier", "show", "orders", "--url", url)
	last := filepath.Join(strings.TrimPrefix(url, "file://"), filepath.FromSlash(shown[len(shown)-1].Key))
	if err := os.Rename(last, last+".away"); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = b.try(t, append(args, "--take-over")...)
	if code != 1 || !strings.Contains(stderr, "restore orders-0: the last segment cannot be read") || !strings.HasSuffix(stderr, "; --accept-loss gives up what cannot be read\n") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if err := os.Rename(last+".away", last); err != nil {
		t.Fatal(err)
	}
	done := decode[restored](t, b, append(args, "--take-over")...)
	if len(done.Partitions) != 1 || done.Partitions[0].End != int64(n) || done.Partitions[0].Next < 60 {
		t.Fatalf("%+v", done)
	}
	if g := done.Groups; g.Groups != 2 || g.Offsets != 2 || g.CopiedMs == 0 || g.Error != "" {
		t.Errorf("%+v", g)
	}
	again := startBroker(t, "--data-dir", dir, "--set", "tier.url="+url)
	if at := again.committed(t, "billing", "orders"); at != 17 {
		t.Errorf("billing is at %d", at)
	}
	if at := again.committed(t, "audit", "orders"); at < int64(n) || at > 60 {
		t.Errorf("audit is at %d, the records end at %d", at, n)
	}
	again.produce(t, "orders", "after")
	after := again.records(t, "orders", n+1)
	for i, r := range before {
		got := after[i]
		if got.Offset != r.Offset || !got.Timestamp.Equal(r.Timestamp) || string(got.Key) != string(r.Key) || string(got.Value) != string(r.Value) {
			t.Fatalf("record %d is %+v, was %+v", i, got, r)
		}
	}
	if last := after[n]; string(last.Value) != "after" || last.Offset != done.Partitions[0].Next {
		t.Errorf("%+v", last)
	}
	if described := again.morrow(t, "topic", "describe", "orders"); !strings.Contains(described, "retention.ms=7200000") || !strings.Contains(described, planned.Topics[0].ID) {
		t.Error(described)
	}
	again.refused(t, "morrow: data directory "+dir+" is in use by a broker", append(args, "--take-over")...)
	again.stop(t)
	if code, _, stderr := execute(t, append(args, "--take-over")...); code != 1 || !strings.Contains(stderr, "is not empty") {
		t.Errorf("restored over a data directory: exit code %d: %s", code, stderr)
	}
}

// TestTierSaysWhatHelps: what a store answers to a command that asks it is told with what can be
// done about it, as in the alarms of a broker.
func TestTierSaysWhatHelps(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "k")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "<Error><Code>ExpiredToken</Code><Message>Too late.</Message></Error>")
	}))
	defer store.Close()
	url := "s3://b/p?endpoint=" + store.URL
	for _, args := range [][]string{
		{"ls", "--url", url},
		{"show", "orders", "--url", url},
		{"verify", "--url", url},
		{"sweep", "--url", url, "--cluster", "c"},
		{"probe", url},
		{"restore", "--data-dir", filepath.Join(t.TempDir(), "new"), "--set", "tier.url=" + url},
	} {
		code, _, stderr := execute(t, append([]string{"tier"}, args...)...)
		if code != 1 || !strings.Contains(stderr, "access denied by the store: ExpiredToken: Too late. (HTTP 400) (check the credentials, their expiry") || strings.Contains(stderr, "list :") {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}
