package regions

import (
	"github.com/prometheus/client_golang/prometheus"
)

// outcome is how a request to a region ended.
type outcome uint8

const (
	fetchedAll    outcome = iota // a whole list
	deltaApplied                 // a delta that led to the region's hash code
	deltaMismatch                // a delta that did not; a request for the whole list follows
	deltaRefused                 // no deltas there; a request for the whole list follows
	failed                       // no answer, or none that could be used
	outcomes                     // how many there are
)

func (o outcome) String() string {
	return [outcomes]string{"full", "delta", "mismatch", "refused", "failed"}[o]
}

// metrics are those of all regions. The label region has a value for each region that
// is configured.
type metrics struct {
	set       *Set
	fetches   *prometheus.CounterVec
	age       *prometheus.Desc
	instances *prometheus.Desc
}

func newMetrics(s *Set, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		set: s,
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_regions_fetches_total",
			Help: "Requests to other regions that have ended, by outcome: a full list, a delta, " +
				"a delta with a mismatch or refused (a full list follows), or failed.",
		}, []string{"region", "outcome"}),
		age: prometheus.NewDesc("registryd_regions_age_seconds",
			"Time since the region was last fetched, or since the start if it never was.", []string{"region"}, nil),
		instances: prometheus.NewDesc("registryd_regions_instances",
			"Instances of the region that readers may see.", []string{"region"}, nil),
	}
	for _, r := range s.list {
		for o := range outcomes {
			m.fetches.WithLabelValues(r.name, o.String())
		}
	}
	if reg == nil {
		return m, nil
	}
	return m, reg.Register(m)
}

func (m *metrics) count(r *region, o outcome) { m.fetches.WithLabelValues(r.name, o.String()).Inc() }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	m.fetches.Describe(to)
	to <- m.age
	to <- m.instances
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.fetches.Collect(to)
	for _, s := range m.set.Status() {
		to <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, s.Age.Seconds(), s.Name)
		to <- prometheus.MustNewConstMetric(m.instances, prometheus.GaugeValue, float64(s.Instances), s.Name)
	}
}
