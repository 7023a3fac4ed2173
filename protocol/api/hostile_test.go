package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// What one frame may cost: so many bytes allocated while it is handled, and so many more for each
// of its own. The first is for what decompresses to much (record.DefaultLimit) and for what the
// witness asks.
const (
	frameAllocs     = 256 << 20
	frameAllocsEach = 4 << 10
	// answerWait is how long an answer is waited for: that of many requests is late by right.
	answerWait = 20 * time.Millisecond
)

// hostility is a broker that is sent anything whatever, beside a client that behaves. It outlives
// single runs of a fuzz target, as a broker does, but not for ever: what it was made to create
// stays.
type hostility struct {
	*world
	scope   *scope
	routes  []protocol.Route
	witness *client
	place   place // where the witness reads next
	runs    int
}

// scope is a test that ends when it is told to.
type scope struct {
	testing.TB
	ends []func()
	dirs []string
}

func (s *scope) Cleanup(f func()) { s.ends = append(s.ends, f) }

func (s *scope) TempDir() string {
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		s.Fatal(err)
	}
	s.dirs = append(s.dirs, dir)
	return dir
}

func (s *scope) end() {
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i]()
	}
	for _, dir := range s.dirs {
		_ = os.RemoveAll(dir)
	}
}

func newHostility(t testing.TB) *hostility {
	s := &scope{TB: t}
	h := &hostility{world: newWorld(s), scope: s}
	h.routes = append(h.api.Routes(), protocol.Route{Key: int16(kmsg.ApiVersions), Max: 5})
	h.create("witness", 1)
	h.create("orders", 2)
	h.create("payments", 1, "compression.type", "zstd")
	h.witness = h.connect()
	h.witness.produce("orders", values("a", "b", "c")...)
	h.place = place{topic: "witness"}
	h.look()
	return h
}

// look is what the client that behaves does: it produces a record and consumes it.
func (h *hostility) look() {
	h.Helper()
	if err := h.witness.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		h.Fatal(err)
	}
	h.witness.produce("witness", values("seen")...)
	wantRecords(h, h.witness.fetch(0, h.place)[0], fmt.Sprintf("%d:seen", h.place.offset))
	h.place.offset++
}

// send sends bytes on a connection of their own, while the witness goes on, and checks what the
// broker does about it. It returns the first answer if there is one, without its size.
func (h *hostility) send(frame []byte) (answer []byte) {
	h.Helper()
	before := allocated()
	conn := h.connect()
	if err := conn.SetDeadline(time.Now().Add(answerWait)); err != nil {
		h.Fatal(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = conn.Write(frame) })
	answer, err := readAnswer(conn)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		h.Errorf("the hostile connection ended with: %v", err)
	}
	h.look()
	conn.Close()
	writing.Wait()
	if limit := uint64(frameAllocs + len(frame)*frameAllocsEach); allocated()-before > limit {
		h.Errorf("a frame of %d bytes made the broker allocate %d, more than %d", len(frame), allocated()-before, limit)
	}
	if lines := h.lines.String(); strings.Contains(lines, "panic") {
		h.Fatalf("the broker panicked:\n%s", lines)
	}
	return answer
}

func readAnswer(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, answer)
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// allocated is how much memory this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// route picks a route and a version of it, or near it.
func (h *hostility) route(route, version uint8) (key, asked, encoded int16) {
	r := h.routes[int(route)%len(h.routes)]
	asked = max(r.Min, r.Serve) + int16(version)%(r.Max+2-max(r.Min, r.Serve))
	return r.Key, asked, min(asked, r.Max)
}

// hostilities gives the runs of a fuzz target their broker, a fresh one every so often.
type hostilities struct{ now *hostility }

func newHostilities(f *testing.F) *hostilities {
	all := &hostilities{now: newHostility(f)}
	f.Cleanup(func() {
		all.now.scope.TB = f
		all.now.scope.end()
	})
	return all
}

func (all *hostilities) next(t *testing.T) *hostility {
	if all.now.runs == 500 {
		all.now.scope.TB = t
		all.now.reloadGroups()
		all.now.scope.end()
		all.now = newHostility(t)
	}
	h := all.now
	h.runs++
	h.scope.TB = t
	h.lines.reset()
	return h
}

// versions calls add for every key and version there is, and for the versions next to them.
func (all *hostilities) versions(add func(route, version uint8)) {
	for route, r := range all.now.routes {
		for version := range r.Max + 2 - max(r.Min, r.Serve) {
			add(uint8(route), uint8(version))
		}
	}
}

// Requests that are well-formed but mean anything, and the same with damage, in every key and version there is.
func FuzzRequest(f *testing.F) {
	all := newHostilities(f)
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		return p
	}
	all.versions(func(route, version uint8) {
		f.Add(route, version, []byte{}, []byte{})
		if version%4 == 0 {
			f.Add(route, version, random(60), []byte{})
			f.Add(route, version, random(60), random(8))
		}
	})
	f.Fuzz(func(t *testing.T, route, version uint8, decisions, edits []byte) {
		h := all.next(t)
		key, asked, encoded := h.route(route, version)
		req := newRequestMaker(h.world, decisions).make(key, encoded)
		answer := h.send(damage(framed(req, asked, 7), edits))
		if len(edits) > 0 || answer == nil || asked != encoded {
			return
		}
		body := answer[4:]
		if req.IsFlexible() && key != int16(kmsg.ApiVersions) {
			body = body[1:]
		}
		resp := req.ResponseKind()
		if err := resp.ReadFrom(body); err != nil {
			t.Errorf("answer to %s v%d: %v", kmsg.NameForKey(key), asked, err)
		}
	})
}

// Bytes that were never a request, under a good header.
func FuzzRequestBody(f *testing.F) {
	all := newHostilities(f)
	all.versions(func(route, version uint8) {
		f.Add(route, version, []byte("\x00\x01x\xff\xff\xff\xff\x0f\x00\x00\xff\xff\x7f\xff\xff\xff"))
	})
	f.Fuzz(func(t *testing.T, route, version uint8, body []byte) {
		h := all.next(t)
		key, asked, _ := h.route(route, version)
		frame := make([]byte, 14, 15+len(body))
		binary.BigEndian.PutUint16(frame[4:], uint16(key))
		binary.BigEndian.PutUint16(frame[6:], uint16(asked))
		binary.BigEndian.PutUint16(frame[12:], 0xffff) // no client id
		req := kmsg.RequestForKey(key)
		req.SetVersion(asked)
		if req.IsFlexible() {
			frame = append(frame, 0)
		}
		frame = append(frame, body...)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		h.send(frame)
	})
}

// The longest names there are make records that the coordinator can read again, and answers that
// old versions can hold.
func TestLongestNamesLeaveAGroupThatCanBeLoaded(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	longest := strings.Repeat("n", 1<<15-1)
	c := w.connect()
	c.id = longest
	wantCode(t, "find", ask[*kmsg.FindCoordinatorResponse](c, 0, groupRequest(longest)).ErrorCode, nil)
	w.awaitGroups()
	for _, instance := range []*string{nil, &longest} {
		group := longest[:len(longest)-1]
		if instance != nil {
			group = longest
		}
		join := kmsg.NewPtrJoinGroupRequest()
		join.Group, join.InstanceID, join.ProtocolType = group, instance, longest
		join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 30_000, 30_000
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name = longest
		join.Protocols = append(join.Protocols, protocol)
		version := int16(3)
		if instance != nil {
			version = 5
		}
		joined := ask[*kmsg.JoinGroupResponse](c, version, join)
		wantCode(t, "join", joined.ErrorCode, nil)
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.InstanceID, sync.MemberID, sync.Generation = group, instance, joined.MemberID, joined.Generation
		assignment := kmsg.NewSyncGroupRequestGroupAssignment()
		assignment.MemberID = joined.MemberID
		sync.GroupAssignment = append(sync.GroupAssignment, assignment)
		wantCode(t, "sync", ask[*kmsg.SyncGroupResponse](c, version-1, sync).ErrorCode, nil)
	}
	w.reloadGroups()
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{longest[:len(longest)-1], longest}
	for _, g := range ask[*kmsg.DescribeGroupsResponse](c, 4, describe).Groups {
		if len(g.Members) != 1 || g.ErrorCode != 0 {
			t.Errorf("a group has %d members after it was loaded, %v", len(g.Members), codeName(g.ErrorCode))
		}
	}
}

// reloadGroups makes the coordinator read its journals again.
func (w *world) reloadGroups() {
	w.Helper()
	t, ok := w.store.Image().Topic(cluster.OffsetsTopic)
	if !ok {
		return
	}
	for n := range t.Partitions {
		p, err := w.partitions.Get(t.ID, int32(n))
		if err != nil {
			w.Fatal(err)
		}
		w.groups.Elect(int32(n), p.Journal())
	}
	w.awaitGroups()
}

// awaitGroups waits until the coordinator has read its journals.
func (w *world) awaitGroups() {
	w.Helper()
	list := kmsg.NewPtrListGroupsRequest()
	c := w.connect()
	for deadline := time.Now().Add(time.Minute); ask[*kmsg.ListGroupsResponse](c, 0, list).ErrorCode != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("the groups cannot be loaded:\n%s", w.lines)
		}
	}
}
