package tier

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// outage is what the log is told of a store that fails: when that begins, once for each kind of
// failure, once an hour, and when it is over; not by every partition that notices, nor with every
// try. Safe for concurrent use.
type outage struct {
	mu      sync.Mutex
	failing map[*Partition]bool // whose last step failed; guarded by mu
	since   time.Time           // when the first of them did; guarded by mu
	told    map[error]time.Time // by kind, since then; guarded by mu
}

// failed notes that the store failed a partition, in one of the kinds of a [bucket.Error]. It reports
// whether that is news.
func (o *outage) failed(p *Partition, kind error, now time.Time) (news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failing) == 0 {
		o.failing, o.told, o.since = map[*Partition]bool{}, map[error]time.Time{}, now
	}
	o.failing[p] = true
	if at, ok := o.told[kind]; ok && now.Sub(at) < sayAgain {
		return false
	}
	o.told[kind] = now
	return true
}

// worked notes that a step of a partition succeeded. It reports whether that was the last one that
// failed, and since when there had been any.
func (o *outage) worked(p *Partition) (over bool, since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.failing[p] {
		return false, time.Time{}
	}
	delete(o.failing, p)
	return len(o.failing) == 0, o.since
}

// tell has the log know of the last step of the partition, which failed, or did not. What stops one
// partition is told for each; what the tier as a whole is kept from is told by admit.
func (p *Partition) tell(err error, again time.Duration) {
	now, logger := p.tier.now(), p.tier.logger
	var store *bucket.Error
	kind := stopKind(err)
	switch {
	case err == nil:
		if over, since := p.tier.outage.worked(p); over {
			logger.Info("tier: the store works again", "bucket", p.tier.bucket.String(), "after", now.Sub(since).Round(time.Second))
		}
		if p.said != (saidError{}) {
			logger.Info("tier: the partition goes on", "partition", p.id.String())
		}
		p.said = saidError{}
	case p.tier.Admitted() != nil:
	case kind == nil && errors.As(err, &store):
		if p.tier.outage.failed(p, store.Kind, now) {
			logger.Warn("tier: the store fails, and is tried again", "bucket", p.tier.bucket.String(), "partition", p.id.String(), "err", Advice(err))
		}
	case p.said.isNews(cmp.Or(kind, err), now):
		logger.Warn("tier: a step failed and will be repeated", "partition", p.id.String(), "failures", p.failures, "in", again, "err", Advice(err))
	}
}
