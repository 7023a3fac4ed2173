package log

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

var someFacts = facts{
	lineage: 0x0102030405060708, start: 10, reportedStart: 12, localStart: 11, highWatermark: 20, synced: 21, deleteBound: -1, visibleBelow: 9,
	epochs: []segment.Epoch{{Epoch: 1, Start: 10}, {Epoch: 4, Start: 15}},
	holes:  []hole{{12, 14}},
}

// The bytes of a slot, as FORMAT.md draws them.
const goldenFacts = "4d464133" + "c25f2fcb" + "0000000000000007" + "0102030405060708" +
	"000000000000000a" + "000000000000000c" + "000000000000000b" + "0000000000000014" + "0000000000000015" + "ffffffffffffffff" + "0000000000000009" +
	"00000002" + "00000001" + "00000001" + "000000000000000a" + "00000004" + "000000000000000f" + "000000000000000c" + "000000000000000e"

func TestFactsBytes(t *testing.T) {
	equal(t, hex.EncodeToString(someFacts.encode(7)), goldenFacts)
	f, sequence, err := decodeFacts(append(someFacts.encode(7), "left over"...))
	check(t, err)
	equal(t, f, someFacts)
	equal(t, sequence, uint64(7))
}

func TestDamagedFacts(t *testing.T) {
	b := someFacts.encode(7)
	for i := range b {
		if _, _, err := decodeFacts(b[:i]); !errors.Is(err, errFacts) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		b[i] ^= 0x40
		if _, _, err := decodeFacts(b); !errors.Is(err, errFacts) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		b[i] ^= 0x40
	}
}

func TestFactsOfAnotherVersionAreNotTakenForDamage(t *testing.T) {
	mem := vfs.NewMem()
	check(t, mem.MkdirAll("log"))
	w := factsFile{fsys: mem, dir: "log"}
	for slot := range slotNames {
		check(t, vfs.WriteFile(mem, w.name(slot), append([]byte("MFA9"), someFacts.encode(7)[4:]...)))
	}
	_, err := w.load()
	if err == nil || err.Error() != `log/facts-1 has format "MFA9", this Morrow reads "MFA3"` {
		t.Error(err)
	}
}

// Whatever a power loss does to a write that was not synced, the last synced facts or newer ones
// are found; and facts that were stored durably are found although one slot goes bad.
func TestFactsSurvive(t *testing.T) {
	mem := vfs.NewMem()
	check(t, mem.MkdirAll("log"))
	w := factsFile{fsys: mem, dir: "log"}
	f := someFacts
	check(t, w.create(f))
	check(t, mem.SyncDir("log"))
	load := func(fsys vfs.FS) facts {
		t.Helper()
		r := factsFile{fsys: fsys, dir: "log"}
		f, err := r.load()
		check(t, err)
		return f
	}
	for i := range int64(20) {
		f.synced = 100 + i
		durable := i%5 == 0
		check(t, w.store(f, durable))
		equal(t, load(mem).synced, f.synced)
		if got := load(mem.Crash(nil)).synced; got != 100+i-i%5 {
			t.Fatalf("after a power loss %d, want %d", got, 100+i-i%5)
		}
		if !durable {
			continue
		}
		for _, name := range slotNames {
			damaged := mem.CrashProcess()
			check(t, vfs.WriteFile(damaged, vfs.Join("log", name), []byte("garbage")))
			equal(t, load(damaged).synced, f.synced)
			check(t, damaged.Remove(vfs.Join("log", name)))
			equal(t, load(damaged).synced, f.synced)
		}
	}
	for _, name := range slotNames {
		check(t, mem.Remove(vfs.Join("log", name)))
	}
	r := factsFile{fsys: mem, dir: "log"}
	if _, err := r.load(); !errors.As(err, new(*CorruptError)) {
		t.Fatal(err)
	}
}

func FuzzDecodeFacts(f *testing.F) {
	f.Add(someFacts.encode(7))
	f.Add(facts{}.encode(0))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, sequence, err := decodeFacts(b)
		if err == nil && !bytes.HasPrefix(b, got.encode(sequence)) {
			t.Fatalf("%x became %x", b, got.encode(sequence))
		}
	})
}
