package protocol

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/time/rate"
)

// endLines bounds the warnings about connections: a client that speaks something
// else tries again for ever, and a scanner tries a thousand things.
type endLines struct {
	limiter *rate.Limiter
	omitted atomic.Int64 // since the last that was written
}

func newEndLines() endLines {
	return endLines{limiter: rate.NewLimiter(rate.Every(10*time.Second), 10)}
}

// write reports whether a warning is to be written, and how many before it were not.
func (l *endLines) write() (omitted int64, ok bool) {
	if !l.limiter.Allow() {
		l.omitted.Add(1)
		return 0, false
	}
	return l.omitted.Swap(0), true
}

// logEnd counts why a connection ended and writes the one line about it. What
// is part of ordinary life is logged for debugging only; of warnings there are
// not more than [endLines] lets through.
func (s *Server) logEnd(conn *Conn, err error) {
	level, label, reason := slog.LevelWarn, "error", "a request failed"
	var about []slog.Attr
	rejected, panicked := (*rejectedError)(nil), (*panicError)(nil)
	switch {
	case errors.As(err, &rejected):
		label, reason = rejected.label, "bad request"
		about = requestAttrs(rejected.key, rejected.version)
	case errors.As(err, &panicked):
		level, label, reason = slog.LevelError, "panic", "panic while handling a request"
		about = append(requestAttrs(panicked.key, panicked.version),
			slog.Any("panic", panicked.value), slog.String("stack", string(panicked.stack)))
		s.metrics.panics.Inc()
	case errors.Is(err, errPeerGone), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		level, label, reason = slog.LevelDebug, "peer", "closed by the peer"
	case errors.Is(err, errIdle):
		level, label, reason = slog.LevelDebug, "idle", "idle"
	case errors.Is(err, errStopping):
		level, label, reason = slog.LevelDebug, "stop", "the server is stopping"
	case errors.Is(err, errGrace):
		label, reason = "grace", "the server has stopped"
	case errors.Is(err, os.ErrDeadlineExceeded):
		label, reason = "write", "the peer does not read its answers"
	}
	s.metrics.closed.WithLabelValues(label).Inc()
	attrs := []slog.Attr{
		slog.String("peer", conn.remote.String()), slog.String("listener", conn.Listener), slog.String("reason", reason),
	}
	attrs = append(append(attrs, about...), slog.Any("err", err))
	if level == slog.LevelWarn {
		omitted, ok := s.ends.write()
		if !ok {
			return
		}
		if omitted > 0 {
			attrs = append(attrs, slog.Int64("omitted", omitted)) // lines like this
		}
	}
	s.cfg.Logger.LogAttrs(context.Background(), level, "connection closed", attrs...)
}

// requestAttrs name a request; what is not known of it is left out.
func requestAttrs(key, version int16) []slog.Attr {
	if key < 0 {
		return nil
	}
	return []slog.Attr{
		slog.Int("key", int(key)), slog.String("api", kmsg.NameForKey(key)), slog.Int("version", int(version)),
	}
}
