package delay

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Dialect names whose delay headers are understood.
type Dialect string

const (
	// Morrow is the table of HeaderDelay and its neighbours.
	Morrow Dialect = "morrow"
	// RocketMQ is DELAY (a level), TIMER_DELAY_SEC, TIMER_DELAY_MS and TIMER_DELIVER_MS.
	RocketMQ Dialect = "rocketmq"
	// RabbitMQ is x-delay, in milliseconds.
	RabbitMQ Dialect = "rabbitmq"
)

// RulesConfig is a topic's delay configuration as it is written. The zero value means: not enabled.
type RulesConfig struct {
	// Enable is delay.enable.
	Enable bool
	// Dialects is delay.dialects.
	Dialects []string
	// DefaultMs is delay.default.ms: the delay of records without a delay header; 0 for none.
	DefaultMs int64
	// MaxMs is delay.max.ms: the longest delay accepted.
	MaxMs int64
	// MaxPending is delay.max.pending: how many records may be pending in a partition; -1 for any number.
	MaxPending int64
	// Levels is delay.levels: the delays of level 1 and up.
	Levels []time.Duration
	// MaxMessageBytes is max.message.bytes.
	MaxMessageBytes int32
}

// Rules is a topic's delay configuration, parsed. It is immutable and safe for concurrent use.
type Rules struct {
	enabled         bool
	headers         vocabulary
	defaultMs       int64
	maxMs           int64
	maxPending      int64
	levels          []int64
	maxMessageBytes int
	splitters       sync.Pool
}

// ParseRules checks a configuration as a whole. Errors name the config, its value and what was expected.
func ParseRules(c RulesConfig) (*Rules, error) {
	r := &Rules{enabled: c.Enable, defaultMs: c.DefaultMs, maxMs: c.MaxMs, maxPending: c.MaxPending, maxMessageBytes: int(c.MaxMessageBytes)}
	if c.MaxMs <= 0 {
		return nil, fmt.Errorf("delay.max.ms is %d, expected more than 0", c.MaxMs)
	}
	if c.DefaultMs < 0 || c.DefaultMs > c.MaxMs {
		return nil, fmt.Errorf("delay.default.ms is %d, expected 0 to delay.max.ms, which is %d", c.DefaultMs, c.MaxMs)
	}
	if c.MaxPending < -1 {
		return nil, fmt.Errorf("delay.max.pending is %d, expected -1 (no limit) or more", c.MaxPending)
	}
	if c.MaxPending == -1 {
		r.maxPending = math.MaxInt64
	}
	var err error
	if r.levels, err = checkLevels(c.Levels); err != nil {
		return nil, err
	}
	if r.headers, err = parseDialects(c.Dialects); err != nil {
		return nil, err
	}
	r.splitters.New = func() any { return newSplitter(r) }
	return r, nil
}

// checkLevels does not ask for delay.max.ms: who lowers that need not change the table. A record
// with a level beyond it is refused.
func checkLevels(ds []time.Duration) ([]int64, error) {
	levels := make([]int64, len(ds))
	for i, d := range ds {
		if levels[i] = d.Milliseconds(); levels[i] <= 0 {
			return nil, fmt.Errorf("delay.levels has the entry %v, expected at least a millisecond", d)
		}
	}
	if len(levels) == 0 {
		return nil, errors.New("delay.levels is empty, expected at least one duration")
	}
	return levels, nil
}

func parseDialects(names []string) (vocabulary, error) {
	var v vocabulary
	for i, name := range names {
		words, ok := dialects[Dialect(name)]
		if !ok {
			return v, fmt.Errorf("delay.dialects has the entry %q, expected a list of %s, %s, %s", name, Morrow, RocketMQ, RabbitMQ)
		}
		if !slices.Contains(names[:i], name) {
			for _, w := range words {
				v.add(w)
			}
		}
	}
	v.reserve()
	return v, nil
}
