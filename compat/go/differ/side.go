package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// script is a sequence of requests about one thing.
type script struct {
	name string
	play func(s *side)
}

// pair is the two brokers.
type pair struct {
	morrow, kafka side
}

// side is one of the brokers, and what a script learnt from it. A script plays on both at the same
// time and must do the same on each, so it may not look at which it has.
type side struct {
	ctx     context.Context
	addr    string
	conn    *conn
	known   symbols
	served  map[int16][2]int16 // versions that both serve, by key
	answers []answer
	ids     map[string][16]byte // of topics that were made, by name
}

// answer is what came of a request.
type answer struct {
	name    string // what the script calls the request
	version int16
	lines   []string
}

// Waits for what a broker does after it has answered.
const (
	retryPause = 20 * time.Millisecond
	maxRetries = 250
)

// open connects both and finds out what they have in common.
func open(ctx context.Context, morrow, kafka string) (*pair, error) {
	p := &pair{morrow: side{ctx: ctx, addr: morrow}, kafka: side{ctx: ctx, addr: kafka}}
	var tables [2]map[int16][2]int16
	for i, s := range []*side{&p.morrow, &p.kafka} {
		s.connect()
		if s.conn == nil {
			return nil, fmt.Errorf("no broker at %s", s.addr)
		}
		resp, err := s.conn.versions()
		if err != nil {
			return nil, fmt.Errorf("ask %s for its versions: %w", s.addr, err)
		}
		tables[i] = map[int16][2]int16{}
		for _, k := range resp.ApiKeys {
			tables[i][k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
		}
	}
	common := map[int16][2]int16{}
	for key, a := range tables[0] {
		b, ok := tables[1][key]
		known := kmsg.RequestForKey(key)
		if low, high := max(a[0], b[0]), min(a[1], b[1]); ok && known != nil {
			common[key] = [2]int16{low, min(high, known.MaxVersion())}
		}
	}
	for _, s := range []*side{&p.morrow, &p.kafka} {
		s.served = common
		s.coordinators()
	}
	return p, nil
}

// coordinators has the topics of the coordinators made, which Kafka does when somebody asks for
// one, and not at once.
func (s *side) coordinators() {
	s.known = symbols{}
	for kind := range int8(2) {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKeys, req.CoordinatorType = []string{"first"}, kind
		want[*kmsg.FindCoordinatorResponse](s, 4, req)
	}
	want[*kmsg.InitProducerIDResponse](s, 4, initProducer(ptr("first"), 1000, -1, -1))
	want[*kmsg.OffsetFetchResponse](s, 7, s.fetchOffsets("first", "nowhere", 0))
}

func (p *pair) close() {
	for _, s := range []*side{&p.morrow, &p.kafka} {
		s.hangUp()
	}
}

// play runs a script on both sides and returns where they differ.
func (p *pair) play(ctx context.Context, script script) []difference {
	var both sync.WaitGroup
	for _, s := range []*side{&p.morrow, &p.kafka} {
		s.ctx, s.known, s.answers, s.ids = ctx, symbols{}, nil, map[string][16]byte{}
		both.Go(func() { script.play(s) })
	}
	both.Wait()
	return compare(p.morrow.answers, p.kafka.answers)
}

func (s *side) connect() {
	s.hangUp()
	if c, err := dial(s.ctx, s.addr); err == nil {
		s.conn = c
	}
}

func (s *side) hangUp() {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
}

// versions calls with every version of an API that both serve.
func (s *side) versions(key kmsg.Key, do func(v int16)) {
	s.versionsFrom(key, 0, do)
}

// versionsFrom is versions, from one on.
func (s *side) versionsFrom(key kmsg.Key, from int16, do func(v int16)) {
	r, ok := s.served[key.Int16()]
	if !ok {
		s.note("versions of "+key.Name(), 0, "none in common")
		return
	}
	for v := max(from, r[0]); v <= r[1]; v++ {
		do(v)
	}
}

// latest is the highest version that both serve.
func (s *side) latest(key kmsg.Key) int16 { return s.served[key.Int16()][1] }

// ask sends a request in a version and notes what came of it under a name. The response is nil if
// there was none.
func (s *side) ask(name string, v int16, req kmsg.Request) kmsg.Response {
	return s.askAnd(name, v, req, false)
}

// askOrdered is ask where the order of lists matters.
func (s *side) askOrdered(name string, v int16, req kmsg.Request) {
	s.askAnd(name, v, req, true)
}

func (s *side) askAnd(name string, v int16, req kmsg.Request, ordered bool) kmsg.Response {
	resp, err := s.quietly(v, req)
	if err != nil {
		s.note(name, v, outcome(err))
		return nil
	}
	s.note(name, v, flatten(resp, ordered, s.known)...)
	return resp
}

// note writes lines down as what came of a request. Names that end in its version are those of one thing.
func (s *side) note(name string, v int16, lines ...string) {
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], fmt.Sprintf("-%d\"", v), "-N\"")
	}
	s.answers = append(s.answers, answer{name, v, lines})
}

// outcome is the line for an answer that did not come.
func outcome(err error) string {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "(no answer)"
	}
	return "(" + err.Error() + ")"
}

// quietly sends a request, again if a coordinator is not there yet, and notes nothing.
func (s *side) quietly(v int16, req kmsg.Request) (kmsg.Response, error) {
	req.SetVersion(v)
	for range maxRetries {
		if s.conn == nil {
			if s.connect(); s.conn == nil {
				return nil, errClosed
			}
		}
		resp, err := s.conn.ask(req)
		if err != nil {
			s.hangUp()
			return nil, err
		}
		if !passing(resp) {
			return resp, nil
		}
		time.Sleep(retryPause)
	}
	return nil, fmt.Errorf("the coordinator does not become available")
}

// notReady are the codes of what passes. Kafka refuses to append with the last one while a
// transaction is being ended.
var notReady = []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.ConcurrentTransactions, kerr.NotEnoughReplicas}

// passing reports whether a response says that something is not ready yet.
func passing(resp kmsg.Response) bool {
	lines := flatten(resp, false, symbols{})
	return slices.ContainsFunc(lines, func(l string) bool {
		for _, e := range notReady {
			if strings.HasSuffix(l, "="+e.Message) {
				return true
			}
		}
		return false
	})
}

// want sends a request that prepares something.
func want[R kmsg.Response](s *side, v int16, req kmsg.Request) R {
	resp, err := s.quietly(v, req)
	if err != nil {
		s.note("prepare with "+kmsg.NameForKey(req.Key()), v, outcome(err))
		return req.ResponseKind().(R)
	}
	return resp.(R)
}

// topic makes a topic and returns once it has leaders.
func (s *side) topic(name string, partitions int32, configs ...string) {
	rt := newTopic(name, partitions, 1)
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		rt.Configs = append(rt.Configs, c)
	}
	for _, t := range want[*kmsg.CreateTopicsResponse](s, 7, createTopics(rt)).Topics {
		if t.ErrorCode != 0 {
			s.note("make "+name, 7, codeName(t.ErrorCode))
		}
		s.ids[name] = t.TopicID
	}
	s.awaitTopic(name, partitions)
}

// awaitTopic returns once all partitions of a topic have a leader that serves them.
func (s *side) awaitTopic(name string, partitions int32) {
	req := kmsg.NewPtrListOffsetsRequest()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = name
	for n := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = n, -1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	for range maxRetries {
		if served(want[*kmsg.ListOffsetsResponse](s, 7, req)) {
			return
		}
		time.Sleep(retryPause)
	}
	s.note("await "+name, 7, "(it does not appear)")
}

func served(resp *kmsg.ListOffsetsResponse) bool {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return false
			}
		}
	}
	return len(resp.Topics) > 0
}
