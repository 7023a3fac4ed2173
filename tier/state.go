package tier

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/morrowmq/morrow/internal/vfs"
)

// state is what the uploader of one partition remembers across a crash (R2): uploads that were begun,
// and how far the bucket is known to have everything. It is a file of appended records; each is durable before
// the effect it announces. It is used by one goroutine at a time.
//
// Losing the file is safe: the bound is then unknown until the manifest has been read, so nothing
// local is deleted, and uploads that were under way become orphans for the sweeper.
type state struct {
	fs   vfs.FS
	name string

	pending []pending // by base offset
	bound   bound

	file   vfs.File // nil: the next record rewrites the file
	length int64
}

// pending is an upload between PREPARED and COMMITTED. Its key is never used for other bytes.
type pending struct {
	Entry    Entry
	Epochs   []EpochStart
	Segment  LocalSegment
	Prepared int64 // ms since the epoch
	Verified bool
}

// bound is the local delete bound: the manifest at Version, committed under Epoch, ended at End and
// was confirmed to be in the bucket (R4).
type bound struct {
	Epoch   int32
	Version int64
	End     int64
}

// The records of the state file, each an envelope whose body begins with one of these.
const (
	stateMagic   = "MRWSTATE"
	stateVersion = 1

	recPrepared  = 1 // pending
	recVerified  = 2 // token, ETag
	recForgotten = 3 // token: committed or given up
	recBound     = 4 // bound

	stateRewriteBytes = 256 << 10
)

// stateSuffix ends the names of state files.
const stateSuffix = ".state"

// openState reads a state file; none is the same as an empty one. What follows a torn or damaged
// record is ignored.
func openState(fsys vfs.FS, name string) (*state, error) {
	s := &state{fs: fsys, name: name, bound: bound{Epoch: -1, End: NoOffset}}
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open upload state: %w", err)
	}
	for len(b) > 0 {
		body, rest, err := unseal(stateMagic, stateVersion, b)
		if errors.Is(err, ErrVersion) {
			return nil, fmt.Errorf("open upload state %s: %w", name, err)
		}
		if err != nil || s.apply(body) != nil {
			break
		}
		b = rest
	}
	return s, nil
}

// RecordedBound returns how far the bucket is known to have everything of a partition, the local
// delete bound (R4), by what the tier whose Options.Dir this is has written down; NoOffset if
// nothing is known. It is for when that tier is not running.
func RecordedBound(fsys vfs.FS, dir string, id PartitionID) (int64, error) {
	s, err := openState(fsys, statePath(dir, id, stateSuffix))
	if err != nil {
		return NoOffset, err
	}
	return s.bound.End, nil
}

// prepare records that uploads are about to begin.
func (s *state) prepare(ps []pending) error {
	records := make([][]byte, len(ps))
	for i := range ps {
		records[i] = preparedRecord(&ps[i])
	}
	return s.append(records...)
}

// verify records that the store has been asked and has these objects.
func (s *state) verify(entries []Entry) error {
	records := make([][]byte, len(entries))
	for i, x := range entries {
		records[i] = stateRecord(recVerified, func(e *encoder) { e.raw(x.Token[:]); e.string(x.ETag) })
	}
	return s.append(records...)
}

// settle records that uploads have ended, committed or given up, and the bound that holds from now on.
func (s *state) settle(tokens []Token, b bound) error {
	var records [][]byte
	for _, t := range tokens {
		records = append(records, stateRecord(recForgotten, func(e *encoder) { e.raw(t[:]) }))
	}
	if b != s.bound {
		records = append(records, boundRecord(b))
	}
	return s.append(records...)
}

// append makes records durable and then applies them.
func (s *state) append(records ...[]byte) error {
	if len(records) == 0 {
		return nil
	}
	var b []byte
	for _, r := range records {
		b = append(b, seal(stateMagic, stateVersion, r)...)
	}
	if s.file == nil || s.length+int64(len(b)) > stateRewriteBytes {
		if err := s.rewrite(b); err != nil {
			return fmt.Errorf("write upload state: %w", err)
		}
	} else if err := s.extend(b); err != nil {
		s.close() // what the file holds is unknown now: the next record writes a new one
		return fmt.Errorf("write upload state: %w", err)
	}
	for _, r := range records {
		if err := s.apply(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) extend(b []byte) error {
	if _, err := s.file.WriteAt(b, s.length); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.length += int64(len(b))
	return nil
}

// rewrite replaces the file by one that holds the present state and then more.
func (s *state) rewrite(more []byte) error {
	s.close()
	all := seal(stateMagic, stateVersion, boundRecord(s.bound))
	for i := range s.pending {
		all = append(all, seal(stateMagic, stateVersion, preparedRecord(&s.pending[i]))...)
	}
	all = append(all, more...)
	if err := vfs.WriteFile(s.fs, s.name, all); err != nil {
		return err
	}
	f, err := s.fs.Open(s.name)
	if err != nil {
		return err
	}
	s.file, s.length = f, int64(len(all))
	return nil
}

func (s *state) close() {
	if s.file != nil {
		_ = s.file.Close() // every record has been synced
		s.file = nil
	}
}

func (s *state) apply(record []byte) error {
	d := decoder{b: record}
	switch kind := d.byte(); kind {
	case recPrepared:
		p := decodePending(&d)
		if d.err == nil {
			s.pending = append(s.pending, p)
		}
	case recVerified:
		var t Token
		copy(t[:], d.raw(len(t)))
		etag := d.string()
		for i := range s.pending {
			if d.err == nil && s.pending[i].Entry.Token == t {
				s.pending[i].Verified, s.pending[i].Entry.ETag = true, etag
			}
		}
	case recForgotten:
		var t Token
		copy(t[:], d.raw(len(t)))
		for i := range s.pending {
			if d.err == nil && s.pending[i].Entry.Token == t {
				s.pending = append(s.pending[:i:i], s.pending[i+1:]...)
				break
			}
		}
	case recBound:
		b := bound{Epoch: int32(d.int()), Version: d.int(), End: d.int()}
		if d.err == nil {
			s.bound = b
		}
	default:
		return fmt.Errorf("upload state: %w: record kind %d", ErrCorrupt, kind)
	}
	return d.err
}

func stateRecord(kind byte, fill func(*encoder)) []byte {
	e := encoder{b: []byte{kind}}
	fill(&e)
	return e.b
}

func boundRecord(b bound) []byte {
	return stateRecord(recBound, func(e *encoder) { e.int(int64(b.Epoch)); e.int(b.Version); e.int(b.End) })
}

func preparedRecord(p *pending) []byte {
	return stateRecord(recPrepared, func(e *encoder) {
		e.nested(p.Entry.encode)
		e.epochs(p.Epochs)
		e.int(p.Segment.Base)
		e.int(p.Segment.End)
		e.int(p.Segment.Size)
		e.int(p.Segment.Generation)
		e.int(p.Prepared)
		e.bool(p.Verified)
	})
}

func decodePending(d *decoder) pending {
	var p pending
	d.nested(p.Entry.decode)
	p.Epochs = d.epochs()
	p.Segment = LocalSegment{Base: d.int(), End: d.int(), Size: d.int(), Generation: d.int()}
	p.Prepared = d.int()
	p.Verified = d.bool()
	return p
}
