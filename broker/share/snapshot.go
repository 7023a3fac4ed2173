package share

// Status is one share-partition at a glance.
type Status struct {
	Key
	Start, End int64 // the first record that is not finished, and the first that nobody was given yet
	Available  int64 // of those in between: may be acquired
	Waiting    int64 // will be, after their delay
	Acquired   int64 // are held by members
	Finished   int64 // are finished, out of order
	Dying      int64 // are to be written to the dead-letter topic
	// Deliveries is how many of the unfinished records were delivered once, twice, …;
	// its first element is those that were not.
	Deliveries []int64
	Totals     Totals
	// Stuck is why records cannot be written to the dead-letter topic; nil: they can.
	Stuck error
}

// Lag is how many offsets are not finished, up to the end that consumers see.
func (s Status) Lag(visibleEnd int64) int64 { return max(visibleEnd-s.Start-s.Finished, 0) }

// Statuses describes the share-partitions of a group, or of all groups for "", as
// far as they are coordinated here and loaded, in no particular order. It does not
// wait for the commit of what it sees.
func (c *Coordinator) Statuses(group string) []Status {
	var out []Status
	for _, shard := range c.table.Led() {
		shard.View(func(m *machine) {
			for k, p := range m.parts {
				if group == "" || k.Group == group {
					out = append(out, p.status(k))
				}
			}
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range out {
		out[i].Stuck = c.stuck[out[i].Key]
	}
	return out
}

func (p *partition) status(k Key) Status {
	s := Status{
		Key: k, Start: p.start, End: p.end,
		Available: p.count[available],
		Waiting:   p.count[waiting],
		Acquired:  p.count[acquired],
		Finished:  p.count[done],
		Dying:     p.count[exhausted] + p.count[rejected],
		Totals:    p.totals,
	}
	for _, x := range p.list {
		if x.state == done {
			continue
		}
		for len(s.Deliveries) <= int(x.count) {
			s.Deliveries = append(s.Deliveries, 0)
		}
		s.Deliveries[x.count] += x.end - x.first
	}
	return s
}
