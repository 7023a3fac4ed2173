package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

var errUnreadable = errors.New("bytes cannot be read as batches")

// item is what a segment is written anew of: a stretch of the old one, or a marker that was lost.
type item struct {
	pos, end int64
	header   record.Batch // what the only batch's is put right by, offset and leader epoch; nil if there is nothing wrong
	single   bool         // the last batch does not continue a group any more
	marker   record.Batch
}

// takes reports whether a stretch can be prolonged by a batch.
func (it *item) takes(h *found) bool {
	return it.end == h.pos && it.header == nil && it.marker == nil && !it.single
}

// copyItem hands on the batches of a stretch of a segment. Each is checked once more.
func copyItem(f io.ReaderAt, it *item, visit func(record.Batch) error) error {
	sc := batches.NewScanner(f, it.pos, it.end)
	defer sc.Close()
	for {
		b, pos, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if batches.Damaged(err) {
			return fmt.Errorf("%w: position %d was whole a moment ago: %w", errUnreadable, pos, err)
		}
		if err != nil {
			return fmt.Errorf("read position %d: %w", pos, err)
		}
		if it.header != nil {
			b.SetBaseOffset(it.header.BaseOffset())
			b.SetLeaderEpoch(it.header.LeaderEpoch())
		}
		if it.single && pos+int64(len(b)) == it.end {
			b.Stamp(b.Attributes()&^record.Continued, b.MaxTimestamp())
		}
		if err := visit(b); err != nil {
			return err
		}
	}
}

// Scan visits the batches of the log as they will be, hidden ones included.
func (s *Salvage) Scan(visit func(record.Batch) error) error {
	for _, p := range s.parts {
		if err := s.scanPart(p, visit); err != nil {
			return err
		}
	}
	return nil
}

// scanPart visits what a segment will be made of.
func (s *Salvage) scanPart(p *part, visit func(record.Batch) error) (err error) {
	var f vfs.File
	for i := range p.items {
		it := &p.items[i]
		if it.marker != nil {
			if err := visit(it.marker); err != nil {
				return err
			}
			continue
		}
		if f == nil {
			if f, err = s.o.FS.Open(s.path(segment.FileName(p.base, segment.LogSuffix))); err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // nothing is written to it
		}
		if err := copyItem(f, it, visit); err != nil {
			return err
		}
	}
	return nil
}
