// Package salvage lets a broker go on whose disk returns other bytes than were written, and for
// whose records there is no copy: it says which offsets are lost, and gives them up if it is told
// to. It is not for running brokers; it works on a data directory that none uses.
//
// The log is the truth, and package log knows how one is salvaged. Here is what else decides: which
// topic a log belongs to, whether the tier has what is damaged, what delayed records it concerns,
// and what must not be salvaged:
//
//   - a schedule log: its runs and progress records refer to each other by offset, and a run of
//     which something is missing would stop for ever;
//   - a log that the commit journal cannot be put into: what that has is not to be given up unseen.
package salvage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier"
)

const (
	lockName  = "LOCK"
	logsName  = "logs"
	tierName  = "remote"   // where the tier keeps its upload states
	asideName = "salvaged" // where damaged files are kept
)

// Config says what to salvage.
type Config struct {
	FS   vfs.FS
	Dir  string // data directory
	Node int32  // id of the broker it belongs to
	// Partitions are names like orders-3; none means all.
	Partitions []string
	// AcceptLoss gives up what is lost. Without it nothing is changed.
	AcceptLoss bool
	Undecided  log.Outcome
	Now        time.Time
}

// Partition is what was found of one that is damaged.
type Partition struct {
	Name, Dir string
	Plan      *log.Salvage // nil if there is none
	// Pending is how many delayed records that lie before something lost are pending, by what is left.
	Pending int64
	// Internal says that it is a journal of the broker's: what it knew falls back to what it knew before.
	Internal bool
	// Aside is where the damaged files are, once it was salvaged.
	Aside string
	// Refused says why it was not, and cannot be.
	Refused error
}

var (
	errSchedule = errors.New("it is the schedule of a topic: runs of delayed records refer to each other and cannot be taken apart. Put the files back from a copy, or restore the topic from the bucket; see docs/OPERATIONS.md")
	errUnknown  = errors.New("no such partition is in the data directory")
)

// Run looks at partitions and returns those that are damaged, by name. With Config.AcceptLoss it salvages them.
func Run(ctx context.Context, cfg Config) (found []Partition, err error) {
	meta := vfs.Join(cfg.Dir, local.FileName)
	if exists, err := vfs.Exists(cfg.FS, meta); err != nil || !exists {
		return nil, cmp.Or(err, fmt.Errorf("there is no data directory of a broker in %s", cfg.Dir))
	}
	lock, err := cfg.FS.Lock(vfs.Join(cfg.Dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("data directory %s is in use by a broker: stop it first", cfg.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	todo, err := cfg.logs()
	if err != nil {
		return nil, err
	}
	var journal *log.Set
	if cfg.AcceptLoss {
		// What only the commit journal has is put into the segments, as at every start, and then it is empty.
		if journal, err = log.Open(log.SetConfig{FS: cfg.FS, Dir: vfs.Join(cfg.Dir, logsName), JournalMaxBytes: -1}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, journal.Close()) }()
	}
	for _, t := range todo {
		if err := ctx.Err(); err != nil {
			return found, err
		}
		p, damaged, err := cfg.partition(t, journal)
		if err != nil {
			return found, fmt.Errorf("%s: %w", t.name, err)
		}
		if damaged {
			found = append(found, p)
		}
	}
	return found, nil
}

// target is a log to look at.
type target struct {
	name               string
	id                 log.ID
	schedule, internal bool
	tiered             bool
}

// logs lists the logs to look at, by the metadata.
func (cfg *Config) logs() (todo []target, err error) {
	store, err := local.Open(local.Options{Dir: cfg.Dir, Node: cfg.Node})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	img := store.Image()
	missing := slices.Clone(cfg.Partitions)
	for _, t := range img.Topics() {
		for n := range t.Partitions {
			x := newTarget(img, t, int32(n))
			if len(cfg.Partitions) > 0 && !slices.Contains(cfg.Partitions, x.name) {
				continue
			}
			exists, err := vfs.Exists(cfg.FS, cfg.dir(x))
			if err != nil {
				return nil, err
			}
			if exists {
				todo = append(todo, x)
				missing = slices.DeleteFunc(missing, func(name string) bool { return name == x.name })
			}
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s: %w", strings.Join(missing, ", "), errUnknown)
	}
	return todo, nil
}

func newTarget(img *cluster.Image, t *cluster.Topic, n int32) target {
	x := target{name: fmt.Sprintf("%s-%d", t.Name, n), id: log.ID{Topic: t.ID, Partition: n}, schedule: t.IsSchedule()}
	x.internal = t.Internal && !x.schedule
	if owner, ok := img.TopicByID(t.ScheduleOf); ok {
		t = owner
	}
	x.tiered = t.Resolved().RemoteStorageEnable
	return x
}

func (cfg *Config) dir(t target) string { return vfs.Join(cfg.Dir, logsName, t.id.String()) }

// partition looks at one, and salvages it if it may.
func (cfg *Config) partition(t target, journal *log.Set) (p Partition, damaged bool, err error) {
	p = Partition{Name: t.name, Dir: cfg.dir(t), Internal: t.internal}
	if journal != nil {
		if p.Refused = journal.Restored(t.id); p.Refused != nil {
			return p, true, nil
		}
		if err := segment.FinishSwaps(segment.Options{FS: cfg.FS, Dir: p.Dir}); err != nil {
			return p, false, err
		}
	}
	confirmed := int64(0)
	if t.tiered {
		id := tier.PartitionID{Topic: tier.TopicID(t.id.Topic), Partition: t.id.Partition}
		if confirmed, err = tier.RecordedBound(cfg.FS, vfs.Join(cfg.Dir, tierName), id); err != nil {
			return p, false, err
		}
	}
	p.Plan, err = log.PlanSalvage(log.SalvageOptions{FS: cfg.FS, Dir: p.Dir, Confirmed: confirmed, Undecided: cfg.Undecided})
	if _, ok := errors.AsType[*log.CorruptError](err); ok {
		p.Refused = err
		return p, true, nil
	}
	if err != nil || !p.Plan.Needed() {
		return p, false, err
	}
	if t.schedule && len(p.Plan.Lost) > 0 {
		p.Refused = errSchedule
		return p, true, nil
	}
	if !t.internal && !t.schedule {
		if p.Pending, err = pending(p.Plan); err != nil {
			return p, true, err
		}
	}
	if !cfg.AcceptLoss || len(p.Plan.Transactions) > 0 {
		return p, true, nil
	}
	p.Aside = vfs.Join(cfg.Dir, asideName, cfg.Now.UTC().Format("20060102T150405Z"), t.id.String())
	return p, true, p.Plan.CarryOut(p.Aside)
}

// pending counts the delayed records before something that is lost which are pending by what is
// left of the log: what delivered or cancelled them may be among what is lost.
func pending(plan *log.Salvage) (count int64, err error) {
	end := int64(0)
	for _, l := range plan.Lost {
		if l.From < l.To {
			end = max(end, l.To)
		}
	}
	if end == 0 {
		return 0, nil
	}
	s := delay.NewSchedule(0)
	if err := plan.Scan(s.Apply); err != nil {
		return 0, err
	}
	var page delay.Page
	for !page.Done {
		if page, err = s.List(context.Background(), page.Next, delay.Filter{From: math.MinInt64, Until: math.MaxInt64}, 4096); err != nil {
			return 0, err
		}
		for _, r := range page.Records {
			if r.Ticket < end {
				count++
			}
		}
	}
	return count, nil
}
