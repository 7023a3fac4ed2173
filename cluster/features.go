package cluster

// Feature is something whose version a cluster agrees on (KIP-584).
type Feature struct {
	Name      string
	Min, Max  int16 // levels this broker supports
	Finalized int16 // level the cluster uses
}

// Features returns what clients and tools are told about. metadata.version is
// that of the Kafka release whose behaviour Morrow has; consoles derive the
// version of the broker from it. group.version 1 switches the consumer protocol
// of KIP-848 on.
func (img *Image) Features() []Feature {
	return []Feature{
		{Name: "group.version", Min: 0, Max: 1, Finalized: 1},
		{Name: "metadata.version", Min: 7, Max: 30, Finalized: 30},
	}
}
