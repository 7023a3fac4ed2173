package share

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/internal/script"
)

// TestScripts runs the histories in testdata: see package script, and world.run for the commands.
// After every command the invariants are checked.
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func() func(*testing.T, string) string {
		w := newWorld()
		return func(t *testing.T, line string) string {
			out := w.run(t, line)
			for _, p := range w.machine.parts {
				if err := p.check(); err != nil {
					t.Errorf("after %q: %v", line, err)
				}
			}
			return out
		}
	})
}

type args = script.Args

func (w *world) run(t *testing.T, line string) string {
	command, a := script.Parse(line)
	var err error
	switch command {
	case "config":
		w.configure(t, a)
	case "journal":
		w.journal.Refuse = map[string]error{"full": errFull}[a[""]]
	case "open":
		w.do(func(m *machine, tx *coord.Tx) { err = m.open(tx, testKey, num(a, "at", 0)) })
	case "reset":
		w.do(func(m *machine, tx *coord.Tx) { err = m.reset(tx, testKey, num(a, "at", 0)) })
	case "remove":
		w.do(func(m *machine, tx *coord.Tx) { err = m.remove(tx, func(Key) bool { return true }) })
	case "next":
		return w.next()
	case "acquire":
		return w.acquire(t, a)
	case "ack":
		err = w.ack(t, a)
	case "leave":
		w.do(func(m *machine, tx *coord.Tx) { err = m.leave(tx, testKey, a["by"]) })
	case "burials":
		return w.burials()
	case "buried":
		w.do(func(m *machine, tx *coord.Tx) {
			for _, b := range m.burials() {
				err = errors.Join(err, m.buried(tx, b))
			}
		})
	case "pass":
		w.pass(a.Duration("", 0))
	case "reload":
		err = w.reload(0)
	case "totals":
		return fmt.Sprintf("%+v\n", w.machine.parts[testKey].totals)
	case "show":
		return w.machine.dump(w.now)
	default:
		t.Fatalf("unknown command %q", command)
	}
	if err != nil {
		return err.Error() + "\n"
	}
	return ""
}

func num(a args, key string, fallback int) int64 { return int64(a.Num(key, fallback)) }

func (w *world) configure(t *testing.T, a args) {
	for k, v := range a {
		d, _ := time.ParseDuration(v)
		switch k {
		case "limit":
			w.cfg.DeliveryLimit = int16(a.Num(k, 0))
		case "locks":
			w.cfg.MaxLocks = num(a, k, 0)
		case "lock":
			w.cfg.LockDuration = d
		case "delay":
			w.cfg.RetryDelay = d
		case "maxdelay":
			w.cfg.RetryMaxDelay = d
		case "dead":
			w.cfg.DeadLetters = v
		default:
			t.Fatalf("unknown config %q", k)
		}
	}
}

func (w *world) next() string {
	p := w.machine.parts[testKey]
	from, until, ok := p.next(w.cfg, w.now.UnixMilli())
	switch {
	case !ok:
		return "nothing\n"
	case until > 1<<60:
		return fmt.Sprintf("from %d\n", from)
	}
	return fmt.Sprintf("from %d to %d\n", from, until)
}

// acquire is "acquire by=m batches=0-4,5-9 max=10 exactly=true logstart=0": what was found from
// where next says.
func (w *world) acquire(t *testing.T, a args) string {
	f := Find{Member: a["by"], Max: num(a, "max", 500), Exactly: a["exactly"] == "true", LogStart: num(a, "logstart", 0)}
	if p := w.machine.parts[testKey]; p != nil {
		f.From, _, _ = p.next(w.cfg, w.now.UnixMilli())
	}
	f.From = num(a, "from", int(f.From))
	for _, b := range strings.Split(a["batches"], ",") {
		first, end := parseRange(t, b)
		f.Spans = append(f.Spans, Span{first, end})
	}
	var got []Acquired
	var err error
	w.do(func(m *machine, tx *coord.Tx) { got, err = m.acquire(tx, testKey, f) })
	if err != nil {
		return err.Error() + "\n"
	}
	out := a["by"] + ":"
	for _, g := range got {
		out += fmt.Sprintf(" %d-%d", g.First, g.End-1)
		if g.Count > 1 {
			out += fmt.Sprintf("(%d)", g.Count)
		}
	}
	return out + "\n"
}

// ack is "ack by=m 0-4=accept 5-6=release,accept": each range with one way, or one for each offset.
func (w *world) ack(t *testing.T, a args) error {
	ways := map[string]int8{"gap": AckGap, "accept": AckAccept, "release": AckRelease, "reject": AckReject, "renew": AckRenew}
	var acks []Ack
	for first := range int64(200) { // in order
		for k, v := range a {
			if k == "by" {
				continue
			}
			if from, end := parseRange(t, k); from == first {
				ack := Ack{First: from, End: end}
				for _, way := range strings.Split(v, ",") {
					ack.Types = append(ack.Types, ways[way])
				}
				acks = append(acks, ack)
			}
		}
	}
	if err := checkAcks(acks, AckRenew); err != nil {
		return err
	}
	var err error
	w.do(func(m *machine, tx *coord.Tx) { err = m.acknowledge(tx, testKey, a["by"], acks) })
	return err
}

func (w *world) burials() string {
	out := ""
	for _, b := range w.machine.burials() {
		for _, d := range b.dead {
			out += fmt.Sprintf("%s: %d count=%d rejected=%v\n", b.topic, d.Offset, d.Count, d.Rejected)
		}
	}
	return out
}

func parseRange(t *testing.T, s string) (first, end int64) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		b = a
	}
	first, err1 := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return first, last + 1
}
