package delay

import "time"

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second

	// A stop that follows another within calm belongs to it for whoever reads the log, unless it
	// lasts for longer than brief.
	calm  = time.Minute
	brief = 10 * time.Second
)

// stop is why a source of records, or a whole line, does not go on, and for how long it rests since
// when. The zero value means that all is well.
type stop struct {
	err     error
	backoff time.Duration
	since   time.Time

	began time.Time // this stop
	ended time.Time // the one before
	told  bool      // the log has been
}

// fail notes a failure at time now; the next try is after a time that doubles.
func (s *stop) fail(err error, now time.Time) {
	if s.err == nil {
		s.began = now
	}
	s.err = err
	s.backoff = min(max(minBackoff, 2*s.backoff), maxBackoff)
	s.since = now
}

// news reports, after a failure at time now, whether the log is to be told, and notes that it is.
func (s *stop) news(now time.Time) bool {
	if s.told || !s.ended.IsZero() && s.began.Sub(s.ended) < calm && now.Sub(s.began) < brief {
		return false
	}
	s.told = true
	return true
}

// resume ends the stop at time now. It reports whether the log knows of it.
func (s *stop) resume(now time.Time) (told bool) {
	told = s.told
	*s = stop{ended: now}
	return told
}

// rest is how long to wait before the next try, not above 0 if it may be now. A clock that went
// back ends the rest.
func (s *stop) rest(now time.Time) time.Duration {
	if s.err == nil || now.Before(s.since) {
		return 0
	}
	return s.backoff - now.Sub(s.since)
}
