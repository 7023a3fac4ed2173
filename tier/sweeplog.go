package tier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// sweepRecordsKept is how long records of sweeps stay.
const sweepRecordsKept = 365 * 24 * time.Hour

// SweepRecord says what a sweep was about to delete. It is an object of its own in the bucket,
// stored and confirmed before the first of these deletions, and never changed: whatever a sweep
// deleted is in a record, and what is in a record was deleted, unless the sweep ended early; then a
// later one has it again. Sweeps delete records that are older than a year.
type SweepRecord struct {
	Time    int64        `json:"time"` // ms since the epoch
	By      string       `json:"by"`   // who swept, for people
	GraceMs int64        `json:"grace_ms"`
	Deleted []SweptEntry `json:"deleted"`
	// Err is why the record cannot be read: then the sweep deleted nothing of it, or it was damaged later.
	Err error `json:"-"`
}

// SweptEntry is an object, or an unfinished multipart upload.
type SweptEntry struct {
	Key    string `json:"key"`
	Bytes  int64  `json:"bytes"`
	Stored int64  `json:"stored"` // when it was stored or begun, by the store's clock, ms since the epoch
	Why    string `json:"why"`
}

const (
	sweepsName     = "sweeps"
	sweepSuffix    = ".json"
	maxSweepBytes  = 16 << 20
	sweptPerRecord = 1000
)

func sweepsDir(cluster string) string { return cluster + "/" + sweepsName + "/" }

// putSweepRecord stores a record for good.
func putSweepRecord(ctx context.Context, b bucket.Bucket, cluster string, r SweepRecord) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := fmt.Sprintf("%s%015d-%s%s", sweepsDir(cluster), r.Time, NewToken(), sweepSuffix)
	if _, err := putConfirmed(ctx, b, key, bucket.BytesBody(b.Checksum(), data)); err != nil {
		return fmt.Errorf("record what is to be swept: %w", err)
	}
	return nil
}

// SweepLog returns the last records of the sweeps of a cluster, oldest first.
func SweepLog(ctx context.Context, b bucket.Bucket, cluster string, last int) ([]SweepRecord, error) {
	var keys []string
	err := b.List(ctx, sweepsDir(cluster), func(o bucket.Object) error {
		if strings.HasSuffix(o.Key, sweepSuffix) {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	records := []SweepRecord{}
	for _, key := range keys[max(0, len(keys)-last):] {
		r, err := readSweepRecord(ctx, b, key)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func readSweepRecord(ctx context.Context, b bucket.Bucket, key string) (r SweepRecord, err error) {
	data, _, err := bucket.ReadAll(ctx, b, key, maxSweepBytes)
	if err == nil {
		if jerr := json.Unmarshal(data, &r); jerr != nil {
			err = fmt.Errorf("%s: %w: %w", key, ErrCorrupt, jerr)
		}
	}
	if errors.Is(err, ErrCorrupt) {
		name, _, _ := strings.Cut(key[strings.LastIndexByte(key, '/')+1:], "-")
		at, _ := strconv.ParseInt(name, 10, 64) // 0 if somebody else has put it there
		return SweepRecord{Time: at, Err: err}, nil
	}
	return r, err
}

// SweepLog returns the last records of the sweeps of this cluster, oldest first.
func (t *Tier) SweepLog(ctx context.Context, last int) ([]SweepRecord, error) {
	return SweepLog(ctx, t.bucket, t.cluster, last)
}

// doomed is what a sweep has found and not deleted yet.
type doomed struct {
	objects []Orphan
	uploads []bucket.StaleUpload
}

// doom has an orphan deleted, soon.
func (s *sweep) doom(ctx context.Context, o Orphan) error {
	s.result.Orphans++
	s.result.OrphanBytes += o.Size
	if s.o.Found != nil {
		s.o.Found(o)
	}
	s.doomed.objects = append(s.doomed.objects, o)
	if len(s.doomed.objects) < sweptPerRecord {
		return nil
	}
	return s.execute(ctx)
}

// record has a record of an earlier sweep deleted, soon, if it is old enough. That is not recorded.
func (s *sweep) record(ctx context.Context, o bucket.Object) error {
	if !strings.HasSuffix(o.Key, sweepSuffix) || s.now().Sub(o.Modified) <= sweepRecordsKept {
		return nil
	}
	s.outdated = append(s.outdated, o.Key)
	if len(s.outdated) < sweptPerRecord {
		return nil
	}
	return s.forget(ctx)
}

// forget deletes records of earlier sweeps.
func (s *sweep) forget(ctx context.Context) error {
	keys := s.outdated
	s.outdated = nil
	s.result.Records += len(keys)
	if s.o.DryRun || len(keys) == 0 {
		return nil
	}
	return s.bucket.Delete(ctx, keys...)
}

// execute records what is doomed, and then deletes it.
func (s *sweep) execute(ctx context.Context) error {
	d := s.doomed
	s.doomed = doomed{}
	if s.o.DryRun || len(d.objects)+len(d.uploads) == 0 {
		return nil
	}
	r := SweepRecord{Time: s.now().UnixMilli(), By: s.by, GraceMs: s.o.Grace.Milliseconds()}
	keys := make([]string, len(d.objects))
	for i, o := range d.objects {
		keys[i] = o.Key
		r.Deleted = append(r.Deleted, SweptEntry{Key: o.Key, Bytes: o.Size, Stored: o.Modified.UnixMilli(), Why: o.Why})
	}
	for _, u := range d.uploads {
		r.Deleted = append(r.Deleted, SweptEntry{Key: u.Key, Stored: u.Begun.UnixMilli(), Why: "nobody finishes this upload"})
	}
	if err := putSweepRecord(ctx, s.bucket, s.cluster, r); err != nil {
		return err
	}
	if err := s.bucket.Delete(ctx, keys...); err != nil {
		return err
	}
	for _, o := range d.objects {
		s.deleted(o)
	}
	for _, u := range d.uploads {
		if err := s.multipart.EndUpload(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// multipart is a bucket in which uploads can be left unfinished.
type multipart interface {
	// StaleUploads lists those below prefix that were begun before a time.
	StaleUploads(ctx context.Context, prefix string, before time.Time) ([]bucket.StaleUpload, error)
	// EndUpload gives one up. That there is none is no error.
	EndUpload(ctx context.Context, u bucket.StaleUpload) error
}

// uploads ends multipart uploads that nobody is going to finish.
func (s *sweep) uploads(ctx context.Context) error {
	b, ok := bucket.Underlying(s.bucket).(multipart)
	if !ok {
		return nil
	}
	s.multipart = b
	stale, err := b.StaleUploads(ctx, s.cluster+"/", s.before)
	if err != nil {
		return err
	}
	for len(stale) > 0 {
		n := min(len(stale), sweptPerRecord)
		s.doomed.uploads, stale = stale[:n], stale[n:]
		if err := s.execute(ctx); err != nil {
			return err
		}
		s.result.Uploads += n
	}
	return nil
}
