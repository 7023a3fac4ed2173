package pace

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestWaitTakesAsLongAsTheLimitSays(t *testing.T) {
	for _, c := range []struct {
		bytesPerSecond int64
		bytes          int
		want           time.Duration
	}{
		{0, 1 << 30, 0},
		{burst, burst, 0},
		{burst, 5 * burst, 4 * time.Second},
		{burst / 2, 2*burst + burst/2, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l, began := NewLimiter(c.bytesPerSecond), time.Now()
			if err := Wait(t.Context(), l, c.bytes); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began).Round(time.Millisecond); took != c.want {
				t.Errorf("%d bytes at %d a second took %v, want %v", c.bytes, c.bytesPerSecond, took, c.want)
			}
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wait(ctx, NewLimiter(1), 2*burst); err == nil {
		t.Error("no error")
	}
}

func TestReaderWaitsForWhatItHasRead(t *testing.T) {
	full := errors.New("no more")
	left := 10
	r := NewReader(t.Context(), strings.NewReader("twelve bytes"), func(_ context.Context, n int) error {
		if left -= n; left < 0 {
			return full
		}
		return nil
	})
	got, err := io.ReadAll(iotest.OneByteReader(r))
	if len(got) != 11 || !errors.Is(err, full) {
		t.Errorf("%q, %v", got, err)
	}
}
