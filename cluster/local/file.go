package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
)

// Format is the version of the file this code reads and writes.
const Format = 1

// FileName is the name of the store in its directory.
const FileName = "meta.db"

const lockName = "meta.lock"

var (
	bucketMeta      = []byte("meta")
	bucketTopics    = []byte("topics")
	bucketDeletions = []byte("deletions")
	bucketBrokers   = []byte("brokers")
	bucketConfigs   = []byte("broker-configs")
	bucketGroups    = []byte("group-configs")

	keyFormat         = []byte("format")
	keyCluster        = []byte("cluster-id")
	keyNode           = []byte("node-id")
	keyVersion        = []byte("version")
	keyNextProducerID = []byte("next-producer-id")

	keyAllBrokers = []byte("all") // in bucketConfigs
)

// LockedError says that another process has the store open.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("data directory %s is in use by another process", e.Dir)
}

// FormatError says that the store was written by a newer Morrow.
type FormatError struct {
	Path             string
	Found, Supported int64
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s holds data of a newer format: it has version %d, this Morrow reads up to version %d", e.Path, e.Found, e.Supported)
}

// NodeError says that the store belongs to a broker of another id.
type NodeError struct {
	Path         string
	Found, Given int32
}

func (e *NodeError) Error() string {
	return fmt.Sprintf("%s belongs to broker %d: node.id must be %d, not %d", e.Path, e.Found, e.Found, e.Given)
}

// openFile locks the directory and opens the database in it.
func openFile(dir string, node int32) (*bolt.DB, io.Closer, error) {
	files := vfs.OS{}
	lock, err := files.Lock(vfs.Join(dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, nil, &LockedError{Dir: dir}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("lock metadata: %w", err)
	}
	path := vfs.Join(dir, FileName)
	db, err := openOrCreate(files, path, node)
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = &LockedError{Dir: dir}
	}
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return db, lock, nil
}

func openOrCreate(files vfs.FS, path string, node int32) (*bolt.DB, error) {
	exists, err := vfs.Exists(files, path)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := create(files, path, node, Seed{ClusterID: newClusterID()}); err != nil {
			return nil, fmt.Errorf("create metadata: %w", err)
		}
	}
	return openBolt(path)
}

func openBolt(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 100 * time.Millisecond})
	switch {
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%s is damaged, or is not the metadata of a broker: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// Seed is what a store that is not made from nothing begins with.
type Seed struct {
	ClusterID      string
	Topics         []*cluster.Topic
	NextProducerID int64
}

// Create makes a store, whole or not at all. There must be none in the
// directory: the error is fs.ErrExist.
func Create(dir string, node int32, seed Seed) (err error) {
	files := vfs.OS{}
	lock, err := files.Lock(vfs.Join(dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return &LockedError{Dir: dir}
	}
	if err != nil {
		return fmt.Errorf("lock metadata: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	path := vfs.Join(dir, FileName)
	exists, err := vfs.Exists(files, path)
	if err == nil && exists {
		err = fs.ErrExist
	}
	if err == nil {
		err = create(files, path, node, seed)
	}
	if err != nil {
		return fmt.Errorf("create metadata %s: %w", path, err)
	}
	return nil
}

// create makes the file under another name and renames it when it is whole, so
// that a crash leaves either no store or a whole one.
func create(files vfs.FS, path string, node int32, seed Seed) error {
	tmp := path + ".new"
	if err := files.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := openBolt(tmp)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return initialise(tx, node, seed) })
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := files.Rename(tmp, path); err != nil {
		return err
	}
	return files.SyncDir(vfs.Dir(path))
}

func initialise(tx *bolt.Tx, node int32, seed Seed) error {
	for _, name := range [][]byte{bucketMeta, bucketTopics, bucketDeletions, bucketBrokers, bucketConfigs, bucketGroups} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return errors.Join(
		putInt(tx, keyFormat, Format),
		putInt(tx, keyNode, int64(node)),
		putInt(tx, keyVersion, 0),
		putInt(tx, keyNextProducerID, seed.NextProducerID),
		tx.Bucket(bucketMeta).Put(keyCluster, []byte(seed.ClusterID)),
		putChange(tx, &cluster.Change{Topics: seed.Topics}),
	)
}

// newClusterID returns a random id in the spelling of Kafka's.
func newClusterID() string {
	id := cluster.NewTopicID()
	return id.String()
}

// load reads the whole store into an image.
func load(db *bolt.DB, o Options) (img *cluster.Image, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		if err := check(tx, db.Path(), o.Node); err != nil {
			return err
		}
		version, err := getInt(tx, keyVersion)
		if err != nil {
			return err
		}
		change, err := readAll(tx)
		if err != nil {
			return err
		}
		id := string(tx.Bucket(bucketMeta).Get(keyCluster))
		img = cluster.NewImage(id, o.Node, o.Static).With(change).At(version)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return img, nil
}

// check refuses a file that this broker cannot use.
func check(tx *bolt.Tx, path string, node int32) error {
	if tx.Bucket(bucketMeta) == nil {
		return fmt.Errorf("%s is no metadata store", path)
	}
	format, err := getInt(tx, keyFormat)
	if err != nil {
		return err
	}
	if format > Format {
		return &FormatError{Path: path, Found: format, Supported: Format}
	}
	owner, err := getInt(tx, keyNode)
	if err != nil {
		return err
	}
	if owner != int64(node) {
		return &NodeError{Path: path, Found: int32(owner), Given: node}
	}
	return nil
}

func getInt(tx *bolt.Tx, key []byte) (int64, error) {
	n, err := strconv.ParseInt(string(tx.Bucket(bucketMeta).Get(key)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("metadata key %s: %w", key, err)
	}
	return n, nil
}

func putInt(tx *bolt.Tx, key []byte, n int64) error {
	return tx.Bucket(bucketMeta).Put(key, strconv.AppendInt(nil, n, 10))
}
