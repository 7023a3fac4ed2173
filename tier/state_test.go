package tier

import (
	"errors"
	"fmt"
	"reflect"
	"syscall"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
)

func openTestState(t *testing.T, fsys vfs.FS) *state {
	t.Helper()
	s, err := openState(fsys, "/s")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func samplePending(base int64) pending {
	return pending{
		Entry: sampleEntry(base), Epochs: []EpochStart{{Epoch: 1, Start: base}},
		Segment: LocalSegment{Base: base, End: base + 100, Size: 400, Generation: 2}, Prepared: 77,
	}
}

// remembered is what a restart would know.
func remembered(t *testing.T, fsys vfs.FS) string {
	s := openTestState(t, fsys)
	out := fmt.Sprint(s.bound)
	for _, p := range s.pending {
		out += fmt.Sprintf(" %d:%v:%s", p.Entry.Base, p.Verified, p.Entry.ETag)
	}
	return out
}

func TestStateSurvivesARestart(t *testing.T) {
	mem := vfs.NewMem()
	s := openTestState(t, mem)
	step := func(err error, want string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := remembered(t, mem.Crash(nil)); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	one, two := samplePending(1), samplePending(2)
	step(s.prepare([]pending{one, two}), `{-1 0 -1} 1:false:"abc" 2:false:"abc"`)
	if p := openTestState(t, mem).pending[0]; !reflect.DeepEqual(p, one) {
		t.Fatalf("%+v", p)
	}
	one.Entry.ETag = "e1"
	step(s.verify([]Entry{one.Entry}), `{-1 0 -1} 1:true:e1 2:false:"abc"`)
	step(s.settle([]Token{one.Entry.Token}, bound{4, 5, 101}), `{4 5 101} 2:false:"abc"`)
	step(s.settle(nil, bound{4, 6, 101}), `{4 6 101} 2:false:"abc"`)
	for i := range int64(3000) { // long enough to be rewritten several times
		if err := s.settle(nil, bound{4, i, i}); err != nil {
			t.Fatal(err)
		}
	}
	step(nil, `{4 2999 2999} 2:false:"abc"`)
	if st, err := mem.Stat("/s"); err != nil || st.Size > stateRewriteBytes {
		t.Fatalf("%d bytes, %v", st.Size, err)
	}
}

// TestTornStateIsForgotten cuts and damages the file everywhere: what remains is a prefix of the history.
func TestTornStateIsForgotten(t *testing.T) {
	mem := vfs.NewMem()
	s := openTestState(t, mem)
	history := []string{"{-1 0 -1}"}
	for i := range int64(4) {
		if err := s.settle(nil, bound{1, i + 1, 10 * i}); err != nil {
			t.Fatal(err)
		}
		history = append(history, remembered(t, mem))
	}
	whole, err := vfs.ReadFile(mem, "/s")
	if err != nil {
		t.Fatal(err)
	}
	check := func(b []byte) {
		t.Helper()
		if err := vfs.WriteFile(mem, "/s", b); err != nil {
			t.Fatal(err)
		}
		got := remembered(t, mem)
		for _, h := range history {
			if got == h {
				return
			}
		}
		t.Fatalf("%s is not in %q", got, history)
	}
	for i := range whole {
		check(whole[:i])
		b := append([]byte(nil), whole...)
		b[i] ^= 0x10
		if i < 8 || i%33 != 0 { // a damaged version number is refused, not forgotten
			if _, err := openStateBytes(b); errors.Is(err, ErrVersion) {
				continue
			}
		}
		check(b)
	}
}

func openStateBytes(b []byte) (*state, error) {
	mem := vfs.NewMem()
	if err := vfs.WriteFile(mem, "/s", b); err != nil {
		return nil, err
	}
	return openState(mem, "/s")
}

// TestStateSweep fails every disk operation once: an announced effect is never one that a restart
// does not know of.
func TestStateSweep(t *testing.T) {
	for n, failed := 0, true; failed; n++ {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		s := openTestState(t, fault)
		rule := fault.Add(vfs.Rule{After: n, Err: syscall.EIO, Partial: true})
		last := bound{Epoch: -1, End: -1}
		for i := range int64(5) {
			b := bound{1, i + 1, 10 * i}
			if s.settle(nil, b) == nil {
				last = b
			}
			got := openTestState(t, mem.Crash(nil)).bound
			if got.Version < last.Version {
				t.Fatalf("operation %d: %+v was announced, %+v is known", n, last, got)
			}
			if s.bound.Version > got.Version {
				t.Fatalf("operation %d: %+v in memory, %+v on disk", n, s.bound, got)
			}
		}
		failed = fault.Fired(rule) > 0
	}
}

func TestPlanUploads(t *testing.T) {
	closed := []LocalSegment{{Base: 0, End: 10, Size: 100}, {Base: 10, End: 20, Size: 100}, {Base: 20, End: 30, Size: 300 << 20}, {Base: 30, End: 40, Size: 1}}
	for _, c := range []struct {
		name    string
		at      position
		dropped bool
		closed  []LocalSegment
		want    string
		more    bool
		err     error
	}{
		{"nothing remote yet", position{end: NoOffset, empty: true}, false, closed, "0-10 10-20", true, nil},
		{"go on", position{end: 10}, false, closed, "10-20", true, nil},
		{"a large segment goes alone", position{end: 20}, false, closed, "20-30", true, nil},
		{"the last one", position{end: 30}, false, closed, "30-40", false, nil},
		{"nothing to do", position{end: 40}, false, closed, "", false, nil},
		{"in the middle of a segment", position{end: 33}, false, closed, "33-40", false, nil},
		{"expired segments are skipped", position{end: NoOffset, empty: true, logStart: 15}, false, closed, "10-20", true, nil},
		{"a gap", position{end: 5}, false, closed[1:], "", false, ErrGap},
		{"a gap later on", position{end: 0}, false, []LocalSegment{closed[0], closed[3]}, "0-10", true, nil},
		{"a recorded drop", position{end: 5}, true, closed[1:2], "5-10! 10-20", false, nil},
		{"a gap below the log start", position{end: 5, logStart: 10}, false, closed[1:2], "5-10! 10-20", false, nil},
		{"a gap beyond the log start", position{end: 5, logStart: 9}, false, closed[1:2], "", false, ErrGap},
		{"all expired, log start behind the end", position{end: 5, empty: true, logStart: 9}, false, closed[1:2], "10-20", false, nil},
		{"all expired, log goes on", position{end: 10, empty: true, logStart: 10}, false, closed[1:2], "10-20", false, nil},
	} {
		todo, more, err := planUploads(c.closed, c.at, stepSegments, func(int64, int64) bool { return c.dropped })
		got := ""
		for _, u := range todo {
			if got != "" {
				got += " "
			}
			got += fmt.Sprintf("%d-%d", u.from, u.to)
			if u.drop {
				got += "!"
			}
		}
		if got != c.want || more != c.more || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, more %v, %v", c.name, got, more, err)
		}
	}
}
