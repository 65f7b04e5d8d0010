package repair

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests  *prometheus.CounterVec
	entries   *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	rounds    *prometheus.CounterVec
	repaired  *prometheus.CounterVec
	divergent *prometheus.GaugeVec
}

func newMetrics(to prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "registryd_" + name, Help: help}, labels)
	}
	m := &metrics{
		requests: counter("sync_requests_total", "Sync requests of peers, by outcome.", "outcome"),
		entries: counter("sync_entries_total",
			"Entries of sync answers, by outcome: joined, renewed where just the lease came, malformed, "+
				"refused because they are out of bounds, or omitted because no message could hold them.",
			"outcome"),
		bytes: counter("sync_bytes_total",
			"Bytes of sync answers served, and of own requests with their answers.", "direction"),
		rounds: counter("repair_rounds_total",
			"Rounds of anti-entropy in which digests differed, by outcome.", "peer", "outcome"),
		repaired: counter("repair_entries_total",
			"Entries found different from a peer's: pushed to it, or fetched from it.", "peer", "direction"),
		divergent: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "registryd_repair_divergent_entries",
			Help: "Entries that differ from the peer's for longer than a change takes.",
		}, []string{"peer"}),
	}
	if to == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.entries, m.bytes, m.rounds, m.repaired, m.divergent} {
		errs = append(errs, to.Register(c))
	}
	return m, errors.Join(errs...)
}

// forget drops the series of a peer.
func (m *metrics) forget(peer string) {
	of := prometheus.Labels{"peer": peer}
	m.rounds.DeletePartialMatch(of)
	m.repaired.DeletePartialMatch(of)
	m.divergent.DeletePartialMatch(of)
}
