package bucket

import "testing"

// TestPartsOfTheLargestObject: S3 takes 10,000 parts of 5 MiB to 5 GiB, of 5 TiB in all.
func TestPartsOfTheLargestObject(t *testing.T) {
	const mib, tib = int64(1) << 20, int64(1) << 40
	for _, object := range []int64{5*mib + 1, 64*mib + 1, 1<<31 - 1, 1 << 32, 10_000*5*mib - 1, 10_000 * 5 * mib, 640_000 * mib, 5 * tib} {
		for _, configured := range []int64{5 * mib, defaultPartSize, 5 << 30} {
			size := partBytes(object, configured)
			n := (object + size - 1) / size
			if n > maxParts || size < 5*mib || size > 5<<30 || size < configured {
				t.Errorf("%d bytes make %d parts of %d", object, n, size)
			}
		}
	}
}
