package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/broker"
)

// brokerMetrics shows a broker's counters to Prometheus.
type brokerMetrics struct {
	broker *broker.Broker
	series []brokerSeries
	denied *prometheus.Desc
}

type brokerSeries struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	label string // of the request's outcome, "" without
	get   func(*broker.Stats) uint64
}

func newBrokerMetrics(b *broker.Broker) *brokerMetrics {
	m := &brokerMetrics{broker: b}
	add := func(name, help string, get func(*broker.Stats) uint64) {
		m.series = append(m.series, brokerSeries{
			desc: prometheus.NewDesc("registryd_broker_"+name, help, nil, nil), kind: prometheus.CounterValue, get: get,
		})
	}
	add("connects_total", "Connections made to a broker.", func(s *broker.Stats) uint64 { return s.Connects })
	add("disconnects_total", "Connections lost.", func(s *broker.Stats) uint64 { return s.Disconnects })
	add("connect_failures_total", "Attempts to connect that failed.", func(s *broker.Stats) uint64 { return s.FailedConnects })
	add("errors_total", "Errors that the broker sent, such as a missing permission.", func(s *broker.Stats) uint64 { return s.BrokerErrors })
	add("slow_consumer_total", "Times that a subscription began to drop messages.", func(s *broker.Stats) uint64 { return s.SlowConsumer })
	add("foreign_replies_total", "Replies without our header: a stream on our subjects acknowledges what it stores.", func(s *broker.Stats) uint64 { return s.ForeignReplies })
	add("late_replies_total", "Replies that nobody waited for any more.", func(s *broker.Stats) uint64 { return s.LateReplies })
	add("served_total", "Requests taken from peers.", func(s *broker.Stats) uint64 { return s.Served })
	add("rejected_total", "Requests refused before they were read.", func(s *broker.Stats) uint64 { return s.Rejected })
	add("published_total", "Messages published.", func(s *broker.Stats) uint64 { return s.Published })
	add("publish_errors_total", "Messages that could not be published.", func(s *broker.Stats) uint64 { return s.PublishError })
	m.denied = prometheus.NewDesc("registryd_broker_denied_subjects",
		"Subjects that the broker refuses to this node now, by op (publish, subscribe) and kind (permission, max_subscriptions).",
		[]string{"op", "kind"}, nil)
	requests := prometheus.NewDesc("registryd_broker_requests_total", "Requests to peers that have ended, by outcome.", []string{"outcome"}, nil)
	outcome := func(label string, get func(*broker.Stats) uint64) {
		m.series = append(m.series, brokerSeries{desc: requests, kind: prometheus.CounterValue, label: label, get: get})
	}
	outcome("answered", func(s *broker.Stats) uint64 { return s.Answered })
	outcome("absent", func(s *broker.Stats) uint64 { return s.Absent })
	outcome("timeout", func(s *broker.Stats) uint64 { return s.TimedOut })
	outcome("disconnected", func(s *broker.Stats) uint64 { return s.Disconnected })
	outcome("busy", func(s *broker.Stats) uint64 { return s.Busy })
	outcome("malformed", func(s *broker.Stats) uint64 { return s.Malformed })
	outcome("other", func(s *broker.Stats) uint64 {
		return s.Remote + s.Version + s.TooLarge + s.TooMany + s.Closed + s.Cancelled
	})
	m.series = append(m.series, brokerSeries{
		desc: prometheus.NewDesc("registryd_broker_connected", "1 while there is a connection to a broker.", nil, nil),
		kind: prometheus.GaugeValue, get: func(s *broker.Stats) uint64 {
			if s.Connected {
				return 1
			}
			return 0
		},
	})
	return m
}

var deniedSubjects = []struct{ op, kind string }{
	{broker.OpPublish, broker.DeniedPermission},
	{broker.OpSubscribe, broker.DeniedPermission},
	{broker.OpSubscribe, broker.DeniedLimit},
}

// Describe implements prometheus.Collector.
func (m *brokerMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.denied
	seen := make(map[*prometheus.Desc]bool)
	for _, s := range m.series {
		if !seen[s.desc] {
			seen[s.desc] = true
			ch <- s.desc
		}
	}
}

// Collect implements prometheus.Collector.
func (m *brokerMetrics) Collect(ch chan<- prometheus.Metric) {
	count := map[[2]string]int{}
	for _, d := range m.broker.Denied() {
		count[[2]string{d.Op, d.Kind}]++
	}
	for _, d := range deniedSubjects {
		ch <- prometheus.MustNewConstMetric(m.denied, prometheus.GaugeValue, float64(count[[2]string{d.op, d.kind}]), d.op, d.kind)
	}
	stats := m.broker.Stats()
	for _, s := range m.series {
		var labels []string
		if s.label != "" {
			labels = []string{s.label}
		}
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, float64(s.get(&stats)), labels...)
	}
}
