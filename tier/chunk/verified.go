package chunk

import (
	"sync"
	"time"
)

// Verified remembers which chunks were found whole where they lie, in a file that was modified at a
// time; the ones that were found last. The zero value remembers none. Safe for concurrent use.
type Verified struct {
	mu    sync.Mutex
	whole recent[Key, time.Time] // guarded by mu
}

// maxVerified is how many chunks are remembered: 4 GiB of them, which the page cache of most
// machines would not hold.
const maxVerified = 4 << 10

// Has reports whether a chunk was verified in a file that was modified at that time.
func (v *Verified) Has(key Key, modified time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, ok := v.whole.get(key)
	return ok && at.Equal(modified)
}

// Add notes that a chunk was verified in a file that was modified at that time.
func (v *Verified) Add(key Key, modified time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.whole.add(key, modified, maxVerified)
}
