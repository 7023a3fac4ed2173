package api

import (
	"bytes"
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/protocol"
)

// The two answers that are written by hand are held against kmsg's, byte for byte, with whatever
// can be in them.

// wire is a server that answers Produce and Fetch with bodies it is given.
type wire struct {
	*client
	answer func(r *protocol.Request) *protocol.Body
}

func newWire(t *testing.T) *wire {
	p := newPipes()
	w := &wire{}
	start := func(_ context.Context, r *protocol.Request) protocol.Reply {
		return func(context.Context) (protocol.Answer, error) { return protocol.Answer{Body: w.answer(r)}, nil }
	}
	server, err := protocol.NewServer(protocol.Config{}, []protocol.Route{{Key: 0, Min: 3, Max: 13, Start: start}, {Key: 1, Min: 4, Max: 18, Start: start}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Serve(ctx, testListener, p) }()
	t.Cleanup(func() {
		w.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	conn, err := p.dial()
	if err != nil {
		t.Fatal(err)
	}
	w.client = &client{Conn: conn, w: &world{TB: t}}
	return w
}

// body returns the bytes that encode's body becomes on the wire.
func (w *wire) body(req kmsg.Request, encode func(r *protocol.Request) *protocol.Body) []byte {
	w.answer = encode
	w.send(req)
	body, err := w.frame(req.IsFlexible())
	if err != nil {
		w.w.Fatal(err)
	}
	return body
}

// fetchAnswers draws fetch answers and what kmsg makes of the same.
type fetchAnswers struct {
	*rapid.T
	version   int16
	committed bool
	moved     *cluster.Topic // led by another broker
	file      vfs.File
	bytes     []byte // of file
	hinted    bool
}

var drawInt64 = rapid.Int64Range(-1, 1<<50)

func (g *fetchAnswers) draw(name string) int64 { return drawInt64.Draw(g.T, name) }

func (g *fetchAnswers) parts() (parts []fetchPart, topics []kmsg.FetchResponseTopic) {
	for i := range rapid.IntRange(0, 3).Draw(g.T, "topics") {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = string(rune('a'+i)), [16]byte{byte(i + 1)}
		if rapid.Bool().Draw(g.T, "moved") && i == 0 {
			rt.Topic, rt.TopicID = g.moved.Name, g.moved.ID
		}
		key := topicKey{name: rt.Topic}
		if g.version >= 13 {
			key = topicKey{id: rt.TopicID}
		}
		for n := range int32(rapid.IntRange(1, 3).Draw(g.T, "partitions")) {
			fp, rp := g.part(fetchKey{key, n}, rt.TopicID == g.moved.ID && n == 0)
			parts = append(parts, fp)
			rt.Partitions = append(rt.Partitions, rp)
		}
		topics = append(topics, rt)
	}
	return parts, topics
}

func (g *fetchAnswers) part(key fetchKey, moved bool) (fetchPart, kmsg.FetchResponseTopicPartition) {
	fp, rp := fetchPart{key: key}, kmsg.NewFetchResponseTopicPartition()
	rp.Partition, rp.RecordBatches = key.partition, []byte{}
	if rapid.Bool().Draw(g.T, "error") {
		k := rapid.SampledFrom([]*kerr.Error{kerr.UnknownTopicID, kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.OffsetOutOfRange, kerr.KafkaStorageError}).Draw(g.T, "kind")
		fp.err, rp.ErrorCode = k, k.Code
		if k == kerr.KafkaStorageError && g.version < 6 {
			rp.ErrorCode = kerr.NotLeaderForPartition.Code
		}
		rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset, rp.PreferredReadReplica = -1, -1, -1, -1
		if k == kerr.UnknownTopicID {
			rp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		}
		if moved && g.version >= 16 && (k == kerr.NotLeaderForPartition || k == kerr.FencedLeaderEpoch) {
			rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = other, 0
			g.hinted = true
		}
		return fp, rp
	}
	fp.read = &partition.Read{HighWatermark: g.draw("end"), LastStable: g.draw("stable"), LogStart: g.draw("start"), Diverging: partition.EpochEnd{Epoch: -1}}
	rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset, rp.PreferredReadReplica = fp.read.HighWatermark, fp.read.LastStable, fp.read.LogStart, -1
	if g.committed {
		rp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		for range rapid.IntRange(0, 2).Draw(g.T, "aborted") {
			txn := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			txn.ProducerID, txn.FirstOffset = g.draw("producer"), g.draw("first")
			fp.read.Aborted = append(fp.read.Aborted, log.AbortedTxn{ProducerID: txn.ProducerID, FirstOffset: txn.FirstOffset})
			rp.AbortedTransactions = append(rp.AbortedTransactions, txn)
		}
	}
	if g.version >= 12 && rapid.Bool().Draw(g.T, "diverging") {
		fp.read.Diverging = partition.EpochEnd{Epoch: 3, EndOffset: g.draw("end")}
		rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = 3, fp.read.Diverging.EndOffset
	}
	for range rapid.IntRange(0, 3).Draw(g.T, "ranges") {
		pos := rapid.IntRange(0, len(g.bytes)-1).Draw(g.T, "pos")
		n := rapid.IntRange(1, len(g.bytes)-pos).Draw(g.T, "len")
		fp.read.Ranges = append(fp.read.Ranges, log.Range{File: g.file, Pos: int64(pos), Len: int64(n)})
		fp.read.Size += n
		rp.RecordBatches = append(rp.RecordBatches, g.bytes[pos:pos+n]...)
	}
	return fp, rp
}

func TestFetchAnswersAreThoseOfKmsg(t *testing.T) {
	w := newWorld(t)
	moved := w.elsewhere("moved")
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	file, err := fsys.Create("/d/f")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	segment := bytes.Repeat([]byte("0123456789abcdef"), 100)
	if _, err := file.WriteAt(segment, 0); err != nil {
		t.Fatal(err)
	}
	line := newWire(t)
	rapid.Check(t, func(t *rapid.T) {
		g := &fetchAnswers{T: t, moved: moved, file: file, bytes: segment,
			version: rapid.Int16Range(4, 18).Draw(t, "version"), committed: rapid.Bool().Draw(t, "committed")}
		req := kmsg.NewPtrFetchRequest()
		req.SetVersion(g.version)
		want := kmsg.NewPtrFetchResponse()
		want.SetVersion(g.version)
		turn := &fetchTurn{id: int32(g.draw("session") & 0xffff)}
		want.SessionID = turn.id
		turn.parts, want.Topics = g.parts()
		if g.hinted {
			want.Brokers = []kmsg.FetchResponseBroker{{NodeID: other, Host: "other.test", Port: 9093}}
		}
		if g.committed {
			req.IsolationLevel = 1
		}
		got := line.body(req, func(r *protocol.Request) *protocol.Body {
			f := &fetching{api: w.api, req: req, conn: r.Conn, turn: turn}
			body, _ := f.encode()
			return body
		})
		if expected := want.AppendTo(nil); !bytes.Equal(got, expected) {
			t.Fatalf("version %d: %+v\nis encoded as %x\nexpected        %x", g.version, turn.parts, got, expected)
		}
	})
}

func TestProduceAnswersAreThoseOfKmsg(t *testing.T) {
	w := newWorld(t)
	moved := w.elsewhere("moved")
	line := newWire(t)
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.Int16Range(3, 13).Draw(t, "version")
		req := kmsg.NewPtrProduceRequest()
		want := kmsg.NewPtrProduceResponse()
		want.SetVersion(version)
		p := &producing{api: w.api, req: req, listener: testListener}
		for range rapid.IntRange(0, 3).Draw(t, "topics") {
			asked, told := kmsg.NewProduceRequestTopic(), kmsg.NewProduceResponseTopic()
			asked.Topic, asked.TopicID = rapid.StringN(0, 20, 20).Draw(t, "name"), [16]byte{1}
			if rapid.Bool().Draw(t, "moved") {
				asked.Topic, asked.TopicID = moved.Name, moved.ID
			}
			told.Topic, told.TopicID = asked.Topic, asked.TopicID
			for n := range int32(rapid.IntRange(0, 3).Draw(t, "partitions")) {
				ap := kmsg.NewProduceRequestTopicPartition()
				ap.Partition = n
				asked.Partitions = append(asked.Partitions, ap)
				o, rp := drawProduced(t, n)
				p.outcomes = append(p.outcomes, o)
				if rp.ErrorCode == kerr.NotLeaderForPartition.Code && version >= 10 && asked.TopicID == moved.ID && n == 0 {
					rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = other, 0
					want.Brokers = []kmsg.ProduceResponseBroker{{NodeID: other, Host: "other.test", Port: 9093}}
				}
				told.Partitions = append(told.Partitions, rp)
			}
			req.Topics, want.Topics = append(req.Topics, asked), append(want.Topics, told)
		}
		req.SetVersion(version)
		got := line.body(req, func(*protocol.Request) *protocol.Body {
			body, _ := p.encode()
			return body
		})
		if expected := want.AppendTo(nil); !bytes.Equal(got, expected) {
			t.Fatalf("version %d: %+v\nis encoded as %x\nexpected        %x", version, p.outcomes, got, expected)
		}
	})
}

// drawProduced draws what became of a partition, and how kmsg is told.
func drawProduced(t *rapid.T, n int32) (o produced, rp kmsg.ProduceResponseTopicPartition) {
	rp = kmsg.NewProduceResponseTopicPartition()
	rp.Partition = n
	switch rapid.SampledFrom([]string{"ok", "records", "leader", "other"}).Draw(t, "outcome") {
	case "ok":
		o.pending.BaseOffset, o.pending.AppendTime, o.pending.LogStart = drawInt64.Draw(t, "base"), drawInt64.Draw(t, "time"), drawInt64.Draw(t, "start")
		rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = o.pending.BaseOffset, o.pending.AppendTime, o.pending.LogStart
		return o, rp
	case "records":
		bad := &record.RecordErrors{Err: record.ErrInvalid, Count: 1}
		for i := range int32(rapid.IntRange(1, 3).Draw(t, "bad")) {
			reason := rapid.StringN(0, 20, 20).Draw(t, "reason")
			bad.Records = append(bad.Records, record.RecordError{Index: i, Reason: reason})
			er := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			er.RelativeOffset, er.ErrorMessage = i, &reason
			rp.ErrorRecords = append(rp.ErrorRecords, er)
		}
		o.err, rp.ErrorCode = bad, kerr.InvalidRecord.Code
	case "leader":
		o.err, rp.ErrorCode = partition.ErrNotHere, kerr.NotLeaderForPartition.Code
	case "other":
		o.err, rp.ErrorCode = kerr.UnknownTopicID, kerr.UnknownTopicID.Code
	}
	rp.BaseOffset = -1
	rp.ErrorMessage = kmsg.StringPtr(message(o.err))
	return o, rp
}
