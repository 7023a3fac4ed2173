package segment

import (
	"errors"
	"io"

	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
)

// Scan calls visit for every batch that ends above from and begins below to, hidden ones
// included. The batch is valid during the call. Damage is a *CorruptError.
func (s *Segment) Scan(from, to int64, visit func(b record.Batch, pos int64) error) error {
	pos, err := s.floorBatch(from)
	if err != nil {
		return err
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	sc := batches.NewScanner(f, pos, s.Size())
	defer sc.Close()
	for {
		b, pos, err := sc.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return s.badBatch(pos, err)
		case b.BaseOffset() >= to:
			return nil
		case b.EndOffset() <= from:
			continue
		}
		if err := visit(b, pos); err != nil {
			return err
		}
	}
}
