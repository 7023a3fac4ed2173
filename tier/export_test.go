package tier

import "testing"

// SetPageEntries makes manifest pages small for the time of a test.
func SetPageEntries(t *testing.T, n int) {
	old := pageEntries
	pageEntries = n
	t.Cleanup(func() { pageEntries = old })
}

// SetSweptAtOnce sets, for the time of a test, how many objects a sweep compares with a manifest at a time.
func SetSweptAtOnce(t *testing.T, n int) {
	old := sweptAtOnce
	sweptAtOnce = n
	t.Cleanup(func() { sweptAtOnce = old })
}

// SetPoliteRate sets, for the time of a test, what uploads may take in any case.
func SetPoliteRate(t *testing.T, bytesPerSecond int64) {
	old := politeRate
	politeRate = bytesPerSecond
	t.Cleanup(func() { politeRate = old })
}
