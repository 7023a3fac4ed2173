package protocol

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"syscall"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// logEnd counts why a connection ended and writes the one line about it. What
// is part of ordinary life is logged for debugging only.
func (s *Server) logEnd(conn *Conn, err error) {
	level, reason, text := slog.LevelError, "error", "connection closed: a request failed"
	attrs := []slog.Attr{
		slog.String("peer", conn.remote.String()),
		slog.String("listener", conn.Listener),
	}
	rejected, panicked := (*rejectedError)(nil), (*panicError)(nil)
	switch {
	case errors.As(err, &rejected):
		level, reason, text = slog.LevelWarn, rejected.kind, "connection closed: bad request"
		attrs = append(attrs, requestAttrs(rejected.key, rejected.version)...)
	case errors.As(err, &panicked):
		reason, text = "panic", "connection closed: panic while handling a request"
		attrs = append(attrs, requestAttrs(panicked.key, panicked.version)...)
		attrs = append(attrs, slog.Any("panic", panicked.value), slog.String("stack", string(panicked.stack)))
		s.metrics.panics.Inc()
	case errors.Is(err, errPeerGone), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		level, reason, text = slog.LevelDebug, "peer", "connection closed by the peer"
	case errors.Is(err, errIdle):
		level, reason, text = slog.LevelDebug, "idle", "connection closed: idle"
	case errors.Is(err, errStopping):
		level, reason, text = slog.LevelDebug, "stop", "connection closed: server is stopping"
	case errors.Is(err, errGrace):
		level, reason, text = slog.LevelWarn, "grace", "connection closed before all requests were answered"
	case errors.Is(err, os.ErrDeadlineExceeded):
		level, reason, text = slog.LevelWarn, "write", "connection closed: the peer does not read its answers"
	}
	s.metrics.closed.WithLabelValues(reason).Inc()
	s.cfg.Logger.LogAttrs(context.Background(), level, text, append(attrs, slog.Any("err", err))...)
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
