package tier

// GroupOffsets is a copy of what consumer groups have committed, kept in the bucket beside the
// records it is about. Package tier stores it and knows no more of it.
type GroupOffsets struct {
	Time int64 // when it was taken, ms since the epoch
	Node int32 // the broker whose groups these are
	// Journal, Shards and Config are id, partitions and configs of the topic that the groups are kept in.
	Journal TopicID
	Shards  int32
	Config  map[string]string
	Offsets []GroupOffset
}

// GroupOffset is a position of a group in a partition.
type GroupOffset struct {
	Group, TopicName string
	Topic            TopicID
	Partition        int32
	Offset           int64
	LeaderEpoch      int32
	Metadata         string
	Committed        int64 // ms since the epoch
	Expires          int64 // ms since the epoch; -1: as the broker's configs say
}

const (
	groupsMagic   = "MRWGROUP"
	groupsVersion = 1
)

// encode returns the copy as it is stored. FORMAT.md has the drawing.
func (g *GroupOffsets) encode() []byte {
	var e encoder
	e.int(g.Time)
	e.body(g)
	return seal(groupsMagic, groupsVersion, e.b)
}

// body is all but the time.
func (e *encoder) body(g *GroupOffsets) {
	e.int(int64(g.Node))
	e.raw(g.Journal[:])
	e.int(int64(g.Shards))
	e.config(g.Config)
	e.uint(uint64(len(g.Offsets)))
	for i := range g.Offsets {
		e.nested(g.Offsets[i].encode)
	}
}

func decodeGroups(b []byte) (*GroupOffsets, error) {
	body, _, err := unseal(groupsMagic, groupsVersion, b)
	if err != nil {
		return nil, err
	}
	d := decoder{b: body}
	g := &GroupOffsets{Time: d.int(), Node: int32(d.int())}
	copy(g.Journal[:], d.raw(len(g.Journal)))
	g.Shards = int32(d.int())
	g.Config = d.config()
	g.Offsets = make([]GroupOffset, d.count(minNested))
	for i := range g.Offsets {
		d.nested(g.Offsets[i].decode)
	}
	return g, d.err
}

func (o *GroupOffset) encode(e *encoder) {
	e.string(o.Group)
	e.string(o.TopicName)
	e.raw(o.Topic[:])
	e.int(int64(o.Partition))
	e.int(o.Offset)
	e.int(int64(o.LeaderEpoch))
	e.string(o.Metadata)
	e.int(o.Committed)
	e.int(o.Expires)
}

func (o *GroupOffset) decode(d *decoder) {
	o.Group, o.TopicName = d.string(), d.string()
	copy(o.Topic[:], d.raw(len(o.Topic)))
	o.Partition = int32(d.int())
	o.Offset = d.int()
	o.LeaderEpoch = int32(d.int())
	o.Metadata = d.string()
	o.Committed, o.Expires = d.int(), d.int()
}
