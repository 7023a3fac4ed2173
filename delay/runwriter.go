package delay

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

const (
	// runBatchBytes is the most of a batch in a run, before compression; a single larger record is
	// a batch of its own.
	runBatchBytes = 256 << 10
	// tableBatchBytes likewise, for the tables.
	tableBatchBytes = 64 << 10
)

// runWriter writes one run to the journal. Records may be given to it in any order; it sorts them,
// in files if need be. The order in the journal is: header, table of tickets, table of keys,
// records, trailer. The records have segments of their own: they are most of the run and are read
// once, so they need not stay where the rest does. No footer is written: until a progress record
// names the run, it does not exist.
type runWriter struct {
	ctx    context.Context
	keeper *Keeper
	// turn is for what is done with the keeper. If something else was appended between two of its
	// calls, the run has a gap.
	turn   Turn
	now    int64
	info   runInfo
	begun  bool
	header []byte

	// table is the batch of tickets being filled, with the last entry in it.
	table     encoder
	tableLast Entry

	records, keys sorter
	// ordered yields the records in order, if they need not be sorted.
	ordered func(yield func(key, value []byte) error) error

	sortKey []byte
	value   []byte
	builder record.Builder
	view    record.View
	stamper stamper
}

// runHeader identifies the partition that a run belongs to.
type runHeader struct {
	topic     [16]byte
	partition int32
}

func (h runHeader) encode(low, high int64) []byte {
	var e encoder
	e.int(journalVersion)
	e.bytes(h.topic[:])
	e.int(int64(h.partition))
	e.int(low)
	e.int(high)
	return e
}

// newRunWriter returns a writer that has written nothing yet. Name is that of its temporary files.
func newRunWriter(ctx context.Context, k *Keeper, name string, turn Turn, low, high int64) *runWriter {
	sorting := func(what string, share int) sorter {
		return sorter{fs: k.c.FS, dir: k.c.Dir, name: name + "-" + what, maxBytes: k.c.SortBytes / share}
	}
	return &runWriter{
		ctx: ctx, keeper: k, turn: turn, now: k.c.Now().UnixMilli(),
		info:    runInfo{low: low, high: high},
		header:  k.header.encode(low, high),
		records: sorting("records", 1),
		keys:    sorting("keys", 4),
	}
}

// close removes what was written to files.
func (w *runWriter) close() error {
	err := w.records.close()
	if kerr := w.keys.close(); err == nil {
		err = kerr
	}
	return err
}

// hidden encodes one of our own records.
func hidden(w *record.Builder, now int64, kind string, value []byte) (record.Batch, error) {
	w.Reset(record.Hidden|record.LogAppendTime, now)
	w.Add(0, now, []byte(kind), value)
	b, err := w.Finish()
	if err == nil {
		b.Stamp(b.Attributes(), now)
	}
	return b, err
}

func (w *runWriter) appendHidden(roll bool, kind string, value []byte) (offset int64, err error) {
	b, err := hidden(&w.builder, w.now, kind, value)
	if err != nil {
		return 0, err
	}
	err = w.turn(func() error {
		offset, err = w.append(roll, b)
		return err
	})
	return offset, err
}

// resume notes, in the writer's turn, whether something else was appended since the last one.
func (w *runWriter) resume() (resumed bool) {
	end := w.keeper.end
	if resumed = w.info.to != 0 && w.info.to != end; resumed {
		w.info.gaps = append(w.info.gaps, Range{w.info.to, end})
		w.info.to = end
	}
	return resumed
}

// append appends a batch of the run, in the writer's turn. As long as the run is not finished, it
// is what lies behind the last progress record, so the next one must begin a segment of its own;
// and so must what follows upon something else.
func (w *runWriter) append(roll bool, b record.Batch) (offset int64, err error) {
	roll = w.resume() || roll
	w.keeper.complete = true
	offset, err = w.keeper.append(w.ctx, roll, b)
	w.info.to = w.keeper.end
	return offset, err
}

func (w *runWriter) begin() (err error) {
	if !w.begun {
		w.begun = true
		w.info.from, err = w.appendHidden(true, kindRun, w.header)
	}
	return err
}

// ticket adds to the table of tickets. Tickets ascend.
func (w *runWriter) ticket(e Entry) error {
	if err := w.begin(); err != nil {
		return err
	}
	if len(w.table) == 0 {
		w.tableLast = Entry{}
		w.info.tickets = append(w.info.tickets, ticketFence{ticket: e.Ticket})
	}
	w.table.entry(Entry{Due: e.Due - w.tableLast.Due, Ticket: e.Ticket - w.tableLast.Ticket})
	w.tableLast = e
	if len(w.table) < tableBatchBytes {
		return nil
	}
	return w.flushTickets()
}

func (w *runWriter) flushTickets() (err error) {
	if len(w.table) == 0 {
		return nil
	}
	w.info.tickets[len(w.info.tickets)-1].offset, err = w.appendHidden(false, kindTickets, w.table)
	w.table = w.table[:0]
	return err
}

// key adds to the table of keys.
func (w *runWriter) key(name string, e Entry) error {
	var value encoder
	value.entry(e)
	return w.keys.add([]byte(name), value)
}

// sortable encodes an entry so that bytes sort as entries do. Dues and tickets may be negative only in theory.
func sortable(b []byte, e Entry) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.Due)^1<<63)
	return binary.BigEndian.AppendUint64(b, uint64(e.Ticket)^1<<63)
}

// The form of a record that is sorted for a run: as the log holds it, or as a run does, with the
// headers of a delivery.
const (
	formStored = iota
	formDelivered
)

// record adds an encoded record.
func (w *runWriter) record(e Entry, p payload) error {
	w.sortKey = sortable(w.sortKey[:0], e)
	w.value = appendSortable(w.value[:0], p)
	return w.records.add(w.sortKey, w.value)
}

// appendSortable encodes a record for runWriter.add.
func appendSortable(b []byte, p payload) []byte {
	form := byte(formStored)
	if p.ready {
		form = formDelivered
	}
	b = append(b, form, byte(p.codec))
	b = binary.BigEndian.AppendUint64(b, uint64(p.baseTimestamp))
	return append(b, p.raw...)
}

// finish writes what was added, and returns the run.
func (w *runWriter) finish() (runInfo, error) {
	err := w.flushTickets()
	if err == nil {
		err = w.writeKeys()
	}
	if err == nil {
		err = w.writeRecords()
	}
	if err == nil {
		err = w.turn(w.writeTrailer)
	}
	return w.info, err
}

// writeTrailer writes the trailer, in the writer's turn: it knows of every gap, that in front of it too.
func (w *runWriter) writeTrailer() error {
	w.resume()
	b, err := hidden(&w.builder, w.now, kindTrailer, w.info.encode())
	if err == nil {
		w.info.trailer, err = w.append(true, b)
	}
	return err
}

func (w *runWriter) writeKeys() error {
	if w.keys.count == 0 {
		return nil
	}
	w.info.filter = newFilter(w.keys.count)
	var table encoder
	flush := func() (err error) {
		w.info.keys[len(w.info.keys)-1].offset, err = w.appendHidden(false, kindKeys, table)
		table = table[:0]
		return err
	}
	err := w.keys.each(func(name, value []byte) error {
		w.info.filter.add(string(name))
		if len(table) == 0 {
			w.info.keys = append(w.info.keys, keyFence{key: string(name)})
		}
		table.bytes(name)
		table.bytes(value)
		if len(table) < tableBatchBytes {
			return nil
		}
		return flush()
	})
	if err == nil && len(table) > 0 {
		err = flush()
	}
	return err
}

// writeRecords writes the records in order of delivery.
func (w *runWriter) writeRecords() error {
	batch := 0
	codec := record.None
	flush := func() error {
		if w.builder.Count() == 0 {
			return nil
		}
		w.builder.SetAttributes(record.Attributes(0).WithCodec(codec))
		b, err := w.builder.Finish()
		if err != nil {
			return err
		}
		data := w.info.data
		err = w.turn(func() error {
			data[len(data)-1].offset, err = w.append(len(data) == 1, b)
			return err
		})
		batch, codec = 0, record.None
		w.builder.Reset(0, w.now)
		return err
	}
	w.builder.Reset(0, w.now)
	each := w.ordered
	if each == nil {
		each = w.records.each
	}
	err := each(func(key, value []byte) error {
		e := Entry{Due: int64(binary.BigEndian.Uint64(key) ^ 1<<63), Ticket: int64(binary.BigEndian.Uint64(key[8:]) ^ 1<<63)}
		if batch > 0 && batch+len(value)+addedLen > runBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch += len(value) + addedLen
		if record.Codec(value[1]) != record.None && codec == record.None {
			codec = record.Codec(value[1])
		}
		return w.add(e, value)
	})
	if err != nil {
		return err
	}
	return flush()
}

// add puts one sorted record into the batch being built.
func (w *runWriter) add(e Entry, value []byte) error {
	stored := value[0] == formStored
	raw := value[10:]
	if err := w.view.Load(raw, int64(binary.BigEndian.Uint64(value[2:]))); err != nil {
		return err
	}
	if w.info.count == 0 {
		w.info.first = e
	}
	if w.builder.Count() == 0 {
		w.info.data = append(w.info.data, dataFence{due: e.Due, ticket: e.Ticket, before: w.info.count})
	}
	w.info.last = e
	w.info.count++
	position := int32(w.builder.Count())
	if stored {
		w.info.bytes += int64(len(raw))
		w.builder.AddEdited(&w.view, position, w.now, isDelayHeaderButKey, w.stamper.of(e, w.view.CreateTime())...)
	} else {
		w.builder.AddEdited(&w.view, position, w.now, keepAll)
	}
	return nil
}

func keepAll([]byte) bool { return false }

// isDelayHeaderButKey says which headers a record in a run has no more. The key stays, to be shown.
func isDelayHeaderButKey(key []byte) bool { return isDelayHeader(key) && string(key) != HeaderKey }

// readTickets calls yield for the entries of a batch of the table of tickets.
func readTickets(value []byte, yield func(Entry) error) error {
	d := decoder{b: value}
	var last Entry
	for len(d.b) > 0 && d.err == nil {
		x := d.entry()
		last = Entry{Due: last.Due + x.Due, Ticket: last.Ticket + x.Ticket}
		if d.err == nil {
			if err := yield(last); err != nil {
				return err
			}
		}
	}
	return d.end()
}

// readKeys calls yield for the entries of a batch of the table of keys.
func readKeys(value []byte, yield func(key []byte, e Entry) error) error {
	d := decoder{b: value}
	for len(d.b) > 0 && d.err == nil {
		name := d.bytes()
		v := decoder{b: d.bytes()}
		e := v.entry()
		if err := v.end(); err != nil {
			return err
		}
		if d.err == nil {
			if err := yield(name, e); err != nil {
				return err
			}
		}
	}
	return d.end()
}

// ownBatch reads one of our own batches and checks its kind.
func ownBatch(ctx context.Context, j Journal, offset int64, kind string) (value []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := j.BatchAt(ctx, offset, nil)
	if err != nil {
		return nil, err
	}
	got, value, err := kindOf(b)
	if err == nil && got != kind {
		err = fmt.Errorf("%w: a batch of kind %q", errUnreadable, got)
	}
	if err != nil {
		return nil, fmt.Errorf("offset %d of the schedule log, expected %q: %w", offset, kind, err)
	}
	return value, nil
}

// loadRun reads the description of a run.
func loadRun(ctx context.Context, j Journal, p *runProgress) (*run, error) {
	value, err := ownBatch(ctx, j, p.trailer, kindTrailer)
	if err != nil {
		return nil, err
	}
	info := runInfo{from: p.from, to: p.to, trailer: p.trailer}
	if err := info.decode(bytes.Clone(value)); err != nil {
		return nil, fmt.Errorf("trailer of run %d: %w", p.from, err)
	}
	r := newRun(info)
	r.cursor, r.live, r.pending = p.cursor, p.live, p.live
	for _, x := range p.exceptions {
		if r.cursor.Less(x) && !r.exceptions.Contains(x) {
			r.exceptions.Insert(x)
		}
	}
	r.next = max(r.first.Due, r.cursor.Due) - horizon.Milliseconds()
	return r, nil
}

// tempDir empties the directory of temporary files.
func tempDir(fs vfs.FS, dir string) error {
	if err := fs.RemoveAll(dir); err != nil {
		return err
	}
	return fs.MkdirAll(dir)
}
