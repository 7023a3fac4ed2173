package log

import (
	"fmt"
	"testing"

	"github.com/morrowmq/morrow/log/segment"
)

func TestDistances(t *testing.T) {
	segments := []segment.Info{{Base: 0, End: 10, Size: 100}, {Base: 20, End: 30, Size: 200}, {Base: 30, End: 30}} // nothing has offsets [10, 20)
	for bytes, want := range map[int64]int64{0: 30, 100: 25, 200: 20, 250: 5, 300: 0, 301: 0} {
		equal(t, Behind(segments, bytes), want)
	}
	for r, want := range map[[2]int64]int64{{0, 30}: 300, {0, forever}: 300, {5, 25}: 150, {10, 20}: 0, {30, 40}: 0, {25, 5}: 0} {
		equal(t, fmt.Sprint(r, Between(segments, r[0], r[1])), fmt.Sprint(r, want))
	}
}
