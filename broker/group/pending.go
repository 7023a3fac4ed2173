package group

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// Offsets committed within a transaction are pending until it ends: the marker in
// this journal makes them real, or drops them. Until then those who ask for stable
// offsets are told to wait (KIP-447), and the offsets do not expire.

// openTransaction is a producer's transaction in which offsets of this shard are pending.
type openTransaction struct {
	epoch  int16
	groups map[string]struct{}
}

// verification stands between the first offsets of a transaction and the journal
// while the transaction coordinator is asked (KIP-890): the end of the transaction
// voids it, so that nothing is opened that nobody will end.
type verification struct {
	epoch int16
	// own says that every transaction has an epoch of its own, and its marker the next.
	own bool
	// asking is how many ask and have not failed.
	asking int
}

// TxnOffsetCommit serves key 28, versions 0 to 6. The positions that name existing
// partitions and fit are pending together or not at all. verify asks the transaction
// coordinator whether, or makes sure that, the journal's partition is part of the
// transaction; its error is Kafka's.
func (c *Coordinator) TxnOffsetCommit(ctx context.Context, req *kmsg.TxnOffsetCommitRequest, verify func(context.Context) error) *kmsg.TxnOffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	commit := c.newCommit(-1)
	resp.Topics = make([]kmsg.TxnOffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		*rt = kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(t.Partitions))
		topic := c.resolve(req.Version >= 6, t.Topic, t.TopicID)
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			rp.Partition = p.Partition
			commit.add(topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, &rp.ErrorCode)
		}
	}
	commit.end(c.commitPending(ctx, req, commit.positions, verify))
	return resp
}

// commitPending verifies the transaction, if it is not open here already, and stores what it commits.
func (c *Coordinator) commitPending(ctx context.Context, req *kmsg.TxnOffsetCommitRequest, positions []position, verify func(context.Context) error) error {
	if req.Group == "" {
		return kerr.InvalidGroupID
	}
	shard, p := c.shards.Of(req.Group), coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	v, err := coord.Do(ctx, shard, func(m *machine, _ *coord.Tx) (*verification, error) {
		return m.expect(p, req.Version >= 5), nil
	})
	if err != nil {
		return err
	}
	if v != nil {
		if err := verify(ctx); err != nil {
			_, lost := coord.Do(ctx, shard, func(m *machine, _ *coord.Tx) (struct{}, error) {
				m.unexpect(p, v)
				return struct{}{}, nil
			})
			return errors.Join(err, lost)
		}
	}
	who := commitClaim{req.Group, req.MemberID, req.InstanceID, req.Generation, req.Version}
	_, err = coord.Do(ctx, shard, func(m *machine, tx *coord.Tx) (struct{}, error) {
		return struct{}{}, m.commitInTransaction(tx, who, p, v, positions)
	})
	return err
}

// expect begins a verification; nil if the producer's transaction is open here. One of an earlier
// epoch is another, whose marker is on its way. Those who claim other epochs have verifications of
// their own.
func (s *machine) expect(p coord.Producer, own bool) *verification {
	if s.inTransaction(p) {
		return nil
	}
	for _, v := range s.verifying[p.ID] {
		if v.epoch == p.Epoch && v.own == own {
			v.asking++
			return v
		}
	}
	v := &verification{p.Epoch, own, 1}
	s.verifying[p.ID] = append(s.verifying[p.ID], v)
	return v
}

func (s *machine) inTransaction(p coord.Producer) bool {
	t := s.open[p.ID]
	return t != nil && t.epoch == p.Epoch
}

// unexpect ends a verification that failed. Others who ask the same keep theirs: who fails may be
// somebody else, who claims the producer's id.
func (s *machine) unexpect(p coord.Producer, v *verification) {
	if v.asking--; v.asking <= 0 {
		s.dropVerifications(p.ID, func(other *verification) bool { return other == v })
	}
}

func (s *machine) dropVerifications(producerID int64, which func(*verification) bool) {
	left := slices.DeleteFunc(s.verifying[producerID], which)
	if len(left) == 0 {
		delete(s.verifying, producerID)
	} else {
		s.verifying[producerID] = left
	}
}

func (s *machine) commitInTransaction(tx *coord.Tx, who commitClaim, p coord.Producer, v *verification, positions []position) error {
	g := s.groups[who.group]
	if err := s.validateInTransaction(g, who, positions); err != nil {
		return err
	}
	if !s.inTransaction(p) && !slices.Contains(s.verifying[p.ID], v) {
		return kerr.InvalidTxnState // it has ended meanwhile
	}
	records := make([]coord.Record, 0, len(positions))
	for _, at := range positions {
		r := offsetRecord(offsetKey{who.group, at.topic, at.partition}, at.topicID, at.committed)
		r.Producer = &p
		records = append(records, r)
	}
	if err := tx.Append(records...); err != nil {
		return err
	}
	s.metrics.commits.Add(float64(len(records)))
	return nil
}

// validateInTransaction is validateCommit for a client whose membership is a
// consumer's it knows, or that, before version 3, knows of none.
func (s *machine) validateInTransaction(g *group, who commitClaim, positions []position) error {
	switch {
	case g != nil && g.share != nil:
		return kerr.GroupIDNotFound // its offsets are not for producers to set
	case who.generation < 0 && who.member == "" && who.instance == nil:
		return nil
	case g == nil:
		return kerr.IllegalGeneration
	case g.classic != nil:
		if err := g.classic.check(who.member, who.instance); err != nil {
			return err
		}
		if who.generation != g.classic.generation {
			return kerr.IllegalGeneration
		}
		return nil
	case g.consumer != nil:
		who.version = 9 // that of OffsetCommit from which on members of the consumer protocol commit
		err := g.consumer.validateCommit(who, positions)
		if errors.Is(err, kerr.StaleMemberEpoch) {
			return kerr.IllegalGeneration // all that producers know
		}
		return err
	}
	return kerr.UnknownMemberID // a simple group has no members
}

// EndTransaction makes the offsets real that a producer's transaction committed in
// a shard, or drops them, durably. It may be called more than once for a transaction. The
// error may wrap [coord.ErrFenced].
func (c *Coordinator) EndTransaction(ctx context.Context, shard int32, p coord.Producer, commit bool) error {
	end := coord.Abort
	if commit {
		end = coord.Commit
	}
	_, err := coord.Do(ctx, c.shards.Shard(shard), func(_ *machine, tx *coord.Tx) (struct{}, error) {
		return struct{}{}, tx.Append(coord.Record{Producer: &p, End: end})
	})
	return err
}

// replayPending applies an offset that is committed within a transaction. The strings of k are not kept.
func (s *machine) replayPending(p *coord.Producer, k offsetKey, id [16]byte, c committed) {
	g := s.groups[k.group]
	if g == nil {
		g = s.ensure(strings.Clone(k.group))
	}
	t := s.open[p.ID]
	if t == nil {
		t = &openTransaction{groups: map[string]struct{}{}}
		s.open[p.ID] = t
	}
	t.epoch = p.Epoch
	t.groups[g.id] = struct{}{}
	delete(s.verifying, p.ID)
	if g.pending == nil {
		g.pending = map[int64]map[string]*topicOffsets{}
	}
	if g.pending[p.ID] == nil {
		g.pending[p.ID] = map[string]*topicOffsets{}
	}
	put(g.pending[p.ID], k, id, c)
}

// replayEnd applies the end of a transaction. What was committed outside of it after its own commit stays.
func (s *machine) replayEnd(p *coord.Producer, end coord.End) {
	s.dropVerifications(p.ID, func(v *verification) bool { return v.epoch != p.Epoch || !v.own })
	t := s.open[p.ID]
	if t == nil {
		return
	}
	delete(s.open, p.ID)
	for id := range t.groups {
		g := s.groups[id]
		pending := g.pending[p.ID]
		delete(g.pending, p.ID)
		if end == coord.Commit {
			s.replayCommitted(g, pending)
		}
		s.dropIfVoid(g)
	}
}

func (s *machine) replayCommitted(g *group, pending map[string]*topicOffsets) {
	for _, topic := range slices.Sorted(maps.Keys(pending)) {
		t := pending[topic]
		for n, c := range t.parts {
			if old := g.offsets[topic]; old == nil || old.parts[n].seq < c.seq || old.id != t.id && t.id != [16]byte{} {
				s.replayOffset(offsetKey{g.id, topic, n}, t.id, c)
			}
		}
	}
}

// unstable reports whether an open transaction commits an offset for a partition.
func (g *group) unstable(topic string, partition int32) bool {
	if g == nil {
		return false
	}
	for _, topics := range g.pending {
		if t := topics[topic]; t != nil {
			if _, ok := t.parts[partition]; ok {
				return true
			}
		}
	}
	return false
}
