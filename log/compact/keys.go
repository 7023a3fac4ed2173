package compact

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// A slot of the table of keys holds the hash of a key and the offset of its last record. Offset 0
// is stored as 1, as 0 means a free slot.
const (
	hashLen  = 16
	slotLen  = hashLen + 8
	maxFill  = 0.9 // share of the slots that are used at most
	saltLen  = 16
	minSlots = 16
)

// Keys remembers the offset of the last record of each key, in a table that does not grow. It is
// for one goroutine.
//
// Keys are known by 128 bits of a hash (SHA-256) with a secret that is drawn for each table. Two
// keys with one hash would be taken for one, and the older record would be lost. With the 2^32 keys
// that 100 GB of memory have room for, the odds are 2^64 pairs to 2^128 hashes, less than one in
// 10^19; and as nobody knows the secret, nobody can look for such keys.
type Keys struct {
	slots []byte
	n     int
	most  int
	salt  []byte // and behind it, room for a key
}

// NewKeys makes a table that takes at most maxBytes of memory, and no more than want keys need.
func NewKeys(maxBytes, want int64) *Keys {
	n := min(maxBytes/slotLen, int64(float64(want)/maxFill)+1)
	n = max(n, minSlots)
	k := &Keys{slots: make([]byte, n*slotLen), most: int(float64(n) * maxFill), salt: make([]byte, saltLen, 256)}
	_, _ = rand.Read(k.salt) // it never fails
	return k
}

// Len is how many keys are in the table.
func (k *Keys) Len() int { return k.n }

// Put notes that the last record of a key is the one at offset. It reports false if there is no
// room for another key.
func (k *Keys) Put(key []byte, offset int64) bool {
	slot, found := k.find(key)
	if !found {
		if k.n == k.most {
			return false
		}
		k.n++
	}
	binary.BigEndian.PutUint64(slot[hashLen:], uint64(offset+1))
	return true
}

// Last is the offset of the last record of a key.
func (k *Keys) Last(key []byte) (offset int64, ok bool) {
	slot, ok := k.find(key)
	return int64(binary.BigEndian.Uint64(slot[hashLen:])) - 1, ok
}

// find returns the slot of a key, or the free one that it belongs into, with the hash written to it.
func (k *Keys) find(key []byte) (slot []byte, found bool) {
	k.salt = append(k.salt[:saltLen], key...)
	hash := sha256.Sum256(k.salt)
	n := uint64(len(k.slots) / slotLen)
	for i := binary.BigEndian.Uint64(hash[hashLen:]) % n; ; i = (i + 1) % n {
		slot = k.slots[i*slotLen:][:slotLen]
		if binary.BigEndian.Uint64(slot[hashLen:]) == 0 {
			copy(slot, hash[:hashLen])
			return slot, false
		}
		if string(slot[:hashLen]) == string(hash[:hashLen]) {
			return slot, true
		}
	}
}
