package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// The topics the broker keeps for itself.
const (
	OffsetsTopic      = "__consumer_offsets"
	TransactionsTopic = "__transaction_state"
	ShareStateTopic   = "__share_group_state"
)

// kafkaMetadataTopic is where Kafka keeps its metadata. Clients cannot create it,
// there or here.
const kafkaMetadataTopic = "__cluster_metadata"

// SchedulePrefix begins the name of every schedule topic. Clients can neither
// create nor write a topic whose name begins with it.
const SchedulePrefix = "__schedule."

const maxNameBytes = 249 // leaves room for "-<partition>" in a file name of 255 bytes

// ValidateTopicName checks a name by Kafka's rules. It does not look at what
// exists.
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return refuse(InvalidTopicName, "topic name must not be empty")
	case name == "." || name == "..":
		return refuse(InvalidTopicName, "topic name must not be %q", name)
	case len(name) > maxNameBytes:
		return refuse(InvalidTopicName, "topic name of %d characters is too long: at most %d are allowed", len(name), maxNameBytes)
	}
	for _, r := range name {
		if !legalInName(r) {
			return refuse(InvalidTopicName, "topic name %q contains %q: only letters, digits, '.', '_' and '-' are allowed", name, r)
		}
	}
	return nil
}

func legalInName(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r == '.' || r == '_' || r == '-'
}

// IsReserved reports whether only the broker itself may create and write a
// topic of this name.
func IsReserved(name string) bool {
	return name == OffsetsTopic || name == TransactionsTopic || name == ShareStateTopic || strings.HasPrefix(name, SchedulePrefix)
}

// collisionKey is equal for names that Kafka refuses beside each other, because
// metric names cannot tell '.' from '_'.
func collisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// scheduleName is the name under which a topic's schedule is shown. Names that
// would be too long are cut and end in a hash of the whole.
func scheduleName(topic string) string {
	name := SchedulePrefix + topic
	if len(name) <= maxNameBytes {
		return name
	}
	sum := sha256.Sum256([]byte(topic))
	suffix := "-" + hex.EncodeToString(sum[:8])
	return name[:maxNameBytes-len(suffix)] + suffix
}
