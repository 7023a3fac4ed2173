package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
)

// identityName is a file among the logs. It says whose they are, as Kafka's meta.properties does:
// metadata and logs may be on file systems of their own, one of which is not mounted or is put back
// from elsewhere. A broker that started on half of its data would give out offsets anew, and show
// topics as empty, or not at all.
const identityName = "identity"

// identity is whose logs these are.
type identity struct {
	Cluster string `json:"cluster"`
	Node    int32  `json:"node"`
}

// readIdentity returns nil if the directory does not say whose logs it has: it is new, or not there.
func readIdentity(fsys vfs.FS, logs string) (*identity, error) {
	path := vfs.Join(logs, identityName)
	data, err := vfs.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var id identity
	if err := json.Unmarshal(data, &id); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &id, nil
}

// checkMetadata refuses to make new metadata beside logs that have an owner.
func checkMetadata(owner *identity, logs, meta string, exists bool) error {
	if owner == nil || exists {
		return nil
	}
	return fmt.Errorf("%s is missing, and %s has the logs of cluster %s: put back the one that belongs to them, or start with another data directory",
		meta, logs, owner.Cluster)
}

// claimLogs makes sure that the logs belong to the metadata, and says so among them if nothing does yet.
func claimLogs(fsys vfs.FS, owner *identity, logs, meta string, img *cluster.Image, node int32) error {
	self := identity{Cluster: img.ClusterID(), Node: node}
	switch {
	case owner != nil && *owner != self:
		return fmt.Errorf("%s has the logs of broker %d of cluster %s, and %s is that of broker %d of cluster %s: put together what belongs together",
			logs, owner.Node, owner.Cluster, meta, self.Node, self.Cluster)
	case owner != nil:
		return nil
	}
	if err := fsys.MkdirAll(logs); err != nil {
		return err
	}
	some, err := hasLogs(fsys, logs)
	if err != nil {
		return err
	}
	if n := len(img.Topics()); n > 0 && !some {
		return fmt.Errorf("%s has no logs, and %s knows %d topics: put the logs back (is their file system mounted?); if they are lost, begin with an empty "+
			"data directory, to which \"morrow tier restore\" brings back what was tiered", logs, meta, n)
	}
	data, err := json.Marshal(self)
	if err != nil {
		return err
	}
	return vfs.WriteFile(fsys, vfs.Join(logs, identityName), append(data, '\n'))
}

// hasLogs reports whether the directory has the log of any partition.
func hasLogs(fsys vfs.FS, logs string) (bool, error) {
	names, err := fsys.List(logs)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if _, ok := log.ParseID(name); ok {
			return true, nil
		}
	}
	return false, nil
}
