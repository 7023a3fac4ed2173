package log

import (
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
)

// Who uploads a segment that was closed just now need not read everything before it to learn about
// the producers: what is known of them waits to be written. It is what reading would find.
func TestProducersAtTheEndOfAClosedSegmentAreAtHand(t *testing.T) {
	fsys := vfs.NewFault(vfs.NewMem())
	s := openSet(t, fsys, "data")
	defer s.Close()
	l := openLog(t, s)
	for i := range int32(3) {
		_, err := l.Append(1, now, plain(idempotent(7, 1, i)))
		check(t, err)
		check(t, l.Roll())
	}
	for end := int64(1); end <= 3; end++ {
		reads := fsys.Add(vfs.Rule{Ops: vfs.OpRead, Name: "*.log", Times: vfs.Forever})
		got, err := l.ProducerSnapshot(end)
		check(t, err)
		fsys.End(reads)
		want, err := l.replay(l.segments, end, end, 0, nil)
		check(t, err)
		equal(t, string(got), string(want.Encode()))
		state, err := producer.Decode(got)
		check(t, err)
		equal(t, state.End(), end)
	}
}
