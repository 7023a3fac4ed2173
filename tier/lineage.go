package tier

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// ErrDiverged says that the bucket has other records than the log at the same offsets: somebody
// else has written them under the name of this broker, or the log is an older copy. What is remote
// replaces nothing then.
var ErrDiverged = errors.New("the bucket has other records than the log")

// checkLineage compares the manifest with the log: the one goes on where the other does, in the
// same leader epochs. Two brokers that both believe to be this one, since one has a copy of the
// other's data directory, write different records at the same offsets; neither may count what the
// other has uploaded as a replacement of its own.
func (p *Partition) checkLineage(m *Manifest) error {
	if m.Epoch == p.epoch && !p.hasCommitted(m.Epoch) {
		return fmt.Errorf("%s: %w: leader epoch %d, in which this broker has committed nothing", p.catalog.key(), ErrDiverged, m.Epoch)
	}
	at := divergence(m, p.source.Epochs(), p.source.Offsets().End, p.source.Dropped)
	if at == NoOffset && p.tier.alone {
		at = p.strange(m)
	}
	if at == NoOffset {
		return nil
	}
	return fmt.Errorf("%s: %w from offset %d on", p.catalog.key(), ErrDiverged, at)
}

// hasCommitted reports whether this broker has sent a manifest in a leader epoch.
func (p *Partition) hasCommitted(epoch int32) bool {
	if p.state.bound.Epoch == epoch {
		return true
	}
	sent := p.catalog.copy.read()
	return sent != nil && sent.Epoch == epoch
}

// strange is where in a manifest begins what this broker has never sent, NoOffset if it has sent
// all of it, or does not know. Leader epochs do not tell apart what two brokers have written in the
// same one.
func (p *Partition) strange(m *Manifest) int64 {
	sent, last := p.catalog.copy.read(), m.lastUploaded()
	if sent == nil || last == nil || m.Version <= p.state.bound.Version {
		return NoOffset
	}
	at := NoOffset
	for i := range slices.Backward(m.Tail) {
		e := &m.Tail[i]
		if e.isDrop() {
			continue
		}
		if sent.names(e.Token) || slices.ContainsFunc(p.state.pending, func(u pending) bool { return u.Entry.Token == e.Token }) {
			break
		}
		at = e.Base
	}
	return at
}

// names reports whether an entry of the tail has this token.
func (m *Manifest) names(t Token) bool {
	return slices.ContainsFunc(m.Tail, func(e Entry) bool { return !e.isDrop() && e.Token == t })
}

// divergence is the offset from which on a manifest and a log have different records at the same
// offsets, as far as their leader epochs tell; NoOffset if they have not. dropped reports whether
// the log has nothing in a range, on record.
func divergence(m *Manifest, log []EpochStart, logEnd int64, dropped func(from, to int64) bool) int64 {
	if m.End > logEnd {
		return logEnd
	}
	ours, theirs := writtenBelow(log, m.End), writtenBelow(m.Epochs, m.End)
	for _, x := range theirs {
		if known := epochAt(ours, x.Start); known.Start != NoOffset && known.Epoch != x.Epoch {
			return x.Start
		}
	}
	last := m.lastUploaded()
	if last == nil {
		return NoOffset
	}
	ourEpoch, theirEpoch := epochAt(ours, last.End-1), epochAt(theirs, last.End-1)
	if theirEpoch.Start != NoOffset && ourEpoch.Epoch > theirEpoch.Epoch && !dropped(ourEpoch.Start, last.End) {
		return ourEpoch.Start
	}
	return NoOffset
}

// writtenBelow returns the epochs in which something was written below end. One that begins where
// the next does is empty.
func writtenBelow(epochs []EpochStart, end int64) []EpochStart {
	var out []EpochStart
	for i, x := range epochs {
		next := int64(math.MaxInt64)
		if i+1 < len(epochs) {
			next = epochs[i+1].Start
		}
		if x.Start < min(end, next) {
			out = append(out, x)
		}
	}
	return out
}

// epochAt is the epoch that an offset lies in. Its Start is NoOffset if that is not known.
func epochAt(epochs []EpochStart, offset int64) EpochStart {
	i := sort.Search(len(epochs), func(i int) bool { return epochs[i].Start > offset })
	if i == 0 {
		return EpochStart{Epoch: -1, Start: NoOffset}
	}
	return epochs[i-1]
}

// lastUploaded returns the last entry of the tail that has an object, nil if there is none.
func (m *Manifest) lastUploaded() *Entry {
	for i := range slices.Backward(m.Tail) {
		if !m.Tail[i].isDrop() {
			return &m.Tail[i]
		}
	}
	return nil
}
