package partition

import (
	"strings"
	"testing"
	"time"
)

// TestDeletedRecordsLeaveTheTier: DeleteRecords up to the middle of what is remote only. What lies
// wholly below goes from the bucket, though nothing local does. (Scenario 29)
func TestDeletedRecordsLeaveTheTier(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("plain", 1, "remote.storage.enable", "true", "delay.enable", "false", "segment.bytes", "16384", "local.retention.ms", "60000", "retention.ms", "-1")
		w.start()
		p := w.partition("plain")
		for range 100 {
			w.append(p, plain(strings.Repeat(".", 1000)))
		}
		time.Sleep(30 * time.Minute)
		o := p.log.Offsets()
		if o.LocalStart < 80 || o.RealStart != 0 {
			t.Fatalf("%+v: the test is void", o)
		}
		if _, err := p.DeleteRecords(50); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		remote := p.remote.Load().Status()
		if remote.Start < 30 || remote.Start > 50 {
			t.Errorf("remote from %d on, records are deleted up to 50", remote.Start)
		}
	})
}
