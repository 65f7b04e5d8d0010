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
	cluster    *Cluster
	pipeline   []perPeer
	histograms []perPeerHistogram
	desc       labelled

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
		cluster: c, pipeline: pipelineSeries(), histograms: pipelineHistograms(), desc: newLabelled(),
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

// perPeerHistogram is one histogram of each peer.
type perPeerHistogram struct {
	desc *prometheus.Desc
	get  func(*Peer) *batcher.Histogram
}

func pipelineHistograms() []perPeerHistogram {
	histogram := func(name, help string, get func(*Peer) *batcher.Histogram) perPeerHistogram {
		return perPeerHistogram{prometheus.NewDesc("registryd_"+name, help, []string{"peer"}, nil), get}
	}
	return []perPeerHistogram{
		histogram("batcher_batch_tasks", "Tasks per batch sent, failed ones included.", func(p *Peer) *batcher.Histogram { return &p.Batcher.BatchTasks }),
		histogram("batcher_batch_bytes", "Bytes of tasks per batch sent, failed ones included.", func(p *Peer) *batcher.Histogram { return &p.Batcher.BatchBytes }),
		histogram("batcher_round_trip_seconds", "Time from sending a batch to its answer; failed ones have none.", func(p *Peer) *batcher.Histogram { return &p.Batcher.RoundTrip }),
	}
}

// labelled are the descriptions of the series that have a label of their own.
type labelled struct{ dropped, failures, waiting, peers *prometheus.Desc }

func newLabelled() labelled {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("registryd_"+name, help, labels, nil)
	}
	return labelled{
		dropped:  desc("acceptor_dropped_tasks_total", "Actions that left the pipeline unsent, by reason.", "peer", "reason"),
		failures: desc("batcher_failures_total", "Sends that failed, by class.", "peer", "class"),
		waiting:  desc("batcher_waiting", "1 while batches are held back, by why.", "peer", "class"),
		peers:    desc("cluster_peers", "Peers, by what this node believes of them.", "status"),
	}
}

func pipelineSeries() []perPeer {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []perPeer{
		series("acceptor_accepted_tasks_total", "Actions offered to the pipeline.", counter, func(p *Peer) float64 { return float64(p.Acceptor.Accepted) }),
		series("acceptor_acknowledged_tasks_total", "Actions that the peer has.", counter, func(p *Peer) float64 { return float64(p.Acceptor.Acknowledged) }),
		series("acceptor_merged_tasks_total", "Actions that joined another's slot.", counter, func(p *Peer) float64 { return float64(p.Acceptor.Merged) }),
		series("acceptor_retried_tasks_total", "Slots put back to be sent again.", counter, func(p *Peer) float64 { return float64(p.Acceptor.Retried) }),
		series("acceptor_queue_tasks", "Length of the acceptorQueue, stage 1.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.AcceptorQueue) }),
		series("acceptor_processing_order_slots", "Length of processingOrder, stage 2: one slot per instance.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.ProcessingOrder) }),
		series("acceptor_retrying_slots", "Slots on their way back to processingOrder.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.Retrying) }),
		series("acceptor_in_flight_tasks", "Slots in batches that are not settled.", gauge, func(p *Peer) float64 { return float64(p.Acceptor.InFlight) }),
		series("acceptor_oldest_age_seconds", "Age of the oldest action that waits.", gauge, func(p *Peer) float64 { return p.Acceptor.OldestAge.Seconds() }),
		series("batcher_work_queue_batches", "Length of the batchWorkQueue, stage 3.", gauge, func(p *Peer) float64 { return float64(p.Batcher.BatchWorkQueue) }),
		series("batcher_in_flight_batches", "Batches cut and not settled.", gauge, func(p *Peer) float64 { return float64(p.Batcher.InFlight) }),
		series("batcher_batches_total", "Batches sent, failed ones included.", counter, func(p *Peer) float64 { return float64(p.Batcher.Batches) }),
		series("batcher_tasks_total", "Tasks in the batches sent.", counter, func(p *Peer) float64 { return float64(p.Batcher.Tasks) }),
		series("batcher_bytes_total", "Bytes of the tasks sent.", counter, func(p *Peer) float64 { return float64(p.Batcher.Bytes) }),
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
	for _, h := range m.histograms {
		ch <- h.desc
	}
	for _, d := range []*prometheus.Desc{m.desc.dropped, m.desc.failures, m.desc.waiting, m.desc.peers} {
		ch <- d
	}
	for _, c := range m.own() {
		c.Describe(ch)
	}
}

func (m *metrics) own() []prometheus.Collector {
	return []prometheus.Collector{
		m.results, m.losses, m.foreignPresence, m.unannounced, m.refusedPeers, m.standstills,
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
		for _, h := range m.histograms {
			v := h.get(&p)
			ch <- prometheus.MustNewConstHistogram(h.desc, v.Count, v.Sum, v.Cumulative(), p.Name)
		}
		for reason, n := range p.Acceptor.Dropped {
			ch <- prometheus.MustNewConstMetric(m.desc.dropped, prometheus.CounterValue, float64(n), p.Name, string(reason))
		}
		for class, n := range p.Batcher.Failures {
			ch <- prometheus.MustNewConstMetric(m.desc.failures, prometheus.CounterValue, float64(n), p.Name, string(class))
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
