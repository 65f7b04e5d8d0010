package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

type (
	pipelineAcceptor = acceptor.Acceptor[registry.Key, registry.Bits]
	pipelineBatcher  = batcher.Batcher[registry.Key, registry.Bits]
	batch            = acceptor.Batch[registry.Key, registry.Bits]
	batchItem        = acceptor.Item[registry.Key, registry.Bits]
)

// peer is another node, or a foreign peer: the pipeline to it, and the comparison with
// it.
type peer struct {
	cluster  *Cluster
	name     string
	remote   remote
	foreign  Foreign // nil: a node of this cluster
	acceptor *pipelineAcceptor
	pipeline *pipelineBatcher
	repair   *repair.Peer
	ctx      context.Context    // of the pipeline
	shutdown context.CancelFunc // ends ctx: the bounded drain begins
	status   membership.Status  // of a node; owned by Cluster.Run

	results *prometheus.CounterVec // by action and code
	answers [len(answerLabels)]atomic.Uint64
	lost    *prometheus.CounterVec // by reason
}

// remote is the other end of a pipeline: a node of this cluster, or a foreign peer.
type remote interface {
	render(key registry.Key, bits registry.Bits, wait time.Duration) (acceptor.Task, acceptor.Reason)
	deliver(ctx context.Context, b batch) ([]acceptor.Outcome, error)
	lost(key registry.Key, reason acceptor.Reason)
	keepEqual(ctx context.Context)
	force()
	inFlight() int // batches at once; 0: the batcher's default
	bytes() int    // of the tasks of a batch
}

// nodePeer is a node of this cluster as its pipeline sees it.
type nodePeer struct {
	*peer
	page *page
}

func (p nodePeer) lost(key registry.Key, reason acceptor.Reason) {
	if reason == acceptor.Malformed {
		p.repair.Refuse(key)
	}
	p.repair.Force()
}

func (p nodePeer) keepEqual(ctx context.Context) { p.repair.Run(ctx) }
func (p nodePeer) force()                        { p.repair.Force() }
func (p nodePeer) inFlight() int                 { return 0 }
func (p nodePeer) bytes() int                    { return p.cluster.MaxTask() }

// newPeer returns a peer without a pipeline.
func (c *Cluster) newPeer(name string) *peer {
	of := prometheus.Labels{"peer": name}
	p := &peer{
		cluster: c, name: name, status: membership.Reachable,
		results: c.metrics.results.MustCurryWith(of), lost: c.metrics.lost.MustCurryWith(of),
	}
	p.ctx, p.shutdown = context.WithCancel(context.Background()) // ends in drain, or when the peer is gone
	p.remote = nodePeer{p, new(page)}
	return p
}

// join starts the pipeline to a new peer and makes it known to Changed.
func (c *Cluster) join(e *membership.Event) {
	p := c.newPeer(e.Peer)
	if err := p.build(); err != nil {
		p.shutdown()
		c.log.Error("peer has no pipeline", "peer", p.name, "err", err)
		return
	}
	c.log.Info("peer joined", "peer", p.name, "url", e.Presence.URL, "incarnation", e.Presence.Incarnation)
	c.peers[p.name] = p
	c.fan()
	c.pipelines.Go(func() {
		c.runPeer(p)
		c.deliver(func(*membership.Members, membership.Moment) []membership.Event {
			c.forget(p.name) // no late result brings its series back
			return nil
		})
	})
	p.repair.Force() // exchange what one side has and the other lacks
}

// remove closes the pipeline of a peer that is gone.
func (c *Cluster) remove(p *peer) {
	delete(c.peers, p.name)
	c.fan()
	p.pipeline.Close(acceptor.PeerGone)
	p.shutdown()
}

// forget drops the series of a peer that is gone, unless it has come back.
func (c *Cluster) forget(name string) {
	if c.peers[name] == nil {
		c.metrics.forget(name)
		c.repair.Forget(name)
	}
}

// fan makes the peers known to Changed.
func (c *Cluster) fan() {
	all := make([]*peer, 0, len(c.peers))
	for _, p := range c.view.Load().peers {
		if q := c.peers[p.Presence.Node]; q != nil {
			all = append(all, q)
		}
	}
	all = append(all, c.foreign...)
	c.fanOut.Store(&all)
}

func (p *peer) build() error {
	c := p.cluster
	acc, err := acceptor.New(acceptor.Options[registry.Key, registry.Bits]{
		Delay:    c.BatchDelay(),
		Mode:     c.opts.BatchMode,
		Urgent:   func(b registry.Bits) bool { return b != registry.Renewed },
		QueueLen: c.opts.QueueLen,
		Limit:    c.maxPending,
		Merge:    registry.Bits.Merge,
		Render:   p.remote.render,
		OnDrop:   p.dropped,
	})
	if err != nil {
		return err
	}
	p.acceptor, p.repair = acc, c.repair.NewPeer(p.name, p.offer)
	p.pipeline, err = batcher.New(acc, batcher.Options[registry.Key, registry.Bits]{
		Send: p.send, Classify: c.opts.Classify, Peer: p.name, Metrics: c.metrics.batcher,
		Size: c.opts.BatchSize, Bytes: p.remote.bytes, InFlight: p.remote.inFlight(),
		Logger: c.opts.Logger, Rand: c.opts.Rand,
	})
	return err
}

// maxPending is the bound of a processing order, in slots.
func (c *Cluster) maxPending() int {
	if c.opts.MaxPending > 0 {
		return c.opts.MaxPending
	}
	return max(acceptor.DefaultLimit, c.reg.Len())
}

// MaxTask returns how many bytes an instance may take as one task of a batch at
// present: three quarters of a message. The rest is for headers and the text
// around the tasks. It is cheap; any goroutine may call it.
func (c *Cluster) MaxTask() int { return c.transport.MaxPayload() * 3 / 4 }

// offer puts a change into the acceptorQueue.
func (p *peer) offer(key registry.Key, bits registry.Bits) { p.acceptor.Offer(key, bits) }

// abandon ends the pipeline without a drain: the peer is leaving too, or there is no
// time left.
func (p *peer) abandon() { p.pipeline.Close(acceptor.Shutdown) }

// dropped takes every slot that leaves the pipeline unsent. A lost state change
// leaves the peer behind, so a comparison begins at once where it can repair that.
// The pipeline logs the outcomes that send returned.
func (p *peer) dropped(key registry.Key, bits registry.Bits, reason acceptor.Reason) {
	if bits == registry.Renewed || reason == acceptor.Evicted {
		return
	}
	p.lost.WithLabelValues(string(reason)).Inc()
	if reason != acceptor.Malformed { // that is the answer which the peer gave
		p.record([]registry.Event{p.answer(key, bits, "dropped: "+string(reason))})
		p.pipeline.Dropped(key, reason)
	}
	if reason == acceptor.Malformed || reason == acceptor.Overflowed {
		p.remote.lost(key, reason)
	}
}

// Peer is a snapshot of one peer for status pages and metrics.
type Peer struct {
	Name        string
	Foreign     bool // no node of this cluster: a Java server
	URL         string
	Incarnation uuid.UUID
	Version     string
	Status      membership.Status
	Silent      time.Duration // since it was last heard
	Skew        time.Duration // how far its clock is behind ours
	Divergent   int64         // entries that differ for longer than a change takes
	Acceptor    acceptor.Stats
	Batcher     batcher.Stats

	// Answers are the results of tasks by status code: "200", "400", "404", "409" and
	// "other". It holds each of them.
	Answers map[string]uint64
}

// answered counts the result of one task.
func (p *peer) answered(action string, code int) {
	n := answerOf(code)
	p.answers[n].Add(1)
	p.results.WithLabelValues(action, answerLabels[n]).Inc()
}

// answersByCode is the value of Peer.Answers.
func (p *peer) answersByCode() map[string]uint64 {
	out := make(map[string]uint64, len(answerLabels))
	for n, code := range answerLabels {
		out[code] = p.answers[n].Load()
	}
	return out
}

// WaitLeft returns for how long batches will still be held back.
func (p *Peer) WaitLeft() time.Duration {
	if p.Batcher.Waiting == "" {
		return 0
	}
	return max(0, time.Until(p.Batcher.WaitUntil))
}

// Peers returns a snapshot of all peers: the nodes by name, then the foreign ones. Any goroutine may call it.
func (c *Cluster) Peers() []Peer {
	var out []Peer
	heard := make(map[string]membership.Peer)
	for _, p := range c.view.Load().peers {
		heard[p.Presence.Node] = p
	}
	now := c.now()
	for _, p := range *c.fanOut.Load() {
		m, ok := heard[p.name]
		if !ok || p.foreign != nil {
			continue // gone just now, or follows
		}
		out = append(out, Peer{
			Name: p.name, URL: m.Presence.URL, Incarnation: m.Presence.Incarnation, Version: m.Presence.Version,
			Status: m.Status, Silent: now.Mono - m.Last, Skew: m.Skew, Divergent: p.repair.Divergent(),
			Acceptor: p.acceptor.Stats(), Batcher: p.pipeline.Stats(), Answers: p.answersByCode(),
		})
	}
	return append(out, c.foreignPeers()...)
}
