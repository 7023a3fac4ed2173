package log

import (
	"fmt"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func dump(s *Set) {
	for n, o := range map[string]prometheus.Observer{"journal": s.metrics.journalSync, "segment": s.metrics.segmentSync} {
		var m dto.Metric
		o.(prometheus.Metric).Write(&m)
		fmt.Printf("%s: n=%d avg=%.0fus ", n, m.Histogram.GetSampleCount(), m.Histogram.GetSampleSum()/float64(m.Histogram.GetSampleCount())*1e6)
		last := uint64(0)
		for _, b := range m.Histogram.Bucket {
			if b.GetCumulativeCount() > last {
				fmt.Printf(" <%.0fus:%d", b.GetUpperBound()*1e6, b.GetCumulativeCount()-last)
			}
			last = b.GetCumulativeCount()
		}
		fmt.Println()
	}
}
