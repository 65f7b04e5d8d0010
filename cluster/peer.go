package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// PeerStatus is what this node believes of a peer.
type PeerStatus string

// The statuses of a peer. Its pipeline keeps trying in all of them.
const (
	Reachable   PeerStatus = "reachable"
	Unreachable PeerStatus = "unreachable" // silent for over five seconds
	Left        PeerStatus = "left"        // said goodbye
)

type (
	pipelineAcceptor = acceptor.Acceptor[registry.Key, registry.Bits]
	pipelineBatcher  = batcher.Batcher[registry.Key, registry.Bits]
	batch            = acceptor.Batch[registry.Key, registry.Bits]
)

// peer is another node, and the pipeline to it.
type peer struct {
	cluster  *Cluster
	name     string
	acceptor *pipelineAcceptor
	pipeline *pipelineBatcher
	shutdown context.CancelFunc // begins the bounded drain
	repair   *repairer

	digest    atomic.Uint64 // the root of its digest, as it said last
	forced    atomic.Bool   // its next round takes one difference for enough
	divergent atomic.Int64  // keys found unequal twice with the same versions
	wantMu    sync.Mutex
	wanted    map[registry.Key]struct{} // guarded by wantMu; to be fetched from it
	refused   map[registry.Key]refusal  // guarded by wantMu; what it can't be sent

	// Guarded by Cluster.mu.
	said   presence
	last   time.Time // when it was last heard
	status PeerStatus
	skew   time.Duration // how far its clock is behind ours
	skewed bool          // that was told

	farSince time.Time // when that became too much; zero: it is not
}

// measure takes how far the peer's clock is behind ours, the message's way
// included. It tells when that becomes too much, and when it is so no more. What
// waited while this process or the broker stood still is late, and comes all at
// once: a clock that is off is so for longer. Cluster.mu is held.
func (p *peer) measure(skew time.Duration, now time.Time) {
	p.skew = skew
	far := skew.Abs() > maxSkew
	switch {
	case !far:
		p.farSince = time.Time{}
	case p.farSince.IsZero():
		p.farSince = now
	}
	switch {
	case far && !p.skewed && now.Sub(p.farSince) >= presenceInterval/2:
		p.skewed = true
		p.cluster.log.Warn("a peer's clock is off: of two changes to one instance through both nodes the older may win",
			"peer", p.name, "skew", skew, "bound", maxSkew)
	case p.skewed && skew.Abs() < maxSkew/2:
		p.skewed = false
		p.cluster.log.Info("a peer's clock is right again", "peer", p.name, "skew", skew)
	}
}

// add starts the pipeline to a new peer and makes it known to Changed. nil: it
// couldn't, and said so. mu is held.
func (c *Cluster) add(said presence) *peer {
	if len(c.peers) >= c.opts.MaxPeers {
		c.metrics.refusedPeers.Inc()
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop, or when the peer is gone
	p := &peer{cluster: c, name: said.Node, said: said, shutdown: cancel, wanted: make(map[registry.Key]struct{})}
	p.forgive()
	p.repair = newRepairer(p)
	if err := p.build(); err != nil {
		cancel()
		c.metrics.refusedPeers.Inc()
		c.log.Error("no pipeline for peer", "peer", p.name, "err", err)
		return nil
	}
	c.peers[p.name] = p
	c.publish()
	c.pipelines.Go(func() { p.repair.run(ctx) })
	c.pipelines.Go(func() {
		defer cancel()
		if err := p.pipeline.Run(ctx); err != nil {
			c.log.Error("pipeline ended", "peer", p.name, "err", err)
		}
	})
	return p
}

func (p *peer) build() error {
	c := p.cluster
	acc, err := acceptor.New(acceptor.Options[registry.Key, registry.Bits]{
		Delay:    c.opts.BatchDelay,
		Mode:     c.opts.BatchMode,
		Urgent:   func(b registry.Bits) bool { return b != registry.Renewed },
		QueueLen: c.opts.QueueLen,
		Limit:    c.maxPending,
		Merge:    registry.Bits.Merge,
		Render:   c.render,
		OnDrop:   p.dropped,
	})
	if err != nil {
		return err
	}
	b, err := batcher.New(acc, batcher.Options[registry.Key, registry.Bits]{
		Send: p.send, Classify: c.opts.Classify, Peer: p.name, Metrics: c.metrics.batcher, Size: c.opts.BatchSize, Bytes: c.batchBytes,
		Logger: c.opts.Logger, Rand: c.opts.Rand,
	})
	p.acceptor, p.pipeline = acc, b
	return err
}

// maxPending is the bound of a processing order, in slots.
func (c *Cluster) maxPending() int {
	if c.opts.MaxPending > 0 {
		return c.opts.MaxPending
	}
	return max(acceptor.DefaultLimit, c.reg.Len())
}

// batchBytes is the bound of a batch: three quarters of a message, the rest is
// for headers and what stands around the items.
func (c *Cluster) batchBytes() int { return c.transport.MaxPayload() * 3 / 4 }

// MaxTask returns how many bytes an instance may take as one task of a batch at
// present. It is cheap, and may be called from any goroutine.
func (c *Cluster) MaxTask() int { return c.batchBytes() }

// offer puts a change into the acceptorQueue.
func (p *peer) offer(key registry.Key, bits registry.Bits) { p.acceptor.Offer(key, bits) }

// gone ends the pipeline of a peer that has been silent for too long.
func (p *peer) gone() {
	p.pipeline.Close(acceptor.PeerGone)
	p.shutdown()
}

// abandon ends the pipeline of a peer that is leaving, when this node is too:
// there is nobody to drain it to.
func (p *peer) abandon() { p.pipeline.Close(acceptor.Shutdown) }

// dropped hears of every slot that leaves the pipeline unsent. A lost state
// change leaves the peer behind: what can be mended is compared at once. The
// pipeline itself logs what it was told by an outcome.
func (p *peer) dropped(key registry.Key, bits registry.Bits, reason acceptor.Reason) {
	if bits == registry.Renewed || reason == acceptor.Evicted {
		return
	}
	p.cluster.metrics.losses.WithLabelValues(p.name, string(reason)).Inc()
	switch reason {
	case acceptor.Malformed:
		p.refuse(key)
		p.force()
	case acceptor.Overflowed:
		p.pipeline.Dropped(key, reason)
		p.force()
	default:
		p.pipeline.Dropped(key, reason)
	}
}

// bareConflict is a reason for which a key is marked for repair, beside those of
// the acceptor.
const bareConflict = "conflict_without_copy"

// send publishes a batch on the peer's subject and acts on the results.
func (p *peer) send(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
	if p.cluster.Stalled() {
		return nil, fmt.Errorf("batch to peer %s: %w: this process has stood still, its leases look younger than they are", p.name, batcher.Busy)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("batch id: %w", err)
	}
	items := make([][]byte, len(b.Items))
	for i := range b.Items {
		items[i] = b.Items[i].Task.Body
	}
	const around = len(eureka.ReplicationListHead) + len(eureka.ReplicationListTail)
	body := eureka.JoinReplicationList(make([]byte, 0, b.Bytes+len(items)+around), items)
	reply, err := p.cluster.transport.Request(ctx, p.name, id.String(), body)
	if err != nil {
		return nil, fmt.Errorf("batch %s to peer %s: %w", id, p.name, err)
	}
	results, err := eureka.DecodeReplicationListResponse(reply, len(b.Items))
	if err != nil {
		return nil, fmt.Errorf("batch %s: reply of peer %s: %w", id, p.name, err)
	}
	if len(results) != len(b.Items) {
		return nil, fmt.Errorf("batch %s: peer %s answered %d results for %d tasks", id, p.name, len(results), len(b.Items))
	}
	outcomes := make([]acceptor.Outcome, len(results))
	for i := range results {
		outcomes[i] = p.settle(&b.Items[i], &results[i])
	}
	return outcomes, nil
}

// settle acts on the result of one task, as CONVERGENCE.md says under "On NATS".
func (p *peer) settle(item *acceptor.Item[registry.Key, registry.Bits], res *eureka.Result) acceptor.Outcome {
	p.cluster.metrics.result(p.name, eureka.Action(item.Task.Action), res.StatusCode)
	switch {
	case res.Err != nil:
		return acceptor.Retry()
	case res.StatusCode == 200:
		return acceptor.Done()
	case res.StatusCode == 404:
		p.offer(item.Key, registry.Registered)
		return acceptor.Done()
	case res.StatusCode == 409:
		p.adopt(item.Key, res)
		return acceptor.Done()
	case res.StatusCode == 400:
		return acceptor.Drop(acceptor.Malformed)
	default:
		return acceptor.Retry()
	}
}

// adopt joins the newer copy that came with a conflict.
func (p *peer) adopt(key registry.Key, res *eureka.Result) {
	if res.State == nil || res.State.Live && res.ResponseEntity == nil {
		p.cluster.metrics.losses.WithLabelValues(p.name, bareConflict).Inc()
		p.want(key)
		return
	}
	entry, err := registry.FromState(res.State, res.ResponseEntity)
	if err == nil && entry.Record.Live && registry.NewKey(res.ResponseEntity.App, res.ResponseEntity.ID()) != key {
		err = fmt.Errorf("responseEntity: is %.200s", registry.NewKey(res.ResponseEntity.App, res.ResponseEntity.ID()))
	}
	if err != nil {
		p.cluster.metrics.losses.WithLabelValues(p.name, string(acceptor.Malformed)).Inc()
		p.pipeline.Dropped(key, acceptor.Malformed)
		p.cluster.log.Debug("conflict not understood", "peer", p.name, "app", key.App, "instance", key.ID, "err", err)
		return
	}
	p.cluster.reg.Join(key, entry, registry.Registered|registry.Overridden)
}

// Peer is a snapshot of one peer for status pages and metrics.
type Peer struct {
	Name        string
	URL         string
	Incarnation uuid.UUID
	Version     string
	Status      PeerStatus
	Silent      time.Duration // since it was last heard
	Skew        time.Duration // how far its clock is behind ours
	Divergent   int64         // keys found unequal twice with the same versions
	Acceptor    acceptor.Stats
	Batcher     batcher.Stats
}

// WaitLeft returns how long batches are held back still.
func (p *Peer) WaitLeft() time.Duration {
	if p.Batcher.Waiting == "" {
		return 0
	}
	return max(0, time.Until(p.Batcher.WaitUntil))
}

// Peers returns a snapshot of all peers, by name. Any goroutine may call it.
func (c *Cluster) Peers() []Peer {
	var out []Peer
	for _, p := range *c.fanOut.Load() {
		c.mu.Lock()
		s := Peer{
			Name: p.name, URL: p.said.URL, Incarnation: p.said.Incarnation, Version: p.said.Version,
			Status: p.status, Silent: time.Since(p.last), Skew: p.skew, Divergent: p.divergent.Load(),
		}
		c.mu.Unlock()
		s.Acceptor, s.Batcher = p.acceptor.Stats(), p.pipeline.Stats()
		out = append(out, s)
	}
	return out
}
