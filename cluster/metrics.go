package cluster

import (
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/membership"
)

// metrics collects the pipelines' snapshots per peer, and the cluster's own
// counters. A peer's series end with the peer.
type metrics struct {
	cluster  *Cluster
	pipeline []perPeer
	desc     labelled
	batcher  *batcher.Metrics

	results      *prometheus.CounterVec
	lost         *prometheus.CounterVec
	presence     *prometheus.CounterVec
	refusedPeers prometheus.Counter
	pauses       prometheus.Counter
}

func newMetrics(c *Cluster) *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "registryd_cluster_" + name, Help: help}
	}
	return &metrics{
		cluster: c, pipeline: pipelineSeries(), desc: newLabelled(), batcher: batcher.NewMetrics(),
		results: prometheus.NewCounterVec(counter("task_results_total",
			"Results of tasks sent to a peer, by action and code."),
			[]string{"peer", "action", "code"}),
		lost: prometheus.NewCounterVec(counter("lost_state_changes_total",
			"State changes that the pipeline could not deliver to the peer, by reason; "+
				"anti-entropy repairs what can be repaired."),
			[]string{"peer", "reason"}),
		presence: prometheus.NewCounterVec(counter("presence_messages_total",
			"Presence messages without effect, by outcome: malformed, dropped because too many waited, "+
				"ignored as out of date, or own ones unsent."),
			[]string{"outcome"}),
		refusedPeers: prometheus.NewCounter(counter("refused_peers_total",
			"Presence messages of nodes beyond the bound of peers, which get no pipeline.")),
		pauses: prometheus.NewCounter(counter("pauses_total",
			"Times that this process was suspended for over five seconds.")),
	}
}

// answers are the codes with a label of their own. What is none of them is "other".
var answers = [...]int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict}

// answerLabels are the values of the label code.
var answerLabels = [len(answers) + 1]string{"200", "400", "404", "409", "other"}

// answerOf returns the place of a code in answerLabels.
func answerOf(code int) int {
	if i := slices.Index(answers[:], code); i >= 0 {
		return i
	}
	return len(answers)
}

// forget drops the series of a peer that is gone.
func (m *metrics) forget(peer string) {
	of := prometheus.Labels{"peer": peer}
	m.results.DeletePartialMatch(of)
	m.lost.DeletePartialMatch(of)
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

// labelled holds the descriptions of the series with a label beside the peer.
type labelled struct{ done, dropped, waiting, peers *prometheus.Desc }

func newLabelled() labelled {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("registryd_"+name, help, labels, nil)
	}
	return labelled{
		done: desc("acceptor_done_actions_total",
			"Actions that need no more care: acknowledged by the peer, or merged into another's slot.",
			"peer", "outcome"),
		dropped: desc("acceptor_dropped_actions_total",
			"Actions that left the pipeline unsent, by reason.", "peer", "reason"),
		waiting: desc("batcher_waiting", "1 while batches are held back, by reason.", "peer", "class"),
		peers:   desc("cluster_peers", "Peers, by status.", "status"),
	}
}

func pipelineSeries() []perPeer {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []perPeer{
		series("acceptor_offered_actions_total", "Actions offered to the pipeline.", counter,
			func(p *Peer) float64 { return float64(p.Acceptor.Offered) }),
		series("acceptor_unaccounted_actions",
			"Actions that are neither done, dropped, waiting nor in flight: always 0.", gauge,
			func(p *Peer) float64 { return float64(p.Acceptor.Unaccounted()) }),
		series("acceptor_retried_slots_total", "Slots put back to be sent again.", counter,
			func(p *Peer) float64 { return float64(p.Acceptor.Retried) }),
		series("acceptor_queue_actions", "Length of the acceptorQueue, stage 1.", gauge,
			func(p *Peer) float64 { return float64(p.Acceptor.AcceptorQueue) }),
		series("acceptor_processing_order_slots", "Length of processingOrder, stage 2: one slot per instance.", gauge,
			func(p *Peer) float64 { return float64(p.Acceptor.ProcessingOrder) }),
		series("acceptor_retrying_slots", "Slots on their way back to processingOrder.", gauge,
			func(p *Peer) float64 { return float64(p.Acceptor.Retrying) }),
		series("acceptor_in_flight_slots", "Slots in batches that are not settled.", gauge,
			func(p *Peer) float64 { return float64(p.Acceptor.InFlight) }),
		series("acceptor_oldest_age_seconds", "Age of the oldest action that waits.", gauge,
			func(p *Peer) float64 { return p.Acceptor.OldestAge.Seconds() }),
		series("batcher_queue_batches", "Length of the batchWorkQueue, stage 3.", gauge,
			func(p *Peer) float64 { return float64(p.Batcher.BatchWorkQueue) }),
		series("batcher_in_flight_batches", "Batches cut and not settled.", gauge,
			func(p *Peer) float64 { return float64(p.Batcher.InFlight) }),
		series("batcher_wait_seconds", "Time until the wait that holds batches back is over.", gauge,
			func(p *Peer) float64 { return p.WaitLeft().Seconds() }),
		series("replication_lag_seconds", "Age of the oldest action that the peer has not acknowledged.", gauge,
			func(p *Peer) float64 { return p.Acceptor.Lag.Seconds() }),
		series("cluster_clock_skew_seconds", "How far the peer's clock is behind ours.", gauge,
			func(p *Peer) float64 { return p.Skew.Seconds() }),
		series("cluster_silence_seconds", "Time since the peer was last heard.", gauge,
			func(p *Peer) float64 { return p.Silent.Seconds() }),
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
	return []prometheus.Collector{m.batcher, m.results, m.lost, m.presence, m.refusedPeers, m.pauses}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	count := map[membership.Status]int{membership.Reachable: 0, membership.Unreachable: 0, membership.Left: 0}
	for _, p := range m.cluster.Peers() {
		count[p.Status]++
		for _, s := range m.pipeline {
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.get(&p), p.Name)
		}
		for reason, n := range p.Acceptor.Dropped {
			ch <- prometheus.MustNewConstMetric(m.desc.dropped, prometheus.CounterValue, float64(n),
				p.Name, string(reason))
		}
		for outcome, n := range map[string]uint64{
			"acknowledged": p.Acceptor.Acknowledged, "merged": p.Acceptor.Merged,
		} {
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
