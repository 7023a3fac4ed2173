package tier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// admission is whether the tier may change anything in the bucket: the store has passed the probe,
// and the cluster id there is ours. Reads need no admission.
type admission struct {
	ok    bool
	err   error // why not, or why the last renewal failed
	owner Owner // of the cluster id in the bucket, as last heard of
}

// ErrNotAdmitted says that the store has not been asked yet.
var ErrNotAdmitted = errors.New("the store has not been probed yet")

// Admitted returns nil if the store has passed the start-up probe and belongs to this cluster, else
// why it has not been put to use.
func (t *Tier) Admitted() error {
	if a := t.admitted.Load(); !a.ok {
		return fmt.Errorf("tier %s: %w", t.bucket, a.err)
	}
	return nil
}

// saidError is what the log said last about something that is tried again and again.
type saidError struct {
	text string
	at   time.Time
}

// sayAgain is how often the log repeats an error that has not changed.
const sayAgain = time.Hour

// isNews reports whether err is to be said at this moment, and remembers it then.
func (s *saidError) isNews(err error, now time.Time) bool {
	text := err.Error()
	if owned, ok := errors.AsType[*OwnedError](err); ok { // whose last sign of life changes all the time
		text = fmt.Sprint(owned.Owner.Instance, owned.Owner.Name, owned.Copy)
	}
	if s.text == text && now.Sub(s.at) < sayAgain {
		return false
	}
	s.text, s.at = text, now
	return true
}

// admit probes the store until it passes, and then stays the owner, until ctx ends.
func (t *Tier) admit(ctx context.Context) error {
	probed := false
	var said saidError
	for failures := 0; ; {
		me, err := t.admitOnce(ctx, &probed)
		var owned *OwnedError
		was := t.admitted.Load()
		switch {
		case err == nil:
			failures, said = 0, saidError{}
			t.admitted.Store(&admission{ok: true, owner: me})
			if !was.ok {
				t.logger.Info("tier: the store is in use", "bucket", t.bucket.String())
				t.begin()
				t.wakeAll()
			}
		case was.ok && !errors.As(err, &owned):
			t.admitted.Store(&admission{ok: true, err: err, owner: was.owner}) // out of reach: the steps will notice by themselves
		default:
			failures++
			now := admission{err: err, owner: was.owner}
			if owned != nil || errors.As(err, &owned) {
				now.owner = owned.Owner
			}
			t.admitted.Store(&now)
			if said.isNews(err, time.Now()) {
				t.logger.Warn("tier: the store cannot be used, and is tried again", "bucket", t.bucket.String(), "err", Advice(err))
			}
		}
		wait := ownerInterval
		if failures > 0 {
			wait = backOff(failures, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *Tier) admitOnce(ctx context.Context, probed *bool) (me Owner, err error) {
	if !*probed {
		if err := bucket.Probe(ctx, t.bucket, t.cluster+"/", nil); err != nil {
			return me, err
		}
		*probed = true
	}
	c := Claimant{Bucket: t.bucket, Cluster: t.cluster, Installation: t.installation, Name: t.name}
	return c.Claim(ctx, t.now().UnixMilli(), false)
}

// wakeAll lets every partition look whether there is something to do.
func (t *Tier) wakeAll() {
	for _, p := range t.all() {
		p.Notify()
	}
}
