package salvage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
	"github.com/morrowmq/morrow/tier/tiertest"
)

const node = 1

var now = time.UnixMilli(1_800_000_000_000)

// dataDir is the data directory of a broker that is stopped.
type dataDir struct {
	testing.TB
	path   string
	topics map[string]*cluster.Topic
}

// newDataDir makes one with the topic orders, of two partitions, and with tiered, of one.
func newDataDir(t testing.TB) *dataDir {
	t.Helper()
	d := &dataDir{TB: t, path: t.TempDir(), topics: map[string]*cluster.Topic{}}
	store, err := local.Open(local.Options{Dir: d.path, Node: node})
	d.must(err)
	for _, c := range []cluster.Command{
		cluster.RegisterBroker{Broker: cluster.Broker{ID: node}},
		cluster.CreateTopics{Topics: []cluster.NewTopic{
			{Name: "orders", Partitions: 2, ReplicationFactor: 1},
			{Name: "tiered", Partitions: 1, ReplicationFactor: 1, Config: config.Values{"remote.storage.enable": "true"}},
			{Name: cluster.OffsetsTopic, Internal: true, Partitions: 1, ReplicationFactor: 1},
		}},
	} {
		_, err := store.Apply(t.Context(), c)
		d.must(err)
	}
	for _, topic := range store.Image().Topics() {
		d.topics[topic.Name] = topic
	}
	d.must(store.Close())
	return d
}

func (d *dataDir) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *dataDir) id(topic string, number int32) log.ID {
	return log.ID{Topic: d.topics[topic].ID, Partition: number}
}

// within opens the log of a partition, which is made if it is not there, and stops as a broker does.
func (d *dataDir) within(topic string, number int32, f func(l *log.Log)) {
	d.Helper()
	set, err := log.Open(log.SetConfig{FS: vfs.OS{}, Dir: filepath.Join(d.path, logsName), Now: func() time.Time { return now }, JournalMaxBytes: -1})
	d.must(err)
	var l *log.Log
	o := log.Options{Name: topic, Config: log.DefaultConfig(), Synced: func(end int64) { l.AdvanceHighWatermark(end) }}
	if l, err = set.OpenLog(d.id(topic, number), o); errors.Is(err, log.ErrNotExist) {
		l, err = set.Create(d.id(topic, number), o)
	}
	d.must(err)
	f(l)
	d.must(set.Close())
}

// write appends batches, each of one value, to the log of a partition.
func (d *dataDir) write(topic string, number int32, batches ...record.Batch) {
	d.Helper()
	d.within(topic, number, func(l *log.Log) { d.append(l, batches...) })
}

func (d *dataDir) append(l *log.Log, batches ...record.Batch) {
	d.Helper()
	for _, b := range batches {
		g := log.Group{
			Pieces: []record.Batch{b}, ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(),
			BaseSequence: b.BaseSequence(), LastSequence: b.LastSequence(), Span: 1,
		}
		if b.Transactional() {
			g.Verification = l.Verify(g.ProducerID, g.ProducerEpoch, g.BaseSequence, g.LastSequence, false)
		}
		_, err := l.Append(0, now, g)
		d.must(err)
	}
}

// batch has one record with a value; a producer of -1 is none.
func batch(a record.Attributes, producer int64, value string, headers ...record.Header) record.Batch {
	sequence := int32(-1)
	if producer >= 0 {
		sequence = 0
	}
	var w record.Builder
	w.Reset(a, now.UnixMilli())
	w.SetProducer(producer, 0, sequence)
	w.Add(0, now.UnixMilli(), nil, []byte(value), headers...)
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

func plain(values ...string) (batches []record.Batch) {
	for _, v := range values {
		batches = append(batches, batch(0, -1, v))
	}
	return batches
}

// delayed is due in an hour.
func delayed(value string) record.Batch {
	due := fmt.Append(nil, now.Add(time.Hour).UnixMilli())
	return batch(record.Hidden|record.LogAppendTime, -1, value, record.Header{Key: "morrow-deliver-at", Value: due})
}

// segments are the log files of a partition.
func (d *dataDir) segments(topic string, number int32) []string {
	d.Helper()
	files, err := filepath.Glob(filepath.Join(d.path, logsName, d.id(topic, number).String(), "*.log"))
	d.must(err)
	return files
}

// spoil changes a bit of a value in the logs of a topic.
func (d *dataDir) spoil(topic, value string) {
	d.Helper()
	for n := range d.topics[topic].Partitions {
		for _, name := range d.segments(topic, int32(n)) {
			b, err := os.ReadFile(name)
			d.must(err)
			if i := bytes.Index(b, []byte(value)); i >= 0 {
				b[i] ^= 1
				d.must(os.WriteFile(name, b, 0o600))
				return
			}
		}
	}
	d.Fatalf("%q is not in the logs of %s", value, topic)
}

// run looks at everything, or does what else the options say.
func (d *dataDir) run(options ...func(*Config)) []Partition {
	d.Helper()
	found, err := d.tryRun(options...)
	d.must(err)
	return found
}

func (d *dataDir) tryRun(options ...func(*Config)) ([]Partition, error) {
	cfg := Config{FS: vfs.OS{}, Dir: d.path, Node: node, Now: now}
	for _, o := range options {
		o(&cfg)
	}
	return Run(context.Background(), cfg)
}

func accepting(c *Config) { c.AcceptLoss = true }

func only(names ...string) func(*Config) { return func(c *Config) { c.Partitions = names } }

// content prints what is in the log of a partition: offsets and values.
func (d *dataDir) content(topic string, number int32) string {
	d.Helper()
	var all []string
	d.within(topic, number, func(l *log.Log) {
		d.must(l.Scan(0, l.Offsets().LogEnd, func(b record.Batch) error {
			if b.Control() {
				all = append(all, fmt.Sprintf("%d:marker", b.BaseOffset()))
				return nil
			}
			rs, err := b.Decode()
			for _, r := range rs {
				all = append(all, fmt.Sprintf("%d:%s", r.Offset, r.Value))
			}
			return err
		}))
	})
	return strings.Join(all, " ")
}

// files is the contents of every file below the data directory, to be compared.
func (d *dataDir) files() map[string]string {
	d.Helper()
	all := map[string]string{}
	d.must(fs.WalkDir(os.DirFS(d.path), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(d.path, name))
		all[name] = string(b)
		return err
	}))
	return all
}

// printed says in a line for each partition what was found.
func printed(found []Partition) string {
	var b strings.Builder
	for _, p := range found {
		fmt.Fprintf(&b, "%s:", p.Name)
		if p.Internal {
			b.WriteString(" internal")
		}
		if p.Plan != nil {
			for _, l := range p.Plan.Lost {
				fmt.Fprintf(&b, " lost [%d, %d)", l.From, l.To)
			}
			for _, l := range p.Plan.Remote {
				fmt.Fprintf(&b, " in the bucket [%d, %d)", l.From, l.To)
			}
			for _, x := range p.Plan.Transactions {
				fmt.Fprintf(&b, " undecided %d", x.ProducerID)
			}
		}
		if p.Pending > 0 {
			fmt.Fprintf(&b, " pending %d", p.Pending)
		}
		if p.Refused != nil {
			b.WriteString(" refused")
		}
		if p.Aside != "" {
			b.WriteString(" salvaged")
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
	}
}

func TestRunRefusesWhatItCannotWorkOn(t *testing.T) {
	d := newDataDir(t)
	d.write("orders", 0, plain("first")...)
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no data directory": {func(c *Config) { c.Dir = filepath.Join(d.path, "nowhere") }, "there is no data directory of a broker in"},
		"another broker's":  {func(c *Config) { c.Node = 2 }, "belongs to broker 1"},
		"no such partition": {only("orders-0", "orders-7", "nothing-0"), "orders-7, nothing-0: no such partition"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := d.tryRun(tt.change); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, expected %q", err, tt.want)
			}
		})
	}
	t.Run("used by a broker", func(t *testing.T) {
		lock, err := vfs.OS{}.Lock(filepath.Join(d.path, lockName))
		d.must(err)
		defer func() { d.must(lock.Close()) }()
		if _, err := d.tryRun(); err == nil || !strings.Contains(err.Error(), "is in use by a broker: stop it first") {
			t.Error(err)
		}
	})
}

func TestDamageIsToldAndGivenUpOnlyIfThatIsAccepted(t *testing.T) {
	d := newDataDir(t)
	d.write("orders", 0, plain("first", "second", "third")...)
	d.write("orders", 1, plain("other", "whole")...)
	equal(t, "what is whole", printed(d.run(accepting)), "")
	d.spoil("orders", "second")
	before := d.files()

	equal(t, "a look", printed(d.run()), "orders-0: lost [1, 2)")
	delete(before, lockName)
	for name, content := range d.files() {
		if was, ok := before[name]; ok && was != content {
			t.Errorf("a look has changed %s", name)
		}
	}
	equal(t, "another partition", printed(d.run(accepting, only("orders-1"))), "")
	found := d.run(accepting)
	equal(t, "salvage", printed(found), "orders-0: lost [1, 2) salvaged")
	equal(t, "the log", d.content("orders", 0), "0:first 2:third")
	equal(t, "the other log", d.content("orders", 1), "0:other 1:whole")
	equal(t, "afterwards", printed(d.run(accepting)), "")

	kept, err := filepath.Glob(filepath.Join(found[0].Aside, "damaged-*.log"))
	d.must(err)
	if len(kept) != 1 {
		t.Fatalf("the damaged file is not in %s: %v", found[0].Aside, kept)
	}
	if b, err := os.ReadFile(kept[0]); err != nil || !bytes.Contains(b, []byte("third")) {
		t.Errorf("%s is not what was damaged: %d bytes, %v", kept[0], len(b), err)
	}
}

// What was acknowledged has offsets that nobody may get again; what was not is cut at the next
// start, as after a crash.
func TestDamageAtTheEnd(t *testing.T) {
	d := newDataDir(t)
	d.write("orders", 0, plain("first", "last")...)
	d.write("orders", 1, plain("first")...)
	d.spoil("orders", "last")
	name := d.segments("orders", 1)[0]
	b, err := os.ReadFile(name)
	d.must(err)
	d.must(os.WriteFile(name, append(b, "half of a batch"...), 0o600))

	found := d.run(accepting)
	equal(t, "salvage", printed(found), "orders-0: lost [1, 2) salvaged")
	d.write("orders", 0, plain("next")...)
	equal(t, "the log", d.content("orders", 0), fmt.Sprintf("0:first %d:next", found[0].Plan.End))
	equal(t, "the other log", d.content("orders", 1), "0:first")
}

func TestJournalsOfTheBrokerAreSaidToBeSuch(t *testing.T) {
	d := newDataDir(t)
	d.write(cluster.OffsetsTopic, 0, plain("first", "second", "third")...)
	d.spoil(cluster.OffsetsTopic, "second")
	equal(t, "salvage", printed(d.run(accepting)), cluster.OffsetsTopic+"-0: internal lost [1, 2) salvaged")
}

func TestSchedulesAreNotTakenApart(t *testing.T) {
	d := newDataDir(t)
	name := cluster.SchedulePrefix + "orders"
	d.write(name, 0, plain("first", "second", "third")...)
	d.spoil(name, "second")
	before := d.files()
	found := d.run(accepting)
	equal(t, "salvage", printed(found), name+"-0: lost [1, 2) refused")
	if len(found) > 0 && !errors.Is(found[0].Refused, errSchedule) {
		t.Error(found[0].Refused)
	}
	if file, _ := filepath.Rel(d.path, d.segments(name, 0)[0]); d.files()[file] != before[file] {
		t.Error("the log was changed")
	}
}

// What delivered or cancelled a delayed record may have been among what was lost.
func TestPendingRecordsBeforeALossAreCounted(t *testing.T) {
	d := newDataDir(t)
	d.write("orders", 0, delayed("early"), batch(0, -1, "second"), delayed("late"))
	d.spoil("orders", "second")
	equal(t, "a look", printed(d.run()), "orders-0: lost [1, 2) pending 1")
	equal(t, "salvage", printed(d.run(accepting)), "orders-0: lost [1, 2) pending 1 salvaged")
	equal(t, "the log", d.content("orders", 0), "0:early 2:late")
}

// Whether a transaction was ended where the damage is cannot be known without what was noted about it.
func TestOpenTransactionsNeedAWord(t *testing.T) {
	d := newDataDir(t)
	d.write("orders", 0, batch(record.Transactional, 5, "first"), batch(0, -1, "second"), batch(0, -1, "third"))
	d.spoil("orders", "second")
	for _, suffix := range []string{"summary", "snapshot"} {
		files, err := filepath.Glob(filepath.Join(d.path, logsName, d.id("orders", 0).String(), "*."+suffix))
		d.must(err)
		for _, name := range files {
			d.must(os.Remove(name))
		}
	}
	equal(t, "without a word", printed(d.run(accepting)), "orders-0: lost [1, 2) undecided 5")
	equal(t, "still", printed(d.run()), "orders-0: lost [1, 2) undecided 5")
	abort := func(c *Config) { c.Undecided = log.Abort }
	equal(t, "salvage", printed(d.run(accepting, abort)), "orders-0: lost [1, 2) salvaged")
	equal(t, "the log", d.content("orders", 0), "0:first 1:marker 2:third")
}

// tierUp copies the closed segments of a partition to a bucket.
func (d *dataDir) tierUp(topic string, l *log.Log) {
	d.Helper()
	tr, err := tier.Open(tier.Options{
		Bucket: buckettest.New(), Cluster: "c", Name: "b", FS: vfs.OS{}, Dir: filepath.Join(d.path, tierName),
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	d.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- tr.Run(ctx) }()
	id := tier.PartitionID{Topic: tier.TopicID(d.topics[topic].ID), Name: topic}
	p, err := tr.Partition(id, tiertest.Local{Log: l}, 0, func() tier.Config {
		return tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1, Partitions: 1, Schedule: tier.TopicID(d.topics[topic].Schedule)}
	})
	d.must(err)
	for p.Confirmed() < l.ActiveBase() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	d.must(errors.Join(<-done, tr.Close()))
}

func TestWhatTheBucketHasIsNotLost(t *testing.T) {
	d := newDataDir(t)
	d.within("tiered", 0, func(l *log.Log) {
		d.append(l, plain("first", "second")...)
		d.must(l.Roll())
		d.append(l, plain("third", "fourth")...)
		d.must(l.Flush(4))
		d.tierUp("tiered", l)
	})
	d.spoil("tiered", "second")
	equal(t, "a look", printed(d.run()), "tiered-0: in the bucket [1, 2)")
	equal(t, "salvage", printed(d.run(accepting)), "tiered-0: in the bucket [1, 2) salvaged")
	d.within("tiered", 0, func(l *log.Log) {
		if o := l.Offsets(); o.LogStart != 0 || o.LocalStart != 2 || o.DeleteBound != 2 || o.LogEnd != 4 {
			t.Errorf("%+v", o)
		}
	})
	d.spoil("tiered", "third")
	equal(t, "what the bucket does not have", printed(d.run(accepting)), "tiered-0: lost [2, 3) salvaged")
}

// journaled reports whether a commit journal has a value.
func journaled(t testing.TB, logs, value string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(logs, "journal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(value)) {
			return true
		}
	}
	return false
}

// A crash leaves in the commit journal what was acknowledged and is not in the segments yet.
func TestWhatTheCommitJournalHasIsNotGivenUpUnseen(t *testing.T) {
	d := newDataDir(t)
	logs := t.TempDir()
	set, err := log.Open(log.SetConfig{FS: vfs.OS{}, Dir: logs, JournalSegmentBytes: 64 << 10, JournalMaxBytes: 256 << 10})
	d.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- set.Run(ctx) }()
	var l *log.Log
	l, err = set.Create(d.id("orders", 0), log.Options{Config: log.DefaultConfig(), Synced: func(end int64) { l.AdvanceHighWatermark(end) }})
	d.must(err)
	for !journaled(t, logs, "value") {
		d.append(l, plain("value")...)
		d.must(l.Wait(ctx, l.Offsets().LogEnd))
	}
	d.must(os.CopyFS(filepath.Join(d.path, logsName), os.DirFS(logs)))
	cancel()
	d.must(errors.Join(<-done, set.Close()))

	d.must(os.Truncate(d.segments("orders", 0)[0], 0))
	found := d.run(accepting)
	equal(t, "salvage", printed(found), "orders-0: refused")
	if len(found) > 0 && !strings.Contains(fmt.Sprint(found[0].Refused), "replay of the commit journal") {
		t.Error(found[0].Refused)
	}
}
