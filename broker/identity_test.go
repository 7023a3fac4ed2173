package broker

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/vfs"
)

// startOn opens a broker on a data directory, and closes it after use, which may be nil.
func startOn(t *testing.T, dir string, use func(b *broker)) error {
	t.Helper()
	b, err := open(t.Context(), Config{
		Values: config.Values{"log.dir": dir, "listeners": "PLAINTEXT://127.0.0.1:0", "http.listen": "", "offsets.topic.num.partitions": "1"},
		FS:     vfs.OS{},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if use != nil {
		use(b)
	}
	return b.close()
}

// newDataDir is the directory of a broker that has, or has not, a topic.
func newDataDir(t *testing.T, topic bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	err := startOn(t, dir, func(b *broker) {
		if !topic {
			return
		}
		if _, err := b.store.Apply(t.Context(), cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: "orders", Partitions: 1, ReplicationFactor: 1}}}); err != nil {
			t.Error(err)
		}
		b.partitions.Open(t.Context())
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDataThatDoesNotBelongTogetherIsRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		topic  bool
		change func(dir, other string) error
		want   string
	}{
		{"metadata lost", false, func(dir, _ string) error { return os.Remove(filepath.Join(dir, "meta.db")) }, "meta.db is missing"},
		{"logs lost", true, func(dir, _ string) error { return os.RemoveAll(filepath.Join(dir, "logs")) }, "logs has no logs"},
		{"logs lost, none needed", false, func(dir, _ string) error { return os.RemoveAll(filepath.Join(dir, "logs")) }, ""},
		{"metadata of another broker", true, func(dir, other string) error {
			return os.Rename(filepath.Join(other, "meta.db"), filepath.Join(dir, "meta.db"))
		}, "put together what belongs together"},
		{"metadata damaged", true, func(dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "meta.db"), []byte("something else"), 0o600)
		}, "meta.db is damaged"},
		{"identity damaged", true, func(dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "logs", identityName), []byte("?"), 0o600)
		}, "logs/identity: "},
		{"logs without an identity", true, func(dir, _ string) error { return os.Remove(filepath.Join(dir, "logs", identityName)) }, ""},
		{"nothing lost", true, func(string, string) error { return nil }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, other := newDataDir(t, test.topic), newDataDir(t, false)
			if err := test.change(dir, other); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a refusal changes nothing: the next start ends the same
				err := startOn(t, dir, nil)
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("a start: %v, want %q", err, test.want)
				}
			}
		})
	}
}
