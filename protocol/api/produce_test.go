package api

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

func TestProduceAnswersWithTheOffsetInEveryVersion(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	c := w.connect()
	next := int64(0)
	for v := int16(3); v <= 13; v++ {
		req := producingTo("orders", batch(values("a", "b")...))
		req.Topics[0].TopicID = topic.ID
		resp := ask[*kmsg.ProduceResponse](c, v, req)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != next || p.LogAppendTime != -1 || v >= 5 && p.LogStartOffset != 0 || p.ErrorMessage != nil {
			t.Errorf("version %d answers %+v, expected offset %d", v, p, next)
		}
		next += 2
	}
}

func TestProduceTellsTheAppendTime(t *testing.T) {
	w := newWorld(t)
	w.create("stamped", 1, "message.timestamp.type", "LogAppendTime")
	resp := ask[*kmsg.ProduceResponse](w.connect(), 9, producingTo("stamped", batch(values("a")...)))
	if at := resp.Topics[0].Partitions[0].LogAppendTime; time.Since(time.UnixMilli(at)).Abs() > time.Minute {
		t.Errorf("append time is %d", at)
	}
}

// sequenced makes a batch an idempotent producer's.
func sequenced(b record.Batch, id int64, epoch int16, sequence int32) record.Batch {
	var w record.Builder
	w.ResetLike(b)
	w.SetProducer(id, epoch, sequence)
	if err := b.Walk(nil, func(v *record.View) error { w.AddView(v); return nil }); err != nil {
		panic(err)
	}
	done, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return bytes.Clone(done)
}

func TestProduceStoresABatchOfAnIdempotentProducerOnce(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	send := func(epoch int16, sequence int32) (int64, int16) {
		p := ask[*kmsg.ProduceResponse](c, 9, producingTo("orders", sequenced(batch(values("a", "b")...), 5, epoch, sequence))).Topics[0].Partitions[0]
		return p.BaseOffset, p.ErrorCode
	}
	for range 2 { // the second time is a retry
		for i := range int32(2) {
			if offset, code := send(1, 2*i); code != 0 || offset != int64(2*i) {
				t.Errorf("sequence %d: offset %d, code %d", 2*i, offset, code)
			}
		}
	}
	_, code := send(1, 7)
	wantCode(t, "gap", code, kerr.OutOfOrderSequenceNumber)
	_, code = send(0, 0)
	wantCode(t, "old epoch", code, kerr.InvalidProducerEpoch)
	if end := w.log("orders", 0).Offsets().LogEnd; end != 4 {
		t.Errorf("log ends at %d, expected 4", end)
	}
}

func TestProduceRefusals(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.create("small", 1, "max.message.bytes", "200")
	w.create("compacted", 1, "cleanup.policy", "compact")
	w.create("recent", 1, "message.timestamp.before.max.ms", "1000")
	c := w.connect()
	ask[*kmsg.FindCoordinatorResponse](c, 3, groupRequest("g")) // makes __consumer_offsets

	good := func() record.Batch { return batch(values("a")...) }
	torn, damaged, old, control, transactional := good()[:70], good(), good(), good(), good()
	damaged[len(damaged)-1]++
	old[16] = 1
	control.Stamp(record.Control, 0)
	transactional = sequenced(transactional, 1, 0, 0)
	transactional.Stamp(record.Transactional, 0)
	late := good()
	late.Stamp(0, 0)
	aged := func() record.Batch {
		var b record.Builder
		b.Reset(0, 1000)
		b.Add(0, 1000, nil, []byte("a"))
		done, _ := b.Finish()
		return done
	}()

	for _, test := range []struct {
		name, topic string
		version     int16
		records     record.Batch
		acks        int16
		change      func(*kmsg.ProduceRequest)
		want        *kerr.Error
		message     string
		bad         []int32 // records
	}{
		{name: "acks", topic: "orders", acks: 2, records: good(), want: kerr.InvalidRequiredAcks, message: "acks is 2"},
		{name: "topic", topic: "nowhere", records: good(), want: kerr.UnknownTopicOrPartition},
		{name: "partition", topic: "orders", records: good(), change: func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = 1 }, want: kerr.UnknownTopicOrPartition},
		{name: "negative partition", topic: "orders", records: good(), change: func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = -1 }, want: kerr.UnknownTopicOrPartition},
		{name: "topic id", version: 13, records: good(), change: func(r *kmsg.ProduceRequest) { r.Topics[0].TopicID = [16]byte{1} }, want: kerr.UnknownTopicID},
		{name: "no topic id", version: 13, topic: "orders", records: good(), want: kerr.UnknownTopicID},
		{name: "internal topic", topic: cluster.OffsetsTopic, records: good(), want: kerr.InvalidTopicException, message: "belongs to the broker"},
		{name: "schedule topic", topic: cluster.SchedulePrefix + "orders", records: good(), want: kerr.InvalidTopicException, message: "belongs to the broker"},
		{name: "no batch", topic: "orders", want: kerr.InvalidRecord, message: "exactly one"},
		{name: "two batches", topic: "orders", records: append(good(), good()...), want: kerr.InvalidRecord, message: "exactly one"},
		{name: "torn batch", topic: "orders", records: torn, want: kerr.InvalidRecord, message: "exactly one"},
		{name: "old format", topic: "orders", records: old, want: kerr.InvalidRecord, message: "format version 2"},
		{name: "checksum", topic: "orders", records: damaged, want: kerr.CorruptMessage},
		{name: "zstd before version 7", version: 6, topic: "orders", records: batchOf(record.Zstd, values("a")...), want: kerr.UnsupportedCompressionType},
		{name: "zstd in version 7", version: 7, topic: "orders", records: batchOf(record.Zstd, values("a")...)},
		{name: "too large", topic: "small", records: batch(values(strings.Repeat("x", 200))...), want: kerr.MessageTooLarge, message: "200"},
		{name: "control batch", topic: "orders", records: control, want: kerr.InvalidRecord},
		{name: "transaction", topic: "orders", records: transactional, want: kerr.InvalidTxnState, message: "not verified"},
		{name: "no key in a compacted topic", topic: "compacted", records: batch(rec{key: "k"}, rec{}, rec{key: "l"}, rec{}), want: kerr.InvalidRecord, bad: []int32{1, 3}},
		{name: "timestamp", topic: "recent", records: aged, want: kerr.InvalidTimestamp, bad: []int32{0}},
		{name: "delay header", topic: "orders", records: batch(rec{}, delayed("a", "soon"), rec{}, delayed("b", "-")), want: kerr.InvalidRecord, bad: []int32{1, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := producingTo(test.topic, test.records)
			if test.acks != 0 {
				req.Acks = test.acks
			}
			if test.change != nil {
				test.change(req)
			}
			if test.version == 0 {
				test.version = 9
			}
			p := ask[*kmsg.ProduceResponse](c, test.version, req).Topics[0].Partitions[0]
			wantCode(t, "answer", p.ErrorCode, test.want)
			if test.want == nil {
				return
			}
			if p.BaseOffset != -1 || p.LogAppendTime != -1 || p.LogStartOffset != -1 {
				t.Errorf("refusal with offsets: %+v", p)
			}
			if test.version >= 8 && (p.ErrorMessage == nil || *p.ErrorMessage == "" || !strings.Contains(*p.ErrorMessage, test.message)) {
				t.Errorf("message is %q, expected one with %q", deref(p.ErrorMessage), test.message)
			}
			var bad []int32
			for _, r := range p.ErrorRecords {
				bad = append(bad, r.RelativeOffset)
				if deref(r.ErrorMessage) == "" {
					t.Errorf("record %d is refused without a reason", r.RelativeOffset)
				}
			}
			if len(bad) != len(test.bad) || len(bad) > 0 && (bad[0] != test.bad[0] || bad[len(bad)-1] != test.bad[len(bad)-1]) {
				t.Errorf("bad records are %v, expected %v", bad, test.bad)
			}
		})
	}
}

// TestBrokerLogsWhyRecordsWereRefused, since not every client shows it to its user; but no client can
// fill the log that way.
func TestBrokerLogsWhyRecordsWereRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 1)
		c := w.connect()
		c.id = "till-7"
		refused := func(acks int16, times, want int) {
			t.Helper()
			for range times {
				req := producingTo("orders", batch(rec{}, delayed("a", "soon")))
				req.Acks = acks
				ask[*kmsg.ProduceResponse](c, 9, req)
			}
			said := w.lines.String()
			if n := strings.Count(said, `msg="records refused" partition=orders-0 client=till-7 err="invalid batch: record 1: header morrow-delay is \"soon\"`); n != want {
				t.Errorf("%d lines, want %d:\n%s", n, want, said)
			}
		}
		refused(-1, 20, 1)
		time.Sleep(time.Second)
		refused(1, 20, 2)
		ask[*kmsg.ProduceResponse](c, 9, producingTo("nowhere", batch(values("a")...)))
		if said := w.lines.String(); strings.Contains(said, "nowhere") {
			t.Errorf("it is logged that a topic does not exist:\n%s", said)
		}
	})
}

func TestProduceRefusesOnePartitionAndStoresTheOther(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	damaged := batch(values("a")...)
	damaged[20]++
	resp := ask[*kmsg.ProduceResponse](w.connect(), 9, producingTo("orders", damaged, batch(values("b")...)))
	wantCode(t, "partition 0", resp.Topics[0].Partitions[0].ErrorCode, kerr.CorruptMessage)
	wantCode(t, "partition 1", resp.Topics[0].Partitions[1].ErrorCode, nil)
	if end := w.log("orders", 1).Offsets().LogEnd; end != 1 {
		t.Errorf("log of partition 1 ends at %d", end)
	}
}

// TestProduceRefusedForMemoryStoresNothing counts what a request has left behind in each of its
// partitions, while what is to be moved out of memory cannot be read.
func TestProduceRefusedForMemoryStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := vfs.NewFault(vfs.NewMem())
		w := newWorld(t, with("delay.index.memory", "1048576"), on(fault))
		w.create("full", 1)
		w.create("orders", 3)
		c := w.connect()
		w.loaded("full", 0)
		many := make([]rec, 10_000)
		for i := range many {
			many[i] = delayed("x", "1h")
		}
		for range 6 { // of 24 bytes each: more than a quarter too many
			c.produce("full", many...)
		}
		held := make(chan struct{})
		fault.Add(vfs.Rule{Ops: vfs.OpRead, Times: vfs.Forever, Do: func() { <-held }}) // of what is moved to a run
		time.Sleep(300 * time.Millisecond)
		req := func() *kmsg.ProduceRequest {
			return producingTo("orders", batch(delayed("a", "1h")), batch(values("b")...), batch(rec{}, delayed("c", "1h")))
		}
		for range 3 {
			for i, p := range ask[*kmsg.ProduceResponse](c, 9, req()).Topics[0].Partitions {
				wantCode(t, "partition", p.ErrorCode, []*kerr.Error{kerr.NotEnoughReplicas, nil, kerr.NotEnoughReplicas}[i])
			}
		}
		for i, want := range []int64{0, 3, 0} {
			if end := w.log("orders", int32(i)).Offsets().LogEnd; end != want {
				t.Errorf("log of partition %d ends at %d, want %d", i, end, want)
			}
		}
		close(held)
		time.Sleep(5 * time.Second)
		for _, p := range ask[*kmsg.ProduceResponse](c, 9, req()).Topics[0].Partitions {
			wantCode(t, "later", p.ErrorCode, nil)
		}
	})
}

func TestProduceToAnotherBrokersPartitionNamesItsLeader(t *testing.T) {
	w := newWorld(t)
	topic := w.elsewhere("moved")
	for v := int16(9); v <= 13; v++ {
		req := producingTo("moved", batch(values("a")...))
		req.Topics[0].TopicID = topic.ID
		resp := ask[*kmsg.ProduceResponse](w.connect(), v, req)
		p := resp.Topics[0].Partitions[0]
		wantCode(t, "answer", p.ErrorCode, kerr.NotLeaderForPartition)
		if v < 10 {
			if len(resp.Brokers) > 0 || p.CurrentLeader.LeaderID != -1 {
				t.Errorf("version %d names leader %+v", v, p.CurrentLeader)
			}
			continue
		}
		if p.CurrentLeader.LeaderID != other || p.CurrentLeader.LeaderEpoch != 0 || len(resp.Brokers) != 1 || resp.Brokers[0].Host != "other.test" || resp.Brokers[0].Port != 9093 {
			t.Errorf("version %d names leader %+v at %+v", v, p.CurrentLeader, resp.Brokers)
		}
	}
}

func TestProduceWithoutAcksIsNotAnsweredAndAFailureClosesTheConnection(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	req := producingTo("orders", batch(values("a")...))
	req.SetVersion(9)
	req.Acks = 0
	c.send(req)
	if got := c.produce("orders", values("b")...); got != 1 { // the next answer is that of the next request
		t.Errorf("offset %d, expected 1", got)
	}
	req.Topics[0].Topic = "nowhere"
	c.send(req)
	if _, err := c.frame(true); !errors.Is(err, io.EOF) {
		t.Errorf("connection is still there: %v", err)
	}
	w.stop()
	if !strings.Contains(w.lines.String(), "acks=0") {
		t.Errorf("nothing is said about it:\n%s", w.lines)
	}
}

// stuckFS is a file system whose syncs can be held up.
type stuckFS struct {
	vfs.FS
	gate chan struct{} // each sync takes one, until it is closed
}

type stuckFile struct {
	vfs.File
	gate chan struct{}
}

func (s stuckFS) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	return s.stuck(name, f, err)
}

func (s stuckFS) Open(name string) (vfs.File, error) {
	f, err := s.FS.Open(name)
	return s.stuck(name, f, err)
}

func (s stuckFS) stuck(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return stuckFile{f, s.gate}, nil
}

func (f stuckFile) Sync() error {
	<-f.gate
	return f.File.Sync()
}

func TestProduceWaitsForTheCommitOnlyIfAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := stuckFS{vfs.NewMem(), make(chan struct{})}
		w := newWorld(t, on(fsys))
		w.create("orders", 1)
		c := w.connect()
		began := time.Now()

		req := producingTo("orders", batch(values("a")...))
		req.Acks = 1
		wantCode(t, "acks=1", ask[*kmsg.ProduceResponse](c, 9, req).Topics[0].Partitions[0].ErrorCode, nil)
		if waited := time.Since(began); waited > 0 {
			t.Errorf("acks=1 waited %s for the disk", waited)
		}

		req = producingTo("orders", batch(values("b")...))
		req.TimeoutMillis = 1500
		wantCode(t, "acks=all", ask[*kmsg.ProduceResponse](c, 9, req).Topics[0].Partitions[0].ErrorCode, kerr.RequestTimedOut)
		if waited := time.Since(began); waited != 1500*time.Millisecond {
			t.Errorf("acks=all timed out after %s, expected 1.5s", waited)
		}

		req.SetVersion(9)
		req.TimeoutMillis = 0 // bounds nothing
		c.send(req)
		time.Sleep(time.Minute)
		close(fsys.gate)
		p := c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != 2 {
			t.Errorf("after a minute: %+v", p)
		}
	})
}

func TestProduceAnswersThatAreReadyLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := stuckFS{vfs.NewMem(), make(chan struct{})}
		w := newWorld(t, on(fsys))
		w.create("orders", 1)
		c := w.connect()
		req := producingTo("orders", batch(values("a")...))
		req.SetVersion(9)
		c.send(req)
		synctest.Wait() // it is being synced
		for range 3 {
			c.send(req)
		}
		synctest.Wait() // they are appended, and wait for the next sync
		write := func() int {
			t.Helper()
			fsys.gate <- struct{}{}
			synctest.Wait()
			buf := make([]byte, 4096)
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Count(buf[:n], []byte("orders"))
		}
		if first, second := write(), write(); first != 1 || second != 3 {
			t.Errorf("writes hold %d and %d answers, expected 1 and 3", first, second)
		}
		close(fsys.gate)
	})
}

func TestDelayedRecordIsAnsweredWithItsTicket(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	w.loaded("orders", 0)
	c.produce("orders", values("now")...)
	if got := c.produce("orders", delayed("later", "1h")); got != 1 {
		t.Errorf("ticket is %d, expected 1", got)
	}
	if got := c.produce("orders", rec{}, delayed("later", "1h"), rec{}); got != 2 {
		t.Errorf("batch begins at %d, expected 2", got)
	}
	cancel := rec{headers: []string{delay.HeaderCancel, "9"}}
	p := ask[*kmsg.ProduceResponse](c, 9, producingTo("orders", batch(cancel))).Topics[0].Partitions[0]
	wantCode(t, "cancel of nothing", p.ErrorCode, kerr.InvalidRecord)
	if len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 0 {
		t.Errorf("bad records are %+v", p.ErrorRecords)
	}
}
