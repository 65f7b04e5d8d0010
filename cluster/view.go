package cluster

import (
	"time"

	"github.com/registryd/registryd/membership"
)

// view is the state of the membership that Run last published. Any goroutine may
// read it.
type view struct {
	gate      membership.Gate
	state     membership.State
	text      string // of Status
	presence  membership.Presence
	peers     []membership.Peer
	connected bool
	known     *time.Duration // see Cluster
}

// now returns the moment by both clocks.
func (c *Cluster) now() membership.Moment {
	return membership.Moment{Mono: c.opts.Clock.Elapsed(), Wall: c.opts.Clock.Wall()}
}

// publish makes the state of the members known. Run's goroutine calls it.
func (c *Cluster) publish(at membership.Moment) {
	c.view.Store(&view{
		gate: c.members.Gate(), state: c.members.State(), text: describe(c.members.State(), c.members.Degraded(at)),
		presence: c.members.Presence(0, at), peers: c.members.Peers(), connected: c.link.Up,
		known: c.known,
	})
}

// MayRead reports whether this node knows what its peers know, so that it may
// answer with lists. Any goroutine may call it.
func (c *Cluster) MayRead() bool { return c.view.Load().gate.MayRead(c.now()) }

// MayWrite reports whether this node may take what clients and peers send: it
// has caught up since it was last suspended, and no other node has its name. A node
// that is starting may. It allocates nothing; any goroutine may call it.
func (c *Cluster) MayWrite() bool { return c.view.Load().gate.MayWrite(c.now()) }

// MayEvict reports whether this node knows about leases what its peers know. Any
// goroutine may call it.
func (c *Cluster) MayEvict() bool { return c.view.Load().gate.MayEvict(c.now()) }

// unnoticed reports whether this process was suspended and Run has not noticed yet.
func (c *Cluster) unnoticed() bool { return c.view.Load().gate.Stale(c.now()) }

// Superseded reports whether an older node uses this node's name. This node then
// takes no batches and announces nothing, because its peers could not distinguish
// the two. Any goroutine may call it.
func (c *Cluster) Superseded() bool { return c.view.Load().state == membership.Superseded }

// Status is what this node serves at present.
type Status struct {
	// Text is the state in a few words: "ready", "degraded: …", "syncing: …".
	Text   string
	Ready  bool // it serves
	Reads  bool // it knows what its peers know
	Empty  bool // it knows that there is nothing; lists stay closed for a while
	Writes bool // as MayWrite
}

// Status returns what this node serves at present. It allocates nothing; any
// goroutine may call it.
func (c *Cluster) Status() Status {
	v, at := c.view.Load(), c.now()
	s := Status{
		Text: v.text, Ready: v.state == membership.Ready,
		Reads: v.gate.MayRead(at), Empty: v.gate.Empty(at), Writes: v.gate.MayWrite(at),
	}
	switch {
	case v.gate.Stale(at):
		s.Text, s.Ready = suspended, false
	case s.Empty:
		// It is ready: a load balancer must not keep away the clients that are to register.
		s.Reads = true
		if v.text == membership.Ready.String() {
			s.Text = "waiting: nothing to serve, lists are refused"
		}
	}
	return s
}

const suspended = "syncing: process was suspended"

// describe puts a state into words.
func describe(state membership.State, degraded string) string {
	switch state {
	case membership.Syncing:
		if degraded != "" {
			return "syncing: " + degraded
		}
		return "syncing"
	case membership.Ready:
		if degraded != "" {
			return "degraded: " + degraded
		}
		return "ready"
	case membership.Paused:
		return suspended
	case membership.Superseded:
		return "superseded: another node has this node's name"
	default:
		return state.String()
	}
}

// isPaused reports whether this process was suspended and has not caught up since.
func (c *Cluster) isPaused() bool {
	v := c.view.Load()
	return v.state == membership.Paused || v.gate.Stale(c.now())
}

// Ready is closed when the node serves lists for the first time.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Started is closed when Ready is, or when there is no reason to wait for that:
// the node has no connection, or has waited for five seconds.
func (c *Cluster) Started() <-chan struct{} { return c.started }

// up returns for how long this node has known every change, itself or by what its
// source knew; 0: it may lack some.
func (c *Cluster) up() time.Duration {
	v, at := c.view.Load(), c.now()
	switch {
	case v.state != membership.Ready || !v.presence.Synced || v.gate.Stale(at):
		return 0
	case v.known != nil:
		return max(c.reg.Up(), at.Mono-*v.known)
	default:
		return c.reg.Up()
	}
}
