package delay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
)

// ticketInRuns looks a ticket up in the run that would hold it. The record may be finished.
func (s *Schedule) ticketInRuns(ctx context.Context, ticket int64) (e Entry, ok bool, err error) {
	s.mu.Lock()
	r := s.runs.of(ticket)
	s.mu.Unlock()
	if r == nil {
		return e, false, nil
	}
	i := sort.Search(len(r.tickets), func(i int) bool { return r.tickets[i].ticket > ticket })
	if i == 0 {
		return e, false, nil
	}
	value, err := ownBatch(ctx, s.journal, r.tickets[i-1].offset, kindTickets)
	if err != nil {
		return e, false, fmt.Errorf("run %d: %w", r.from, err)
	}
	err = readTickets(value, func(x Entry) error {
		if x.Ticket == ticket {
			e, ok = x, true
		}
		return nil
	})
	return e, ok, err
}

// keyInRuns looks for a pending record under a key in the runs.
func (s *Schedule) keyInRuns(ctx context.Context, name string) (Entry, bool, error) {
	s.mu.Lock()
	list := slices.Clone(s.runs.list)
	s.mu.Unlock()
	for _, r := range slices.Backward(list) {
		if !r.filter.mayContain(name) {
			continue
		}
		e, ok, err := s.keyInRun(ctx, r, name)
		if err != nil {
			return e, false, fmt.Errorf("run %d: %w", r.from, err)
		}
		if ok && s.Contains(e) {
			return e, true, nil
		}
	}
	return Entry{}, false, nil
}

func (s *Schedule) keyInRun(ctx context.Context, r *run, name string) (e Entry, ok bool, err error) {
	i, exact := slices.BinarySearchFunc(r.keys, name, func(f keyFence, name string) int { return cmp.Compare(f.key, name) })
	if !exact {
		i--
	}
	if i < 0 {
		return e, false, nil
	}
	value, err := ownBatch(ctx, s.journal, r.keys[i].offset, kindKeys)
	if err != nil {
		return e, false, err
	}
	err = readKeys(value, func(key []byte, x Entry) error {
		if string(key) == name {
			e, ok = x, true
		}
		return nil
	})
	return e, ok, err
}

// steadily calls look again if runs have changed meanwhile: what it has found may be of two states,
// or missing because it has moved; and it may have failed because a run is no more.
func (s *Schedule) steadily(look func() error) error {
	for {
		version := s.installed()
		if err := look(); s.installed() == version {
			return err
		}
	}
}

// installed tells runs before and after a change apart.
func (s *Schedule) installed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs.installs
}

// nearFloor is the ticket from which on the near index holds what is pending.
func (s *Schedule) nearFloor() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.floor
}
