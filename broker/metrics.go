package broker

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a Broker's counters. Each label value is there from the start, so that a rate begins at 0.
type metrics struct {
	requests   *prometheus.CounterVec // outcome: see outcomes
	received   *prometheus.CounterVec // outcome: accepted, malformed, unanswerable, stopping
	answers    *prometheus.CounterVec // outcome: responded, failed, unsent
	ignored    *prometheus.CounterVec // reason: foreign, late
	attempts   *prometheus.CounterVec // outcome: connected, failed
	published  *prometheus.CounterVec // outcome: sent, unsent
	heard      *prometheus.CounterVec // outcome: accepted, foreign, version
	lost       prometheus.Counter
	refused    prometheus.Counter
	slow       prometheus.Counter
	collectors []prometheus.Collector
}

// outcomes are the label values of the errors of Request, the first that matches.
var outcomes = []struct { //nolint:gochecknoglobals // A table that nobody changes.
	err     error
	outcome string
}{
	{context.Canceled, "cancelled"},
	{ErrAbsent, "absent"},
	{ErrTimeout, "timeout"},
	{ErrDisconnected, "disconnected"},
	{ErrBusy, "busy"},
	{ErrMalformed, "malformed"},
	{ErrRemote, "remote"},
	{ErrVersion, "version"},
	{ErrTooLarge, "too_large"},
	{ErrTooMany, "too_many"},
	{ErrClosed, "closed"},
}

// outcomeOf returns the label value of what Request has returned.
func outcomeOf(err error) string {
	if err == nil {
		return "answered"
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o.outcome
		}
	}
	return "cancelled" // The cause of a cancelled context is the caller's own.
}

func newMetrics() *metrics {
	m := &metrics{}
	vector := func(name, help, label string, values ...string) *prometheus.CounterVec {
		opts := prometheus.CounterOpts{Name: "registryd_broker_" + name, Help: help}
		v := prometheus.NewCounterVec(opts, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		m.collectors = append(m.collectors, v)
		return v
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "registryd_broker_" + name, Help: help})
		m.collectors = append(m.collectors, c)
		return c
	}
	m.requests = vector("requests_total", "Requests to peers that have ended, by outcome.", "outcome", "answered")
	for _, o := range outcomes {
		m.requests.WithLabelValues(o.outcome)
	}
	m.received = vector("received_requests_total", "Requests of peers: accepted, malformed (answered with an error), "+
		"unanswerable (dropped: the reply subject is not the sender's), or refused because the node is stopping.",
		"outcome", "accepted", "malformed", "unanswerable", "stopping")
	m.answers = vector("answers_total",
		"Answers to requests of peers: responded, failed (an error was sent), or unsent.",
		"outcome", "responded", "failed", "unsent")
	m.ignored = vector("ignored_replies_total", "Replies that no request took: late, or foreign, "+
		"without the header of a node.",
		"reason", "foreign", "late")
	m.attempts = vector("connect_attempts_total", "Attempts to connect to a broker, one for each server tried.",
		"outcome", "connected", "failed")
	m.published = vector("published_messages_total", "Messages to all nodes, such as presence.",
		"outcome", "sent", "unsent")
	m.heard = vector("received_messages_total", "Messages to all nodes: accepted, of another Registry-Version, "+
		"or foreign, without one.",
		"outcome", "accepted", "foreign", "version")
	m.lost = counter("disconnects_total", "Connections that have ended.")
	m.refused = counter("errors_total", "Errors that the broker sent, such as a missing permission.")
	m.slow = counter("slow_subscriptions_total", "Times that a subscription began to drop messages, "+
		"because its handler was behind.")
	return m
}

// register adds the counters, and what is measured at each scrape, to a registry.
func (b *Broker) register(registry prometheus.Registerer) error {
	gauge := func(name, help string, get func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "registryd_broker_" + name, Help: help}, get)
	}
	all := append(b.metrics.collectors,
		gauge("connected", "1 while there is a connection to a broker.", func() float64 {
			if b.Connected() {
				return 1
			}
			return 0
		}),
		gauge("max_payload_bytes", "Greatest size of one message that the broker takes.", func() float64 {
			return float64(b.MaxPayload())
		}),
		gauge("waiting_requests", "Requests that wait for a reply.", func() float64 { return float64(b.inbox.size()) }),
		deniedCollector{b},
	)
	all = append(all, b.link.dialer.files.collectors()...)
	if b.server != nil {
		if b.server.certificates != nil {
			all = append(all, b.server.certificates)
		}
		all = append(append(all, b.server.secret.collectors()...), b.server.tail.collectors()...)
	}
	var faults []error
	for _, c := range all {
		faults = append(faults, registry.Register(c))
	}
	return errors.Join(faults...)
}

// deniedCollector counts what Denied returns.
type deniedCollector struct{ broker *Broker }

func (c deniedCollector) desc() *prometheus.Desc {
	return prometheus.NewDesc("registryd_broker_denied_subjects", "Subjects that the broker refuses to this node.",
		[]string{"op", "kind"}, nil)
}

// Describe implements prometheus.Collector.
func (c deniedCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc() }

// Collect implements prometheus.Collector.
func (c deniedCollector) Collect(ch chan<- prometheus.Metric) {
	count := map[Denial]int{
		{Op: OpPublish, Kind: DeniedPermission}:   0,
		{Op: OpSubscribe, Kind: DeniedPermission}: 0,
		{Op: OpSubscribe, Kind: DeniedLimit}:      0,
	}
	for _, d := range c.broker.Denied() {
		count[Denial{Op: d.Op, Kind: d.Kind}]++
	}
	for d, n := range count {
		ch <- prometheus.MustNewConstMetric(c.desc(), prometheus.GaugeValue, float64(n), d.Op, d.Kind)
	}
}
