package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"

	"github.com/morrowmq/morrow/internal/vfs"
)

// How far a log was cleaned is a cache: without it, the whole log is dirty. Truncation removes it
// before anything is written anew below. Numbers are big-endian.
//
//	 0  magic    "MCL1"
//	 4  crc      uint32  CRC-32C of everything after it
//	 8  clean    int64   below, only the last record of every key is left
//	16  seen     int64   everything below was cleaned, as far as that was possible
//	24  gate     int64   which delayed records could not be dropped then
//	32  time     int64   wall clock then, ms
const (
	cleanedName  = "cleaned"
	cleanedMagic = "MCL1"
	cleanedLen   = 40
)

// cleaned is how far a log was cleaned.
type cleaned struct {
	clean int64 // below, only the last record of every key is left
	seen  int64 // everything below was cleaned, as far as that was possible
	gate  int64 // Compaction.Gate then
	at    int64 // wall clock then, ms; 0: never
}

func (c cleaned) encode() []byte {
	be := binary.BigEndian
	b := make([]byte, 8, cleanedLen)
	copy(b, cleanedMagic)
	b = be.AppendUint64(b, uint64(c.clean))
	b = be.AppendUint64(b, uint64(c.seen))
	b = be.AppendUint64(b, uint64(c.gate))
	b = be.AppendUint64(b, uint64(c.at))
	be.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

func decodeCleaned(b []byte) (c cleaned, ok bool) {
	be := binary.BigEndian
	if len(b) != cleanedLen || string(b[:4]) != cleanedMagic || be.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return c, false
	}
	return cleaned{clean: int64(be.Uint64(b[8:])), seen: int64(be.Uint64(b[16:])), gate: int64(be.Uint64(b[24:])), at: int64(be.Uint64(b[32:]))}, true
}

// loadCleaned reads how far the log was cleaned, at a start.
func (l *Log) loadCleaned() {
	b, err := vfs.ReadFile(l.set.fsys, l.path(cleanedName))
	if err != nil {
		return
	}
	if c, ok := decodeCleaned(b); ok && c.seen <= l.end {
		l.cleaned = c
	}
}

// forgetCleaned makes sure that what will be written above end counts as dirty, before anything is cut.
func (l *Log) forgetCleaned(end int64) error {
	l.mu.Lock()
	concerned := l.cleaned.seen > end
	l.cleaned.clean, l.cleaned.seen = min(l.cleaned.clean, end), min(l.cleaned.seen, end)
	l.mu.Unlock()
	if !concerned {
		return nil
	}
	if err := l.set.fsys.Remove(l.path(cleanedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.set.fsys.SyncDir(l.dir)
}
