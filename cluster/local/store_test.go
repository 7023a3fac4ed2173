package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
)

func open(t *testing.T, dir string) *local.Store {
	t.Helper()
	s, err := local.Open(local.Options{Dir: dir, Node: 1, Static: config.Values{"log.retention.hours": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func apply(t *testing.T, s *local.Store, commands ...cluster.Command) *cluster.Image {
	t.Helper()
	for _, c := range commands {
		if _, err := s.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return s.Image()
}

func create(names ...string) cluster.Command {
	c := cluster.CreateTopics{}
	for _, name := range names {
		c.Topics = append(c.Topics, cluster.NewTopic{Name: name, Partitions: 2, ReplicationFactor: -1})
	}
	return c
}

func register() cluster.Command {
	return cluster.RegisterBroker{Broker: cluster.Broker{
		ID: 1, Rack: "r", Endpoints: []cluster.Endpoint{{Listener: "PLAINTEXT", Security: "PLAINTEXT", Host: "localhost", Port: 9092}},
	}}
}

func set(name, value string) cluster.ConfigEdit {
	return cluster.ConfigEdit{Ops: []cluster.ConfigOp{{Kind: cluster.OpSet, Name: name, Value: value}}}
}

func unset(name string) cluster.ConfigEdit {
	return cluster.ConfigEdit{Ops: []cluster.ConfigOp{{Kind: cluster.OpDelete, Name: name}}}
}

// state prints all an image holds.
func state(t *testing.T, img *cluster.Image) string {
	t.Helper()
	var b strings.Builder
	show := func(what string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\n", what, text)
	}
	show("cluster", []any{img.ClusterID(), img.Version(), img.Node()})
	for _, topic := range img.Topics() {
		show("topic", topic)
		show("resolved", topic.Resolved())
	}
	show("deletions", img.Deletions())
	show("brokers", img.Brokers())
	show("layers", img.Layers(img.Node()))
	for _, group := range img.ConfiguredGroups() {
		show("group "+group, img.GroupOverrides(group))
	}
	return b.String()
}

func TestEverythingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	img := apply(t, s, register(), create("orders", "gone", "other"))
	orders, _ := img.Topic("orders")
	gone, _ := img.Topic("gone")
	img = apply(t, s,
		cluster.DeleteTopics{IDs: []cluster.TopicID{gone.ID}},
		cluster.ConfirmDeleted{IDs: []cluster.TopicID{gone.ID, gone.Schedule}, What: cluster.CleanupTier},
		cluster.ConfirmDeleted{IDs: []cluster.TopicID{gone.Schedule}, What: cluster.CleanupData(1)},
		cluster.CreatePartitions{Topics: []cluster.Growth{{Name: "orders", Count: 3}}},
		cluster.ChangePartitions{Partitions: []cluster.PartitionChange{{Topic: orders.ID, Leader: 1, ISR: []int32{1}, Elected: true}}},
		cluster.SetTopicConfig{Topic: "orders", Edit: set("retention.ms", "5")},
		cluster.SetBrokerConfig{Broker: cluster.AllBrokers, Edit: set("log.segment.bytes", "4096")},
		cluster.SetBrokerConfig{Broker: 1, Edit: set("log.segment.bytes", "8192")},
		cluster.SetBrokerConfig{Broker: 1, Edit: set("log.roll.ms", "7")},
		cluster.SetGroupConfig{Group: "billing", Edit: set("consumer.session.timeout.ms", "50000")},
		cluster.SetGroupConfig{Group: "brief", Edit: set("consumer.session.timeout.ms", "50000")},
		cluster.SetGroupConfig{Group: "brief", Edit: unset("consumer.session.timeout.ms")},
	)
	want := state(t, img)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := state(t, open(t, dir).Image()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(img.Deletions()) != 1 || img.TopicConfig("orders").SegmentBytes != 8192 {
		t.Errorf("not what was set up:\n%s", want)
	}
}

func TestRefusalsAndValidationsWriteNothing(t *testing.T) {
	s := open(t, t.TempDir())
	before := apply(t, s, register(), create("orders"))
	img, err := s.Apply(t.Context(), create("orders"))
	if !errors.Is(err, cluster.TopicExists) || img != before {
		t.Errorf("%v", err)
	}
	img, err = s.Apply(t.Context(), cluster.CreateTopics{ValidateOnly: true, Topics: []cluster.NewTopic{{Name: "maybe", Partitions: 4, ReplicationFactor: 1}}})
	if maybe, ok := img.Topic("maybe"); err != nil || !ok || len(maybe.Partitions) != 4 {
		t.Errorf("what would be created is not shown: %v", err)
	}
	if s.Image() != before {
		t.Error("the image has changed")
	}
}

func TestGoodItemsOfABatchAreWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	apply(t, s, register())
	_, err := s.Apply(t.Context(), create("a", "b/", "c"))
	if cluster.ItemError(err, 0) != nil || !errors.Is(cluster.ItemError(err, 1), cluster.InvalidTopicName) {
		t.Errorf("%v", err)
	}
	s.Close()
	if n := open(t, dir).Image().TopicCount(); n != 4 {
		t.Errorf("%d topics", n)
	}
}

func TestProducerIDsAreHandedOutOnce(t *testing.T) {
	dir := t.TempDir()
	next := int64(0)
	for range 3 {
		s := open(t, dir)
		for range 3 {
			first, err := s.ProducerIDs(t.Context(), 10)
			if err != nil || first != next {
				t.Fatalf("%d, want %d: %v", first, next, err)
			}
			next += 10
		}
		s.Close()
	}
	if _, err := open(t, dir).ProducerIDs(t.Context(), 0); err == nil {
		t.Error("an empty block is handed out")
	}
}

func TestASecondProcessIsToldAtOnce(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := local.Open(local.Options{Dir: dir, Node: 1})
	var locked *local.LockedError
	if !errors.As(err, &locked) || locked.Dir != dir {
		t.Errorf("%v", err)
	}
}

func TestAForeignToolsLockIsToldAtOnce(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var locked *local.LockedError
	if _, err := local.Open(local.Options{Dir: dir, Node: 1}); !errors.As(err, &locked) {
		t.Errorf("%v", err)
	}
}

func TestNewerFormatsAreRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	edit(t, dir, "meta", "format", "2")
	_, err := local.Open(local.Options{Dir: dir, Node: 1})
	want := filepath.Join(dir, "meta.db") + " holds data of a newer format: it has version 2, this Morrow reads up to version 1"
	var format *local.FormatError
	if !errors.As(err, &format) || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestTheStoreBelongsToOneBroker(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	_, err := local.Open(local.Options{Dir: dir, Node: 2})
	var node *local.NodeError
	if !errors.As(err, &node) || !strings.HasSuffix(err.Error(), "belongs to broker 1: node.id must be 1, not 2") {
		t.Errorf("%v", err)
	}
	open(t, dir)
}

func TestDamageIsNamed(t *testing.T) {
	for _, c := range []struct{ bucket, key, value, want string }{
		{"meta", "version", "x", `metadata key version: `},
		{"topics", "short", "{}", `metadata: bucket topics, key 73686f7274: a topic id has 16 bytes`},
		{"topics", "sixteen bytes ok", "{", `metadata: bucket topics, key `},
		{"brokers", "one", "{}", `metadata: bucket brokers, key `},
		{"broker-configs", "1", "[]", `metadata: bucket broker-configs, key `},
		{"group-configs", "g", "1", `metadata: bucket group-configs, key `},
		{"deletions", "d", "{}", `metadata: bucket deletions, key `},
	} {
		dir := t.TempDir()
		open(t, dir).Close()
		edit(t, dir, c.bucket, c.key, c.value)
		if _, err := local.Open(local.Options{Dir: dir, Node: 1}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s…", c.bucket, err, c.want)
		}
	}
}

func TestAnotherFileIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "meta.db")
	if err := os.WriteFile(file, []byte("my letters"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(local.Options{Dir: dir, Node: 1}); err == nil {
		t.Fatal("opened")
	}
	if b, _ := os.ReadFile(file); string(b) != "my letters" {
		t.Errorf("%q", b)
	}
}

func TestAnUnfinishedCreationIsBegunAgain(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "meta.db.new"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func edit(t *testing.T, dir, bucket, key, value string) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentCommandsAreAllDone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	base := apply(t, s, register()).Version()
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("t-%d-%d", w, i)
				img, err := s.Apply(context.Background(), create(name))
				if _, ok := img.Topic(name); err != nil || !ok {
					t.Errorf("%s is not in the image that holds it: %v", name, err)
				}
				if _, err := s.ProducerIDs(context.Background(), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := s.Image().Version(); got != base+writers*each {
		t.Errorf("version %d, want %d", got, base+writers*each)
	}
	want := state(t, s.Image())
	s.Close()
	if got := state(t, open(t, dir).Image()); got != want {
		t.Error("what was published is not what was written")
	}
}

func TestWatchersSeeWhatIsCommitted(t *testing.T) {
	s := open(t, t.TempDir())
	changed, cancel := s.Watch()
	defer cancel()
	<-changed
	apply(t, s, register(), create("orders"))
	<-changed
	if _, ok := s.Image().Topic("orders"); !ok {
		t.Error("woken before the change was published")
	}
}

func TestAClosedStoreRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	apply(t, s, register())
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if img, err := s.Apply(t.Context(), create("orders")); !errors.Is(err, local.ErrClosed) || img == nil {
		t.Errorf("%v", err)
	}
	if _, err := s.ProducerIDs(t.Context(), 1); !errors.Is(err, local.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, ok := s.Image().Broker(1); !ok {
		t.Error("the image is gone")
	}
}
