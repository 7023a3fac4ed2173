package bench

import (
	"hash/crc32"
	"time"
)

// Bare is what the machine did without a broker.
type Bare struct {
	BytesPerSecond float64 `json:"bytes_per_s"`
	// Latency is per request, or per write and sync.
	Latency Latency `json:"latency"`
	// CPUSecondsPerGB is of server and client together, which share a process here.
	CPUSecondsPerGB float64 `json:"cpu_s_per_gb,omitempty"`
	// Congestion is the congestion control of the connection, empty if there was none.
	Congestion string `json:"congestion,omitempty"`
}

func newBare(h *Histogram, bytes int64, elapsed time.Duration) Bare {
	return Bare{BytesPerSecond: per(float64(bytes), elapsed.Seconds()), Latency: h.summary()}
}

// CRC32C computes checksums of a megabyte for d.
func CRC32C(d time.Duration) Bare {
	var h Histogram
	b, table := make([]byte, 1<<20), crc32.MakeTable(crc32.Castagnoli)
	start, bytes := time.Now(), int64(0)
	for sum := uint32(0); bytes == 0 || time.Since(start) < d; bytes += int64(len(b)) {
		began := time.Now()
		sum = crc32.Update(sum, table, b)
		b[0] = byte(sum) // so that it is not optimized away
		h.Observe(time.Since(began))
	}
	return newBare(&h, bytes, time.Since(start))
}
