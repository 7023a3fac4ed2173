package delay

import "time"

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// stop is why a source of records, or a whole line, does not go on, and for how long it rests since when. The zero value
// means that all is well.
type stop struct {
	err     error
	backoff time.Duration
	since   time.Time
}

// fail notes a failure at time now; the next try is after a time that doubles.
func (s *stop) fail(err error, now time.Time) {
	s.err = err
	s.backoff = min(max(minBackoff, 2*s.backoff), maxBackoff)
	s.since = now
}

// rest is how long to wait before the next try, not above 0 if it may be now. A clock that went back ends the rest.
func (s *stop) rest(now time.Time) time.Duration {
	if s.err == nil || now.Before(s.since) {
		return 0
	}
	return s.backoff - now.Sub(s.since)
}
