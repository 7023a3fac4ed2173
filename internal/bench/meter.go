package bench

import (
	"sync"
	"sync/atomic"
	"time"
)

// Meter counts what a Drive gets answered. What is told to it counts only while [Run] measures,
// between warm-up and end. It is safe for concurrent use.
type Meter struct {
	measuring atomic.Bool
	records   atomic.Int64
	bytes     atomic.Int64
	errors    atomic.Int64
	all       atomic.Int64 // records, measured or not
	retries   atomic.Int64
	latency   Histogram

	first sync.Once
	began chan struct{} // closed at the first answer, measured or not

	extent  Extent        // set by Run
	reached chan struct{} // receives when enough records or bytes were counted

	mu        sync.Mutex
	lastError error // guarded by mu
}

// NewMeter returns a meter for one Run.
func NewMeter() *Meter {
	return &Meter{began: make(chan struct{}), reached: make(chan struct{}, 1)}
}

// Done counts records that were acknowledged, or arrived, together: bytes is their size, latency
// how long they took.
func (m *Meter) Done(records, bytes int, latency time.Duration) {
	m.first.Do(func() { close(m.began) })
	m.all.Add(int64(records))
	if !m.measuring.Load() {
		return
	}
	m.latency.Observe(latency)
	allBytes, allRecords := m.bytes.Add(int64(bytes)), m.records.Add(int64(records))
	if e := &m.extent; e.Records > 0 && allRecords >= e.Records || e.Bytes > 0 && allBytes >= e.Bytes {
		select {
		case m.reached <- struct{}{}:
		default:
		}
	}
}

// Fail counts an error the broker answered.
func (m *Meter) Fail(err error) {
	m.mu.Lock()
	m.lastError = err
	m.mu.Unlock()
	m.errors.Add(1)
}

// Retry counts an answer that made a request be sent again.
func (m *Meter) Retry() { m.retries.Add(1) }

// Progress returns what was counted so far: for display.
func (m *Meter) Progress() (records, bytes, errors int64) {
	return m.records.Load(), m.bytes.Load(), m.errors.Load()
}

// err is the last error, or nil.
func (m *Meter) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastError
}
