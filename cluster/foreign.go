package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

// Foreign is a peer that is no node of this cluster, such as a Java Eureka server.
// It has the same three queues as any other, one batch in flight. It says itself how
// a slot becomes a task, how a batch reaches it, and how both sides are compared.
type Foreign interface {
	// Name names the peer in logs, metrics and on subjects; no node may have it.
	Name() string
	// Attach hands over the peer's pipeline, before any other call.
	Attach(p Pipeline)
	// Render makes a slot's task; see acceptor.Options. It must not block.
	Render(key registry.Key, bits registry.Bits, wait time.Duration) (acceptor.Task, acceptor.Reason)
	// Send brings a batch to the peer; see batcher.Options.
	Send(ctx context.Context, b acceptor.Batch[registry.Key, registry.Bits]) ([]acceptor.Outcome, error)
	// Run keeps both sides equal until ctx ends.
	Run(ctx context.Context)
	// Lost takes an instance whose change was dropped for a reason that a comparison
	// can repair. It must not block.
	Lost(key registry.Key, reason acceptor.Reason)
	// Compare asks for a comparison at once. It must not block.
	Compare()
	// Pull takes everything that the peer has, and calls progress with the number of
	// entries. A node calls it that starts and finds no peer that has everything. The
	// error is [ErrNode] where a node of this cluster has taken the peer's place.
	Pull(ctx context.Context, progress func(entries int)) error
	// State is what a status page shows. Any goroutine may call it.
	State() ForeignState
}

// ErrNode is returned by Foreign.Pull where there is no foreign peer, but a node of this
// cluster, which is asked as such.
var ErrNode = errors.New("peer is a node of this cluster")

// ForeignState is a snapshot of a foreign peer.
type ForeignState struct {
	URL       string // without a password
	Version   string // what it runs, in a word
	Reachable bool
	Silent    time.Duration // since its last answer
}

// Pipeline is what a foreign peer has of its own pipeline. Any goroutine may use it.
type Pipeline struct{ peer *peer }

// Offer puts a change into the acceptorQueue.
func (p Pipeline) Offer(key registry.Key, bits registry.Bits) { p.peer.offer(key, bits) }

// Wake ends a wait of the traffic shaper: the peer answers again.
func (p Pipeline) Wake() { p.peer.pipeline.Wake() }

// Dropped logs a sample of what was dropped otherwise than by an outcome of Send.
func (p Pipeline) Dropped(key registry.Key, reason acceptor.Reason) {
	p.peer.pipeline.Dropped(key, reason)
}

// Result counts the result of one item.
func (p Pipeline) Result(action string, code int) {
	p.peer.answered(action, code)
}

// Answered makes the event of what the peer answered to a change of an instance, in a few
// words.
func (p Pipeline) Answered(key registry.Key, bits registry.Bits, what string) {
	p.peer.record([]registry.Event{p.peer.answer(key, bits, what)})
}

// Repaired counts entries found different: pushed to the peer, or fetched from it.
func (p Pipeline) Repaired(pushed, fetched int) { p.peer.repair.Repaired(pushed, fetched) }

// SetDivergent sets how many entries differ for longer than a change takes.
func (p Pipeline) SetDivergent(n int) { p.peer.repair.SetDivergent(n) }

// Round counts a comparison, by outcome: "compared" or "failed".
func (p Pipeline) Round(outcome string) { p.peer.repair.Round(outcome) }

// foreign is a foreign peer as its pipeline sees it.
type foreign struct{ Foreign }

func (f foreign) render(key registry.Key, bits registry.Bits, wait time.Duration) (acceptor.Task, acceptor.Reason) {
	return f.Render(key, bits, wait)
}

func (f foreign) deliver(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
	return f.Send(ctx, b)
}

func (f foreign) lost(key registry.Key, reason acceptor.Reason) { f.Lost(key, reason) }

func (f foreign) keepEqual(ctx context.Context) { f.Run(ctx) }

func (f foreign) force() { f.Compare() }

func (f foreign) inFlight() int { return 1 } // an instance's items must stay in order

func (f foreign) bytes() int { return foreignBatch }

// foreignBatch bounds the tasks of a batch to a foreign peer, in bytes.
const foreignBatch = 1 << 20

// addForeign makes the pipelines of the foreign peers. They run from Run on; what is
// offered before waits in the acceptorQueue.
func (c *Cluster) addForeign() error {
	for _, f := range c.opts.Foreign {
		p := c.newPeer(f.Name())
		p.remote, p.foreign = foreign{f}, f
		if err := p.build(); err != nil {
			return fmt.Errorf("foreign peer %s: %w", p.name, err)
		}
		f.Attach(Pipeline{p})
		c.foreign = append(c.foreign, p)
	}
	return nil
}

// isForeign reports whether a name is that of a foreign peer, which no node may have.
func (c *Cluster) isForeign(name string) bool {
	return slices.ContainsFunc(c.foreign, func(p *peer) bool { return p.name == name })
}

// runForeign runs the pipelines of the foreign peers.
func (c *Cluster) runForeign() {
	for _, p := range c.foreign {
		c.pipelines.Go(func() { c.runPeer(p) })
	}
}

// runPeer runs a pipeline and its comparison until p is shut down.
func (c *Cluster) runPeer(p *peer) {
	var comparing sync.WaitGroup
	comparing.Go(func() { p.remote.keepEqual(p.ctx) })
	if err := p.pipeline.Run(p.ctx); err != nil {
		c.log.Error("pipeline ended", "peer", p.name, "err", err)
	}
	p.shutdown()
	comparing.Wait()
}

// pullForeign takes everything that one of the foreign peers has. It reports whether
// one has sent it, or all are nodes of this cluster.
func (c *Cluster) pullForeign(ctx context.Context, progress func(entries int)) bool {
	nodes := 0
	for _, f := range c.opts.Foreign {
		switch err := f.Pull(ctx, progress); {
		case err == nil:
			return true
		case errors.Is(err, ErrNode):
			nodes++
		case ctx.Err() == nil && c.unpulled.Due(sampleEvery):
			c.log.Warn("sync interrupted, retrying", "peer", f.Name(), "err", err)
		}
	}
	return nodes == len(c.opts.Foreign)
}

// foreignPeers returns snapshots of the foreign peers.
func (c *Cluster) foreignPeers() []Peer {
	var out []Peer
	for _, p := range c.foreign {
		s := p.foreign.State()
		status := membership.Unreachable
		if s.Reachable {
			status = membership.Reachable
		}
		out = append(out, Peer{
			Name: p.name, Foreign: true, URL: s.URL, Version: s.Version, Status: status, Silent: s.Silent,
			Divergent: p.repair.Divergent(), Acceptor: p.acceptor.Stats(), Batcher: p.pipeline.Stats(),
			Answers: p.answersByCode(),
		})
	}
	return out
}
