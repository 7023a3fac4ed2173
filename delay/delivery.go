package delay

import (
	"errors"
	"strconv"

	"github.com/morrowmq/morrow/log/record"
)

// Delivery is what a [Dispatcher] asks a partition to append: batches marked [record.Delivery], whose
// records are due.
type Delivery struct {
	// Batches are valid until Deliver returns. Their base offsets, which count from the first
	// one's, and leader epochs are for the partition to set.
	Batches []record.Batch

	flight *flight
	// first and next delimit the flight's entries that the batches hold, but for those that were gone by the
	// state changes; the latest of them is due at latest.
	first, next int
	gone        []bool
	changes     int
	latest      int64
}

// ErrEarly means that the clock went back, and a delivery is not due any more.
var ErrEarly = errors.New("not due yet")

// AdmitDelivery decides, in the partition's append section, whether a delivery may be appended at
// time now. After nil, its batches must be appended, and [Schedule.ApplyDelivery] called, before
// anything else is. Errors: [ErrChanged] if a record of it was cancelled or is in no flight any
// more; [ErrEarly].
func (s *Schedule) AdmitDelivery(d *Delivery, now int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now < d.latest {
		return ErrEarly
	}
	if d.flight.changes != d.changes || !s.flying(d.flight) {
		return ErrChanged
	}
	return nil
}

func (s *Schedule) flying(f *flight) bool {
	for _, g := range s.flights {
		if f == g {
			return true
		}
	}
	return false
}

// remaining copies which entries of a flight are finished, and returns the state that this is of.
func (s *Schedule) remaining(f *flight, gone []bool) (changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(gone, f.gone)
	return f.changes
}

// Most of a delivered batch, before compression. A single larger record is a batch of its own.
const (
	deliveryBytes   = 1 << 20
	deliveryRecords = 16 << 10
)

// stamper writes the headers of delivered records without allocating.
type stamper struct {
	digits  []byte
	headers [3]record.Header
}

func (t *stamper) of(e Entry, producedAt int64) []record.Header {
	t.digits = strconv.AppendInt(t.digits[:0], e.Ticket, 10)
	i := len(t.digits)
	t.digits = strconv.AppendInt(t.digits, e.Due, 10)
	j := len(t.digits)
	t.digits = strconv.AppendInt(t.digits, producedAt, 10)
	t.headers = [3]record.Header{
		{Key: HeaderTicket, Value: t.digits[:i]},
		{Key: HeaderDue, Value: t.digits[i:j]},
		{Key: HeaderProducedAt, Value: t.digits[j:]},
	}
	return t.headers[:]
}
