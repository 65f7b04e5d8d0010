package access

import "github.com/prometheus/client_golang/prometheus"

// outcome is how a check of what was shown ended, where it was not remembered.
type outcome uint8

const (
	provedLogin outcome = iota
	wrongLogin
	slowedAddress
	tooBusy
	strangerCertificate
	outcomes // how many there are
)

func (v Verdict) outcome() outcome {
	switch v {
	case Known:
		return provedLogin
	case Slowed:
		return slowedAddress
	case Busy:
		return tooBusy
	default:
		return wrongLogin
	}
}

// metrics are the guard's.
type metrics struct {
	checks *prometheus.CounterVec
	counts [outcomes]prometheus.Counter
	gauges []prometheus.Collector
}

func newMetrics(g *Guard) *metrics {
	m := &metrics{checks: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "registryd_access_checks_total",
		Help: "Credentials that were not remembered, by outcome: proved, wrong, slowed (the address failed too " +
			"often), busy, or a client certificate without a login.",
	}, []string{"outcome"})}
	for i, name := range [outcomes]string{"proved", "wrong", "slowed", "busy", "certificate"} {
		m.counts[i] = m.checks.WithLabelValues(name)
	}
	gauge := func(name, help string, value func() int) {
		m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: name, Help: help,
		}, func() float64 { return float64(value()) }))
	}
	gauge("registryd_access_logins", "Logins in the file.", func() int { return len(g.files.Current().logins) })
	gauge("registryd_access_remembered_credentials", "Credentials that were verified and are remembered.",
		func() int { return g.files.Current().size() })
	gauge("registryd_access_addresses", "Addresses whose credentials were verified, and whose failures are counted.",
		func() int { return g.gate.size() })
	gauge("registryd_access_waiting_checks", "Requests that wait until their credentials are verified.",
		func() int { return int(g.gate.waiting.Load()) })
	return m
}

func (m *metrics) count(o outcome) { m.counts[o].Inc() }

func (m *metrics) all() []prometheus.Collector {
	return append([]prometheus.Collector{m.checks}, m.gauges...)
}
