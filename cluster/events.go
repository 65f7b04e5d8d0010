package cluster

import (
	"context"
	"fmt"

	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/repair"
)

// act acts on events, in their order. It returns an error when the node must end. Run's goroutine calls it.
func (c *Cluster) act(ctx context.Context, events []membership.Event) error {
	for i := range events {
		switch e := &events[i]; e.Kind {
		case membership.Announce:
			signal(c.announce)
		case membership.Ask:
			signal(c.ask)
		case membership.NameTaken:
			return fmt.Errorf("%w: %s runs at %s (incarnation %s)",
				ErrNameTaken, e.Presence.Node, e.Presence.URL, e.Presence.Incarnation)
		case membership.CatchUp:
			c.catchUp(ctx, e.Round)
		case membership.Opened:
			c.open()
		case membership.Suspended:
			c.log.Warn("process was suspended, resyncing", "elapsed", e.Elapsed)
			c.metrics.pauses.Inc()
			c.reg.Restarted()
			c.sync.forget()
			c.known = nil
		case membership.Incomplete:
			c.log.Error("sync incomplete, serving local data", "reason", e.Text, "elapsed", e.Elapsed)
		case membership.Degraded:
			if e.Text == "" {
				c.log.Info("node no longer degraded")
			} else {
				c.log.Warn("node degraded", "reason", e.Text)
			}
		case membership.Superseding, membership.Twin:
			c.log.Error("node name is used twice", "url", e.Presence.URL, "incarnation", e.Presence.Incarnation,
				"superseded", e.Kind == membership.Superseding)
		case membership.Unsuperseded:
			c.log.Info("node name is no longer used twice", "elapsed", e.Elapsed)
		default:
			c.actOnPeer(e)
		}
	}
	return nil
}

// actOnPeer acts on an event of one peer.
func (c *Cluster) actOnPeer(e *membership.Event) {
	log := c.log.With("peer", e.Peer)
	if e.Kind == membership.Joined {
		c.join(e)
		return
	}
	p := c.peers[e.Peer]
	switch {
	case e.Kind == membership.Refused:
		c.metrics.refusedPeers.Inc()
		if c.refused.Due(sampleEvery) {
			log.Warn("peer refused, too many peers", "peers", len(c.peers))
		}
		return
	case e.Kind == membership.Ignored:
		c.metrics.presence.WithLabelValues("ignored").Inc()
		log.Debug("presence ignored", "incarnation", e.Presence.Incarnation, "reason", e.Text)
		return
	case p == nil:
		return // it has no pipeline
	}
	switch e.Kind { //nolint:exhaustive // act knows the others.
	case membership.Restarted:
		log.Info("peer restarted", "url", e.Presence.URL, "incarnation", e.Presence.Incarnation)
		p.status = membership.Reachable
		p.repair.Forgive()
		p.repair.Force() // it may have forgotten everything
		p.pipeline.Wake()
	case membership.Back:
		log.Info("peer reachable again", "elapsed", e.Elapsed)
		p.status = membership.Reachable
		p.repair.Force()
		p.pipeline.Wake()
	case membership.Heard:
		p.repair.Heard(uint64(e.Presence.Digest))
	case membership.Goodbye:
		log.Info("peer is leaving")
		p.status = membership.Left
		if c.leaving {
			p.abandon()
		}
	case membership.FellSilent:
		log.Warn("peer unreachable", "elapsed", e.Elapsed)
		p.status = membership.Unreachable
	case membership.Gone:
		log.Warn("peer gone, pipeline closed", "elapsed", e.Elapsed)
		c.remove(p)
	case membership.Skewed:
		log.Warn("peer's clock differs, concurrent changes through both nodes may be ordered wrongly",
			"skew", e.Skew, "bound", membership.MaxSkew)
	case membership.Unskewed:
		log.Info("peer's clock agrees again", "skew", e.Skew)
	}
}

// open lets the node serve. Leases count from now on: the process may have been
// suspended while it started.
func (c *Cluster) open() {
	select {
	case <-c.ready:
	default:
		c.reg.Restarted()
		close(c.ready)
		c.setStarted()
	}
}

// catchUp is the catch-up under way. Run owns it.
type catchUp struct {
	stop  context.CancelFunc
	state *repair.CatchUp
	done  chan struct{} // closed when the last try has ended
}

func (s *catchUp) cancel() {
	if s.stop != nil {
		s.stop()
	}
}

// forget ends the try under way; the next one begins from the first entry.
func (s *catchUp) forget() {
	s.cancel()
	s.state = nil
}

// catchUp begins a try to catch up, when the one before has ended.
func (c *Cluster) catchUp(ctx context.Context, round uint64) {
	c.sync.cancel()
	ctx, cancel := context.WithCancel(ctx)
	before, done := c.sync.done, make(chan struct{})
	c.sync.stop, c.sync.done = cancel, done
	report := func(entries int) {
		c.deliver(func(m *membership.Members, at membership.Moment) []membership.Event {
			m.Progress(round, entries, at)
			return nil
		})
	}
	if c.sync.state == nil {
		c.sync.state, c.known = c.repair.NewCatchUp(), nil
	}
	state := c.sync.state
	sources, one := c.sources()
	c.workers.Go(func() {
		defer close(done)
		defer cancel()
		if before != nil {
			<-before
		}
		ok := state.Try(ctx, sources, one, report)
		if !one && ok && len(c.opts.Foreign) > 0 {
			ok = c.pullForeign(ctx, report)
		}
		if ctx.Err() == nil {
			c.deliver(func(m *membership.Members, at membership.Moment) []membership.Event {
				if ok && c.sync.state == state {
					if known := state.Known(); known > 0 {
						c.known = new(at.Mono - known)
					}
					c.sync.state = nil // another one begins from the first entry
				}
				return m.Synced(round, ok, at)
			})
		}
	})
}

// sources returns the peers to catch up from. The first one is random, so that
// nodes that start together do not all ask the same peer.
func (c *Cluster) sources() (sources []repair.Source, one bool) {
	from := c.members.Sources()
	first := int(c.opts.Rand() * float64(len(from.Peers)))
	for i := range from.Peers {
		p := &from.Peers[(first+i)%len(from.Peers)].Presence
		sources = append(sources, repair.Source{Name: p.Node, Digest: uint64(p.Digest)})
	}
	return sources, from.One
}
