package partition

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/morrowmq/morrow/log"
)

// setbacks counts how often in a row something has failed that is done again and again. It says
// when to try next, and which failures to tell a person of: the first, the second, the fourth and
// so on, so that a log that is full of them says nothing less than one that is not.
type setbacks struct {
	count atomic.Int64
	due   time.Time // for whoever tries
	full  bool      // somebody was told that it waits for the disk
}

// failed notes a failure. The next try is due after first, and twice as long after each failure
// that follows, up to most.
func (s *setbacks) failed(now time.Time, first, most time.Duration) (wait time.Duration, tell bool) {
	n := s.count.Add(1)
	wait = min(first<<min(n-1, 20), most)
	s.due = now.Add(wait)
	return wait, n&(n-1) == 0
}

// over notes a success, and returns how many failures it ends.
func (s *setbacks) over() int64 {
	s.due, s.full = time.Time{}, false
	return s.count.Swap(0)
}

// wait reports whether it is too early for the next try.
func (s *setbacks) wait(now time.Time) bool { return now.Before(s.due) }

// errBusy is how a try ends that somebody else was in the way of: neither well nor badly.
var errBusy = errors.New("busy")

// note takes in how a try has ended, and tells it, if that is worth telling: of a partition that is
// gone nothing is. task is what was tried, for people.
func (s *setbacks) note(p *Partition, task string, err error, first, most time.Duration) {
	switch {
	case errors.Is(err, errBusy), p.dropped():
	case errors.Is(err, log.ErrNoSpace):
		// Whether there is room again is seen without effort.
		if s.failed(p.now(), first, first); !s.full {
			s.full = true
			p.logger.Warn("looking after a schedule waits until the disk has more room", "partition", p.String(), "task", task, "err", err)
		}
	case err != nil:
		if wait, tell := s.failed(p.now(), first, most); tell {
			p.logger.Warn("looking after a schedule failed, will try again", "partition", p.String(), "task", task, "failures", s.count.Load(), "in", wait, "err", err)
		}
	default:
		if n := s.over(); n > 0 {
			p.logger.Info("looking after a schedule works again", "partition", p.String(), "task", task, "failures", n)
		}
	}
}
