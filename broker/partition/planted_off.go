//go:build !planted

package partition

import (
	"time"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// The binary for which the tag "planted" is set has three bugs, for the history checker to find:
// see planted.go. Every other has these.

func (*Partition) plantedAppend(record.Batch, time.Time) (log.Appended, bool) {
	return log.Appended{}, false
}

func planted(r ReadRequest) ReadRequest { return r }
