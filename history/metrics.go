package history

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/registry"
)

// metrics count events. All counters are made at the start, so that none costs a search.
type metrics struct {
	kinds    [registry.Kinds]prometheus.Counter
	lost     prometheus.Counter
	unlogged prometheus.Counter
	all      []prometheus.Collector
}

const namespace = "registryd_history_"

func newMetrics(h *History, bound int) *metrics {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: namespace + "events_total", Help: "Events recorded, by kind.",
	}, []string{"kind"})
	m := &metrics{lost: prometheus.NewCounter(prometheus.CounterOpts{
		Name: namespace + "lost_readers_total",
		Help: "Times that a reader was too late: events that it had not read were gone.",
	}), unlogged: prometheus.NewCounter(prometheus.CounterOpts{
		Name: namespace + "unlogged_events_total",
		Help: "Events that have no line in the log, because ten of their kind had one in that second.",
	})}
	for k := registry.EventRegistered; k < registry.Kinds; k++ {
		m.kinds[k] = events.WithLabelValues(k.String())
	}
	gauge := func(name, help string, get func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: namespace + name, Help: help}, get)
	}
	m.all = []prometheus.Collector{
		events, m.lost, m.unlogged,
		gauge("events", "Events that can be read.", func() float64 {
			h.mu.RLock()
			defer h.mu.RUnlock()
			return float64(h.next - h.first())
		}),
		gauge("bytes", "Memory of the events that can be read.", func() float64 { return float64(h.size()) }),
		gauge("max_bytes", "Bound of that memory.", func() float64 { return float64(bound) }),
	}
	return m
}

func (m *metrics) recorded(k registry.Kind) {
	if k > 0 && k < registry.Kinds {
		m.kinds[k].Inc()
	}
}

func (m *metrics) register(reg prometheus.Registerer) error {
	var errs []error
	for _, c := range m.all {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}

// size returns the bytes of the ring and of its chains.
func (h *History) size() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	n := 8 * (len(h.byKey) + len(h.byApp))
	for _, c := range h.ring {
		n += c.cost()
	}
	return n
}
