package tier

import (
	"encoding/binary"
	"fmt"
	"sort"
)

// encode returns the index as it is stored, envelope included.
func (ix *Index) encode() []byte {
	var e encoder
	e.string(ix.Cluster)
	e.raw(ix.Topic[:])
	e.int(int64(ix.Partition))
	e.uint(uint64(ix.Base))
	e.uint(uint64(ix.End - ix.Base))
	e.uint(uint64(ix.DataSize))
	e.uint(uint64(ix.BlockBytes))
	e.uint(uint64(len(ix.Blocks)))
	for _, crc := range ix.Blocks {
		e.uint32(crc)
	}
	offset, pos := ix.Base, int64(0)
	e.uint(uint64(len(ix.Visible)))
	for _, v := range ix.Visible {
		e.uint(uint64(v.Base - offset))
		e.uint(uint64(v.End - v.Base))
		e.uint(uint64(v.Pos - pos))
		e.uint(uint64(v.Len))
		offset, pos = v.End, v.Pos+v.Len
	}
	offset, pos = ix.Base, 0
	timestamp := int64(0)
	e.uint(uint64(len(ix.Points)))
	for _, p := range ix.Points {
		e.uint(uint64(p.Offset - offset))
		e.uint(uint64(p.Pos - pos))
		e.int(p.MaxTimestamp - timestamp)
		offset, pos, timestamp = p.Offset, p.Pos, p.MaxTimestamp
	}
	e.uint(uint64(len(ix.Aborted)))
	for _, t := range ix.Aborted {
		e.int(t.ProducerID)
		e.uint(uint64(t.First))
		e.uint(uint64(t.Last - t.First))
	}
	e.epochs(ix.Epochs)
	e.uint(uint64(ix.SnapshotSize))
	e.uint32(ix.SnapshotCRC)
	return seal(indexMagic, indexVersion, e.b)
}

// decodeIndex reads what encode wrote.
func decodeIndex(b []byte) (*Index, error) {
	body, _, err := unseal(indexMagic, indexVersion, b)
	if err != nil {
		return nil, fmt.Errorf("segment index: %w", err)
	}
	d := decoder{b: body}
	ix := &Index{Cluster: d.string()}
	copy(ix.Topic[:], d.raw(16))
	ix.Partition = int32(d.int())
	ix.Base = int64(d.uint())
	ix.End = ix.Base + int64(d.uint())
	ix.DataSize = int64(d.uint())
	ix.BlockBytes = int64(d.uint())
	ix.Blocks = make([]uint32, d.count(4))
	for i := range ix.Blocks {
		ix.Blocks[i] = d.uint32()
	}
	ix.decodeVisible(&d)
	ix.decodePoints(&d)
	ix.Aborted = make([]AbortedTxn, d.count(3))
	for i := range ix.Aborted {
		t := &ix.Aborted[i]
		t.ProducerID = d.int()
		t.First = int64(d.uint())
		t.Last = t.First + int64(d.uint())
	}
	ix.Epochs = d.epochs()
	ix.SnapshotSize = int64(d.uint())
	ix.SnapshotCRC = d.uint32()
	if d.err != nil {
		return nil, fmt.Errorf("segment index: %w", d.err)
	}
	return ix, ix.check()
}

func (ix *Index) decodeVisible(d *decoder) {
	offset, pos := ix.Base, int64(0)
	ix.Visible = make([]VisibleRange, d.count(4))
	for i := range ix.Visible {
		v := &ix.Visible[i]
		v.Base = offset + int64(d.uint())
		v.End = v.Base + int64(d.uint())
		v.Pos = pos + int64(d.uint())
		v.Len = int64(d.uint())
		offset, pos = v.End, v.Pos+v.Len
	}
}

func (ix *Index) decodePoints(d *decoder) {
	offset, pos, timestamp := ix.Base, int64(0), int64(0)
	ix.Points = make([]IndexPoint, d.count(3))
	for i := range ix.Points {
		p := &ix.Points[i]
		p.Offset = offset + int64(d.uint())
		p.Pos = pos + int64(d.uint())
		p.MaxTimestamp = timestamp + d.int()
		offset, pos, timestamp = p.Offset, p.Pos, p.MaxTimestamp
	}
}

// visibleAt is the place in Visible of the first range that ends above offset.
func (ix *Index) visibleAt(offset int64) int {
	return sort.Search(len(ix.Visible), func(i int) bool { return ix.Visible[i].End > offset })
}

// pointPos is a position of a batch at or below offset, and not far below if possible.
func (ix *Index) pointPos(offset int64) int64 {
	k := sort.Search(len(ix.Points), func(k int) bool { return ix.Points[k].Offset > offset }) - 1
	if k < 0 {
		return 0
	}
	return ix.Points[k].Pos
}

// check makes sure that what follows from the index stays within the data.
func (ix *Index) check() error {
	blocks := int64(0)
	if ix.BlockBytes > 0 && ix.DataSize >= 0 {
		blocks = (ix.DataSize + ix.BlockBytes - 1) / ix.BlockBytes
	}
	ok := ix.Base >= 0 && ix.End >= ix.Base && ix.DataSize >= 0 && ix.BlockBytes > 0 && blocks == int64(len(ix.Blocks))
	offset, pos := ix.Base, int64(0)
	for _, v := range ix.Visible {
		ok = ok && v.Base >= offset && v.End > v.Base && v.Pos >= pos && v.Len > 0 && v.Len <= ix.DataSize-v.Pos
		offset, pos = v.End, v.Pos+v.Len
	}
	ok = ok && offset <= ix.End
	offset, pos = ix.Base, 0
	for _, p := range ix.Points {
		ok = ok && p.Offset >= offset && p.Offset < ix.End && p.Pos >= pos && p.Pos < ix.DataSize
		offset, pos = p.Offset, p.Pos
	}
	if !ok {
		return fmt.Errorf("segment index: %w: ranges do not fit", ErrCorrupt)
	}
	return nil
}

// splitTail takes apart the bytes of a segment object from IndexPos to its end.
func splitTail(tail []byte, indexPos int64) (*Index, error) {
	n := len(tail) - footerLen
	if n < 0 || string(tail[n+16:]) != footerMagic {
		return nil, fmt.Errorf("segment footer: %w", ErrCorrupt)
	}
	if binary.BigEndian.Uint64(tail[n:]) != uint64(indexPos) || binary.BigEndian.Uint64(tail[n+8:]) != uint64(n) {
		return nil, fmt.Errorf("segment footer: %w: does not fit the object", ErrCorrupt)
	}
	return decodeIndex(tail[:n])
}

func (e *encoder) epochs(epochs []EpochStart) {
	e.uint(uint64(len(epochs)))
	for _, x := range epochs {
		e.int(int64(x.Epoch))
		e.uint(uint64(x.Start))
	}
}

func (d *decoder) epochs() []EpochStart {
	epochs := make([]EpochStart, d.count(2))
	for i := range epochs {
		epochs[i] = EpochStart{Epoch: int32(d.int()), Start: int64(d.uint())}
	}
	return epochs
}
