package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the partitions of a broker whose logs are in memory.
type world struct {
	*testing.T
	store  *local.Store
	table  *partition.Table
	writer *Writer
}

func newWorld(t *testing.T, static config.Values) *world {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	store, err := local.Open(local.Options{Dir: t.TempDir(), Node: 1, Static: static, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := log.Open(log.SetConfig{FS: vfs.NewMem(), Dir: "/logs", Logger: logger, JournalMaxBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	dispatcher := delay.NewDispatcher(delay.DispatcherConfig{Logger: logger})
	table := partition.NewTable(partition.Config{
		NodeID: 1, Store: store, Logs: logs, Dispatcher: dispatcher, FS: vfs.NewMem(), DataDir: "/", Now: time.Now, Logger: logger,
		Opened: func(*partition.Partition) {}, Closed: func(*partition.Partition) {},
		TopicDeleted: func(context.Context, *cluster.Deletion) error { return nil },
	})
	w := &world{T: t, store: store, table: table, writer: &Writer{Store: store, Partitions: table, Now: time.Now}}
	w.apply(cluster.RegisterBroker{Broker: cluster.Broker{ID: 1}})
	table.Open(t.Context())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{logs.Run, dispatcher.Run, table.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("part of the broker ended with: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(logs.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) apply(c cluster.Command) {
	w.Helper()
	img, err := w.store.Apply(w.Context(), c)
	if err != nil {
		w.Fatal(err)
	}
	if _, registers := c.(cluster.RegisterBroker); registers {
		return
	}
	if err := w.table.WaitVersion(w.Context(), img.Version()); err != nil {
		w.Fatal(err)
	}
}

// topic creates a topic of one partition with configs, as name, value, name, value.
func (w *world) topic(name string, configs ...string) *partition.Partition {
	w.Helper()
	values := config.Values{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = configs[i+1]
	}
	w.apply(cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: name, Partitions: 1, ReplicationFactor: 1, Config: values}}})
	return w.partition(name)
}

func (w *world) partition(name string) *partition.Partition {
	w.Helper()
	t, ok := w.store.Image().Topic(name)
	if !ok {
		w.Fatalf("there is no topic %s", name)
	}
	p, err := w.table.Get(t.ID, 0)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// produce appends one batch of records with these values, and headers as name, value, name, value.
func (w *world) produce(p *partition.Partition, codec record.Codec, values []string, headers ...string) {
	w.Helper()
	var hs []record.Header
	for i := 0; i < len(headers); i += 2 {
		hs = append(hs, record.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	var b record.Builder
	b.Reset(record.Attributes(0).WithCodec(codec), time.Now().UnixMilli())
	for i, v := range values {
		b.Add(int32(i), time.Now().UnixMilli(), []byte("key"), []byte(v), hs...)
	}
	batch, err := b.Finish()
	if err != nil {
		w.Fatal(err)
	}
	pending, err := p.Append(w.Context(), batch, nil, time.Now())
	if err == nil {
		err = pending.Wait(w.Context())
	}
	if err != nil {
		w.Fatal(err)
	}
}

// bury has records of a partition buried in the topic dead, each by one rejection.
func (w *world) bury(p *partition.Partition, offsets ...int64) error {
	dead := make([]share.Dead, len(offsets))
	for i, o := range offsets {
		dead[i] = share.Dead{Offset: o, Count: 1, Rejected: true}
	}
	return w.writer.Bury(w.Context(), share.Key{Group: "g", Topic: p.Topic().ID}, "dead", dead)
}

// letters prints what a partition holds, one line for each batch.
func (w *world) letters(p *partition.Partition) string {
	w.Helper()
	var out strings.Builder
	for offset := int64(0); offset < p.Log().Offsets().VisibleEnd; {
		b, err := p.BatchAt(w.Context(), offset)
		if err != nil {
			w.Fatal(err)
		}
		var parts []string
		if codec := b.Attributes().Codec(); codec != record.None {
			parts = append(parts, codec.String())
		}
		err = b.Walk(nil, func(v *record.View) error {
			headers := map[string]string{}
			for k, h := range v.Headers {
				headers[string(k)] = string(h)
			}
			parts = append(parts, fmt.Sprintf("%.8s@%s", v.Value, headers[HeaderOffset]))
			return nil
		})
		if err != nil {
			w.Fatal(err)
		}
		out.WriteString(strings.Join(parts, " ") + "\n")
		offset = b.EndOffset()
	}
	return out.String()
}

func (w *world) wantLetters(want ...string) {
	w.Helper()
	if got := w.letters(w.partition("dead")); got != strings.Join(want, "\n")+"\n" {
		w.Errorf("letters:\n%swant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestLettersHoldTheRecordsAndWhatBecameOfThem(t *testing.T) {
	w := newWorld(t, nil)
	orders := w.topic("orders")
	w.produce(orders, record.Zstd, []string{"a", "b", "c", "d"}, "color", "red")
	w.produce(orders, record.None, []string{"e"})
	err := w.writer.Bury(t.Context(), share.Key{Group: "g", Topic: orders.Topic().ID}, "dead",
		[]share.Dead{{Offset: 1, Count: 1, Rejected: true}, {Offset: 3, Count: 5}, {Offset: 4, Count: 5}})
	if err != nil {
		t.Fatal(err)
	}
	w.wantLetters("zstd b@1 d@3 e@4") // the topic is created, as auto.create.topics.enable says
	b, err := w.partition("dead").BatchAt(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = b.Walk(nil, func(v *record.View) error {
		line := string(v.Key)
		for k, h := range v.Headers {
			line += fmt.Sprintf(" %s=%s", k, h)
		}
		got = append(got, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	of := func(offset, count, why string) string {
		return "__dlq.errors.topic=orders __dlq.errors.partition=0 __dlq.errors.offset=" + offset +
			" __dlq.errors.group=g __dlq.errors.delivery.count=" + count + " __dlq.errors.message=" + why
	}
	want := []string{
		"key color=red " + of("1", "1", "Offset rejected by client."),
		"key color=red " + of("3", "5", "Offset delivery count exceeded the threshold."),
		"key " + of("4", "5", "Offset delivery count exceeded the threshold."),
	}
	if !slices.Equal(got, want) {
		t.Errorf("letters:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLettersWithoutTheRecord(t *testing.T) {
	w := newWorld(t, nil)
	orders := w.topic("orders")
	w.apply(cluster.SetGroupConfig{Group: "g", Edit: cluster.ConfigEdit{Replace: config.Values{"errors.deadletterqueue.copy.record.enable": "false"}}})
	w.produce(orders, record.None, []string{"a"})
	if err := w.bury(orders, 0); err != nil {
		t.Fatal(err)
	}
	w.wantLetters("@0")
}

// The records have met the limit of their topic; that of another must not keep them from being buried.
func TestLettersFitIntoTheirTopic(t *testing.T) {
	w := newWorld(t, nil)
	orders := w.topic("orders")
	w.topic("dead", "max.message.bytes", "1000")
	w.produce(orders, record.None, []string{"a" + strings.Repeat("a", 300), "b" + strings.Repeat("b", 300), "c" + strings.Repeat("c", 3000), "d"})
	if err := w.bury(orders, 0, 1, 2, 3); err != nil {
		t.Fatal(err)
	}
	w.wantLetters("aaaaaaaa@0", "bbbbbbbb@1", "cccccccc@2", "d@3")
}

// What a record's headers say of delays has been done, or was not to be.
func TestLettersAreNotDelayed(t *testing.T) {
	w := newWorld(t, nil)
	orders := w.topic("orders", "delay.enable", "false")
	w.topic("dead", "delay.default.ms", "3600000")
	w.produce(orders, record.None, []string{"a"}, "morrow-delay", "1h")
	w.produce(orders, record.None, []string{"b"}, "morrow-delay", "soon")
	if err := w.bury(orders, 0, 1); err != nil {
		t.Fatal(err)
	}
	w.wantLetters("a@0 b@1")
}

func TestLettersAboutRecordsThatAreGone(t *testing.T) {
	w := newWorld(t, nil)
	orders := w.topic("orders")
	w.produce(orders, record.None, []string{"a", "b"})
	w.produce(orders, record.None, []string{"later"}, "morrow-delay", "1h") // offset 2 is hidden
	w.produce(orders, record.None, []string{"c"})
	if err := w.bury(orders, 1, 2, 3, 100); err != nil {
		t.Fatal(err)
	}
	w.wantLetters("b@1 c@3 @100")
	b, err := w.partition("dead").BatchAt(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("The record itself is not in its topic any more.")) {
		t.Errorf("the last letter does not say so: %q", b)
	}
}

func TestLettersNeedATopic(t *testing.T) {
	w := newWorld(t, config.Values{"auto.create.topics.enable": "false"})
	orders := w.topic("orders")
	w.produce(orders, record.None, []string{"a"})
	if err := w.bury(orders, 0); !errors.Is(err, ErrNoTopic) {
		t.Errorf("error = %v, want %v", err, ErrNoTopic)
	}
	w.topic("dead")
	if err := w.bury(orders, 0); err != nil {
		t.Fatal(err)
	}
	w.wantLetters("a@0")
}
