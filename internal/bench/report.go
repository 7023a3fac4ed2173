package bench

import (
	"math"
	"time"
)

// Report is what one Run measured. GB are 10^9 bytes. Bytes are those of record batches as they
// travel for the raw drives, and those of keys and values for the others.
type Report struct {
	Load    string  `json:"load"`
	Seconds float64 `json:"seconds"`
	Records int64   `json:"records"`
	// AllRecords also counts those that were acknowledged, or arrived, while it was warming up and
	// after the measurement had ended.
	AllRecords int64 `json:"all_records"`
	Bytes      int64 `json:"bytes"`

	RecordsPerSecond float64 `json:"records_per_s"`
	BytesPerSecond   float64 `json:"bytes_per_s"`

	// Latency is per request for the raw drives and per record for the others.
	Latency Latency `json:"latency"`

	Errors    int64  `json:"errors"`
	LastError string `json:"last_error,omitempty"`
	// Retries counts what was refused for the time being and sent again, by the raw drives; its
	// latency includes that.
	Retries int64 `json:"retries,omitempty"`

	// ClientCPUSeconds is the processor time of this process; Server is nil if nobody said where to find it.
	ClientCPUSeconds float64      `json:"client_cpu_s"`
	Server           *ServerUsage `json:"server,omitempty"`
}

// Latency summarizes durations, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

// ServerUsage is what the server used while it was measured.
type ServerUsage struct {
	CPUSeconds    float64 `json:"cpu_s"`
	ResidentBytes int64   `json:"resident_bytes"` // at the end
	// The ratios are 0 if nothing was transferred or no processor time used.
	CPUSecondsPerGB             float64 `json:"cpu_s_per_gb"`
	CPUSecondsPerMillionRecords float64 `json:"cpu_s_per_million_records"`
	GBPerCPUSecond              float64 `json:"gb_per_cpu_s"`
	MillionRecordsPerCPUSecond  float64 `json:"million_records_per_cpu_s"`
}

func (h *Histogram) summary() Latency {
	return Latency{
		Count: h.Count(),
		P50:   ms(h.Quantile(0.5)),
		P99:   ms(h.Quantile(0.99)),
		P999:  ms(h.Quantile(0.999)),
		Max:   ms(h.Max()),
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func newReport(m *Meter, elapsed time.Duration) Report {
	records, bytes, errors := m.Progress()
	return Report{
		Seconds: elapsed.Seconds(), Records: records, Bytes: bytes, Errors: errors, Retries: m.retries.Load(),
		RecordsPerSecond: per(float64(records), elapsed.Seconds()),
		BytesPerSecond:   per(float64(bytes), elapsed.Seconds()),
		Latency:          m.latency.summary(),
	}
}

// serverUsage relates what a server used to what it did.
func (r *Report) serverUsage(before, after Usage) *ServerUsage {
	cpu := hundredths(after.CPUSeconds - before.CPUSeconds)
	gb, million := float64(r.Bytes)/1e9, float64(r.Records)/1e6
	return &ServerUsage{
		CPUSeconds:                  cpu,
		ResidentBytes:               after.ResidentBytes,
		CPUSecondsPerGB:             per(cpu, gb),
		CPUSecondsPerMillionRecords: per(cpu, million),
		GBPerCPUSecond:              per(gb, cpu),
		MillionRecordsPerCPUSecond:  per(million, cpu),
	}
}

// hundredths drops what is below the resolution of processor times, and above that of their difference.
func hundredths(seconds float64) float64 { return math.Round(seconds*100) / 100 }

// per is a/b, and 0 if b is 0: JSON knows no infinity.
func per(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
