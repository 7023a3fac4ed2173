package txn

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/broker/coord"
)

// history is what producers of one transactional id were promised.
type history struct {
	*world
	// instances are the producers that think they have the id, as they were told, the newest last.
	instances []*instance
	given     map[producer]*instance // who was told that they are this
	// Of the transaction under way: what it must end with.
	added   map[string]Partition
	outcome string // "" while it is open
}

type instance struct {
	producer
	version int16
}

func (h *history) call(command func(*machine, *coord.Tx, *coord.Reply[answer[producer]])) (producer, bool, error) {
	reply := coord.NewReply[answer[producer]]()
	h.do(func(m *machine, tx *coord.Tx) { command(m, tx, reply) })
	v, ok, err := reply.Poll()
	if err != nil {
		panic(err)
	}
	return v.value, ok, v.err
}

// told notes that an instance goes on as p, which nobody else may be.
func (h *history) told(t *rapid.T, i *instance, p producer) {
	if other := h.given[p]; other != nil && other != i {
		t.Fatalf("%d/%d was given to two producers", p.id, p.epoch)
	}
	h.given[p] = i
	i.producer = p
}

// TestTransactionsEndAsPromised lets instances of one transactional id do what they like, zombies
// too: an answer that promised an outcome is kept, with markers in exactly the partitions that were
// added, no two instances ever have the same producer id and epoch, and a restart changes nothing.
func TestTransactionsEndAsPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{world: newWorld(), given: map[producer]*instance{}, added: map[string]Partition{}}
		draw := func() *instance {
			if len(h.instances) == 0 {
				t.Skip("nobody has the id")
			}
			return h.instances[rapid.IntRange(max(0, len(h.instances)-3), len(h.instances)-1).Draw(t, "instance")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"":         h.check,
			"start":    func(t *rapid.T) { h.start(t, nil) },
			"recover":  func(t *rapid.T) { h.start(t, draw()) },
			"add":      func(t *rapid.T) { h.add(t, draw()) },
			"end":      func(t *rapid.T) { h.end(t, draw()) },
			"complete": h.finish,
			"exhaust":  h.exhaust,
			"pass": func(t *rapid.T) {
				h.now = h.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
				h.do(func(m *machine, tx *coord.Tx) { m.Expire(tx) })
			},
			"reload": func(*rapid.T) { h.load() },
		})
	})
}

// check compares with what a restart would make of the journal.
func (h *history) check(t *rapid.T) {
	if now, again := h.machine.dump(), h.replayed(len(h.journal.Records)).dump(); now != again {
		t.Fatalf("in memory:\n%safter a restart:\n%s", now, again)
	}
	tx := h.machine.transactions["t"]
	if tx == nil {
		return
	}
	if tx.state == ongoing && h.outcome != "" {
		t.Fatalf("%s was promised, and the transaction is open", h.outcome)
	}
	if tx.state.decided() && h.outcome == "" {
		h.outcome = "abort" // by timeout, or for a new instance
	}
	if tx.state.decided() != h.decided["t"] {
		t.Fatalf("state is %s, told to the marker writers: %t", tx.state, h.decided["t"])
	}
}

func (h *history) start(t *rapid.T, i *instance) {
	had := producer{noID, noEpoch}
	if i != nil {
		had = i.producer
	}
	fresh := h.nextID
	h.nextID++
	p, ok, err := h.call(func(m *machine, tx *coord.Tx, reply *coord.Reply[answer[producer]]) {
		m.initiate(tx, initiation{id: "t", had: had, timeoutMs: 30_000, fresh: fresh}, reply)
	})
	if !ok || err != nil {
		return // waits for markers, and goes away; or is fenced
	}
	if i == nil {
		i = &instance{version: rapid.SampledFrom([]int16{0, version2}).Draw(t, "version")}
		h.instances = append(h.instances, i)
	}
	h.told(t, i, p)
}

func (h *history) add(t *rapid.T, i *instance) {
	p := Partition{"a", topicID("a"), rapid.Int32Range(0, 3).Draw(t, "partition")}
	_, ok, err := h.call(func(m *machine, tx *coord.Tx, reply *coord.Reply[answer[producer]]) {
		whenComplete(m, tx, "t", reply.Fail, func(tx *coord.Tx) {
			reply.Send(tx, answer[producer]{err: m.add(tx, Claim{"t", i.id, i.epoch}, []Partition{p}, i.version)})
		})
	})
	if !ok {
		h.machine.transactions["t"].waiting = nil // the client went away
		return
	}
	if err == nil {
		h.added[fmt.Sprint(p.Number)] = p
	}
}

func (h *history) end(t *rapid.T, i *instance) {
	commit := rapid.Bool().Draw(t, "commit")
	before := h.machine.dump()
	e := ending{claim: Claim{"t", i.id, i.epoch}, commit: commit, version: i.version, fresh: h.nextID}
	h.nextID++
	var p producer
	var err error
	h.do(func(m *machine, tx *coord.Tx) { p, err = m.end(tx, e) })
	if err != nil {
		if h.machine.dump() != before {
			t.Fatalf("refused with %v, and changed something", err)
		}
		return
	}
	if h.machine.transactions["t"].state.decided() {
		h.outcome = outcome(commit)
	}
	if i.version >= version2 {
		h.told(t, i, p)
	}
}

// finish writes the markers, and compares them with what was promised.
func (h *history) finish(t *rapid.T) {
	tx := h.machine.transactions["t"]
	if tx == nil || !tx.state.decided() {
		t.Skip("nothing is decided")
	}
	d, _ := h.machine.decision("t")
	var want []Partition
	for _, n := range slices.Sorted(maps.Keys(h.added)) {
		want = append(want, h.added[n])
	}
	if outcome(d.marker.Commit) != h.outcome || !slices.Equal(d.partitions, want) {
		t.Fatalf("%s, promised %s in %v", d, h.outcome, want)
	}
	h.complete("t")
	h.outcome = ""
	clear(h.added)
}

// exhaust takes nearly all epochs of the producer id, as if it had been used that often.
func (h *history) exhaust(t *rapid.T) {
	tx := h.machine.transactions["t"]
	if tx == nil || tx.state == ongoing || tx.state.decided() || tx.epoch > 100 || len(h.instances) == 0 {
		t.Skip("cannot be exhausted now")
	}
	newest := h.instances[len(h.instances)-1]
	if newest.producer != (producer{tx.producerID, tx.epoch}) {
		t.Skip("nobody has the present epoch")
	}
	h.do(func(m *machine, c *coord.Tx) {
		n := tx.next(h.now)
		n.epoch, n.lastEpoch = rapid.SampledFrom([]int16{lastEpoch - 1, lastEpoch}).Draw(t, "epoch"), noEpoch
		if err := c.Append(n.record()); err != nil {
			panic(err)
		}
		h.told(t, newest, producer{n.producerID, n.epoch})
	})
}
