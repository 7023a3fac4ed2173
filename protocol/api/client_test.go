package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log/record"
)

// client is a connection that speaks in requests.
type client struct {
	net.Conn
	w    *world
	id   string
	last int32 // correlation id
}

func (w *world) connect() *client {
	w.Helper()
	conn, err := w.dial()
	if err != nil {
		w.Fatal(err)
	}
	c := &client{Conn: conn, w: w, id: "tester"}
	w.Cleanup(func() { c.Close() })
	return c
}

func (w *world) dial() (net.Conn, error) {
	if p, ok := w.listener.(*pipes); ok {
		return p.dial()
	}
	return net.Dial("tcp", w.listener.Addr().String())
}

// franz is a franz-go client of the broker, closed when the test ends.
func (w *world) franz(opts ...kgo.Opt) *kgo.Client {
	w.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers("broker.test:9092"),
		kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return w.dial() }),
		kgo.MetadataMinAge(10 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(cl.Close)
	return cl
}

// send sends a request in the version it carries.
func (c *client) send(req kmsg.Request) {
	c.w.Helper()
	c.last++
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(c.id)).AppendRequest(nil, req, c.last)
	if _, err := c.Write(frame); err != nil {
		c.w.Fatalf("send %s: %v", kmsg.NameForKey(req.Key()), err)
	}
}

// receive reads the answer to a request. kmsg must encode what it decodes to the same bytes.
func (c *client) receive(req kmsg.Request) kmsg.Response {
	c.w.Helper()
	name := fmt.Sprintf("%s v%d", kmsg.NameForKey(req.Key()), req.GetVersion())
	body, err := c.frame(req.IsFlexible())
	if err != nil {
		c.w.Fatalf("receive the answer of %s: %v", name, err)
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(body); err != nil {
		c.w.Fatalf("decode the answer of %s: %v", name, err)
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) {
		c.w.Errorf("answer of %s is\n%x, kmsg encodes it as\n%x", name, body, again)
	}
	return resp
}

func (c *client) frame(flexible bool) (body []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, frame); err != nil {
		return nil, err
	}
	body = frame[4:] // correlation id
	if flexible {
		body = body[1:] // no tags
	}
	return body, nil
}

// ask sends a request in a version and returns its answer.
func ask[Resp kmsg.Response](c *client, version int16, req kmsg.Request) Resp {
	c.w.Helper()
	req.SetVersion(version)
	c.send(req)
	return c.receive(req).(Resp)
}

// wantCode fails the test unless an error code is the one of want; nil is no error.
func wantCode(t testing.TB, what string, got int16, want *kerr.Error) {
	t.Helper()
	code := int16(0)
	if want != nil {
		code = want.Code
	}
	if got != code {
		t.Errorf("%s: got error %v, expected %v", what, kerr.ErrorForCode(got), kerr.ErrorForCode(code))
	}
}

// groupRequest asks for the coordinator of a group.
func groupRequest(group string) *kmsg.FindCoordinatorRequest {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = group
	req.CoordinatorKeys = []string{group}
	return req
}

// rec is a record to be produced: its value, and headers as name, value, name, value.
type rec struct {
	key, value string
	headers    []string
}

// values are records without key and headers.
func values(vs ...string) []rec {
	rs := make([]rec, len(vs))
	for i, v := range vs {
		rs[i].value = v
	}
	return rs
}

// delayed is a record to be delivered later.
func delayed(value, by string) rec {
	return rec{value: value, headers: []string{delay.HeaderDelay, by}}
}

// batch encodes records as a producer does.
func batch(rs ...rec) record.Batch { return batchOf(record.None, rs...) }

func batchOf(codec record.Codec, rs ...rec) record.Batch {
	var b record.Builder
	now := time.Now().UnixMilli()
	b.Reset(record.Attributes(0).WithCodec(codec), now)
	for i, r := range rs {
		var key []byte
		if r.key != "" {
			key = []byte(r.key)
		}
		var headers []record.Header
		for j := 0; j < len(r.headers); j += 2 {
			headers = append(headers, record.Header{Key: r.headers[j], Value: []byte(r.headers[j+1])})
		}
		b.Add(int32(i), now, key, []byte(r.value), headers...)
	}
	done, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return bytes.Clone(done)
}

// producingTo is a request to append batches to a topic, the n-th to partition n.
func producingTo(topic string, batches ...record.Batch) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	for i, b := range batches {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = int32(i), b
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// produce appends records to partition 0 of a topic and returns the offset of the first.
func (c *client) produce(topic string, rs ...rec) int64 {
	c.w.Helper()
	resp := ask[*kmsg.ProduceResponse](c, 9, producingTo(topic, batch(rs...)))
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		c.w.Fatalf("produce to %s: %v", topic, kerr.ErrorForCode(p.ErrorCode))
	}
	return p.BaseOffset
}

// place is a position in a partition.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// fetchOf is a request to fetch from places, without a session. Topics have their names and ids.
func (w *world) fetchOf(maxWait time.Duration, places ...place) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(maxWait.Milliseconds()), 1, 1<<20
	req.SessionEpoch = finalEpoch
	for _, p := range places {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.topic {
			rt := kmsg.NewFetchRequestTopic()
			rt.Topic = p.topic
			if t, ok := w.store.Image().Topic(p.topic); ok {
				rt.TopicID = t.ID
			}
			req.Topics = append(req.Topics, rt)
		}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = p.partition, p.offset, 1<<20
		rt := &req.Topics[len(req.Topics)-1]
		rt.Partitions = append(rt.Partitions, rp)
	}
	return req
}

// fetch fetches from places in version 12.
func (c *client) fetch(maxWait time.Duration, places ...place) []kmsg.FetchResponseTopicPartition {
	c.w.Helper()
	return partitionsOf(ask[*kmsg.FetchResponse](c, 12, c.w.fetchOf(maxWait, places...)))
}

// partitionsOf lists the partitions of an answer.
func partitionsOf(resp *kmsg.FetchResponse) (all []kmsg.FetchResponseTopicPartition) {
	for i := range resp.Topics {
		all = append(all, resp.Topics[i].Partitions...)
	}
	return all
}

// fetched lists the records in the batches of an answer as "offset:value".
func fetched(t testing.TB, batches []byte) (records []string) {
	t.Helper()
	for len(batches) > 0 {
		b, rest, err := record.Next(batches)
		if err != nil {
			t.Fatalf("fetched batches: %v", err)
		}
		if err := b.CheckCRC(); err != nil {
			t.Fatalf("batch at %d: %v", b.BaseOffset(), err)
		}
		rs, err := b.Decode()
		if err != nil {
			t.Fatalf("batch at %d: %v", b.BaseOffset(), err)
		}
		for _, r := range rs {
			records = append(records, fmt.Sprintf("%d:%s", r.Offset, r.Value))
		}
		batches = rest
	}
	return records
}

// wantRecords fails the test unless an answer holds these records.
func wantRecords(t testing.TB, p kmsg.FetchResponseTopicPartition, want ...string) {
	t.Helper()
	if got := fetched(t, p.RecordBatches); p.ErrorCode != 0 || !slices.Equal(got, want) {
		t.Errorf("fetched %v (%v), expected %v", got, kerr.ErrorForCode(p.ErrorCode), want)
	}
}
