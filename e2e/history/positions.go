package history

import "time"

// mark is a position of a group that was committed for sure, or may have been.
type mark struct {
	offset     int64
	begin, end time.Time
	sure       bool
}

// groupPartition is what has a position.
type groupPartition struct {
	group     string
	partition int32
}

// positions checks what the broker said of positions. Groups commit ascending offsets only, so a
// position is at least what was committed for sure before it was asked for, and never more than
// anyone tried.
func (c *checker) positions() {
	marks := c.marks()
	for _, p := range c.h.Positions {
		least, most := int64(-1), int64(-1)
		for _, m := range marks[groupPartition{p.Group, p.Partition}] {
			if m.sure && m.end.Before(p.Begin) {
				least = max(least, m.offset)
			}
			if m.begin.Before(p.End) {
				most = max(most, m.offset)
			}
		}
		switch {
		case p.Offset < least:
			c.violated(Regressed, "group %s, partition %d: %d was committed, %d answered at %s", p.Group, p.Partition, least, p.Offset, clock(p.End))
		case p.Offset > most:
			c.violated(Invented, "group %s, partition %d: %d answered at %s, at most %d was ever to be committed", p.Group, p.Partition, p.Offset, clock(p.End), most)
		}
	}
}

// marks collects the commits of all kinds.
func (c *checker) marks() map[groupPartition][]mark {
	marks := map[groupPartition][]mark{}
	for _, k := range c.h.Commits {
		if k.Outcome != Refused {
			at := groupPartition{k.Group, k.Partition}
			marks[at] = append(marks[at], mark{k.Offset, k.Begin, k.End, k.Outcome == Done})
		}
	}
	for i := range c.h.Txns {
		t := &c.h.Txns[i]
		outcome, end := t.committed(), t.Ended
		if outcome == Unknown { // nobody was told; its records tell
			outcome, end = c.visibility(t), c.h.Quiet
		}
		for partition, offset := range t.Offsets {
			if outcome != Refused {
				at := groupPartition{t.Group, partition}
				marks[at] = append(marks[at], mark{offset, t.Ending, end, outcome == Done})
			}
		}
	}
	return marks
}

// visibility is what the records of a transaction say became of it.
func (c *checker) visibility(t *Txn) Outcome {
	switch {
	case c.seen[t.ID] != "":
		return Done
	case c.missing[t.ID] != "":
		return Refused
	}
	return Unknown
}
