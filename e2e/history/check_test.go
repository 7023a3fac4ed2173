package history

import (
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// read is what lies at an offset of partition 0.
func read(offset int64, id string) Read {
	return Read{Offset: offset, ID: id, At: at(1000), Appended: at(500), Ticket: -1}
}

// good is a history in which everything happens and nothing is wrong. Partition 0:
//
//	0 plain   1 plain again   2 i1   3 (t1 begins) a1   4 (t2) b1   5 commit of t1   6 abort of t2
//	7 hidden: later   8 i2   9 delivery of later   10 (t3) c1, which nobody was told the end of   11 commit of t3
//	12 hidden: never, cancelled
func good() *History {
	later := Read{Offset: 9, ID: "later", At: at(701), Appended: at(700), Due: at(700), Ticket: 7}
	return &History{
		Sends: []Send{
			{ID: "plain", Producer: "p", Guarantee: AtLeastOnce, Outcome: Done, Offset: 0},
			{ID: "i1", Producer: "i", Seq: 1, Guarantee: Idempotent, Outcome: Done, Offset: 2},
			{ID: "i2", Producer: "i", Seq: 2, Guarantee: Idempotent, Outcome: Unknown},
			{ID: "i3", Producer: "i", Seq: 3, Guarantee: Idempotent, Outcome: Refused},
			{ID: "a1", Producer: "t", Seq: 1, Guarantee: Transactional, Txn: "t1", Outcome: Done, Offset: 3},
			{ID: "b1", Producer: "t", Seq: 2, Guarantee: Transactional, Txn: "t2", Outcome: Done, Offset: 4},
			{ID: "c1", Producer: "t", Seq: 3, Guarantee: Transactional, Txn: "t3", Outcome: Done, Offset: 10},
			{ID: "later", Producer: "d", Seq: 1, Guarantee: Idempotent, Delay: 500 * time.Millisecond, Sent: at(200), Outcome: Done, Offset: 7},
			{ID: "never", Producer: "d", Seq: 2, Guarantee: Idempotent, Delay: time.Second, Sent: at(300), Outcome: Done, Offset: 12},
		},
		Txns: []Txn{
			{ID: "t1", Commit: true, Ending: at(400), Ended: at(410), Outcome: Done, Group: "g", Offsets: map[int32]int64{0: 3}},
			{ID: "t2", Ending: at(420), Ended: at(430), Outcome: Done},
			{ID: "t3", Commit: true, Ending: at(800), Ended: at(900), Outcome: Unknown, Group: "g", Offsets: map[int32]int64{0: 9}},
		},
		Cancels: []Cancel{{"never", Done}, {"later", Refused}},
		Sessions: []Session{
			{Name: "committed", Committed: true, Reads: []Read{read(2, "i1"), read(3, "a1"), read(8, "i2"), later, read(10, "c1")}},
			{Name: "uncommitted", Reads: []Read{read(1, "plain"), read(2, "i1"), read(3, "a1"), read(4, "b1")}},
		},
		Commits: []Commit{
			{"g", 0, 2, at(100), at(110), Done},
			{"g", 0, 4, at(450), at(460), Unknown},
		},
		Positions: []Position{
			{"g", 0, -1, at(90), at(95)},
			{"g", 0, 2, at(120), at(130)},
			{"g", 0, 3, at(415), at(416)},
			{"g", 0, 9, at(2000), at(2001)},
		},
		Log: Session{Name: "log", Reads: []Read{
			read(0, "plain"), read(1, "plain"), read(2, "i1"), read(3, "a1"), read(4, "b1"), read(8, "i2"), later, read(10, "c1"),
		}},
		Visible: Session{Name: "visible", Committed: true, Reads: []Read{
			read(0, "plain"), read(1, "plain"), read(2, "i1"), read(3, "a1"), read(8, "i2"), later, read(10, "c1"),
		}},
		Quiet: at(1500),
	}
}

func TestGoodHistoryBreaksNoRule(t *testing.T) {
	for _, v := range Check(good()) {
		t.Error(v)
	}
}

func without(s *Session, id string) {
	s.Reads = slices.DeleteFunc(s.Reads, func(r Read) bool { return r.ID == id })
}

// Every rule is broken by one small change to the good history.
func TestBadHistories(t *testing.T) {
	for name, test := range map[string]struct {
		want  Rule
		spoil func(*History)
	}{
		"acknowledged record is gone":                       {Lost, func(h *History) { without(&h.Log, "i1"); without(&h.Visible, "i1"); h.Sessions = nil }},
		"acknowledged record is hidden from read_committed": {Lost, func(h *History) { without(&h.Visible, "plain"); h.Sessions = nil }},
		"record of a committed transaction is gone":         {Lost, func(h *History) { without(&h.Visible, "a1"); h.Sessions = nil }},
		"delayed record is never delivered": {Lost, func(h *History) {
			without(&h.Log, "later")
			without(&h.Visible, "later")
			h.Sessions = nil
			h.Cancels = nil
		}},
		"refused cancel and no delivery": {Lost, func(h *History) {
			without(&h.Log, "later")
			without(&h.Visible, "later")
			h.Sessions = nil
			h.Sends[7].Txn = "t3"
		}},
		"idempotent record is there twice":    {Duplicate, func(h *History) { h.Log.Reads = append(h.Log.Reads, read(13, "i1")) }},
		"delivered twice":                     {Duplicate, func(h *History) { again := h.Log.Reads[6]; again.Offset = 13; h.Log.Reads = append(h.Log.Reads, again) }},
		"order within a producer":             {Order, func(h *History) { h.Sends[1].Seq = 5 }},
		"nobody sent it":                      {Phantom, func(h *History) { h.Log.Reads = append(h.Log.Reads, read(13, "stranger")) }},
		"refused record is there":             {Phantom, func(h *History) { h.Log.Reads = append(h.Log.Reads, read(13, "i3")) }},
		"acknowledged at another offset":      {Moved, func(h *History) { h.Sends[1].Offset = 8 }},
		"delivered under another ticket":      {Moved, func(h *History) { h.Sends[7].Offset = 6 }},
		"consumer saw another record there":   {Rewritten, func(h *History) { h.Sessions[1].Reads[1].ID = "plain" }},
		"consumer saw what is gone":           {Rewritten, func(h *History) { h.Sessions[1].Reads = append(h.Sessions[1].Reads, read(20, "i2")) }},
		"consumer went back":                  {Backwards, func(h *History) { s := &h.Sessions[1]; s.Reads = append(s.Reads, s.Reads[0]) }},
		"consumer was not given one":          {Skipped, func(h *History) { without(&h.Sessions[1], "a1") }},
		"read_committed was not given one":    {Skipped, func(h *History) { without(&h.Sessions[0], "i2") }},
		"aborted record read":                 {Dirty, func(h *History) { h.Sessions[0].Reads = append(h.Sessions[0].Reads[:2:2], read(4, "b1")) }},
		"record read before its commit":       {Dirty, func(h *History) { h.Sessions[0].Reads[1].At = at(399) }},
		"aborted record stays visible":        {Dirty, func(h *History) { h.Visible.Reads = append(h.Visible.Reads, read(4, "b1")) }},
		"read, but then not visible":          {Dirty, func(h *History) { without(&h.Visible, "c1"); h.Positions = nil }},
		"half a transaction":                  {Torn, func(h *History) { h.Sends[5].Txn = "t3" }},
		"position before what was committed":  {Regressed, func(h *History) { h.Positions[1].Offset = 1 }},
		"no position after a commit":          {Regressed, func(h *History) { h.Positions[1].Offset = -1 }},
		"position without the transaction's":  {Regressed, func(h *History) { h.Positions[2].Offset = 2 }},
		"position without that of visible t3": {Regressed, func(h *History) { h.Positions[3].Offset = 4 }},
		"position nobody committed":           {Invented, func(h *History) { h.Positions[3].Offset = 10 }},
		"position before it was committed":    {Invented, func(h *History) { h.Positions[0].Offset = 2 }},
		"due too early":                       {Early, func(h *History) { h.Sends[7].Delay = 600 * time.Millisecond }},
		"appended too early":                  {Early, func(h *History) { h.Log.Reads[6].Appended = at(699) }},
		"given too early":                     {Early, func(h *History) { h.Sessions[0].Reads[3].At = at(699) }},
		"cancelled and delivered":             {Uncanceled, func(h *History) { h.Cancels[1].Outcome = Done }},
	} {
		t.Run(name, func(t *testing.T) {
			h := good()
			test.spoil(h)
			found := Check(h)
			if !slices.ContainsFunc(found, func(v Violation) bool { return v.Rule == test.want }) {
				t.Errorf("found %v, expected %q", found, test.want)
			}
		})
	}
}

// What nobody was told is believed either way.
func TestUnknownOutcomesAreBelieved(t *testing.T) {
	for name, change := range map[string]func(*History){
		"record came through": func(h *History) { h.Sends[2].Outcome = Unknown },
		"record did not": func(h *History) {
			without(&h.Log, "i2")
			without(&h.Visible, "i2")
			without(&h.Sessions[0], "i2")
		},
		"transaction was not committed": func(h *History) {
			without(&h.Visible, "c1")
			without(&h.Sessions[0], "c1")
			h.Positions[3].Offset = 4
		},
		"cancel came through": func(h *History) {
			h.Cancels[1].Outcome = Unknown
			without(&h.Log, "later")
			without(&h.Visible, "later")
			without(&h.Sessions[0], "later")
		},
		"commit came through": func(h *History) { h.Positions[3] = Position{"g", 0, 9, at(2000), at(2001)} },
	} {
		t.Run(name, func(t *testing.T) {
			h := good()
			change(h)
			for _, v := range Check(h) {
				t.Error(v)
			}
		})
	}
}
