package tier

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/morrowmq/morrow/tier/bucket"
)

// Manifest is the list of what is remote of one partition, and everything else needed to rebuild the
// partition from the bucket. It is one small object, replaced as a whole by every commit; older
// entries are moved out in pages, so that a commit costs about the same with 100 segments and with 100,000.
//
// A Manifest that has been committed or loaded is immutable.
type Manifest struct {
	Cluster string
	PartitionID
	Epoch   int32 // leader epoch of the writer; a writer with a lower one is fenced
	Version int64 // one more with every commit
	Commit  Token // of this very commit: tells a writer that lost the answer whether it was its own
	Time    int64 // of the commit, ms since the epoch, writer's clock

	// Of the log when this was written, for restore.
	LogStart, LogEnd int64
	ReportedStart    int64 // where clients were told that the log starts
	// SourceEnd is, in the log of a schedule, the end of the log whose schedule it is: no ticket in
	// here is above. Else NoOffset.
	SourceEnd  int64
	Config     map[string]string
	Partitions int32   // of the topic; 0: not known
	Schedule   TopicID // the topic that holds this one's schedule; zero: none
	// Lost are the offsets of which nothing came back in each restore, oldest first: from the end of
	// what was confirmed to where the log went on.
	Lost []OffsetRange

	Epochs []EpochStart // every leader epoch up to End, ascending in both

	// Invariant: Pages then Tail cover [Start, End) without a gap or an overlap. Both are NoOffset
	// until something is appended; they keep their values when everything has expired.
	Start, End int64
	Pages      []PageRef
	Tail       []Entry

	// What is unreachable and still to be deleted, oldest first.
	Garbage []Garbage
}

// OffsetRange is the offsets from From to below To.
type OffsetRange struct{ From, To int64 }

// Span summarises consecutive entries, or one.
type Span struct {
	Base, End     int64
	Segments      int   // drops not counted
	Bytes         int64 // of segment objects
	MaxTimestamp  int64 // of visible batches; NoTimestamp if none
	RetentionTime int64 // latest timestamp, or receive time where hidden; where there is none, of the upload
	// Base of the first and end of the last visible batch; NoOffset if there is none.
	VisibleBase, VisibleEnd int64
	AbortedFirst            int64 // lowest First of the aborted transactions whose marker is here; NoOffset if none
}

// Entry is one remote segment, or (Segments == 0) a range that was dropped on record.
type Entry struct {
	Span
	Epoch    int32 // with Base and Token, the object's key
	Token    Token
	DataSize int64 // the object begins with this many bytes of batches
	IndexPos int64 // its index begins here and ends with the object, which is Bytes long
	Sum      bucket.Checksum
	ETag     string
	Time     int64 // of the commit, ms since the epoch
}

// PageRef points to an object that holds entries.
type PageRef struct {
	Span
	Epoch   int32 // with Base and Token, the page object's key
	Token   Token
	Entries int
	First   Span  // of the first entry: what expires next
	Size    int64 // of the page object
	Sum     bucket.Checksum
}

// Garbage is what no reader can reach any more and is still to be deleted.
type Garbage struct {
	ObjectID
	Kind     garbageKind
	Size     int64           // of a page object
	Sum      bucket.Checksum // of a page object
	Segments int             // how many segments this is, and their bytes
	Bytes    int64
	Since    int64 // ms since the epoch
}

// garbageKind says what an item of garbage is. The numbers are stored.
type garbageKind uint8

const (
	garbageSegment garbageKind = 0
	garbagePage    garbageKind = 1 // a page object alone
	garbagePageAll garbageKind = 2 // a page object and every segment it names
)

const (
	manifestMagic   = "MRWMANIF"
	manifestVersion = 1
	pageMagic       = "MRWPAGE\x00"
	pageVersion     = 1

	maxManifestBytes = 64 << 20
)

// ErrVersion marks data written by a newer Morrow in a way this one must not read.
var ErrVersion = errors.New("unknown format version")

// pageEntries is how many entries a page holds. The tail holds fewer than twice as many: then the
// first become a page. It bounds what a commit writes: half a page on average, and a reference of
// about 100 bytes per page. Tests make it smaller.
var pageEntries = 256

// Key is where the object of one of the manifest's segments lies in the bucket.
func (m *Manifest) Key(e *Entry) string {
	return e.id().key(partitionDir(m.Cluster, m.Topic, m.PartitionID.Partition), segmentSuffix)
}

// EachSegment visits the remote segments in order, reading pages from the bucket as needed, until
// visit returns an error.
func (m *Manifest) EachSegment(ctx context.Context, b bucket.Bucket, visit func(*Entry) error) error {
	each := func(entries []Entry) error {
		for i := range entries {
			if entries[i].isDrop() {
				continue
			}
			if err := visit(&entries[i]); err != nil {
				return err
			}
		}
		return nil
	}
	dir := partitionDir(m.Cluster, m.Topic, m.PartitionID.Partition)
	for i := range m.Pages {
		p := &m.Pages[i]
		entries, err := readPage(ctx, b, dir, p.id(), p.Size, p.Sum)
		if err == nil {
			err = each(entries)
		}
		if err != nil {
			return err
		}
	}
	return each(m.Tail)
}

// isDrop reports whether the entry stands for dropped offsets and has no object.
func (t *Entry) isDrop() bool { return t.Segments == 0 }

func (t *Entry) id() ObjectID   { return ObjectID{Base: t.Base, Epoch: t.Epoch, Token: t.Token} }
func (p *PageRef) id() ObjectID { return ObjectID{Base: p.Base, Epoch: p.Epoch, Token: p.Token} }

// clone returns a copy that can be changed: slices are copied, entries are not shared.
func (m *Manifest) clone() *Manifest {
	c := *m
	c.Config = maps.Clone(m.Config)
	c.Epochs = slices.Clone(m.Epochs)
	c.Pages = slices.Clone(m.Pages)
	c.Tail = slices.Clone(m.Tail)
	c.Garbage = slices.Clone(m.Garbage)
	c.Lost = slices.Clone(m.Lost)
	return &c
}

// Summary adds up all entries.
func (m *Manifest) Summary() Span {
	s := emptySpan(m.Start)
	for _, p := range m.Pages {
		s = s.join(p.Span)
	}
	for _, e := range m.Tail {
		s = s.join(e.Span)
	}
	return s
}

func emptySpan(at int64) Span {
	return Span{
		Base: at, End: at, MaxTimestamp: NoTimestamp, RetentionTime: NoTimestamp,
		VisibleBase: NoOffset, VisibleEnd: NoOffset, AbortedFirst: NoOffset,
	}
}

// join returns the summary of s and the span that follows it.
func (s Span) join(t Span) Span {
	s.End = t.End
	s.Segments += t.Segments
	s.Bytes += t.Bytes
	s.MaxTimestamp = max(s.MaxTimestamp, t.MaxTimestamp)
	s.RetentionTime = max(s.RetentionTime, t.RetentionTime)
	if s.VisibleBase == NoOffset {
		s.VisibleBase = t.VisibleBase
	}
	s.VisibleEnd = max(s.VisibleEnd, t.VisibleEnd)
	if s.AbortedFirst == NoOffset || t.AbortedFirst != NoOffset && t.AbortedFirst < s.AbortedFirst {
		s.AbortedFirst = t.AbortedFirst
	}
	return s
}

// summarise returns the summary of one or more entries.
func summarise(entries []Entry) Span {
	s := emptySpan(entries[0].Base)
	for _, e := range entries {
		s = s.join(e.Span)
	}
	return s
}
