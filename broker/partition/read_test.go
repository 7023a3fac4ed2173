package partition

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/log"
)

func TestReadChecksEpochs(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	p := w.partition("orders")
	w.append(p, plain("a"), plain("b"))
	w.elect(topic.ID)
	w.append(p, plain("c"))
	w.commit()
	for _, test := range []struct {
		name      string
		epoch     int32
		last      int32
		offset    int64
		want      error
		unranged  bool // out of range
		diverging EpochEnd
	}{
		{name: "nothing said", epoch: -1, last: -1, offset: 3, diverging: EpochEnd{Epoch: -1}},
		{name: "the right epoch", epoch: 1, last: 1, offset: 3, diverging: EpochEnd{Epoch: -1}},
		{name: "older", epoch: 0, last: -1, want: ErrFencedEpoch},
		{name: "newer", epoch: 2, last: -1, want: ErrUnknownEpoch},
		{name: "history ends before", epoch: -1, last: 0, offset: 3, diverging: EpochEnd{Epoch: 0, EndOffset: 2}},
		{name: "history goes on", epoch: -1, last: 0, offset: 2, diverging: EpochEnd{Epoch: -1}},
		{name: "unknown history", epoch: -1, last: 7, offset: 2, unranged: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := p.Read(ReadRequest{Offset: test.offset, MaxBytes: 1000, LeaderEpoch: test.epoch, LastFetchedEpoch: test.last})
			if _, unranged := errors.AsType[*log.OutOfRangeError](err); unranged != test.unranged || !unranged && !errors.Is(err, test.want) {
				t.Fatalf("error is %v", err)
			}
			if err != nil {
				return
			}
			if r.Diverging != test.diverging || r.Diverged() != (test.diverging.Epoch >= 0) || r.HighWatermark != 3 || r.LastStable != 3 || r.LogStart != 0 {
				t.Errorf("read %+v", r)
			}
			r.Release()
			r.Release()
		})
	}
}

// A consumer is told the leader's epoch with the end of a log, and asks what became of it later,
// whether or not anything was written in that epoch.
func TestEpochInWhichNothingWasWritten(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	p := w.partition("orders")
	begun := func(end int64) {
		t.Helper()
		latest, err := p.ListOffset(context.Background(), Latest, false)
		if err != nil {
			t.Fatal(err)
		}
		if latest.Offset != end || latest.LeaderEpoch != p.LeaderEpoch() {
			t.Fatalf("latest is %+v, want %d in epoch %d", latest, end, p.LeaderEpoch())
		}
		r, err := p.Read(ReadRequest{Offset: latest.Offset, MaxBytes: 1000, LeaderEpoch: -1, LastFetchedEpoch: latest.LeaderEpoch})
		if err != nil || r.Diverged() {
			t.Fatalf("read at the end: %+v, %v", r, err)
		}
		r.Release()
	}
	ends := func(epoch, wantEpoch int32, wantEnd int64) {
		t.Helper()
		if found, end := p.EpochEnd(epoch); found != wantEpoch || end != wantEnd {
			t.Errorf("epoch %d: %d ends at %d, want %d at %d", epoch, found, end, wantEpoch, wantEnd)
		}
	}

	begun(0)
	ends(0, 0, 0)
	ends(1, -1, -1)
	if earliest, err := p.ListOffset(context.Background(), Earliest, false); err != nil || earliest.LeaderEpoch != 0 {
		t.Errorf("earliest is %+v, %v", earliest, err)
	}

	w.elect(topic.ID)
	begun(0)
	ends(0, 0, 0)
	ends(1, 1, 0)
	w.append(p, plain("a"))
	w.commit()
	ends(0, 0, 0)
	ends(1, 1, 1)

	w.elect(topic.ID)
	w.elect(topic.ID)
	begun(1)
	ends(1, 1, 1)
	ends(2, 1, 1)
	ends(3, 3, 1)
}

// elect begins a new leader epoch of partition 0.
func (w *world) elect(id cluster.TopicID) {
	w.Helper()
	w.beginEpoch(id)
	w.follow()
}

// beginEpoch is elect while the broker is away.
func (w *world) beginEpoch(id cluster.TopicID) (epoch int32) {
	w.Helper()
	topic, _ := w.store.Image().TopicByID(id)
	p := topic.Partitions[0]
	w.store.must(cluster.ChangePartitions{Partitions: []cluster.PartitionChange{{
		Topic: id, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Leader: p.Leader, ISR: p.ISR, Elected: true,
	}}})
	return p.LeaderEpoch + 1
}

func TestReadOfHiddenRecords(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	w.append(p, plain("a"), delayed("b", "1h"), plain("c"))
	w.append(p, delayed("d", "1h"))
	w.commit()
	for offset, want := range map[int64][]string{0: {"0:a", "2:c"}, 1: {"2:c"}, 2: {"2:c"}, 3: nil, 4: nil} {
		if got := w.visible(p, offset); !slices.Equal(got, want) {
			t.Errorf("from %d: %v, expected %v", offset, got, want)
		}
	}
	for _, offset := range []int64{-1, 5} {
		_, err := p.Read(ReadRequest{Offset: offset, LeaderEpoch: -1, LastFetchedEpoch: -1})
		if _, ok := errors.AsType[*log.OutOfRangeError](err); !ok {
			t.Errorf("from %d: %v", offset, err)
		}
	}
	wake := make(chan struct{}, 1)
	p.Subscribe(wake)
	defer p.Unsubscribe(wake)
	w.append(p, delayed("e", "1h"))
	w.commit()
	select {
	case <-wake:
		t.Error("a hidden record woke a reader")
	default:
	}
	w.append(p, plain("f"))
	w.commit()
	<-wake
}

func TestListOffsetOfSpecialTimes(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	w.append(p, plain("a"))
	w.elect(topic.ID)
	w.append(p, plain("b"))
	w.append(p, delayed("c", "1h"))
	w.commit()
	if start, err := p.DeleteRecords(1); err != nil || start != 1 {
		t.Fatalf("delete records: %d, %v", start, err)
	}
	at := epoch.UnixMilli()
	for _, test := range []struct {
		timestamp int64
		want      FoundOffset
	}{
		{Latest, FoundOffset{2, -1, 1}},
		{Earliest, FoundOffset{1, -1, 1}},
		{MaxTimestamp, FoundOffset{1, at, 1}},
		{EarliestLocal, FoundOffset{1, -1, 1}},
		{LatestTiered, notFound},
		{EarliestPendingUpload, notFound},
		{0, FoundOffset{1, at, 1}},
		{at, FoundOffset{1, at, 1}},
		{at + 1, notFound},
	} {
		for _, committed := range []bool{false, true} {
			got, err := p.ListOffset(context.Background(), test.timestamp, committed)
			if err != nil || got != test.want {
				t.Errorf("at %d: %+v, %v, expected %+v", test.timestamp, got, err, test.want)
			}
		}
	}
	for _, offset := range []int64{-2, 3} {
		if _, err := p.DeleteRecords(offset); err == nil {
			t.Errorf("records up to %d were deleted", offset)
		}
	}
	if start, err := p.DeleteRecords(-1); err != nil || start != 2 {
		t.Errorf("delete all: %d, %v", start, err)
	}
	if s := w.stats(p); s.Pending != 1 {
		t.Errorf("%d are pending after all records were deleted", s.Pending)
	}
}
