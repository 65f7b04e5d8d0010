package registry

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// counters count what was asked of the registry, by outcome.
type counters struct {
	registers, registersKept, registersRefused, leasesCapped prometheus.Counter
	renewals, renewalsNotFound                               prometheus.Counter
	cancels, cancelsNotFound                                 prometheus.Counter
	overrides, evictions                                     prometheus.Counter

	joinsChanged, joinsSame, joinsNotFound, joinsDeclined, joinsRefused prometheus.Counter
}

const namespace = "registryd_registry_"

// newCounters makes the counters of r, and registers them and its gauges with reg,
// if that isn't nil.
func newCounters(r *Registry, reg prometheus.Registerer) (counters, error) {
	var all []prometheus.Collector
	gauge := func(name, help string, get func() int) {
		opts := prometheus.GaugeOpts{Name: namespace + name, Help: help}
		all = append(all, prometheus.NewGaugeFunc(opts, func() float64 {
			r.mu.RLock()
			defer r.mu.RUnlock()
			return float64(get())
		}))
	}
	count := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + name, Help: help})
		all = append(all, c)
		return c
	}
	byOutcome := func(name, help string) func(outcome string) prometheus.Counter {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, []string{"outcome"})
		all = append(all, v)
		return func(outcome string) prometheus.Counter { return v.WithLabelValues(outcome) }
	}
	gauge("instances", "Instances that readers see.", func() int { return r.present })
	gauge("entries", "Entries, with tombstones and evicted ones.", func() int { return r.entries })
	gauge("max_entries", "Bound of the entries.", func() int { return r.room })
	registers := byOutcome("registers_total",
		"Registrations of clients and Java peers, by outcome: kept means that the stored one is newer.")
	renewals := byOutcome("renewals_total", "Heartbeats of clients and Java peers, by outcome.")
	cancels := byOutcome("cancels_total", "Cancels of clients and Java peers, by outcome.")
	joins := byOutcome("joins_total",
		"Entries of peers, by outcome: declined means expired or retired, refused out of bounds.")
	c := counters{
		registers: registers("stored"), registersKept: registers("kept"), registersRefused: registers("refused"),
		leasesCapped: count("capped_leases_total", "Registrations whose lease is over a bound and counts as less."),
		renewals:     renewals("renewed"), renewalsNotFound: renewals("not_found"),
		cancels: cancels("cancelled"), cancelsNotFound: cancels("not_found"),
		overrides:    count("overrides_total", "Overrides set or removed."),
		evictions:    count("evictions_total", "Instances evicted because their lease expired."),
		joinsChanged: joins("changed"), joinsSame: joins("same"), joinsNotFound: joins("not_found"),
		joinsDeclined: joins("declined"), joinsRefused: joins("refused"),
	}
	var errs []error
	for _, collector := range all {
		if reg != nil {
			errs = append(errs, reg.Register(collector))
		}
	}
	return c, errors.Join(errs...)
}
