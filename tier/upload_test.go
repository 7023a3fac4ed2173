package tier

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
)

var testID = PartitionID{Topic: TopicID{1, 2, 3}, Name: "orders", Partition: 3}

func testConfig() Config { return Config{Copy: true, RetentionMs: -1, RetentionBytes: -1} }

func openTestTier(t *testing.T, b Bucket, dir string) *Tier {
	t.Helper()
	tr, err := Open(Options{
		Bucket: b, Cluster: "c1", FS: vfs.OS{}, Dir: dir,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestClosedSegmentsAreConfirmedInADirectory(t *testing.T) {
	bucket, err := OpenFileBucket(vfs.OS{}, t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var log fakeLog
	log.fill(3)
	p, err := openTestTier(t, bucket, dir).Partition(testID, &log, 0, testConfig)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Confirmed(); got != NoOffset {
		t.Fatalf("confirmed %d before the manifest was read", got)
	}
	if _, _, err := p.step(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := p.Confirmed(); got != log.end() {
		t.Fatalf("confirmed %d, want %d", got, log.end())
	}
	again, err := openTestTier(t, bucket, dir).Partition(testID, &log, 0, testConfig)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Confirmed(); got != log.end() {
		t.Fatalf("confirmed %d after a restart, want %d", got, log.end())
	}
}
