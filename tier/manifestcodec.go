package tier

import (
	"fmt"
	"maps"
	"slices"
)

// encode returns the manifest as it is stored. FORMAT.md has the drawing.
func (m *Manifest) encode() []byte {
	var e encoder
	e.string(m.Cluster)
	e.raw(m.Topic[:])
	e.string(m.Name)
	e.int(int64(m.Partition))
	e.int(int64(m.Epoch))
	e.int(m.Version)
	e.raw(m.Commit[:])
	e.int(m.Time)
	e.int(m.LogStart)
	e.int(m.LogEnd)
	e.config(m.Config)
	e.epochs(m.Epochs)
	e.int(m.Start)
	e.int(m.End)
	e.uint(uint64(len(m.Pages)))
	for i := range m.Pages {
		e.nested(m.Pages[i].encode)
	}
	e.entries(m.Tail)
	e.uint(uint64(len(m.Garbage)))
	for i := range m.Garbage {
		e.nested(m.Garbage[i].encode)
	}
	e.nested(m.encodeOrigin)
	return seal(manifestMagic, manifestVersion, e.b)
}

// decodeManifest reads what encode wrote and checks that it is contiguous.
func decodeManifest(b []byte) (*Manifest, error) {
	body, _, err := unseal(manifestMagic, manifestVersion, b)
	if err != nil {
		return nil, err
	}
	d := decoder{b: body}
	m := &Manifest{Cluster: d.string()}
	copy(m.Topic[:], d.raw(16))
	m.Name = d.string()
	m.PartitionID.Partition = int32(d.int())
	m.Epoch = int32(d.int())
	m.Version = d.int()
	copy(m.Commit[:], d.raw(16))
	m.Time = d.int()
	m.LogStart = d.int()
	m.LogEnd = d.int()
	m.Config = d.config()
	m.Epochs = d.epochs()
	m.Start = d.int()
	m.End = d.int()
	at := m.Start
	m.Pages = make([]PageRef, d.count(minNested))
	for i := range m.Pages {
		d.nested(m.Pages[i].decode)
		at = d.follow(at, m.Pages[i].Span)
	}
	m.Tail = d.entries()
	for i := range m.Tail {
		at = d.follow(at, m.Tail[i].Span)
	}
	m.Garbage = make([]Garbage, d.count(minNested))
	for i := range m.Garbage {
		d.nested(m.Garbage[i].decode)
	}
	m.ReportedStart, m.SourceEnd = m.LogStart, NoOffset
	if len(d.b) > 0 {
		d.nested(m.decodeOrigin)
	}
	if d.err == nil && at != m.End && !m.Empty() {
		d.err = fmt.Errorf("%w: entries end at %d instead of %d", ErrCorrupt, at, m.End)
	}
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

// encodeOrigin appends what else is needed to make the partition again.
func (m *Manifest) encodeOrigin(e *encoder) {
	e.int(m.ReportedStart)
	e.int(m.SourceEnd)
	e.int(int64(m.Partitions))
	e.raw(m.Schedule[:])
	e.uint(uint64(len(m.Lost)))
	for _, r := range m.Lost {
		e.int(r.From)
		e.uint(uint64(r.To - r.From))
	}
}

func (m *Manifest) decodeOrigin(d *decoder) {
	m.ReportedStart = d.int()
	m.SourceEnd = d.int()
	m.Partitions = int32(d.int())
	copy(m.Schedule[:], d.raw(len(m.Schedule)))
	if len(d.b) == 0 {
		return // an early Morrow wrote it, which did not keep that
	}
	m.Lost = make([]OffsetRange, d.count(2))
	for i := range m.Lost {
		from := d.int()
		m.Lost[i] = OffsetRange{from, from + int64(d.uint())}
	}
}

// minNested is the least a length-prefixed structure with a token takes.
const minNested = 20

// follow checks that s continues at end and returns its own end.
func (d *decoder) follow(end int64, s Span) int64 {
	if d.err == nil && (s.Base != end || s.End <= s.Base) {
		d.err = fmt.Errorf("%w: entry [%d, %d) after %d", ErrCorrupt, s.Base, s.End, end)
	}
	return s.End
}

func encodePage(entries []Entry) []byte {
	var e encoder
	e.entries(entries)
	return seal(pageMagic, pageVersion, e.b)
}

// decodePage reads what encodePage wrote.
func decodePage(b []byte) ([]Entry, error) {
	body, _, err := unseal(pageMagic, pageVersion, b)
	if err != nil {
		return nil, err
	}
	d := decoder{b: body}
	entries := d.entries()
	for i := 1; i < len(entries); i++ {
		d.follow(entries[i-1].End, entries[i].Span)
	}
	if d.err == nil && len(entries) == 0 {
		d.fail()
	}
	return entries, d.err
}

func (e *encoder) entries(entries []Entry) {
	e.uint(uint64(len(entries)))
	for i := range entries {
		e.nested(entries[i].encode)
	}
}

func (d *decoder) entries() []Entry {
	entries := make([]Entry, d.count(minNested))
	for i := range entries {
		d.nested(entries[i].decode)
	}
	return entries
}

func (t *Entry) encode(e *encoder) {
	t.Span.encode(e)
	e.writer(t.Epoch, t.Token)
	e.uint(uint64(t.DataSize))
	e.uint(uint64(t.IndexPos))
	e.sum(t.Sum)
	e.string(t.ETag)
	e.int(t.Time)
}

func (t *Entry) decode(d *decoder) {
	t.Span.decode(d)
	t.Epoch, t.Token = d.writer()
	t.DataSize = int64(d.uint())
	t.IndexPos = int64(d.uint())
	t.Sum = d.sum()
	t.ETag = d.string()
	t.Time = d.int()
	if d.err == nil && !t.isDrop() && !(0 <= t.DataSize && t.DataSize <= t.IndexPos && t.IndexPos < t.Bytes) {
		d.fail()
	}
}

func (p *PageRef) encode(e *encoder) {
	p.Span.encode(e)
	e.writer(p.Epoch, p.Token)
	e.uint(uint64(p.Entries))
	p.First.encode(e)
	e.uint(uint64(p.Size))
	e.sum(p.Sum)
}

func (p *PageRef) decode(d *decoder) {
	p.Span.decode(d)
	p.Epoch, p.Token = d.writer()
	p.Entries = int(d.uint())
	p.First.decode(d)
	p.Size = int64(d.uint())
	p.Sum = d.sum()
}

func (g *Garbage) encode(e *encoder) {
	e.int(g.Base)
	e.writer(g.Epoch, g.Token)
	e.byte(byte(g.Kind))
	e.uint(uint64(g.Size))
	e.sum(g.Sum)
	e.uint(uint64(g.Segments))
	e.uint(uint64(g.Bytes))
	e.int(g.Since)
}

func (g *Garbage) decode(d *decoder) {
	g.Base = d.int()
	g.Epoch, g.Token = d.writer()
	g.Kind = garbageKind(d.byte())
	g.Size = int64(d.uint())
	g.Sum = d.sum()
	g.Segments = int(d.uint())
	g.Bytes = int64(d.uint())
	g.Since = d.int()
}

func (e *encoder) writer(epoch int32, token Token) {
	e.int(int64(epoch))
	e.raw(token[:])
}

func (d *decoder) writer() (epoch int32, token Token) {
	epoch = int32(d.int())
	copy(token[:], d.raw(len(token)))
	return epoch, token
}

func (s *Span) encode(e *encoder) {
	e.int(s.Base)
	e.uint(uint64(s.End - s.Base))
	e.uint(uint64(s.Segments))
	e.uint(uint64(s.Bytes))
	e.int(s.MaxTimestamp)
	e.int(s.RetentionTime)
	e.offset(s.VisibleBase, s.Base)
	e.offset(s.VisibleEnd, s.Base)
	e.offset(s.AbortedFirst, s.Base)
}

func (s *Span) decode(d *decoder) {
	s.Base = d.int()
	s.End = s.Base + int64(d.uint())
	s.Segments = int(d.uint())
	s.Bytes = int64(d.uint())
	s.MaxTimestamp = d.int()
	s.RetentionTime = d.int()
	s.VisibleBase = d.offset(s.Base)
	s.VisibleEnd = d.offset(s.Base)
	s.AbortedFirst = d.offset(s.Base)
	if d.err == nil && (s.Base < 0 || s.End < s.Base || s.Segments < 0 || s.Bytes < 0) {
		d.fail()
	}
}

// offset writes an optional offset relative to base: a zero byte for none.
func (e *encoder) offset(v, base int64) {
	e.bool(v != NoOffset)
	if v != NoOffset {
		e.int(v - base)
	}
}

func (d *decoder) offset(base int64) int64 {
	if !d.bool() {
		return NoOffset
	}
	return base + d.int()
}

func (e *encoder) config(c map[string]string) {
	e.uint(uint64(len(c)))
	for _, k := range slices.Sorted(maps.Keys(c)) {
		e.string(k)
		e.string(c[k])
	}
}

func (d *decoder) config() map[string]string {
	n := d.count(2)
	c := make(map[string]string, n)
	for range n {
		k := d.string()
		c[k] = d.string()
	}
	return c
}
