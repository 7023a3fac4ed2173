package testnet

import "sync"

// maxLog is how many bytes of a broker's log are kept.
const maxLog = 1 << 20

// logBuffer is a writer that keeps the last maxLog bytes.
type logBuffer struct {
	mu  sync.Mutex
	buf []byte // guarded by mu; at most 2*maxLog, so that cutting the front is amortised
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if len(l.buf) > 2*maxLog {
		l.buf = append(l.buf[:0], l.buf[len(l.buf)-maxLog:]...)
	}
	return len(p), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf[max(0, len(l.buf)-maxLog):])
}
