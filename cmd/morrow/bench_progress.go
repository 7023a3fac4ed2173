package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/morrowmq/morrow/internal/bench"
)

// progressInterval is how often progress is redrawn.
const progressInterval = 200 * time.Millisecond

// showProgress draws how far a load has come until the returned function is called. It draws
// nothing if w is no terminal.
func showProgress(w io.Writer, what string, extent bench.Extent, m *bench.Meter) (stop func()) {
	total := extent.Records
	if total == 0 {
		total = int64((extent.Warmup + extent.Duration) / progressInterval)
	}
	bar := newBar(w, what, total)
	if bar == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for steps := int64(1); ; steps++ {
			select {
			case <-done:
				_ = bar.Finish()
				return
			case <-tick.C:
			}
			records, bytes, errors := m.Progress()
			bar.Describe(fmt.Sprintf("%s: %.2f M records, %.2f GB, %d errors", what, float64(records)/1e6, float64(bytes)/1e9, errors))
			if extent.Records > 0 {
				steps = records
			}
			_ = bar.Set64(min(steps, max(total, 1)))
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// newBar makes a progress bar, or returns nil if w is no terminal.
func newBar(w io.Writer, what string, total int64) *progressbar.ProgressBar {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	if total <= 0 {
		total = -1 // unknown: a spinner
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	)
}
