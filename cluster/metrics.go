package cluster

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/eureka"
)

// metrics collects the pipelines' snapshots per peer, with what the cluster
// itself counts. A peer's series end with the peer.
type metrics struct {
	cluster  *Cluster
	pipeline []perPeer
	desc     labelled
	batcher  *batcher.Metrics

	results         *prometheus.CounterVec
	losses          *prometheus.CounterVec
	foreignPresence prometheus.Counter
	unannounced     prometheus.Counter
	refusedPeers    prometheus.Counter
	standstills     prometheus.Counter

	syncServed, syncRefused, syncMalformed prometheus.Counter
	syncServedBytes, syncAskedBytes        prometheus.Counter
	syncTooLarge                           prometheus.Counter
	repairRounds, repairFailed             prometheus.Counter
	repaired                               *prometheus.CounterVec
}

func newMetrics(c *Cluster) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "registryd_" + name, Help: help})
	}
	return &metrics{
		cluster: c, pipeline: pipelineSeries(), desc: newLabelled(), batcher: batcher.NewMetrics(),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_cluster_results_total", Help: "Results of tasks sent to a peer, by action and code.",
		}, []string{"peer", "action", "code"}),
		losses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_cluster_losses_total",
			Help: "State changes that the pipeline could not bring to the peer, by reason; anti-entropy mends what can be mended.",
		}, []string{"peer", "reason"}),
		foreignPresence: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_cluster_foreign_presence_total", Help: "Presence messages that were not understood.",
		}),
		unannounced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_cluster_unannounced_total", Help: "Own presence messages that could not be published.",
		}),
		refusedPeers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_cluster_refused_peers_total", Help: "Presence messages of peers beyond the bound, which get no pipeline.",
		}),
		standstills:     counter("cluster_standstills_total", "Times that this process stood still for over five seconds."),
		syncServed:      counter("cluster_sync_served_total", "Sync requests of peers that were answered."),
		syncRefused:     counter("cluster_sync_refused_total", "Sync requests of peers that were refused: not understood, or too many at once."),
		syncMalformed:   counter("cluster_sync_malformed_entries_total", "Entries in answers of peers that were not understood."),
		syncServedBytes: counter("cluster_sync_served_bytes_total", "Bytes of answers to sync requests."),
		syncAskedBytes:  counter("cluster_sync_asked_bytes_total", "Bytes of own sync requests and their answers."),
		syncTooLarge:    counter("cluster_sync_too_large_entries_total", "Entries left out of answers to sync requests because no message could hold them."),
		repairRounds:    counter("cluster_repair_rounds_total", "Rounds of anti-entropy that compared leaves."),
		repairFailed:    counter("cluster_repair_rounds_failed_total", "Rounds of anti-entropy that broke off."),
		repaired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_cluster_repaired_total", Help: "Entries found different from a peer's, by what was done.",
		}, []string{"peer", "direction"}),
	}
}

func (m *metrics) result(peer string, action eureka.Action, code int) {
	text := "other"
	switch code {
	case 200, 400, 404, 409:
		text = strconv.Itoa(code)
	}
	m.results.WithLabelValues(peer, string(action), text).Inc()
}

// forget drops what is kept of a peer that is gone.
func (m *metrics) forget(peer string) {
	m.results.DeletePartialMatch(prometheus.Labels{"peer": peer})
	m.losses.DeletePartialMatch(prometheus.Labels{"peer": peer})
	m.repaired.DeletePartialMatch(prometheus.Labels{"peer": peer})
	m.batcher.Forget(peer)
}

// perPeer is one series of each peer.
type perPeer struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(*Peer) float64
}

func series(name, help string, kind prometheus.ValueType, get func(*Peer) float64) perPeer {
	return perPeer{prometheus.NewDesc("registryd_"+name, help, []string{"peer"}, nil), kind, get}
}

// labelled are the descriptions of the series that have a label of their own.
type labelled struct{ done, dropped, waiting, peers *prometheus.Desc }

func newLabelled() labelled {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("registryd_"+name, help, labels, nil)
	}
	return labelled{
		done: desc("acceptor_done_actions_total",
			"Actions that need no more care: acknowledged by the peer, or merged into another's slot.", "peer", "outcome"),
		dropped: desc("acceptor_dropped_actions_total", "Actions that left the pipeline unsent, by reason.", "peer", "reason"),
		waiting: desc("batcher_waiting", "1 while batches are held back, by why.", "peer", "class"),
		peers:   desc("cluster_peers", "Peers, by what this node believes of them.", "status"),
	}
}

func pipelineSeries() []perPeer {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []perPeer{
		series("acceptor_offered_actions_total", "Actions offered to the pipeline.", counter, func(p *Peer) float64 { return float64(p.Acceptor.Offered) }),
		series("acceptor_unaccounted_actions", "Actions that are neither done, dropped, waiting nor in flight: always 0.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.Unaccounted()) }),
		series("acceptor_retried_slots_total", "Slots put back to be sent again.", counter, func(p *Peer) float64 { return float64(p.Acceptor.Retried) }),
		series("acceptor_queue_actions", "Length of the acceptorQueue, stage 1.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.AcceptorQueue) }),
		series("acceptor_processing_order_slots", "Length of processingOrder, stage 2: one slot per instance.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.ProcessingOrder) }),
		series("acceptor_retrying_slots", "Slots on their way back to processingOrder.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.Retrying) }),
		series("acceptor_in_flight_slots", "Slots in batches that are not settled.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.InFlight) }),
		series("acceptor_oldest_age_seconds", "Age of the oldest action that waits.", gauge, func(p *Peer) float64 { return p.Acceptor.OldestAge.Seconds() }),
		series("batcher_queue_batches", "Length of the batchWorkQueue, stage 3.", gauge, func(p *Peer) float64 { return float64(p.Batcher.BatchWorkQueue) }),
		series("batcher_in_flight_batches", "Batches cut and not settled.", gauge, func(p *Peer) float64 { return float64(p.Batcher.InFlight) }),
		series("batcher_wait_seconds", "Time until the wait that holds batches back is over.", gauge, func(p *Peer) float64 { return p.WaitLeft().Seconds() }),
		series("replication_lag_seconds", "Age of the oldest action that the peer has not acknowledged.", gauge, func(p *Peer) float64 { return p.Acceptor.Lag.Seconds() }),
		series("cluster_divergent", "Instances that differ from the peer's for longer than a change takes.", gauge, func(p *Peer) float64 { return float64(p.Divergent) }),
		series("cluster_clock_skew_seconds", "How far the peer's clock is behind ours.", gauge, func(p *Peer) float64 { return p.Skew.Seconds() }),
		series("cluster_silence_seconds", "Time since the peer was last heard.", gauge, func(p *Peer) float64 { return p.Silent.Seconds() }),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range m.pipeline {
		ch <- s.desc
	}
	for _, d := range []*prometheus.Desc{m.desc.done, m.desc.dropped, m.desc.waiting, m.desc.peers} {
		ch <- d
	}
	for _, c := range m.own() {
		c.Describe(ch)
	}
}

func (m *metrics) own() []prometheus.Collector {
	return []prometheus.Collector{
		m.batcher, m.results, m.losses, m.foreignPresence, m.unannounced, m.refusedPeers, m.standstills,
		m.syncServed, m.syncRefused, m.syncMalformed, m.syncServedBytes, m.syncAskedBytes, m.syncTooLarge,
		m.repairRounds, m.repairFailed, m.repaired,
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	count := map[PeerStatus]int{Reachable: 0, Unreachable: 0, Left: 0}
	for _, p := range m.cluster.Peers() {
		count[p.Status]++
		for _, s := range m.pipeline {
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.get(&p), p.Name)
		}
		for reason, n := range p.Acceptor.Dropped {
			ch <- prometheus.MustNewConstMetric(m.desc.dropped, prometheus.CounterValue, float64(n), p.Name, string(reason))
		}
		for outcome, n := range map[string]uint64{"acknowledged": p.Acceptor.Acknowledged, "merged": p.Acceptor.Merged} {
			ch <- prometheus.MustNewConstMetric(m.desc.done, prometheus.CounterValue, float64(n), p.Name, outcome)
		}
		for _, class := range batcher.Classes() {
			waiting := 0.0
			if p.Batcher.Waiting == class {
				waiting = 1
			}
			ch <- prometheus.MustNewConstMetric(m.desc.waiting, prometheus.GaugeValue, waiting, p.Name, string(class))
		}
	}
	for status, n := range count {
		ch <- prometheus.MustNewConstMetric(m.desc.peers, prometheus.GaugeValue, float64(n), string(status))
	}
	for _, c := range m.own() {
		c.Collect(ch)
	}
}
