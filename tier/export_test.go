package tier

import "testing"

// SetPageEntries makes manifest pages small for the time of a test.
func SetPageEntries(t *testing.T, n int) {
	old := pageEntries
	pageEntries = n
	t.Cleanup(func() { pageEntries = old })
}
