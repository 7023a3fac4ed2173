package delay

import "time"

const (
	// clockTolerance is how much the wall clock may gain or lose between two looks without being
	// said to have jumped.
	clockTolerance = 500 * time.Millisecond
	// clockMemory is how long ago the last look may be: over longer times, a clock that is merely
	// corrected drifts as far.
	clockMemory = 10 * time.Second
)

// clockWatch tells when the wall clock jumps against the monotonic one.
type clockWatch struct {
	wall, mono time.Time
}

// look returns by how much the wall clock jumped since the last look, 0 if it did not.
func (c *clockWatch) look(wall, mono time.Time) (jump time.Duration) {
	wall = wall.Round(0)
	elapsed := mono.Sub(c.mono)
	if !c.mono.IsZero() && elapsed < clockMemory {
		jump = wall.Sub(c.wall) - elapsed
	}
	c.wall, c.mono = wall, mono
	if jump.Abs() < clockTolerance {
		return 0
	}
	return jump
}
