package delay

// SourceState describes one source of a partition's delayed records.
type SourceState struct {
	// Run is the run's id, its offset in the schedule log; -1 for the partition's own log.
	Run int64
	// Pending is how many records are pending there.
	Pending int64
	// NextDue is at or before the time the first of them is due; math.MaxInt64 if there are none.
	NextDue int64
	// Stopped is why nothing is delivered from there at the moment, nil if all is well.
	Stopped error
}

// Sources lists where the partition's delayed records come from.
func (l *Line) Sources() []SourceState {
	states := l.schedule.sources()
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	states[0].Stopped = l.near.err
	for i := range states {
		for _, d := range l.readers {
			if d.run.from == states[i].Run {
				states[i].Stopped = d.stop.err
			}
		}
	}
	return states
}

// sources lists the near index and the runs.
func (s *Schedule) sources() []SourceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := []SourceState{{Run: -1, Pending: s.pending, NextDue: s.nearDue()}}
	for _, r := range s.runs.list {
		states = append(states, SourceState{Run: r.from, Pending: r.pending, NextDue: r.nextDue()})
	}
	return states
}
