package delay

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// The design of the schedule's memory as a program of sets: a log whose records schedule and
// finish, runs and progress in a journal, a high watermark, retention. It was written before the
// real thing, to find out which rules are needed; each rule can be switched off, and then some
// history loses or repeats a record. The real code follows the same rules, see history_test.go.

// rules of the model. Each field breaks one.
type brokenRules struct {
	// gateIgnoresProgress lets the log start pass proofs that are not folded in.
	gateIgnoresProgress bool
	// gateOpensEarly ignores a footer that is written but not known to be committed.
	gateOpensEarly bool
	// gateIgnoresUncommitted lets the log start pass a record whose proof is not committed.
	gateIgnoresUncommitted bool
	// footerForgets writes a footer without what was finished while the run was being written.
	footerForgets bool
	// foldsUncommitted folds proofs above the high watermark in.
	foldsUncommitted bool
	// runTakesUncommitted puts records above the high watermark into a run.
	runTakesUncommitted bool
	// runTrustsUncommitted leaves out of a run what was finished above the high watermark.
	runTrustsUncommitted bool
	// floorIgnoresUncommitted lets the floor pass a record whose proof is not committed.
	floorIgnoresUncommitted bool
	// watermark takes a due time for the proof that everything due before was delivered.
	watermark bool
}

// event is a record of the log: it schedules its own offset, or finishes another.
type event struct {
	finishes int // -1: schedules
}

type modelRun struct {
	tickets  map[int]bool
	finished map[int]bool
}

// state is what a progress record says.
type state struct {
	folded, floor int
	runs          []modelRun
}

func (s state) clone() state {
	c := s
	c.runs = nil
	for _, r := range s.runs {
		c.runs = append(c.runs, modelRun{maps.Clone(r.tickets), maps.Clone(r.finished)})
	}
	return c
}

type model struct {
	broken brokenRules
	// log is the whole history; its first start events were deleted, those from synced on are not committed.
	log           []event
	start, synced int
	// journal are the states written, those from committed on may get lost.
	journal   []state
	committed int
	// writing is a run being written, whose content was fixed at high.
	writing *modelRun
	high    int
}

// pendingAt is the truth: what is pending after the first end events.
func (m *model) pendingAt(end int) map[int]bool {
	pending := map[int]bool{}
	for i, e := range m.log[:end] {
		if e.finishes < 0 {
			pending[i] = true
		} else {
			delete(pending, e.finishes)
		}
	}
	return pending
}

func (m *model) known() state { return m.journal[len(m.journal)-1] }

// recovered is what a start finds pending, with the log up to end and the journal up to and including state s.
func (m *model) recovered(end int, s state) map[int]bool {
	pending := map[int]bool{}
	for _, r := range s.runs {
		for t := range r.tickets {
			pending[t] = !r.finished[t]
		}
	}
	for i := max(m.start, min(s.floor, s.folded)); i < end; i++ {
		e := m.log[i]
		switch {
		case e.finishes < 0 && i >= s.floor:
			pending[i] = true
		case e.finishes >= s.floor || e.finishes >= 0 && i >= s.folded:
			delete(pending, e.finishes)
		}
	}
	maps.DeleteFunc(pending, func(_ int, is bool) bool { return !is })
	return pending
}

// check recovers from every crash that could happen now.
func (m *model) check() error {
	for end := m.synced; end <= len(m.log); end++ {
		want := m.pendingAt(end)
		for j := m.committed - 1; j < len(m.journal); j++ {
			if got := m.recovered(end, m.journal[j]); !maps.Equal(got, want) {
				return fmt.Errorf("log [%d, %d), state %+v: pending %v, should be %v",
					m.start, end, m.journal[j], slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
		}
	}
	return nil
}

// gate is what the log start may not pass.
func (m *model) gate() int {
	gate := m.synced
	s := m.journal[m.committed-1]
	for t := range m.unsettled(m.broken.gateIgnoresUncommitted) {
		if t >= s.floor {
			gate = min(gate, t)
		}
	}
	states := m.journal[m.committed-1:]
	if m.broken.gateOpensEarly {
		states = states[:1]
	}
	for _, s := range states {
		if len(s.runs) > 0 && !m.broken.gateIgnoresProgress {
			gate = min(gate, s.folded)
		}
	}
	return gate
}

// unsettled is what is pending now or, unless trusting, by the committed proofs.
func (m *model) unsettled(trusting bool) map[int]bool {
	pending := m.pendingAt(len(m.log))
	if !trusting {
		maps.Copy(pending, m.pendingAt(m.synced))
	}
	return pending
}

// next is the present state as a progress record describes it.
func (m *model) next() state {
	s := m.known().clone()
	end := m.synced
	if m.broken.foldsUncommitted {
		end = len(m.log)
	}
	pending := m.pendingAt(end)
	for _, r := range s.runs {
		for t := range r.tickets {
			r.finished[t] = !pending[t]
		}
	}
	s.folded = end
	if m.broken.watermark && len(s.runs) > 0 {
		// All delivered so far is below the highest ticket delivered: late arrivals are taken for delivered.
		for _, r := range s.runs {
			for t := range r.tickets {
				r.finished[t] = r.finished[t] || slices.ContainsFunc(m.log[:end], func(e event) bool { return e.finishes > t })
			}
		}
	}
	return s
}

func (m *model) progress() {
	s := m.next()
	floor := s.folded
	for t := range m.unsettled(m.broken.floorIgnoresUncommitted) {
		if t >= s.floor {
			floor = min(floor, t)
		}
	}
	s.floor = max(s.floor, floor)
	s.runs = slices.DeleteFunc(s.runs, func(r modelRun) bool {
		for t := range r.tickets {
			if !r.finished[t] {
				return false
			}
		}
		return true
	})
	m.journal = append(m.journal, s)
}

// beginRun fixes the content of a run: what is pending in the log by the committed proofs, below
// the high watermark.
func (m *model) beginRun() {
	m.high = m.synced
	if m.broken.runTakesUncommitted {
		m.high = len(m.log)
	}
	pending := m.pendingAt(m.synced)
	if m.broken.runTakesUncommitted || m.broken.runTrustsUncommitted {
		pending = m.pendingAt(len(m.log))
	}
	r := modelRun{map[int]bool{}, map[int]bool{}}
	for t := range pending {
		if t >= m.known().floor && t < m.high {
			r.tickets[t] = true
		}
	}
	m.writing = &r
}

// endRun writes the footer, a progress record that names the run.
func (m *model) endRun() {
	s := m.next()
	r := modelRun{m.writing.tickets, map[int]bool{}}
	if !m.broken.footerForgets {
		pending := m.pendingAt(s.folded)
		for t := range r.tickets {
			r.finished[t] = !pending[t]
		}
	}
	s.runs = append(s.runs, r)
	s.floor = max(s.floor, m.high)
	m.journal = append(m.journal, s)
	m.writing = nil
}

func (m *model) step(rng *rand.Rand) {
	switch rng.IntN(10) {
	case 0, 1:
		m.log = append(m.log, event{finishes: -1})
	case 2, 3:
		if pending := slices.Sorted(maps.Keys(m.pendingAt(len(m.log)))); len(pending) > 0 {
			m.log = append(m.log, event{finishes: pending[rng.IntN(len(pending))]})
		}
	case 4:
		m.synced += rng.IntN(len(m.log) - m.synced + 1)
	case 5:
		m.committed += rng.IntN(len(m.journal) - m.committed + 1)
	case 6:
		m.start = max(m.start, m.gate())
	case 7:
		// One record at a time: the keeper waits for the last one to be committed.
		if m.writing == nil && m.committed == len(m.journal) {
			m.beginRun()
		}
	case 8:
		if m.writing != nil && m.committed == len(m.journal) {
			m.endRun()
		}
	case 9:
		if m.writing == nil && m.committed == len(m.journal) {
			m.progress()
		}
	}
}

// histories runs random histories of the model until one fails.
func histories(broken brokenRules, n int) error {
	for seed := range n {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		m := &model{broken: broken, journal: []state{{}}, committed: 1}
		for i := range 60 {
			m.step(rng)
			if err := m.check(); err != nil {
				return fmt.Errorf("history %d, step %d: %w", seed, i, err)
			}
		}
	}
	return nil
}

func TestDesignLosesAndRepeatsNothingInAnyHistory(t *testing.T) {
	if err := histories(brokenRules{}, 3000); err != nil {
		t.Error(err)
	}
}

func TestEveryRuleOfTheDesignIsNeeded(t *testing.T) {
	for name, broken := range map[string]brokenRules{
		"the gate holds back what no progress record has folded in": {gateIgnoresProgress: true},
		"the gate closes before a footer is committed":              {gateOpensEarly: true},
		"the gate waits for proofs to be committed":                 {gateIgnoresUncommitted: true},
		"a footer names what was finished while its run was built":  {footerForgets: true},
		"only committed proofs are folded in":                       {foldsUncommitted: true},
		"a run takes only committed records":                        {runTakesUncommitted: true},
		"a run takes what only an uncommitted proof finishes":       {runTrustsUncommitted: true},
		"the floor waits for proofs to be committed":                {floorIgnoresUncommitted: true},
		"progress is proofs, not a watermark":                       {watermark: true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := histories(broken, 3000); err == nil {
				t.Error("no history fails without this rule")
			}
		})
	}
}
