package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a broker of one piece without main program, files but for the metadata, or network: what the handlers need is
// real, its logs are in memory, and clients come through pipes, so that a test can run on the clock of testing/synctest.
type world struct {
	testing.TB
	store      *local.Store
	logs       *log.Set
	partitions *partition.Table
	groups     *group.Coordinator
	api        *API
	lines      *lines
	listener   net.Listener
	stopServer context.CancelFunc
	served     chan struct{}
}

const (
	node         = int32(7)
	testListener = "CLIENTS"
)

// option changes how a world is made.
type option func(*setup)

type setup struct {
	static   config.Values
	fsys     vfs.FS
	listener net.Listener
}

// with sets a broker config.
func with(name, value string) option {
	return func(s *setup) { s.static[name] = value }
}

// on stores the logs in another file system.
func on(fsys vfs.FS) option {
	return func(s *setup) { s.fsys = fsys }
}

// at serves another listener than pipes.
func at(l net.Listener) option {
	return func(s *setup) { s.listener = l }
}

// newWorld starts a broker, which is stopped when the test ends.
func newWorld(t testing.TB, options ...option) *world {
	t.Helper()
	s := setup{
		static:   config.Values{"offsets.topic.num.partitions": "2"},
		fsys:     vfs.NewMem(),
		listener: newPipes(),
	}
	for _, o := range options {
		o(&s)
	}
	w := &world{TB: t, lines: &lines{}, listener: s.listener, served: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(w.lines, nil))
	var err error
	if w.store, err = local.Open(local.Options{Dir: t.TempDir(), Node: node, Static: s.static, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	if w.logs, err = log.Open(log.SetConfig{FS: s.fsys, Dir: vfs.Join(t.TempDir(), "logs"), Logger: logger, JournalMaxBytes: -1}); err != nil {
		t.Fatal(err)
	}
	dispatcher := delay.NewDispatcher(delay.DispatcherConfig{Logger: logger})
	w.groups = group.New(groupConfig, topics{w.store}, int32(w.store.Image().BrokerConfig().Int("offsets.topic.num.partitions")),
		logger, prometheus.NewRegistry(), nil)
	w.partitions = partition.NewTable(partition.Config{
		NodeID: node, Store: w.store, Logs: w.logs, Dispatcher: dispatcher, FS: s.fsys, DataDir: "/", Now: time.Now, Logger: logger,
		Opened: func(p *partition.Partition) {
			if p.Topic().Name == cluster.OffsetsTopic {
				w.groups.Elect(p.Number(), p.Journal())
			}
		},
		Closed:       func(*partition.Partition) {},
		TopicDeleted: func(context.Context, *cluster.Deletion) error { return nil },
	})
	w.register()
	w.api = New(Deps{NodeID: node, Store: w.store, Partitions: w.partitions, Groups: w.groups, DataDir: "/data", Now: time.Now, Logger: logger})
	server, err := protocol.NewServer(protocol.Config{Logger: logger}, w.api.Routes())
	if err != nil {
		t.Fatal(err)
	}
	w.partitions.Open(context.Background())
	w.run(server, w.logs.Run, w.groups.Run, w.partitions.Run, dispatcher.Run)
	return w
}

// groupConfig is Kafka's, but nobody waits for members that might come.
func groupConfig() group.Config {
	c := group.DefaultConfig()
	c.InitialRebalanceDelay = 0
	return c
}

// register makes this broker known to the cluster, reached at an address that only the pipes' dialer understands.
func (w *world) register() {
	w.Helper()
	_, err := w.store.Apply(context.Background(), cluster.RegisterBroker{Broker: cluster.Broker{
		ID: node, Rack: "r1",
		Endpoints: []cluster.Endpoint{{Listener: testListener, Security: "PLAINTEXT", Host: "broker.test", Port: 9092}},
	}})
	if err != nil {
		w.Fatal(err)
	}
}

// run runs the server and the parts until the test ends.
func (w *world) run(server *protocol.Server, parts ...func(context.Context) error) {
	var wg sync.WaitGroup
	work, stopWork := context.WithCancel(context.Background())
	for _, part := range parts {
		wg.Go(func() {
			if err := part(work); err != nil && !errors.Is(err, context.Canceled) {
				w.Errorf("part of the broker ended with: %v", err)
			}
		})
	}
	serving, stopServer := context.WithCancel(context.Background())
	w.stopServer = stopServer
	go func() {
		defer close(w.served)
		if err := server.Serve(serving, testListener, w.listener); err != nil {
			w.Errorf("server ended with: %v", err)
		}
	}()
	w.Cleanup(func() {
		stopServer()
		<-w.served
		stopWork()
		wg.Wait()
		if err := w.logs.Close(); err != nil {
			w.Errorf("close logs: %v", err)
		}
		if err := w.store.Close(); err != nil {
			w.Errorf("close store: %v", err)
		}
	})
}

// topics is the store as the group coordinator asks for it.
type topics struct{ *local.Store }

func (s topics) Partitions(name string) (n int32, id [16]byte, ok bool) {
	t, ok := s.Image().Topic(name)
	if !ok {
		return 0, id, false
	}
	return int32(len(t.Partitions)), t.ID, true
}

func (s topics) NameOf(id [16]byte) (string, bool) {
	t, ok := s.Image().TopicByID(id)
	if !ok {
		return "", false
	}
	return t.Name, true
}

func (s topics) Names() (names []string) {
	for _, t := range s.Image().Topics() {
		if !t.Internal {
			names = append(names, t.Name)
		}
	}
	return names
}

func (s topics) Version() int64 { return s.Image().Version() }

// create makes a topic, with configs given as name, value, name, value.
func (w *world) create(name string, partitions int32, configs ...string) *cluster.Topic {
	w.Helper()
	values := config.Values{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = configs[i+1]
	}
	n := cluster.NewTopic{Name: name, Partitions: partitions, ReplicationFactor: 1, Config: values}
	img, err := w.api.apply(context.Background(), cluster.CreateTopics{Topics: []cluster.NewTopic{n}})
	if err != nil {
		w.Fatal(err)
	}
	t, _ := img.Topic(name)
	return t
}

// other is a broker of the cluster that is not there.
const other = int32(8)

// elsewhere makes a topic whose only partition another broker leads.
func (w *world) elsewhere(name string) *cluster.Topic {
	w.Helper()
	ctx := context.Background()
	endpoints := []cluster.Endpoint{{Listener: testListener, Security: "PLAINTEXT", Host: "other.test", Port: 9093}}
	if _, err := w.store.Apply(ctx, cluster.RegisterBroker{Broker: cluster.Broker{ID: other, Endpoints: endpoints}}); err != nil {
		w.Fatal(err)
	}
	n := cluster.NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {other}}}
	img, err := w.api.apply(ctx, cluster.CreateTopics{Topics: []cluster.NewTopic{n}})
	if err != nil {
		w.Fatal(err)
	}
	t, _ := img.Topic(name)
	return t
}

// stop stops the server and waits until it has.
func (w *world) stop() {
	w.stopServer()
	<-w.served
}

// loaded waits until a partition's schedule has been read from its log.
func (w *world) loaded(topic string, number int32) {
	w.Helper()
	p, err := w.api.partitionNamed(topic, number)
	if err != nil {
		w.Fatal(err)
	}
	for {
		if _, ok := p.ScheduleStats(0); ok {
			return
		}
		runtime.Gosched()
	}
}

// log is the log of a partition.
func (w *world) log(topic string, number int32) *log.Log {
	w.Helper()
	p, err := w.api.partitionNamed(topic, number)
	if err != nil {
		w.Fatal(err)
	}
	return p.Log()
}

// client is a connection that speaks in requests.
type client struct {
	net.Conn
	w    *world
	last int32 // correlation id
}

func (w *world) connect() *client {
	w.Helper()
	conn, err := w.dial()
	if err != nil {
		w.Fatal(err)
	}
	c := &client{Conn: conn, w: w}
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
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("tester")).AppendRequest(nil, req, c.last)
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

// lines is what the broker logs.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// pipes is a listener whose connections are in-memory pipes.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	dialed   atomic.Int64
}

func newPipes() *pipes { return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return pipeAddr(0) }

func (l *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.accepted <- pipeEnd{server, pipeAddr(l.dialed.Add(1))}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// pipeEnd is the server's end of a pipe, from a peer that looks like one of the network.
type pipeEnd struct {
	net.Conn
	remote pipeAddr
}

func (c pipeEnd) RemoteAddr() net.Addr { return c.remote }

type pipeAddr int

func (pipeAddr) Network() string { return "tcp" }
func (a pipeAddr) String() string {
	return (&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: int(a)}).String()
}

// codeName is a Kafka error code as people know it.
func codeName(code int16) string {
	if e, ok := errors.AsType[*kerr.Error](kerr.ErrorForCode(code)); ok {
		return e.Message
	}
	return "NONE"
}
