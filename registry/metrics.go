package registry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters count what was asked of the registry, by outcome.
type counters struct {
	registers, registersKept, registersRefused                          atomic.Uint64
	renewals, renewalsNotFound                                          atomic.Uint64
	cancels, cancelsNotFound                                            atomic.Uint64
	leasesCapped                                                        atomic.Uint64
	overrides, evictions                                                atomic.Uint64
	joinsChanged, joinsSame, joinsNotFound, joinsDeclined, joinsRefused atomic.Uint64
}

// collector shows a Registry to Prometheus.
type collector Registry

type metric struct {
	desc    *prometheus.Desc
	kind    prometheus.ValueType
	outcome []string // the label's value, if there is one
	get     func(*Registry) float64
}

func (c *collector) metrics() []metric {
	gauge := func(name, help string, get func(*Registry) int) metric {
		return metric{
			prometheus.NewDesc("registryd_registry_"+name, help, nil, nil), prometheus.GaugeValue, nil,
			func(r *Registry) float64 { r.mu.RLock(); defer r.mu.RUnlock(); return float64(get(r)) },
		}
	}
	count := func(name, help string, of func(*counters) *atomic.Uint64, outcome ...string) metric {
		var labels []string
		if len(outcome) > 0 {
			labels = []string{"outcome"}
		}
		return metric{
			prometheus.NewDesc("registryd_registry_"+name, help, labels, nil), prometheus.CounterValue, outcome,
			func(r *Registry) float64 { return float64(of(&r.stats).Load()) },
		}
	}
	const (
		registers = "Registrations asked of this node, by outcome: kept means that the stored one is newer."
		renewals  = "Heartbeats asked of this node, by outcome."
		cancels   = "Cancels asked of this node, by outcome."
		joins     = "Entries of peers, by outcome: declined means expired or retired, refused means out of bounds."
	)
	return []metric{
		gauge("instances", "Instances that readers see.", func(r *Registry) int { return r.present }),
		gauge("entries", "Entries, with tombstones and evicted ones.", func(r *Registry) int { return r.entries }),
		gauge("max_entries", "Bound of the entries.", func(r *Registry) int { return r.room }),
		count("registers_total", registers, func(s *counters) *atomic.Uint64 { return &s.registers }, "stored"),
		count("registers_total", registers, func(s *counters) *atomic.Uint64 { return &s.registersKept }, "kept"),
		count("registers_total", registers, func(s *counters) *atomic.Uint64 { return &s.registersRefused }, "refused"),
		count("renewals_total", renewals, func(s *counters) *atomic.Uint64 { return &s.renewals }, "renewed"),
		count("renewals_total", renewals, func(s *counters) *atomic.Uint64 { return &s.renewalsNotFound }, "not_found"),
		count("cancels_total", cancels, func(s *counters) *atomic.Uint64 { return &s.cancels }, "cancelled"),
		count("cancels_total", cancels, func(s *counters) *atomic.Uint64 { return &s.cancelsNotFound }, "not_found"),
		count("capped_leases_total", "Registrations whose lease is over a bound and counts as less.", func(s *counters) *atomic.Uint64 { return &s.leasesCapped }),
		count("overrides_total", "Overrides set or removed.", func(s *counters) *atomic.Uint64 { return &s.overrides }),
		count("evictions_total", "Instances evicted because their lease expired.", func(s *counters) *atomic.Uint64 { return &s.evictions }),
		count("joins_total", joins, func(s *counters) *atomic.Uint64 { return &s.joinsChanged }, "changed"),
		count("joins_total", joins, func(s *counters) *atomic.Uint64 { return &s.joinsSame }, "same"),
		count("joins_total", joins, func(s *counters) *atomic.Uint64 { return &s.joinsNotFound }, "not_found"),
		count("joins_total", joins, func(s *counters) *atomic.Uint64 { return &s.joinsDeclined }, "declined"),
		count("joins_total", joins, func(s *counters) *atomic.Uint64 { return &s.joinsRefused }, "refused"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics() {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.metrics() {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.get((*Registry)(c)), m.outcome...)
	}
}
