package registry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters count what was asked of the registry.
type counters struct {
	registers, registersKept    atomic.Uint64
	renewals, renewalsNotFound  atomic.Uint64
	cancels, cancelsNotFound    atomic.Uint64
	overrides, evictions        atomic.Uint64
	joinsChanged, joinsDeclined atomic.Uint64
}

// collector shows a Registry to Prometheus.
type collector Registry

type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(*Registry) float64
}

func count(name, help string, of func(*counters) *atomic.Uint64) metric {
	return metric{
		prometheus.NewDesc("registryd_registry_"+name, help, nil, nil), prometheus.CounterValue,
		func(r *Registry) float64 { return float64(of(&r.stats).Load()) },
	}
}

func (c *collector) metrics() []metric {
	return []metric{
		{
			prometheus.NewDesc("registryd_registry_instances", "Instances that readers see.", nil, nil), prometheus.GaugeValue,
			func(r *Registry) float64 { r.mu.RLock(); defer r.mu.RUnlock(); return float64(r.present) },
		},
		{
			prometheus.NewDesc("registryd_registry_entries", "Entries, with tombstones and evicted ones.", nil, nil), prometheus.GaugeValue,
			func(r *Registry) float64 { return float64(r.Len()) },
		},
		count("registers_total", "Registers that were stored.", func(s *counters) *atomic.Uint64 { return &s.registers }),
		count("registers_kept_total", "Registers that were older than what is stored.", func(s *counters) *atomic.Uint64 { return &s.registersKept }),
		count("renewals_total", "Leases renewed by a heartbeat.", func(s *counters) *atomic.Uint64 { return &s.renewals }),
		count("renewals_not_found_total", "Heartbeats of unknown instances.", func(s *counters) *atomic.Uint64 { return &s.renewalsNotFound }),
		count("cancels_total", "Instances cancelled.", func(s *counters) *atomic.Uint64 { return &s.cancels }),
		count("cancels_not_found_total", "Cancels of unknown instances.", func(s *counters) *atomic.Uint64 { return &s.cancelsNotFound }),
		count("overrides_total", "Overrides set or removed.", func(s *counters) *atomic.Uint64 { return &s.overrides }),
		count("evictions_total", "Instances evicted because their lease expired.", func(s *counters) *atomic.Uint64 { return &s.evictions }),
		count("joins_changed_total", "Entries changed by what a peer sent.", func(s *counters) *atomic.Uint64 { return &s.joinsChanged }),
		count("joins_declined_total", "Expired or retired entries of peers that were not taken.", func(s *counters) *atomic.Uint64 { return &s.joinsDeclined }),
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
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.get((*Registry)(c)))
	}
}
