package protocol

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is how a Server treats its connections. The zero value of a field
// means its default.
type Config struct {
	// RequestMaxBytes bounds one request frame (socket.request.max.bytes).
	// Default 100 MiB.
	RequestMaxBytes int32
	// QueuedMaxBytes bounds the request frames of all connections together,
	// from before a frame is read until it is decoded or, for a produce, its answer
	// is written or its memory released (queued.max.request.bytes). It must not be below
	// RequestMaxBytes. Default 256 MiB or RequestMaxBytes, whichever is more.
	QueuedMaxBytes int64
	// MaxInFlight bounds the requests of one connection that have been started
	// and not answered. Default 64.
	MaxInFlight int

	// IdleTimeout closes a connection on which nothing has been read, written
	// or awaited for so long (connections.max.idle.ms). Negative: never.
	// Default 10 minutes.
	IdleTimeout time.Duration
	// FrameTimeout bounds how long each MiB of a frame, or the frame if it is
	// smaller, may take to arrive once its first byte has. A frame above a MiB
	// must be faster while others wait for the memory it has. Default 30 s.
	FrameTimeout time.Duration
	// WriteTimeout bounds how long the peer may take to accept each MiB of an
	// answer. Default 30 s.
	WriteTimeout time.Duration
	// Grace is how long a stopping server waits for accepted requests to be
	// answered. Default 10 s.
	Grace time.Duration

	// MaxConnections bounds the open connections of all listeners; further ones
	// wait in the accept loop, as in Kafka (max.connections). Default: no bound.
	MaxConnections int
	// MaxConnectionsPerIP bounds the open connections from one address; further
	// ones are closed at once (max.connections.per.ip). Default: no bound.
	MaxConnectionsPerIP int

	// MaxConnectionRate bounds how many new connections a second all listeners
	// together accept; further ones wait in the accept loop, as in Kafka
	// (max.connection.creation.rate, KIP-612). A second's worth may come at
	// once. Default: no bound.
	MaxConnectionRate int

	// SendBuffer and ReceiveBuffer are the socket's buffer sizes in bytes
	// (socket.send.buffer.bytes, socket.receive.buffer.bytes). Zero or
	// negative: the system's choice, which adapts to the connection.
	SendBuffer, ReceiveBuffer int
	// TCPCongestion is the congestion control of accepted TCP connections, such
	// as "cubic"; Linux only. Empty: the system's choice.
	TCPCongestion string

	// Features are the feature versions shown in ApiVersions (KIP-584). It is
	// asked at every ApiVersions request; nil means none.
	Features func() Features
	// Identity is who the broker is, for clients that were led to another one
	// (KIP-1242). It is asked as Features is; nil means that it does not matter.
	Identity func() Identity

	// Logger receives a line for every connection closed for cause, unless there are
	// many. Default: discard.
	Logger *slog.Logger
	// Registerer receives the server's metrics; nil registers nothing.
	Registerer prometheus.Registerer
}

// Identity names a broker.
type Identity struct {
	ClusterID string
	NodeID    int32
}

// Features are the feature versions of a cluster (KIP-584).
type Features struct {
	// Epoch is that of the finalized levels; -1 if unknown.
	Epoch int64
	All   []Feature
}

// Feature is one feature: the levels this broker supports and the level the
// cluster has finalized, 0 if it has not.
type Feature struct {
	Name                string
	Min, Max, Finalized int16
}

func (c Config) withDefaults() (Config, error) {
	setDefault(&c.RequestMaxBytes, 100<<20)
	setDefault(&c.QueuedMaxBytes, max(256<<20, int64(c.RequestMaxBytes)))
	setDefault(&c.MaxInFlight, 64)
	setDefault(&c.IdleTimeout, 10*time.Minute)
	setDefault(&c.FrameTimeout, 30*time.Second)
	setDefault(&c.WriteTimeout, 30*time.Second)
	setDefault(&c.Grace, 10*time.Second)
	setDefault(&c.MaxConnections, math.MaxInt)
	setDefault(&c.MaxConnectionsPerIP, math.MaxInt)
	setDefault(&c.MaxConnectionRate, math.MaxInt32)
	if c.Features == nil {
		c.Features = func() Features { return Features{Epoch: -1} }
	}
	if c.Identity == nil {
		c.Identity = func() Identity { return Identity{} }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, c.check()
}

func (c *Config) check() error {
	var errs []error
	positive := func(name string, v int64) {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s is %d, expected a positive number", name, v))
		}
	}
	positive("socket.request.max.bytes", int64(c.RequestMaxBytes))
	positive("requests in flight per connection", int64(c.MaxInFlight))
	positive("frame timeout", int64(c.FrameTimeout))
	positive("write timeout", int64(c.WriteTimeout))
	positive("shutdown grace period", int64(c.Grace))
	positive("max.connections", int64(c.MaxConnections))
	positive("max.connections.per.ip", int64(c.MaxConnectionsPerIP))
	positive("max.connection.creation.rate", int64(c.MaxConnectionRate))
	if c.QueuedMaxBytes < int64(c.RequestMaxBytes) {
		errs = append(errs, fmt.Errorf("queued.max.request.bytes is %d, expected at least socket.request.max.bytes (%d), "+
			"or a single large request could wait for ever", c.QueuedMaxBytes, c.RequestMaxBytes))
	}
	return errors.Join(errs...)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
