package tier

import "testing"

// SetPageEntries makes manifest pages small for the time of a test.
func SetPageEntries(t *testing.T, n int) {
	old := pageEntries
	pageEntries = n
	t.Cleanup(func() { pageEntries = old })
}

// SetPoliteRate sets, for the time of a test, what uploads may take in any case.
func SetPoliteRate(t *testing.T, bytesPerSecond int64) {
	old := politeRate
	politeRate = bytesPerSecond
	t.Cleanup(func() { politeRate = old })
}
