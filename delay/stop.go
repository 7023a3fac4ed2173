package delay

import "time"

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// stop is why a source of records, or a whole line, does not go on, and until when it rests. The zero value
// means that all is well.
type stop struct {
	err     error
	backoff time.Duration
	until   time.Time
}

// fail notes a failure; the next try is after a time that doubles.
func (s *stop) fail(err error) {
	s.err = err
	s.backoff = min(max(minBackoff, 2*s.backoff), maxBackoff)
	s.until = time.Now().Add(s.backoff)
}

// rest is how long to wait before the next try, not above 0 if it may be now.
func (s *stop) rest() time.Duration {
	if s.err == nil {
		return 0
	}
	return time.Until(s.until)
}
