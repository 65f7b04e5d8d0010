package node

import (
	"cmp"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/batcher"
)

// Overview is the state of a node, as GET /status returns it.
type Overview = api.Overview

// Overview returns the state of the node, its leases, its peers and the
// pipelines to them. Any goroutine may call it.
func (n *Node) Overview() Overview {
	s := status{n}
	ready, leases, rules := s.Readiness(), n.registry.Leases(), n.evictor.Rules()
	link := n.broker.State()
	out := Overview{
		Node: n.opts.Name, Cluster: n.opts.Cluster, Version: n.opts.Version, URL: n.url, Started: n.started,
		State: ready.State, Ready: ready.Ready,
		Instances: leases.Present, Entries: n.registry.Len(),
		Broker: api.BrokerOverview{Connected: link.Up, For: time.Since(link.Since).Seconds(), Trouble: link.Trouble},
		Leases: api.LeasesOverview{
			Expected: leases.Expected, Missing: leases.Missing,
			SelfPreservation: n.evictor.SelfPreservation(), Off: rules.NoSelfPreservation,
			Threshold: rules.Threshold, Min: rules.Min,
		},
		Pipeline: api.PipelineOverview{
			Delay:    n.cluster.BatchDelay().Seconds(),
			Adaptive: n.opts.BatchMode == acceptor.Adaptive,
			Batch:    cmp.Or(n.opts.BatchSize, DefaultBatchSize),
			Queue:    acceptor.DefaultQueueLen, InFlight: batcher.DefaultInFlight,
		},
		Peers:   []api.PeerOverview{},
		Regions: n.regionOverviews(),
	}
	if since := n.evictor.Since(); !since.IsZero() {
		out.Leases.Since = &since
	}
	for _, p := range n.cluster.Peers() {
		a, b := &p.Acceptor, &p.Batcher
		peer := api.PeerOverview{
			Name: p.Name, Kind: api.KindNode, URL: p.URL, Version: p.Version, Status: string(p.Status),
			Silent: p.Silent.Seconds(), Skew: p.Skew.Seconds(), Divergent: p.Divergent,
			AcceptorQueue: a.AcceptorQueue, ProcessingOrder: a.ProcessingOrder, BatchWorkQueue: b.BatchWorkQueue,
			Retrying: a.Retrying, InFlight: a.InFlight, Batches: b.InFlight,
			Oldest: a.OldestAge.Seconds(), Lag: a.Lag.Seconds(),
			Accepted: a.Offered, Acknowledged: a.Acknowledged, Merged: a.Merged, Retried: a.Retried,
			Dropped:     make(map[string]uint64, len(a.Dropped)),
			SentBatches: b.Batches, SentTasks: b.Tasks, SentBytes: b.Bytes,
			Answers:       p.Answers,
			Failed:        make(map[string]uint64, len(b.Failures)),
			RoundTripLast: b.RoundTripLast.Seconds(), RoundTripMean: b.RoundTripMean.Seconds(),
			Waiting: string(b.Waiting), WaitLeft: p.WaitLeft().Seconds(),
		}
		if p.Foreign {
			peer.Kind = api.KindEureka
		}
		for reason, count := range a.Dropped {
			peer.Dropped[string(reason)] = count
		}
		for class, count := range b.Failures {
			peer.Failed[string(class)] = count
		}
		out.Peers = append(out.Peers, peer)
	}
	return out
}
