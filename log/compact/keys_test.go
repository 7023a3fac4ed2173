package compact

import (
	"fmt"
	"strings"
	"testing"
)

func TestKeysRememberTheLastOffset(t *testing.T) {
	k := NewKeys(1<<20, 1000)
	for i := range int64(1000) {
		if !k.Put(fmt.Append(nil, "key-", i%300), i) {
			t.Fatalf("no room for the %dth", i)
		}
	}
	if k.Len() != 300 {
		t.Errorf("%d keys", k.Len())
	}
	for i := range int64(300) {
		want := i + 600
		if i < 100 {
			want = i + 900
		}
		if got, ok := k.Last(fmt.Append(nil, "key-", i)); !ok || got != want {
			t.Errorf("key %d: %d %t, expected %d", i, got, ok, want)
		}
	}
	if got, ok := k.Last([]byte("another")); ok {
		t.Errorf("a key that was never put is at %d", got)
	}
}

func TestKeysThatHaveNoRoomAreRefused(t *testing.T) {
	const slots = 100
	k := NewKeys(slots*slotLen, 1<<40)
	if n := len(k.slots); n > slots*slotLen {
		t.Errorf("%d bytes", n)
	}
	n := int64(0)
	for ; k.Put(fmt.Append(nil, n), n); n++ {
	}
	if n != slots*9/10 {
		t.Errorf("room for %d keys", n)
	}
	if !k.Put([]byte("0"), 1000) {
		t.Error("a key that is there is refused")
	}
	if got, _ := k.Last([]byte("0")); got != 1000 {
		t.Errorf("its offset is %d", got)
	}
}

// TestKeysAreComparedWhole tells apart keys that are alike, of any length.
func TestKeysAreComparedWhole(t *testing.T) {
	k := NewKeys(1<<20, 100)
	keys := []string{"", "\x00", "\x00\x00", "a", "a\x00", strings.Repeat("a", 1000), strings.Repeat("a", 1001)}
	for i, key := range keys {
		k.Put([]byte(key), int64(i))
	}
	for i, key := range keys {
		if got, ok := k.Last([]byte(key)); !ok || got != int64(i) {
			t.Errorf("key %.10q: %d %t, expected %d", key, got, ok, i)
		}
	}
}

func BenchmarkKeysPut(b *testing.B) {
	k := NewKeys(1<<30, int64(b.N))
	key := make([]byte, 0, 40)
	for i := range b.N {
		key = fmt.Append(key[:0], "user-profile-", i)
		k.Put(key, int64(i))
	}
}
