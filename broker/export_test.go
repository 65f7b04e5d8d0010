package broker

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Count returns the sum of a metric's series, or of those with one of the label values.
func (b *Broker) Count(name string, values ...string) int {
	registry := prometheus.NewRegistry()
	if err := b.register(registry); err != nil {
		panic(err)
	}
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	found, sum := false, 0.0
	for _, family := range families {
		if family.GetName() != "registryd_broker_"+name {
			continue
		}
		for _, metric := range family.GetMetric() {
			match := len(values) == 0
			for _, value := range values {
				match = match || metric.GetLabel()[0].GetValue() == value
			}
			if match {
				found = true
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	if !found {
		panic("no metric " + name)
	}
	return int(sum)
}
