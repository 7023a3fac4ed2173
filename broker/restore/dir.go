package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/internal/vfs"
)

// The names in a data directory. Its owner is package broker.
const (
	lockName   = "LOCK"
	logsName   = "logs"
	remoteName = "remote"
	markerName = "RESTORE"
)

// marker lies in a data directory from before the first change until everything is there.
type marker struct {
	Cluster string   `json:"cluster"`
	Topics  []string `json:"topics"` // ids, sorted
}

// UnfinishedError says that a restore into a data directory was interrupted.
type UnfinishedError struct{ Dir string }

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("restoring into %s was interrupted: run morrow tier restore again, with the same topics, or empty the directory", e.Dir)
}

// CheckFinished returns an *UnfinishedError if a data directory is half restored: a broker must not
// start on it.
func CheckFinished(fsys vfs.FS, dir string) error {
	unfinished, err := vfs.Exists(fsys, vfs.Join(dir, markerName))
	if err == nil && unfinished {
		err = &UnfinishedError{Dir: dir}
	}
	return err
}

// readMarker returns nil if there is none.
func readMarker(fsys vfs.FS, dir string) (*marker, error) {
	data, err := vfs.ReadFile(fsys, vfs.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m marker
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", vfs.Join(dir, markerName), err)
	}
	return &m, nil
}

// begin makes sure that the directory is empty, or that this plan was begun in it before, and
// leaves the marker.
func begin(fsys vfs.FS, dir string, p *Plan) error {
	before, err := readMarker(fsys, dir)
	if err != nil {
		return err
	}
	now := marker{Cluster: p.Cluster, Topics: p.ids()}
	if before != nil {
		if before.Cluster != now.Cluster || !slices.Equal(before.Topics, now.Topics) {
			return fmt.Errorf("restoring of cluster %s, topics %s, was begun in %s: go on with these, or empty the directory",
				before.Cluster, strings.Join(before.Topics, " "), dir)
		}
		return nil
	}
	if err := checkEmpty(fsys, dir); err != nil {
		return err
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return vfs.WriteFile(fsys, vfs.Join(dir, markerName), append(data, '\n'))
}

// checkEmpty refuses a directory that holds anything of a broker but a bucket.
func checkEmpty(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains([]string{lockName, "meta.lock", markerName + ".tmp", "tier", "lost+found"}, name) {
			return fmt.Errorf("data directory %s is not empty, it holds %s: a restore begins with an empty one", dir, name)
		}
	}
	return nil
}

// end takes the marker away.
func end(fsys vfs.FS, dir string) error {
	if err := fsys.Remove(vfs.Join(dir, markerName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fsys.SyncDir(dir)
}
