package group

// Topics is the coordinator's view of the cluster's topics. It must be complete
// before a shard is elected: an offset whose topic it does not know is taken
// for one of a deleted topic. Safe for concurrent use; what one command sees
// need not be a single version.
type Topics interface {
	// Partitions returns the number of partitions and the id of a topic.
	Partitions(name string) (n int32, id [16]byte, ok bool)

	// NameOf returns the name of the topic with that id.
	NameOf(id [16]byte) (name string, ok bool)

	// Names returns the names of all topics clients may see, internal ones
	// included, in any order. The caller does not modify the slice.
	Names() []string

	// Version changes, upwards, whenever any of the other answers may have.
	Version() int64
}
