package share

import "time"

// Config is what a group's configuration says about its records. It is read anew
// for every decision; locks and delays that are already running keep their end.
type Config struct {
	LockDuration  time.Duration // share.record.lock.duration.ms
	DeliveryLimit int16         // share.delivery.count.limit
	MaxLocks      int64         // share.partition.max.record.locks
	RetryDelay    time.Duration // share.retry.delay.ms; 0: at once
	RetryMaxDelay time.Duration // share.retry.delay.max.ms
	DeadLetters   string        // errors.deadletterqueue.topic.name; "": there is none
}

// retriesPerLock bounds, in multiples of MaxLocks, the records of a partition that
// are neither finished nor new: what waits for its retry holds no lock, but memory.
const retriesPerLock = 5

// retryDelay is how long a record waits after its count-th delivery has failed:
// the delay, doubled with every delivery, up to the maximum.
func (c Config) retryDelay(count int16) time.Duration {
	d := c.RetryDelay
	for ; count > 1 && d < c.RetryMaxDelay; count-- {
		d *= 2
	}
	return min(d, max(c.RetryMaxDelay, c.RetryDelay))
}
