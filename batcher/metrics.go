package batcher

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the series of a process's batchers, labelled by peer. It is a
// prometheus.Collector, to be registered once. Any goroutine may use it.
type Metrics struct {
	sends                         *prometheus.CounterVec
	batchTasks, batchBytes, trips *prometheus.HistogramVec
}

// answered is the outcome of a send that did not fail. The other outcomes are
// the classes.
const answered = "answered"

// NewMetrics returns series without a peer.
func NewMetrics() *Metrics {
	histogram := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "registryd_batcher_" + name, Help: help, Buckets: buckets,
		}, []string{"peer"})
	}
	return &Metrics{
		sends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_batcher_sends_total",
			Help: "Sends of a batch that have ended, by outcome: answered, or the class of the failure.",
		}, []string{"peer", "outcome"}),
		batchTasks: histogram("batch_tasks", "Tasks per send, failed ones included.",
			1, 2, 5, 10, 25, 50, 100, 150, 200, 250, 500, 1000),
		batchBytes: histogram("batch_bytes", "Bytes of tasks per send, failed ones included.",
			prometheus.ExponentialBuckets(256, 4, 8)...), // to 4 MiB
		trips: histogram("round_trip_seconds", "Time from a send to its answer. Failed sends have none.",
			0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
	}
}

// Forget drops the series of a peer. What its batcher counts later is not seen:
// the series do not come back.
func (m *Metrics) Forget(peer string) {
	of := prometheus.Labels{"peer": peer}
	m.sends.DeletePartialMatch(of)
	for _, h := range []*prometheus.HistogramVec{m.batchTasks, m.batchBytes, m.trips} {
		h.DeletePartialMatch(of)
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.sends, m.batchTasks, m.batchBytes, m.trips}
}

// series are those of one peer. They are looked up once, so that a batcher that
// outlives Forget counts into series that nobody collects.
type series struct {
	sends                         map[string]prometheus.Counter
	batchTasks, batchBytes, trips prometheus.Observer
}

func (m *Metrics) of(peer string) series {
	s := series{
		sends:      make(map[string]prometheus.Counter),
		batchTasks: m.batchTasks.WithLabelValues(peer),
		batchBytes: m.batchBytes.WithLabelValues(peer),
		trips:      m.trips.WithLabelValues(peer),
	}
	for _, class := range slices.Concat([]Class{answered}, Classes()) {
		s.sends[string(class)] = m.sends.WithLabelValues(peer, string(class))
	}
	return s
}

// sent counts one send; failure is empty if it was answered.
func (s *series) sent(tasks, bytes int, elapsed time.Duration, failure Class) {
	s.batchTasks.Observe(float64(tasks))
	s.batchBytes.Observe(float64(bytes))
	if failure == "" {
		s.trips.Observe(elapsed.Seconds())
		failure = answered
	}
	s.sends[string(failure)].Inc()
}
