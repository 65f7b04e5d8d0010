package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/internal/sample"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

// ErrNameTaken is returned by Run when another node already uses this node's name
// while this one starts.
var ErrNameTaken = errors.New("node name is taken")

const (
	// inboxLen is how many inputs may wait for Run. Further presences are counted
	// and dropped, since each comes again within a second.
	inboxLen = 1024
	// startPatience bounds how long Started waits for a node that is connected.
	startPatience = 5 * time.Second
	// sampleEvery is the least time between two log lines about one kind of event.
	sampleEvery = 10 * time.Second
)

// Cluster is this node's view of its peers, and the pipelines to them. It is the
// registry's Sink.
type Cluster struct {
	opts      Options
	reg       *registry.Registry
	transport Transport
	log       *slog.Logger
	metrics   *metrics
	repair    *repair.Repair
	foreign   []*peer // never changed after New
	unpulled  sample.Sample

	view   atomic.Pointer[view]
	fanOut atomic.Pointer[[]*peer] // the peers by name; replaced by Run, never changed

	inbox    chan input
	announce chan struct{} // one slot: this node's presence is due
	ask      chan struct{} // one slot: the question which peers there are is due
	ready    chan struct{} // closed when the node serves for the first time
	started  chan struct{} // closed with ready, or when the start need not wait any longer
	ended    chan struct{} // closed when Run takes no more input

	// Owned by Run.
	members    *membership.Members
	link       membership.Link // as the members know it
	begun      membership.Moment
	peers      map[string]*peer // the nodes
	batchDelay atomic.Int64     // ns
	pipelines  sync.WaitGroup   // of all peers
	workers    sync.WaitGroup   // of Run
	leaving    bool
	exchanged  bool
	// known is when this node began to know every change, Elapsed, if a source knew longer
	// than this node runs.
	known   *time.Duration
	sync    catchUp
	refused sample.Sample
}

var _ registry.Sink = (*Cluster)(nil)

// input changes the members at a moment, and returns what follows from that.
type input func(m *membership.Members, at membership.Moment) []membership.Event

// New returns a cluster without peers for a registry, whose Sink it is to be. It
// starts no goroutine. The error names all faults of the options.
func New(reg *registry.Registry, transport Transport, opts Options) (*Cluster, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c := &Cluster{
		opts: opts, reg: reg, transport: transport, log: opts.Logger.With("component", "cluster"),
		inbox: make(chan input, inboxLen), announce: make(chan struct{}, 1), ask: make(chan struct{}, 1),
		ready: make(chan struct{}), started: make(chan struct{}), ended: make(chan struct{}),
		peers: make(map[string]*peer),
	}
	c.begun = c.now()
	delay := cmp.Or(opts.BatchDelay, acceptor.DefaultDelay)
	c.batchDelay.Store(int64(delay))
	opts.Members.Exchange = cmp.Or(opts.Members.Exchange, membership.Silence+2*delay)
	if c.members, err = membership.New(opts.Members, c.begun); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if c.repair, err = repair.New(reg, transport, repair.Options{
		BatchDelay: delay, Up: c.up, Suspended: c.unnoticed,
		Logger: opts.Logger, Metrics: opts.Metrics,
	}); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.metrics = newMetrics(c)
	if err := c.addForeign(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.fanOut.Store(&c.foreign)
	c.publish(c.begun)
	if opts.Metrics != nil {
		if err := opts.Metrics.Register(c.metrics); err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
	}
	return c, nil
}

// Changed hands a change to the pipeline of every peer. A change that came from a
// peer is never sent on. Changed never blocks; any goroutine may call it.
func (c *Cluster) Changed(ch registry.Change) {
	if ch.IsReplication {
		return
	}
	for _, p := range *c.fanOut.Load() {
		p.offer(ch.Key, ch.Bits)
	}
}

// BatchDelay returns how long a change waits for others before its batch is sent. Any
// goroutine may call it.
func (c *Cluster) BatchDelay() time.Duration { return time.Duration(c.batchDelay.Load()) }

// SetBatchDelay changes that, for all peers, also for what waits. Not above 0: nothing
// changes. Any goroutine may call it, until Run has ended.
func (c *Cluster) SetBatchDelay(d time.Duration) {
	if d <= 0 {
		return
	}
	c.deliver(func(*membership.Members, membership.Moment) []membership.Event { // no peer is built meanwhile
		c.batchDelay.Store(int64(d))
		for _, p := range *c.fanOut.Load() {
			p.acceptor.SetDelay(d)
		}
		return nil
	})
}

// Repair compares this node with all its peers at once, and exchanges what
// differs. It returns before that is done. Any goroutine may call it.
func (c *Cluster) Repair() {
	for _, p := range *c.fanOut.Load() {
		p.remote.force()
	}
}

// HandlePresence takes the presence of a node, this one's own included. It does
// not block; any goroutine may call it.
func (c *Cluster) HandlePresence(p membership.Presence) {
	if p.Check() != nil || c.isForeign(p.Node) {
		c.metrics.presence.WithLabelValues("malformed").Inc()
		return
	}
	c.post(func(m *membership.Members, at membership.Moment) []membership.Event { return m.Hear(p, at) })
}

// HandleAsk answers a node that asks which peers there are. It does not block; any
// goroutine may call it.
func (c *Cluster) HandleAsk() {
	c.post(func(m *membership.Members, at membership.Moment) []membership.Event { return m.Asked(at) })
}

// post hands an input to Run, or drops and counts it if too many wait.
func (c *Cluster) post(in input) {
	select {
	case c.inbox <- in:
	default:
		c.metrics.presence.WithLabelValues("dropped").Inc()
	}
}

// deliver hands an input to Run and waits until Run takes it or has ended.
func (c *Cluster) deliver(in input) {
	select {
	case c.inbox <- in:
	case <-c.ended:
	}
}

// HandleSync takes a sync request. It does not block; any goroutine may call it.
func (c *Cluster) HandleSync(req repair.Request) { c.repair.Handle(req) }

// Run announces this node, listens for peers and keeps the membership until ctx
// ends; then it says goodbye, drains the pipelines within their bound, and
// returns nil. It returns ErrNameTaken, wrapped, when another node has this node's
// name. It is called once.
func (c *Cluster) Run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	c.workers.Go(func() { c.repair.Serve(serving) })
	c.workers.Go(func() { c.speak(serving) })
	c.runForeign()
	err := c.loop(ctx)
	c.sync.cancel()
	stopServing()
	close(c.ended)
	c.workers.Wait()
	return err
}

// loop turns inputs into events and acts on them, one at a time.
func (c *Cluster) loop(ctx context.Context) error {
	stop := ctx.Done()
	var drained <-chan struct{}
	var failed error
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var events []membership.Event
		var at membership.Moment
		routine := false // a presence with nothing new
		select {
		case <-stop:
			stop, at = nil, c.now()
			events = c.members.Leave(at)
		case <-drained:
			return failed
		case in := <-c.inbox:
			at = c.now()
			events = in(c.members, at)
			routine = len(events) == 1 && events[0].Kind == membership.Heard
		case <-timer.C:
			at, c.link = c.now(), c.transport.Link()
			events = append(c.members.SetLink(c.link, at), c.members.Tick(at)...)
		}
		if !routine {
			c.publish(at) // before anything follows from it
		}
		if err := c.act(ctx, events); err != nil {
			failed, stop = err, nil
			c.members.Leave(at)
			c.publish(at)
		}
		if stop == nil && drained == nil {
			drained = c.drain()
		}
		if c.hasWaited(at) {
			c.setStarted()
		}
		if !c.exchanged && c.view.Load().presence.Synced {
			c.exchanged = true
			c.reg.Exchanged() // cancels of a snapshot need not be kept for a peer any more
		}
		timer.Reset(c.members.Next(at))
	}
}

// hasWaited reports whether the start need not wait any longer: the node has no
// connection, or has waited for long enough.
func (c *Cluster) hasWaited(at membership.Moment) bool {
	waited := at.Mono - c.begun.Mono
	return waited >= startPatience || waited >= membership.Listen && !c.view.Load().connected
}

func (c *Cluster) setStarted() {
	select {
	case <-c.started:
	default:
		close(c.started)
	}
}

// drain says goodbye and begins the bounded end of all pipelines. The channel is
// closed when they have ended.
func (c *Cluster) drain() <-chan struct{} {
	c.leaving = true
	c.sync.cancel()
	for _, p := range c.peers {
		if p.status == membership.Left {
			p.abandon()
		}
		p.shutdown()
	}
	for _, p := range c.foreign {
		p.shutdown()
	}
	drained := make(chan struct{})
	c.workers.Go(func() {
		c.pipelines.Wait()
		close(drained)
	})
	return drained
}

// Abandon ends the drain at once: what has not been sent is dropped, counted and
// logged. It is for an owner whose time is over after it ended Run's context. Any
// goroutine may call it.
func (c *Cluster) Abandon() {
	c.deliver(func(*membership.Members, membership.Moment) []membership.Event {
		for _, p := range *c.fanOut.Load() {
			p.abandon()
		}
		return nil
	})
}

// speak publishes presences and questions when they are due, until ctx ends. A
// broker that blocks delays nothing else.
func (c *Cluster) speak(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-c.announce: // the goodbye
				c.say()
			default:
			}
			return
		case <-c.announce:
			c.say()
		case <-c.ask:
			if err := c.transport.Ask(); err != nil {
				c.log.Debug("peers not asked", "err", err)
			}
		}
	}
}

// say publishes this node's presence.
func (c *Cluster) say() {
	p := c.view.Load().presence
	p.Time, p.Digest = c.opts.Clock.Wall().UnixMilli(), membership.Digest(c.reg.Digest())
	if err := c.transport.Announce(p); err != nil {
		c.metrics.presence.WithLabelValues("unsent").Inc()
		c.log.Debug("presence not announced", "err", err)
	}
}

// signal fills a channel of one slot.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
