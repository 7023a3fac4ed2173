package log

import (
	"errors"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// The client has been told that its transaction is committed, and begins the next, in the next
// epoch, before the marker of the first is here. That marker must not commit what the second has
// appended: the coordinator is asked, and tells it to wait.
func TestNextTransactionDoesNotSlipInBeforeTheMarker(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s)
	inEpoch := func(epoch int16) Group {
		var w record.Builder
		w.Reset(record.Transactional, now.UnixMilli())
		w.SetProducer(7, epoch, 0)
		w.Add(0, now.UnixMilli(), nil, nil)
		b, err := w.Finish()
		check(t, err)
		return plain(b)
	}
	first, second := inEpoch(0), inEpoch(1)
	first.Verification = l.Verify(7, 0, 0, 0, true)
	_, err := l.Append(1, now, first)
	check(t, err)

	early := l.Verify(7, 1, 0, 0, true)
	if early == nil {
		t.Fatal("nothing to verify: the transaction of another epoch passes for this one")
	}
	if _, err := l.Append(1, now, second); !errors.Is(err, ErrUnverified) {
		t.Fatalf("appended behind a transaction of another epoch: %v", err)
	}
	_, err = l.Append(1, now, marker(7, 1, true)) // in the epoch after that of what it ends
	check(t, err)
	second.Verification = early // the marker was of the first: what is asked about the second still counts
	_, err = l.Append(1, now, second)
	check(t, err)

	_, err = l.Append(1, now, marker(7, 2, true))
	check(t, err)
	third := l.Verify(7, 2, 0, 0, true)
	_, err = l.Append(1, now, marker(7, 3, false)) // given up before it began
	check(t, err)
	late := inEpoch(2)
	late.Verification = third
	if _, err := l.Append(1, now, late); err == nil {
		t.Error("a transaction that has been ended can still begin")
	}
}

// Whoever claims to be a producer, of another epoch or the same, and is told by the coordinator
// that it is not, keeps the producer from nothing.
func TestFailedVerificationsAreOnlyTheirOwn(t *testing.T) {
	for _, other := range []struct {
		what  string
		epoch int16
		fresh bool
	}{{"zombie", 4, true}, {"impostor", 5, true}, {"older client", 5, false}, {"impostor of the future", 6, true}} {
		t.Run(other.what, func(t *testing.T) {
			s := openSet(t, vfs.NewMem(), "data")
			defer s.Close()
			l := openLog(t, s)
			var w record.Builder
			w.Reset(record.Transactional, now.UnixMilli())
			w.SetProducer(7, 5, 0)
			w.Add(0, now.UnixMilli(), nil, nil)
			b, err := w.Finish()
			check(t, err)
			g := plain(b)
			g.Verification = l.Verify(7, 5, 0, 0, true)
			failing := l.Verify(7, other.epoch, 0, 0, other.fresh)
			l.Unverify(failing)
			if _, err = l.Append(1, now, g); err != nil {
				t.Errorf("after the verification of another failed: %v", err)
			}
			if len(l.verifications) > 0 {
				t.Errorf("left behind: %v", l.verifications)
			}
		})
	}
}

func TestFailedVerificationsLeaveNothing(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s)
	first, second, other := l.Verify(7, 5, 0, 0, true), l.Verify(7, 5, 0, 0, true), l.Verify(7, 6, 0, 0, true)
	for _, v := range []*Verification{first, other, second, nil} {
		l.Unverify(v)
	}
	if len(l.verifications) > 0 {
		t.Errorf("left behind: %v", l.verifications)
	}
}
