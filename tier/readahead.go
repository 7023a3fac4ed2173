package tier

import (
	"context"
	"sync"
)

const (
	// A sequential reader gets so many blocks ahead of it, growing from one.
	maxReadAhead = 8
	maxStreams   = 16
)

// streams recognises readers that go through a partition in order, to read ahead of them and of no others.
type streams struct {
	mu  sync.Mutex
	all []stream // guarded by mu; the last is the most recent
}

type stream struct {
	next   int64 // offset it is expected to ask for
	blocks int   // to read ahead
}

// advance notes that a reader went from one offset to another and returns how many blocks to read ahead for it.
func (s *streams) advance(from, to int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := stream{next: to}
	for i := range s.all {
		if s.all[i].next == from {
			st.blocks = min(max(1, s.all[i].blocks*2), maxReadAhead)
			s.all = append(s.all[:i], s.all[i+1:]...)
			break
		}
	}
	if len(s.all) == maxStreams {
		s.all = s.all[1:]
	}
	s.all = append(s.all, st)
	return st.blocks
}

// readAhead begins to load what a reader that went from one offset to the next will ask for, if it
// seems to be going through the log: the following visible blocks of this segment and, near its
// end, the index and the first blocks of the next ones.
func (s *segmentReader) readAhead(from, next int64) {
	n := s.p.streams.advance(from, next)
	if n -= s.ahead(next, n); n > 0 {
		s.p.tier.life.Start(func(ctx context.Context) { s.p.readAheadFrom(ctx, s.e.End, n) })
	}
}

// readAheadFrom reads ahead in the segments from an offset on. It gives up at the first error:
// readers will meet it themselves.
func (p *Partition) readAheadFrom(ctx context.Context, offset int64, n int) {
	m := p.view.Load().manifest
	for n > 0 && m != nil {
		e, err := p.find(ctx, m, offset, func(s Span) bool { return s.VisibleEnd > offset })
		if err != nil || e == nil {
			return
		}
		ix, err := p.tier.decoded.index(ctx, p.tier.bucket, p.catalog.dir, e)
		if err != nil {
			return
		}
		s := newSegmentReader(ctx, p, e, ix)
		n -= s.ahead(offset, n)
		if s.blocks.release() != nil {
			return
		}
		offset = e.End
	}
}

// ahead begins to load up to n blocks of visible data from an offset on, and returns how many there
// are. Of those that would be part of a larger request later it leaves the last to the next time.
func (s *segmentReader) ahead(offset int64, n int) int {
	size := s.ix.BlockBytes
	counted, from := 0, s.ix.pointPos(offset)
	last := -1 // the last block that is counted
	for _, v := range s.ix.Visible[s.ix.visibleAt(offset):] {
		first, end := max(int(max(v.Pos, from)/size), last+1), int((v.Pos+v.Len+size-1)/size)
		if first >= end {
			continue
		}
		if room := n - counted; end-first > room {
			cut := first + room
			if n > runBlocks {
				cut -= cut % runBlocks
			}
			s.blocks.prefetch(first, cut)
			return n
		}
		s.blocks.prefetch(first, end)
		counted, last = counted+end-first, end-1
	}
	return counted
}
