package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/morrowmq/morrow/tier/proxytest"
)

// disturb does one thing to the broker or its store, or to both.
func (s *soak) disturb(rng *rand.Rand) string {
	hurt := s.hurtStore(rng)
	switch rng.IntN(5) {
	case 0:
		return "the store: " + hurt
	case 1, 2:
		s.b.Kill9()
		damaged := s.damageCaches(rng)
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		s.b.Restart()
		return fmt.Sprintf("killed, %d caches damaged; the store: %s", damaged, hurt)
	}
	return disturb(s.t, s.b, rng) + "; the store: " + hurt
}

// hurtStore ends what is wrong with the store, and perhaps begins another fault, which lasts until
// the next round.
func (s *soak) hurtStore(rng *rand.Rand) string {
	s.store.Heal()
	every := func(*http.Request) bool { return true }
	write := func(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodPost }
	some := func(r *http.Request) bool { return rand.IntN(3) == 0 }
	switch rng.IntN(4) {
	case 0:
		s.store.Inject(proxytest.Refuse, 1<<30, every)
		return "away"
	case 1:
		s.store.Inject(proxytest.Slow, 1<<30, every)
		return "slow"
	case 2:
		for _, f := range []proxytest.Fault{proxytest.LoseReply, proxytest.Flip, proxytest.BreakBody, proxytest.FailAfter} {
			s.store.Inject(f, 1<<30, func(r *http.Request) bool { return write(r) && rand.IntN(6) == 0 })
		}
		s.store.Inject(proxytest.Internal, 1<<30, some)
		return "flaky"
	}
	return "well"
}

// damageCaches cuts, removes and garbles files that the broker can do without, and returns how many.
func (s *soak) damageCaches(rng *rand.Rand) (damaged int) {
	for name, size := range caches(s.t, s.b.DataDir()) {
		var err error
		switch rng.IntN(8) {
		case 0:
			err = os.Truncate(name, rng.Int64N(size+1))
		case 1:
			err = os.Remove(name)
		case 2:
			err = garble(rng, name)
		default:
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		damaged++
	}
	return damaged
}

// garble changes a few bytes of a file.
func garble(rng *rand.Rand, name string) error {
	data, err := os.ReadFile(name)
	if err != nil || len(data) == 0 {
		return err
	}
	for range 1 + rng.IntN(4) {
		data[rng.IntN(len(data))] ^= byte(1 + rng.IntN(255))
	}
	return os.WriteFile(name, data, 0o600)
}
