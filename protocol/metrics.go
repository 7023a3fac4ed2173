package protocol

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metrics are the server's. What is counted per request is resolved once per
// route, so that a request looks nothing up.
type metrics struct {
	received, sent prometheus.Counter
	inFlight       prometheus.Gauge
	connections    *prometheus.GaugeVec   // listener
	refused        *prometheus.CounterVec // reason
	throttled      *prometheus.CounterVec // reason
	closed         *prometheus.CounterVec // reason
	panics         prometheus.Counter

	requests *prometheus.CounterVec   // api
	seconds  *prometheus.HistogramVec // api
	errors   *prometheus.CounterVec   // api, code
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		received: f.NewCounter(prometheus.CounterOpts{
			Name: "morrow_received_bytes_total", Help: "Bytes of request frames read from clients.",
		}),
		sent: f.NewCounter(prometheus.CounterOpts{
			Name: "morrow_sent_bytes_total", Help: "Bytes of answers written to clients.",
		}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "morrow_in_flight_request_bytes", Help: "Memory held by requests being read or handled.",
		}),
		connections: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "morrow_connections", Help: "Open client connections.",
		}, []string{"listener"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_connections_refused_total", Help: "Connections closed when they were accepted.",
		}, []string{"reason"}),
		throttled: f.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_connections_throttled_seconds_total",
			Help: "How long connections were kept waiting before they were served. What comes after them on the listener waits as well.",
		}, []string{"reason"}),
		closed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_connections_closed_total",
			Help: "Connections that ended, by reason; peer means that the client ended it.",
		}, []string{"reason"}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "morrow_request_panics_total", Help: "Panics while a request was handled. Every one is a bug.",
		}),
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_requests_total", Help: "Requests read.",
		}, []string{"api"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "morrow_request_seconds",
			Help: "From the last byte of a request read until its answer is ready to be written or, from a file, has been. " +
				"Waiting is included: for earlier answers of the connection, commits, long polls and rebalances.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"api"}),
		errors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_request_errors_total", Help: "Error codes in answers, one for every place that holds one.",
		}, []string{"api", "code"}),
	}
}

// api returns the metrics of one key.
func (m *metrics) api(key int16) apiMetrics {
	name := kmsg.NameForKey(key)
	return apiMetrics{
		requests: m.requests.WithLabelValues(name),
		seconds:  m.seconds.WithLabelValues(name),
		errors:   m.errors.MustCurryWith(prometheus.Labels{"api": name}),
	}
}

type apiMetrics struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
	errors   *prometheus.CounterVec // code
}

// count counts one error code of an answer.
func (m *apiMetrics) count(code int16) {
	if code == 0 {
		return
	}
	name := "UNKNOWN_SERVER_ERROR"
	if e := kerr.TypedErrorForCode(code); e != nil {
		name = e.Message
	}
	m.errors.WithLabelValues(name).Inc()
}
