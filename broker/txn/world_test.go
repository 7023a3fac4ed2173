package txn

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/coord/coordtest"
	"github.com/morrowmq/morrow/internal/script"
)

// world drives one machine by hand: no goroutine, no clock but its own, and no markers but those
// the test writes.
type world struct {
	cfg     Config
	journal *coordtest.Journal
	machine *machine
	now     time.Time
	nextID  int64
	decided map[string]bool // told by the machine, and not yet complete
}

var started = time.UnixMilli(1_700_000_000_000).UTC()

func newWorld() *world {
	w := &world{cfg: DefaultConfig(), journal: &coordtest.Journal{}, now: started, nextID: 1000}
	w.load()
	return w
}

// load makes the machine that the journal says.
func (w *world) load() {
	w.decided = map[string]bool{}
	w.machine = w.replayed(len(w.journal.Records))
	w.do(func(m *machine, tx *coord.Tx) { m.Loaded(tx) })
}

// replayed is the machine that the first n records make.
func (w *world) replayed(n int) *machine {
	m := newMachine(func() Config { return w.cfg }, 5, slog.New(slog.DiscardHandler), newMetrics(nil, prometheus.NewRegistry()),
		func(id string) { w.decided[id] = true })
	for _, r := range w.journal.Records[:n] {
		if err := m.Replay(r); err != nil {
			panic(err)
		}
	}
	return m
}

func (w *world) do(command func(*machine, *coord.Tx)) {
	coordtest.Do(w.machine, w.journal, w.now, command)
}

// complete does what the marker writers do, and returns the markers.
func (w *world) complete(id string) string {
	var out string
	w.do(func(m *machine, tx *coord.Tx) {
		d, ok := m.decision(id)
		if !ok {
			out = "nothing is decided\n"
			return
		}
		out = d.String() + "\n"
		if err := m.complete(tx, id, d); err != nil {
			out = errName(err) + "\n"
			return
		}
		delete(w.decided, id)
	})
	return out
}

func (d decision) String() string {
	return fmt.Sprintf("%s of %d/%d to %s", outcome(d.marker.Commit), d.marker.ProducerID, d.marker.Epoch, printPartitions(d.partitions))
}

func printPartitions(ps []Partition) string {
	var parts []string
	for _, p := range ps {
		at := fmt.Sprintf("%s/%d", p.Topic, p.Number)
		if p.TopicID != topicID(p.Topic) {
			at += fmt.Sprintf("#%d", p.TopicID[0])
		}
		parts = append(parts, at)
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// topicID is the id of the topics that tests do not make again.
func topicID(name string) [16]byte { return [16]byte{15: name[0]} }

// dump prints what of a machine has to survive.
func (m *machine) dump() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(m.transactions)) {
		t := m.transactions[id]
		fmt.Fprintf(&b, "%s %s %d/%d", id, t.state, t.producerID, t.epoch)
		if t.lastEpoch != noEpoch {
			fmt.Fprintf(&b, " last=%d", t.lastEpoch)
		}
		if t.previousID != noID {
			fmt.Fprintf(&b, " previous=%d", t.previousID)
		}
		if t.nextID != noID {
			fmt.Fprintf(&b, " next=%d", t.nextID)
		}
		if t.version != 0 {
			fmt.Fprintf(&b, " v%d", t.version)
		}
		if len(t.partitions) > 0 {
			fmt.Fprintf(&b, " %s", printPartitions(t.list()))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func errName(err error) string {
	code := codeOf(err)
	if code == 0 {
		return "ok"
	}
	return kerr.TypedErrorForCode(code).Message
}

// TestScripts runs the histories in testdata: see package script, and scriptWorld.run for the commands.
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func() func(*testing.T, string) string {
		w := &scriptWorld{world: newWorld()}
		return w.run
	})
}

// scriptWorld is a world with calls that wait.
type scriptWorld struct {
	*world
	waiting []func() (string, bool)
}

// run executes one line and returns what it prints. Producers are written id/epoch; a request whose
// answer waits prints it when it comes.
func (w *scriptWorld) run(t *testing.T, line string) string {
	command, a := script.Parse(line)
	var out string
	switch command {
	case "init":
		w.init(a)
	case "add":
		w.settled(func(m *machine, tx *coord.Tx) error { return m.add(tx, claim(a), partitions(a), int16(a.Num("v", 0))) })
	case "verify":
		w.settled(func(m *machine, _ *coord.Tx) error {
			outside, err := m.outside(claim(a), partitions(a))
			if len(outside) > 0 {
				return kerr.TransactionAbortable
			}
			return err
		})
	case "end":
		out = w.end(a)
	case "markers":
		out = w.complete(a.Or("id", "t"))
	case "pass":
		w.now = coordtest.Pass(w.machine, w.journal, w.now, a.Duration("", 0))
	case "reload":
		w.machine.Unloaded(coord.ErrNotLeader)
		w.load()
	case "decided":
		out = fmt.Sprintln(slices.Sorted(maps.Keys(w.decided)))
	case "journal":
		w.journal.Refuse = map[string]error{"ok": nil, "full": errors.New("disk full")}[a[""]]
	case "epoch": // as if the id had been used that often
		w.setEpoch(a.Or("id", "t"), int16(a.Num("", 0)))
	case "show":
		out = w.machine.dump()
	default:
		t.Fatalf("unknown command %q", command)
	}
	return out + w.answers()
}

func (w *scriptWorld) answers() string {
	var b strings.Builder
	w.waiting = slices.DeleteFunc(w.waiting, func(poll func() (string, bool)) bool {
		s, ok := poll()
		if ok {
			b.WriteString(s + "\n")
		}
		return ok
	})
	return b.String()
}

func (w *scriptWorld) init(a script.Args) {
	i := initiation{id: a.Or("id", "t"), had: producerOf(a, "had"), timeoutMs: int32(a.Duration("timeout", time.Minute).Milliseconds()), fresh: noID}
	if a.Has("fresh") {
		i.fresh = w.nextID
		w.nextID++
	}
	reply := coord.NewReply[answer[producer]]()
	w.do(func(m *machine, tx *coord.Tx) { m.initiate(tx, i, reply) })
	w.waiting = append(w.waiting, func() (string, bool) {
		v, ok, err := reply.Poll()
		return printProducer(v.value, errors.Join(err, v.err)), ok
	})
}

func (w *scriptWorld) settled(command func(*machine, *coord.Tx) error) {
	reply := coord.NewReply[error]()
	w.do(func(m *machine, tx *coord.Tx) {
		whenComplete(m, tx, "t", reply.Fail, func(tx *coord.Tx) { reply.Send(tx, command(m, tx)) })
	})
	w.waiting = append(w.waiting, func() (string, bool) {
		v, ok, err := reply.Poll()
		return errName(errors.Join(err, v)), ok
	})
}

func (w *scriptWorld) end(a script.Args) string {
	e := ending{claim: claim(a), commit: a[""] == "commit", version: int16(a.Num("v", 0)), fresh: noID}
	if a.Has("fresh") {
		e.fresh = w.nextID
		w.nextID++
	}
	var p producer
	var err error
	w.do(func(m *machine, tx *coord.Tx) { p, err = m.end(tx, e) })
	return printProducer(p, err) + "\n"
}

func (w *scriptWorld) setEpoch(id string, epoch int16) {
	w.do(func(m *machine, tx *coord.Tx) {
		n := m.transactions[id].next(w.now)
		n.epoch = epoch
		if err := tx.Append(n.record()); err != nil {
			panic(err)
		}
	})
}

func printProducer(p producer, err error) string {
	if errors.Is(err, errExhausted) {
		return "another producer id is needed"
	}
	if err != nil {
		return errName(err)
	}
	return fmt.Sprintf("%d/%d", p.id, p.epoch)
}

// producerOf reads id/epoch.
func producerOf(a script.Args, key string) producer {
	p := producer{noID, noEpoch}
	if v, ok := a[key]; ok {
		if _, err := fmt.Sscanf(v, "%d/%d", &p.id, &p.epoch); err != nil {
			panic(err)
		}
	}
	return p
}

func claim(a script.Args) Claim {
	p := producerOf(a, "as")
	return Claim{a.Or("id", "t"), p.id, p.epoch}
}

// partitions reads "a/0,b/1"; "a/0#3" is of another topic of the name.
func partitions(a script.Args) []Partition {
	var ps []Partition
	for _, s := range a.List("to") {
		s, id, again := strings.Cut(s, "#")
		name, n, _ := strings.Cut(s, "/")
		p := Partition{Topic: name, TopicID: topicID(name)}
		if _, err := fmt.Sscan(n, &p.Number); err != nil {
			panic(err)
		}
		if again {
			p.TopicID = [16]byte{id[0]}
		}
		ps = append(ps, p)
	}
	return ps
}
