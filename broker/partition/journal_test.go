package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/log"
)

// offsets makes the internal topic that journals lie in.
func (w *world) offsets() *Partition {
	w.Helper()
	w.store.must(cluster.CreateTopics{Topics: []cluster.NewTopic{{
		Name: cluster.OffsetsTopic, Partitions: 1, ReplicationFactor: 1, Internal: true,
		Config: config.Values{"cleanup.policy": "compact", "max.message.bytes": "1000"},
	}}})
	w.follow()
	return w.partition(cluster.OffsetsTopic)
}

// replayed loads a journal as "offset:key=value".
func replayed(t *testing.T, j *Journal) (all []string, end int64) {
	t.Helper()
	end, err := j.Load(t.Context(), func(offset int64, r coord.Record) error {
		all = append(all, fmt.Sprintf("%d:%s=%s", offset, r.Key, r.Value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, end
}

func TestJournalIsReadBackInOrder(t *testing.T) {
	w := newWorld(t)
	j := w.offsets().Journal()
	records := []coord.Record{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte("2")}}
	end, err := j.Append(records, epoch)
	if err != nil || end != 2 {
		t.Fatalf("append: %d, %v", end, err)
	}
	if err := j.Wait(canceled(), end); !errors.Is(err, context.Canceled) {
		t.Errorf("wait before the sync: %v", err)
	}
	if all, end := replayed(t, j); len(all) > 0 || end != 0 {
		t.Errorf("loaded what is not committed: %v up to %d", all, end)
	}
	w.commit()
	if err := j.Wait(canceled(), end); err != nil {
		t.Errorf("wait after the sync: %v", err)
	}
	if _, err := j.Append([]coord.Record{{Key: []byte("a")}}, epoch); err != nil { // a tombstone
		t.Fatal(err)
	}
	w.commit()
	want := []string{"0:a=1", "1:b=2", "2:a="}
	if all, end := replayed(t, j); !slices.Equal(all, want) || end != 3 {
		t.Errorf("loaded %v up to %d", all, end)
	}
	w.restart(w.mem.Crash(nil))
	if all, end := replayed(t, w.partition(cluster.OffsetsTopic).Journal()); !slices.Equal(all, want) || end != 3 {
		t.Errorf("loaded %v up to %d after a crash", all, end)
	}
}

func TestJournalKeepsWhatItHandsOut(t *testing.T) {
	w := newWorld(t)
	j := w.offsets().Journal()
	for i := range 10 {
		if _, err := j.Append([]coord.Record{{Key: fmt.Append(nil, i), Value: []byte("v")}}, epoch); err != nil {
			t.Fatal(err)
		}
	}
	w.commit()
	var kept []coord.Record
	if _, err := j.Load(t.Context(), func(_ int64, r coord.Record) error { kept = append(kept, r); return nil }); err != nil {
		t.Fatal(err)
	}
	for i, r := range kept {
		if string(r.Key) != fmt.Sprint(i) || string(r.Value) != "v" {
			t.Errorf("record %d has become %s=%s", i, r.Key, r.Value)
		}
	}
}

func TestJournalErrors(t *testing.T) {
	w := newWorld(t)
	p := w.offsets()
	j := p.Journal()
	if _, err := j.Append([]coord.Record{{Key: []byte("a"), Value: []byte(strings.Repeat("x", 1000))}}, epoch); !errors.Is(err, coord.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := j.Append([]coord.Record{{Key: []byte("a"), Value: []byte("1")}}, epoch); err != nil {
		t.Fatal(err)
	}
	w.commit()
	refused := errors.New("refused")
	if _, err := j.Load(t.Context(), func(int64, coord.Record) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("load: %v", err)
	}
	if _, err := j.Load(canceled(), func(int64, coord.Record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("load that is given up: %v", err)
	}
	_ = p.Log().Fail(errors.New("disk on fire"))
	if _, err := j.Append([]coord.Record{{Key: []byte("a")}}, epoch); err == nil {
		t.Error("appended to a log that failed")
	}
	if _, err := j.Load(t.Context(), func(int64, coord.Record) error { return nil }); err == nil || !strings.Contains(err.Error(), cluster.OffsetsTopic) {
		t.Errorf("load of a log that failed: %v", err)
	}
}

// TestFullDiskRefusesProducersFirst fills the disk up to the reserve, which is for what must be
// written before anything can be freed.
func TestFullDiskRefusesProducersFirst(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.reserve = 1 << 20
		w.open()
		w.create("orders", 1)
		j := w.offsets().Journal()
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		w.append(p, delayed("later", "1m"))
		usage, err := w.fsys.Usage("/")
		if err != nil {
			t.Fatal(err)
		}
		w.mem.SetCapacity(usage.Total - usage.Free + w.reserve/2)
		w.logs.Keep(w.clock())
		if _, err := p.Append(t.Context(), batch(w.clock(), plain("a")), nil, w.clock()); !errors.Is(err, log.ErrNoSpace) {
			t.Errorf("producer on a full disk: %v", err)
		}
		if _, err := j.Append([]coord.Record{{Key: []byte("a"), Value: []byte("1")}}, w.clock()); err != nil {
			t.Errorf("coordinator on a full disk: %v", err)
		}
		sleepMinutes(2)
		if got := w.delivered(p); got[0] != 1 {
			t.Errorf("delivered on a full disk: %v", got)
		}
		w.mem.SetCapacity(0)
		w.logs.Keep(w.clock())
		w.append(p, plain("b"))
	})
}
