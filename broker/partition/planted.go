//go:build planted

package partition

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"sync/atomic"
	"time"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// A broker that was built with the tag "planted" has the bug that the environment variable
// PLANTED_BUG names. The history checker has to find each; if it does not, it would not find such a
// bug in the product either.
//
//	lost-ack    a batch of a producer that is not idempotent is acknowledged and not stored, once in a while
//	duplicate   a batch of an idempotent producer is stored twice, once in a while
//	dirty-read  read_committed is not looked at
var plantedBug = os.Getenv("PLANTED_BUG")

// plantedEvery is how often a bug shows.
const plantedEvery = 20

var plantedAppends atomic.Int64

func (p *Partition) plantedAppend(b record.Batch, now time.Time) (a log.Appended, lost bool) {
	idempotent := b.ProducerID() >= 0 && !b.Transactional()
	switch {
	case plantedBug == "lost-ack" && b.ProducerID() < 0 && plantedAppends.Add(1)%plantedEvery == 0:
		end := p.log.Offsets().HighWatermark
		return log.Appended{BaseOffset: end, EndOffset: end, AppendTime: -1}, true
	case plantedBug == "duplicate" && idempotent && plantedAppends.Add(1)%plantedEvery == 0:
		again := record.Batch(bytes.Clone(b))
		binary.BigEndian.PutUint64(again[43:], ^uint64(0)) // no producer id
		binary.BigEndian.PutUint32(again[17:], crc32.Checksum(again[21:], crc32.MakeTable(crc32.Castagnoli)))
		_, _ = p.log.Append(p.epoch.Load(), now, group(again, again))
	}
	return a, false
}

func planted(r ReadRequest) ReadRequest {
	if plantedBug == "dirty-read" {
		r.Committed = false
	}
	return r
}
