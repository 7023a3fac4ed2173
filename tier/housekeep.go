package tier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

// housekeep looks for orphans and for damage, now and then, and at what readers complain of, at
// once, until ctx ends. What failed is tried again sooner.
func (t *Tier) housekeep(ctx context.Context) error {
	started := t.now()
	sweepDue := choreDue(time.UnixMilli(t.chores.swept.Load()), t.sweepEvery, started)
	scrubDue := choreDue(time.UnixMilli(t.chores.scrubbed.Load()), t.scrubEvery, started)
	for {
		next := sweepDue
		if scrubDue.Before(next) {
			next = scrubDue
		}
		select {
		case <-time.After(next.Sub(t.now())):
		case <-t.suspects.wake:
			t.lookAtSuspects(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
		if now := t.now(); !now.Before(sweepDue) {
			sweepDue = t.again(t.sweepEvery, t.sweepOnce(ctx))
		}
		if now := t.now(); !now.Before(scrubDue) {
			scrubDue = t.again(t.scrubEvery, t.scrubAll(ctx))
		}
	}
}

// again is when a chore is due that has just ended, with an error or not.
func (t *Tier) again(every time.Duration, err error) time.Time {
	if err != nil {
		every /= 24
	}
	return t.now().Add(every)
}

func (t *Tier) sweepOnce(ctx context.Context) error {
	s, err := t.Sweep(ctx, SweepOptions{})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.swept.Store(&sweptAt{t.now(), s, err})
	if err != nil {
		t.logger.Warn("tier: the sweep ended early", "err", err)
		return err
	}
	t.logger.Info("tier: swept the bucket", "objects", s.Objects, "orphans", s.Orphans, "bytes", s.OrphanBytes, "uploads", s.Uploads, "records", s.Records)
	return nil
}

// sweptAt is a sweep that has ended.
type sweptAt struct {
	at     time.Time
	result Swept
	err    error
}

// scrubAll verifies all open partitions, one after the other.
func (t *Tier) scrubAll(ctx context.Context) error {
	o := VerifyOptions{Deep: t.scrubRate > 0, BytesPerSecond: t.scrubRate, ObjectsPerSecond: scrubObjectsPerSecond}
	var errs []error
	for _, p := range t.all() {
		_, err := p.Scrub(ctx, o)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, errStopped) {
			t.logger.Warn("tier: scrubbing ended early", "partition", p.id.String(), "err", err)
			errs = append(errs, err)
		}
		if p.view.Load().kept < math.MaxInt64 { // a broker that starts now knows nothing of it
			errs = append(errs, fmt.Errorf("%s: a damaged segment could not be stored anew yet", p.id))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return t.chores.done(&t.chores.scrubbed, t.now())
}

// scrubObjectsPerSecond is how many objects the scrubber asks for: a tenth of what any store bears.
const scrubObjectsPerSecond = 20

// firstChore is how long a broker that has just started is left alone.
const firstChore = 10 * time.Minute

// chores remembers in a file when the bucket was last looked through, so that a broker that is
// restarted every day does it too. Losing the file puts the next look off.
type chores struct {
	fs   vfs.FS
	name string

	writing sync.Mutex // held while the file is written; readers do not wait for it
	// When all was last looked through for orphans, and for damage, or when the file was made: ms
	// since the epoch.
	swept, scrubbed atomic.Int64
}

// choresFile is what is in the file.
type choresFile struct {
	Swept    int64 `json:"swept"`
	Scrubbed int64 `json:"scrubbed"`
}

// openChores reads the file, or makes it if there is none that can be read.
func openChores(fsys vfs.FS, name string, now time.Time) (*chores, error) {
	c := &chores{fs: fsys, name: name}
	data, err := vfs.ReadFile(fsys, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var f choresFile
	if err == nil && json.Unmarshal(data, &f) == nil {
		c.swept.Store(f.Swept)
		c.scrubbed.Store(f.Scrubbed)
		return c, nil
	}
	c.swept.Store(now.UnixMilli())
	return c, c.done(&c.scrubbed, now)
}

// done notes that a chore, one of the fields, has been done.
func (c *chores) done(chore *atomic.Int64, now time.Time) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	chore.Store(now.UnixMilli())
	data, err := json.Marshal(choresFile{c.swept.Load(), c.scrubbed.Load()})
	if err == nil {
		err = vfs.WriteFile(c.fs, c.name, data)
	}
	if err != nil {
		return fmt.Errorf("remember when the bucket was looked through: %w", err)
	}
	return nil
}

// choreDue is when what was done last is due again on a broker that started at a time. A clock that
// went back puts nothing off.
func choreDue(last time.Time, every time.Duration, started time.Time) time.Time {
	if last.After(started) {
		last = started
	}
	due, first := last.Add(every), started.Add(min(every, firstChore))
	if due.Before(first) {
		return first
	}
	return due
}
