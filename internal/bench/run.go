package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Drive puts load on a broker until ctx ends, and tells m of everything that was answered. It
// returns nil when ctx ended, and an error if it cannot go on; either way, everything it started
// has ended by then.
type Drive func(ctx context.Context, m *Meter) error

// Extent is how much of a load is measured: until Duration has passed, or at least Records or Bytes
// were answered, whichever comes first. Zero means no such bound; without any, Run lasts until its
// context ends.
type Extent struct {
	// Warmup passes, after the first answer, before anything counts.
	Warmup   time.Duration
	Duration time.Duration
	Records  int64
	Bytes    int64
}

// patience is how long the first answer may take.
const patience = 30 * time.Second

// Run lets drive run and measures it. server may be nil. The end of ctx ends the measurement early
// and is no error. The report is valid also with an error, and says how far the load came; its
// Seconds are 0 if it did not begin.
func Run(ctx context.Context, name string, drive Drive, extent Extent, server Server, m *Meter) (Report, error) {
	if _, err := usage(ctx, server); err != nil {
		return Report{Load: name}, err
	}
	driving, stop := context.WithCancel(ctx)
	defer stop()
	m.extent = extent
	var driveErr error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		driveErr = drive(driving, m)
	}()

	r, err := measure(ctx, extent, server, m, ended)
	r.Load = name
	stop()
	<-ended
	r.AllRecords = m.all.Load()
	if err := m.err(); err != nil {
		r.LastError = err.Error()
	}
	return r, errors.Join(driveErr, err)
}

func measure(ctx context.Context, extent Extent, server Server, m *Meter, ended <-chan struct{}) (Report, error) {
	if timedOut := await(ctx, m.began, ended, patience); timedOut {
		return newReport(m, 0), fmt.Errorf("nothing was answered within %v", patience)
	}
	if extent.Warmup > 0 {
		await(ctx, nil, ended, extent.Warmup)
	}
	select {
	case <-ended:
		return newReport(m, 0), nil // Run knows why
	default:
	}
	before, err := usage(ctx, server)
	if err != nil {
		return newReport(m, 0), err
	}
	clientBefore := self()
	start := time.Now()
	m.measuring.Store(true)
	await(ctx, m.reached, ended, extent.Duration)
	m.measuring.Store(false)
	r := newReport(m, time.Since(start))
	r.ClientCPUSeconds = hundredths(self().CPUSeconds - clientBefore.CPUSeconds)
	if server == nil {
		return r, nil
	}
	after, err := usage(context.WithoutCancel(ctx), server)
	if err == nil {
		r.Server = r.serverUsage(before, after)
	}
	return r, err
}

func usage(ctx context.Context, s Server) (Usage, error) {
	if s == nil {
		return Usage{}, nil
	}
	return s.Usage(ctx)
}

// await waits for event, the end of the drive or of ctx, or for d if that is not 0; only then it reports true.
func await(ctx context.Context, event, ended <-chan struct{}, d time.Duration) (timedOut bool) {
	var timeout <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-event:
	case <-ended:
	case <-ctx.Done():
	case <-timeout:
		return true
	}
	return false
}
