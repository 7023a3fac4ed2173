package tier

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// SweepOptions say how thorough a sweep is.
type SweepOptions struct {
	DryRun bool
	// Grace is how old an unreferenced object must be, by the store's clock; *GraceError if it is
	// shorter than twice Options.PrepareTTL. 0: Options.SweepGrace.
	Grace time.Duration
	// Found is told about every object that is, or with DryRun would be, deleted. It may be nil.
	Found func(Orphan)
}

// GraceError refuses a grace period in which an upload that was begun may still be named.
type GraceError struct{ Grace, Least time.Duration }

func (e *GraceError) Error() string {
	return fmt.Sprintf("the grace period is %s, expected at least %s: what is younger may belong to an upload that is under way", e.Grace, e.Least)
}

// grace is how old an orphan must be, given what is asked for, what is configured, and how long an
// upload may last. What is configured is raised to the least.
func grace(asked, configured, prepareTTL time.Duration) (time.Duration, error) {
	least := 2 * prepareTTL
	if asked == 0 {
		return max(configured, least), nil
	}
	if asked < least {
		return 0, &GraceError{asked, least}
	}
	return asked, nil
}

// Orphan is an object that no manifest names.
type Orphan struct {
	bucket.Object
	Why string
}

// Swept is what a sweep found.
type Swept struct {
	Objects, Orphans int
	OrphanBytes      int64
	Uploads          int // unfinished multipart uploads that are, or with DryRun would be, ended
	Records          int // records of earlier sweeps that are, or with DryRun would be, deleted for their age
}

// Sweep looks through everything below the cluster id and deletes what nobody names and nobody can
// be about to name (R10): uploads that were begun and given up, what is left of deleted topics. It
// touches only partitions that are open here and whose manifest is ours, and deleted topics; the
// rest belongs to other brokers, or to nobody who could say.
//
// Nothing is deleted before it is in a [SweepRecord].
//
// An object that is older than the grace period cannot become part of a manifest any more, since an
// upload is begun anew under another key when it is older than Options.PrepareTTL. Objects are
// looked at as they are listed, so many at a time, and the manifest is read after each of these
// lists: what was listed and committed since is in it. So memory does not grow with the bucket.
func (t *Tier) Sweep(ctx context.Context, o SweepOptions) (Swept, error) {
	if err := t.Admitted(); err != nil {
		return Swept{}, err
	}
	var err error
	if o.Grace, err = grace(o.Grace, t.sweepGrace, t.prepareTTL); err != nil {
		return Swept{}, err
	}
	s := &sweep{bucket: t.bucket, cluster: t.cluster, o: o, before: t.now().Add(-o.Grace), now: t.now, by: t.name}
	s.named = func(ctx context.Context, topic TopicID, partition int32, bases offsets) (map[Token]bool, error) {
		if p := t.Lookup(topic, partition); p != nil {
			return p.named(ctx, bases)
		}
		return nil, nil
	}
	s.deleted = func(o Orphan) {
		t.sweptOrphans.Add(1)
		t.sweptBytes.Add(o.Size)
		t.logger.Info("tier: swept", "key", o.Key, "bytes", o.Size, "stored", o.Modified, "why", o.Why)
	}
	result, err := s.run(ctx)
	if err == nil && !o.DryRun {
		err = t.chores.done(&t.chores.swept, t.now())
	}
	return result, err
}

// SweepOffline is Sweep for a cluster whose brokers are stopped. It looks after all partitions that
// have a manifest. Unless it is a dry run it owns the cluster id meanwhile, under a name for
// people, so that neither a broker nor a restore begins beside it. *OwnedError: one is at work.
func SweepOffline(ctx context.Context, b bucket.Bucket, cluster, name string, o SweepOptions) (s Swept, err error) {
	if o.Grace, err = grace(o.Grace, defaultSweepGrace, defaultPrepareTTL); err != nil {
		return Swept{}, err
	}
	if err := holds(ctx, b, cluster); err != nil {
		return Swept{}, err
	}
	if o.DryRun {
		return sweepOffline(b, cluster, name, o).run(ctx)
	}
	c := Claimant{Bucket: b, Cluster: cluster, Installation: &Installation{ID: NewToken().String()}, Name: name}
	err = c.While(ctx, false, func(ctx context.Context) (err error) {
		s, err = sweepOffline(b, cluster, name, o).run(ctx)
		return err
	})
	return s, err
}

// holds fails if the bucket has nothing of the cluster: the id is mistyped, and neither clean nor to
// be owned.
func holds(ctx context.Context, b bucket.Bucket, cluster string) error {
	found := errors.New("there is something")
	err := b.List(ctx, cluster+"/", func(bucket.Object) error { return found })
	switch {
	case errors.Is(err, found):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s holds nothing of cluster %s", b, cluster)
}

func sweepOffline(b bucket.Bucket, cluster, name string, o SweepOptions) *sweep {
	s := &sweep{bucket: b, cluster: cluster, o: o, before: time.Now().Add(-o.Grace), deleted: func(Orphan) {}, now: time.Now, by: name}
	s.named = func(ctx context.Context, topic TopicID, partition int32, bases offsets) (map[Token]bool, error) {
		m, _, err := readManifest(ctx, b, partitionDir(cluster, topic, partition))
		if errors.Is(err, bucket.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return tokens(ctx, m, pagesOf(b, m), bases)
	}
	return s
}

// sweptAtOnce is how many objects of a partition are compared with its manifest at a time. Tests
// make it smaller.
var sweptAtOnce = 1000

// sweep is one run. Objects arrive in key order: topic by topic, within one partition by partition,
// and in these by offset, the tombstone last.
type sweep struct {
	bucket  bucket.Bucket
	cluster string
	o       SweepOptions
	before  time.Time // what is younger is left alone
	result  Swept
	// named returns the tokens of the objects that a partition names, of those at least whose base
	// offset is in bases; nil: do not touch the partition.
	named     func(ctx context.Context, topic TopicID, partition int32, bases offsets) (map[Token]bool, error)
	deleted   func(Orphan)
	now       func() time.Time
	by        string // who sweeps
	doomed    doomed
	multipart multipart // once it is known that there are unfinished uploads

	topic     TopicID
	tombstone *bucket.Object // of topic, if it is deleted
	left      int            // objects of topic beside the tombstone
	dir       string         // of the partition that batch is of
	batch     []bucket.Object
	outdated  []string // records of sweeps
}

func (s *sweep) run(ctx context.Context) (Swept, error) {
	err := s.topics(ctx)
	if err == nil {
		err = s.execute(ctx)
	}
	if err == nil {
		err = s.forget(ctx)
	}
	if err == nil {
		err = s.uploads(ctx)
	}
	return s.result, err
}

func (s *sweep) topics(ctx context.Context) error {
	root := s.cluster + "/"
	err := s.bucket.List(ctx, root, func(o bucket.Object) error {
		s.result.Objects++
		parts := strings.SplitN(strings.TrimPrefix(o.Key, root), "/", 3)
		topic, err := ParseTopicID(parts[0])
		if strings.HasPrefix(parts[0], bucket.ProbePrefix) && o.Modified.Before(s.before) {
			return s.doom(ctx, Orphan{Object: o, Why: "left behind by a probe"})
		}
		if parts[0] == sweepsName {
			return s.record(ctx, o)
		}
		if err != nil || len(parts) < 2 {
			return nil // the owner marker, copies of groups, not ours
		}
		if topic != s.topic {
			if err := s.enter(ctx, topic); err != nil {
				return err
			}
		}
		if o.Key == tombstoneKey(s.cluster, topic) {
			return nil
		}
		if dir := topicDir(s.cluster, topic) + parts[1] + "/"; dir != s.dir || len(s.batch) == sweptAtOnce {
			if err := s.flush(ctx); err != nil {
				return err
			}
			s.dir = dir
		}
		s.left++
		s.batch = append(s.batch, o)
		return nil
	})
	if err != nil {
		return err
	}
	return s.leave(ctx)
}

// enter begins with a topic.
func (s *sweep) enter(ctx context.Context, topic TopicID) error {
	if err := s.leave(ctx); err != nil {
		return err
	}
	s.topic, s.tombstone, s.left = topic, nil, 0
	o, err := s.bucket.Head(ctx, tombstoneKey(s.cluster, topic))
	switch {
	case err == nil:
		s.tombstone = &o
	case !errors.Is(err, bucket.ErrNotFound):
		return err
	}
	return nil
}

// leave ends with a topic. A tombstone goes when nothing has been found below it for long enough.
func (s *sweep) leave(ctx context.Context) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	if s.tombstone != nil && s.left == 0 && s.tombstone.Modified.Before(s.before) {
		return s.doom(ctx, Orphan{Object: *s.tombstone, Why: "nothing is left of the deleted topic"})
	}
	return nil
}

// flush looks through the objects of one partition that have been listed.
func (s *sweep) flush(ctx context.Context) error {
	objects, dir := s.batch, s.dir
	s.batch, s.dir = nil, ""
	if len(objects) == 0 {
		return nil
	}
	if s.tombstone != nil {
		for _, o := range objects {
			if err := s.doom(ctx, Orphan{Object: o, Why: "its topic is deleted"}); err != nil {
				return err
			}
		}
		return nil
	}
	number := strings.TrimSuffix(strings.TrimPrefix(dir, topicDir(s.cluster, s.topic)), "/")
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return nil
	}
	return s.partition(ctx, int32(n), objects)
}

// partition removes the orphans among objects of one partition.
func (s *sweep) partition(ctx context.Context, partition int32, objects []bucket.Object) error {
	type candidate struct {
		bucket.Object
		id     ObjectID
		suffix string
	}
	var old []candidate
	bases := offsets{math.MaxInt64, -1}
	for _, o := range objects {
		id, suffix, ok := parseObjectKey(partitionDir(s.cluster, s.topic, partition), o.Key)
		if ok && o.Modified.Before(s.before) {
			old = append(old, candidate{o, id, suffix})
			bases = offsets{min(bases.first, id.Base), max(bases.last, id.Base)}
		}
	}
	if len(old) == 0 {
		return nil
	}
	named, err := s.named(ctx, s.topic, partition, bases)
	if err != nil || named == nil {
		return err
	}
	for _, o := range old {
		if named[o.id.Token] {
			continue
		}
		why := fmt.Sprintf("no manifest names this %s", strings.TrimPrefix(o.suffix, "."))
		if err := s.doom(ctx, Orphan{Object: o.Object, Why: why}); err != nil {
			return err
		}
	}
	return nil
}
