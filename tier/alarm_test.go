package tier

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/tier/bucket"
)

// TestOutageOfTheStoreIsOneAlarm: not one for each partition, but one for each way in which the
// store fails them.
func TestOutageOfTheStoreIsOneAlarm(t *testing.T) {
	store := func(kind error, key string) error { return &bucket.Error{Op: "put", Key: key, Kind: kind} }
	f := failures{}
	f.add("b-1", store(bucket.ErrDenied, "kb"))
	f.add("a-0", errors.Join(store(bucket.ErrDenied, "ka"), store(bucket.ErrUnknown, "ka")))
	f.add("c-0", store(bucket.ErrFull, "kc"))
	f.add("d-0", errors.New("no file"))
	got := f.alarms("store_failing", "file:///b", "partitions")
	slices.SortFunc(got, func(x, y Alarm) int { return strings.Compare(y.Subject, x.Subject) })
	want := []Alarm{
		{"store_failing", "file:///b", "2 partitions, a-0 among them: " + Advice(errors.Join(store(bucket.ErrDenied, "ka"), store(bucket.ErrUnknown, "ka")))},
		{"store_failing", "d-0", "no file"},
		{"store_failing", "c-0", Advice(store(bucket.ErrFull, "kc"))},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
