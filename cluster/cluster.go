package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/registry"
)

// Times of membership. They are not options: every node must agree on them.
const (
	presenceInterval = time.Second
	// silence is how long a peer may be silent before it counts as unreachable.
	silence = 5 * time.Second
	// gone is how long it may be silent before its pipeline is closed.
	gone = 5 * time.Minute
	// maxSkew is how far a peer's clock may be off before that is told: two
	// actions on one instance through two nodes are ordered by their clocks.
	maxSkew = 2 * time.Second
	// startWait is how long a starting node listens for a peer that is ready.
	startWait = 250 * time.Millisecond
	// sayAgain is how often it tells meanwhile that it is there, and asks who is.
	sayAgain = 80 * time.Millisecond
	// syncPatience is how long it tries to sync with peers that are there, at its
	// start and after a standstill, before it serves what it has; syncRetry is how
	// long it waits between two tries at its start.
	syncPatience = 15 * time.Second
	syncRetry    = 250 * time.Millisecond
)

// DefaultMaxPeers bounds the peers: each costs a pipeline.
const DefaultMaxPeers = 256

// ErrNameTaken is returned by Run when another node of this node's name answers
// at the start.
var ErrNameTaken = errors.New("node name is taken")

// Transport carries the cluster's messages. Node plugs a broker in.
type Transport interface {
	// Request sends a batch to a peer and returns its reply, whole.
	Request(ctx context.Context, to, batch string, body []byte) ([]byte, error)
	// Sync sends a sync request to a peer and returns its reply.
	Sync(ctx context.Context, to string, body []byte) ([]byte, error)
	// Announce publishes this node's presence.
	Announce(body []byte) error
	// Ask asks all nodes to announce themselves.
	Ask() error
	// MaxPayload returns how many bytes a message may have at present.
	MaxPayload() int
}

// Options of a [Cluster]. Node is required; any other zero field means its
// default.
type Options struct {
	Node    string // this node's name
	URL     string // where its clients reach it, told to the peers
	Version string // of the program, told to the peers

	BatchDelay time.Duration // default acceptor.DefaultDelay, 500 ms
	BatchSize  int           // default batcher.DefaultSize, 250
	BatchMode  acceptor.Mode // default acceptor.Fixed
	MaxPeers   int           // default DefaultMaxPeers; further ones are counted and not served
	// QueueLen is the length of each peer's acceptorQueue, in actions; default
	// acceptor.DefaultQueueLen. Beyond it actions are merged by instance.
	QueueLen int
	// MaxPending bounds each peer's processingOrder, in slots. Default
	// acceptor.DefaultLimit or the registry's size, whichever is greater: then
	// only what was touched and forgotten since can overflow.
	MaxPending int
	// Rand returns numbers in [0, 1), for the jitter of waits as
	// batcher.Options.Rand does and for whom to sync from. Any goroutine calls
	// it. Default math/rand/v2.Float64.
	Rand func() float64

	// Codec writes and reads presence, sync requests and digests; zero: JSON, as
	// all nodes of a cluster do. Runs of many clusters in one process have one
	// that costs less.
	Codec Codec

	// Classify returns the class of an error of Transport.Request. nil:
	// batcher.ClassOf.
	Classify func(error) batcher.Class

	// Reach returns when the peers can be asked, or when it makes no sense to
	// wait longer: brokers of a cluster's nodes join each other first. nil: at
	// once.
	Reach func(ctx context.Context)

	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: nowhere
}

// Codec is how nodes write what they tell each other beside entries, and read
// it, as encoding/json's functions of these names do. Both are called from any
// goroutine.
type Codec struct {
	Marshal   func(message any) ([]byte, error)
	Unmarshal func(body []byte, message any) error
}

func (o *Options) setDefaults() error {
	if o.Codec.Marshal == nil || o.Codec.Unmarshal == nil {
		o.Codec = Codec{Marshal: json.Marshal, Unmarshal: json.Unmarshal}
	}
	if o.Reach == nil {
		o.Reach = func(context.Context) {}
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.MaxPeers == 0 {
		o.MaxPeers = DefaultMaxPeers
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.Node == "" {
		errs = append(errs, errors.New("node: missing"))
	}
	if o.BatchDelay < 0 {
		errs = append(errs, fmt.Errorf("batch delay %v: negative", o.BatchDelay))
	}
	if o.BatchSize < 0 {
		errs = append(errs, fmt.Errorf("batch size %d: negative", o.BatchSize))
	}
	if o.QueueLen < 0 {
		errs = append(errs, fmt.Errorf("queue length %d: negative", o.QueueLen))
	}
	if o.MaxPending < 0 {
		errs = append(errs, fmt.Errorf("max pending %d: negative", o.MaxPending))
	}
	return errors.Join(errs...)
}

// Cluster is this node's view of its peers, and the pipelines to them. It is the
// registry's Sink.
type Cluster struct {
	opts        Options
	reg         *registry.Registry
	transport   Transport
	log         *slog.Logger
	incarnation uuid.UUID
	metrics     *metrics

	// fanOut is what Changed reads: the pipelines of all peers. It is replaced,
	// never changed, under mu.
	fanOut atomic.Pointer[[]*peer]

	// tick is when Run last went round, in ms since New; 0: not yet. resync
	// counts the standstills since the node synced; 0: it has. See Stalled.
	tick   atomic.Int64
	resync atomic.Int64

	// superseded is when another node of our name, older than us, was last
	// heard, in ms of its own since New; 0: never. See Superseded.
	superseded atomic.Int64
	since      time.Time // of New

	leftOutTold atomic.Int64 // when leftOut last logged, in ms since New; 0: never

	mu        sync.Mutex
	peers     map[string]*peer // guarded by mu
	stopping  bool             // guarded by mu; no peer is added any more
	pipelines sync.WaitGroup   // of all peers; added to under mu
	workers   sync.WaitGroup   // that answer sync requests

	ready     chan struct{} // closed once the node may serve lists
	started   chan struct{} // closed once nobody else can be of our name
	setReady  func()
	heardPeer chan struct{} // one slot: a peer was heard
	nameTaken chan presence // one slot: another node of our name was heard
	syncs     chan SyncRequest
	ended     chan struct{} // closed once Run answers no sync requests any more
}

var _ registry.Sink = (*Cluster)(nil)

// New returns a cluster without peers. It starts no goroutine. The registry is
// given with Attach, since it needs the cluster as its Sink.
func New(transport Transport, opts Options) (*Cluster, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	incarnation, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("cluster: incarnation: %w", err)
	}
	c := &Cluster{
		opts: opts, transport: transport, log: opts.Logger.With("component", "cluster"),
		incarnation: incarnation, since: time.Now(), peers: make(map[string]*peer),
		ready: make(chan struct{}), started: make(chan struct{}), heardPeer: make(chan struct{}, 1), nameTaken: make(chan presence, 1),
		syncs: make(chan SyncRequest, syncQueue), ended: make(chan struct{}),
	}
	c.setReady = sync.OnceFunc(func() { close(c.ready) })
	c.metrics = newMetrics(c)
	c.fanOut.Store(&[]*peer{})
	if opts.Metrics != nil {
		if err := opts.Metrics.Register(c.metrics); err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
	}
	return c, nil
}

// Attach gives the registry that is replicated. It is called once, before Run
// and before any other goroutine knows the cluster.
func (c *Cluster) Attach(reg *registry.Registry) { c.reg = reg }

// Changed hands a change to the pipeline of every peer. What came from a peer is
// never sent on. It never blocks; any goroutine may call it.
func (c *Cluster) Changed(ch registry.Change) {
	if ch.IsReplication {
		return
	}
	for _, p := range *c.fanOut.Load() {
		p.offer(ch.Key, ch.Bits)
	}
}

// Run announces this node, listens for peers and keeps the membership until ctx
// ends; then it says goodbye, drains the pipelines within their bound, and
// returns nil. It returns ErrNameTaken, wrapped, when another live node has this
// node's name. It is called once.
func (c *Cluster) Run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer c.workers.Wait()
	defer stopServing() // when the pipelines are drained
	defer close(c.ended)
	defer c.stop()
	for range syncWorkers {
		c.workers.Go(func() { c.serveSyncs(serving) })
	}
	c.opts.Reach(ctx)
	c.announce(Syncing)
	c.askWhoIsThere()
	if err := c.start(ctx); err != nil {
		return err
	}
	close(c.started)
	c.announce(Ready)
	tick := time.NewTicker(presenceInterval)
	defer tick.Stop()
	var twin time.Time // when another node of our name was last heard
	for {
		select {
		case <-ctx.Done():
			c.announce(Leaving)
			return nil
		case p := <-c.nameTaken:
			if time.Since(twin) > silence {
				c.log.Error("another node has this node's name; the one that started later takes no batches until one of them is gone",
					"peer", p.Node, "url", p.URL, "incarnation", p.Incarnation, "later", c.Superseded())
			}
			twin = time.Now()
		case <-tick.C:
			at := time.Since(c.since) // once: a stop after this is noticed in the next round
			if c.stoodBy(at) {
				c.stoodStill(ctx)
			}
			c.tick.Store(at.Milliseconds())
			c.announce(c.state())
			c.watch()
		}
	}
}

// Superseded says whether another node of this node's name has been heard within
// the last seconds that was started before this one. Such a node takes no
// batches, announces nothing and is not ready: its peers could not tell the two
// apart. It is cheap, and may be called from any goroutine.
func (c *Cluster) Superseded() bool {
	at := c.superseded.Load()
	return at != 0 && time.Since(c.since) < time.Duration(at)*time.Millisecond+silence
}

// start waits until a peer that is ready is heard, or long enough for one to have
// answered, and pulls what the peers know.
func (c *Cluster) start(ctx context.Context) error {
	wait, again := time.NewTimer(startWait), time.NewTicker(sayAgain)
	defer wait.Stop()
	defer again.Stop()
	waited := false
	for !waited && !c.hearsReady() { // one that starts too may know as little as we
		select {
		case <-ctx.Done():
			return nil
		case p := <-c.nameTaken:
			return nameTaken(p)
		case <-c.heardPeer:
		case <-again.C: // what was said before all brokers knew who listens is lost
			c.announce(Syncing)
			c.askWhoIsThere()
		case <-wait.C:
			waited = true
		}
	}
	again.Stop()
	begun := time.Now()
	up, err := c.catchUp(ctx)
	for err != nil {
		paused, retry := time.Now(), time.NewTimer(syncRetry)
		select {
		case <-ctx.Done():
			retry.Stop()
			return nil
		case p := <-c.nameTaken:
			retry.Stop()
			return nameTaken(p)
		case <-retry.C:
		}
		if wasStopped(err, paused) {
			begun = time.Now()
		} else if time.Since(begun) >= syncPatience {
			break
		}
		c.watch()
		up, err = c.catchUp(ctx)
	}
	if err != nil {
		c.notAllTold()
	}
	c.reg.Restarted() // leases count from now on: it may have stood still while it started
	c.reg.Exchanged()
	c.evictOutlived(c.reg.Outlived(), up)
	c.tick.Store(max(1, time.Since(c.since).Milliseconds()))
	c.setReady()
	// A node of our name may answer later than the peer that we heard.
	if !waited {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		case p := <-c.nameTaken:
			return nameTaken(p)
		}
	}
	select { // It may have answered while this node was catching up.
	case p := <-c.nameTaken:
		return nameTaken(p)
	default:
		return nil
	}
}

func (c *Cluster) notAllTold() {
	c.log.Error("no peer has told all that it knows, serving what is known here", "elapsed", syncPatience)
}

// hearsReady says whether a peer that is there has said that it is ready.
func (c *Cluster) hearsReady() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		if p.status == Reachable && p.said.State == Ready {
			return true
		}
	}
	return false
}

// evictOutlived evicts those of the keys that a peer which has been up for so long
// doesn't know.
func (c *Cluster) evictOutlived(keys []registry.Key, up time.Duration) {
	if n := c.reg.EvictOutlived(keys, up); n > 0 {
		c.log.Info("evicted what this node alone knew, silent for longer than a cancel is remembered", "instances", n)
	}
}

func nameTaken(p presence) error {
	return fmt.Errorf("%w: %s runs at %s (incarnation %s)", ErrNameTaken, p.Node, p.URL, p.Incarnation)
}

// Ready is closed once the node knows what its peers know, or has waited for a
// peer and heard none.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Started is closed once the node has also waited for another of its name to
// answer, 250 ms from its start.
func (c *Cluster) Started() <-chan struct{} { return c.started }

// Incarnation returns the UUIDv7 of this start of the node.
func (c *Cluster) Incarnation() string { return c.incarnation.String() }

func (c *Cluster) announce(state State) {
	if c.Superseded() {
		return
	}
	if err := c.transport.Announce(c.announcement(state)); err != nil {
		c.metrics.unannounced.Inc()
		c.log.Debug("presence not announced", "err", err)
	}
}

func (c *Cluster) askWhoIsThere() {
	if err := c.transport.Ask(); err != nil {
		c.log.Debug("peers not asked", "err", err)
	}
}

// HandleAsk answers a node that asks who is there. It is called by the
// transport's goroutine, and does not block.
func (c *Cluster) HandleAsk() {
	c.announce(c.state())
}

func (c *Cluster) state() State {
	select {
	case <-c.ready:
		if !c.Stalled() {
			return Ready
		}
	default:
	}
	return Syncing
}

// standstill is how long a process must have been stopped to count as started
// anew: what has queued up meanwhile is older than it looks.
const standstill = 5 * time.Second

// lateComers is how long, after it went on, a node still takes nothing: what has
// waited in its sockets is read in that time, and can't be told from what is new.
const lateComers = time.Second

// Stalled says whether this node has stood still and not synced since, or went
// on less than a second ago. Such a node takes no batches and no writes of
// clients: an old cancel, or a lease that looks younger than it is, would do
// harm. It is cheap, and may be called from any goroutine.
func (c *Cluster) Stalled() bool {
	return c.resync.Load() > 0 || c.stood()
}

// stood says whether Run has not gone round for so long that the process must
// have been stopped.
func (c *Cluster) stood() bool { return c.stoodBy(time.Since(c.since)) }

// stoodBy is stood at a time since New.
func (c *Cluster) stoodBy(now time.Duration) bool {
	at := c.tick.Load()
	return at != 0 && now > time.Duration(at)*time.Millisecond+standstill
}

// stoodStill makes the node count as just started, and syncs it.
func (c *Cluster) stoodStill(ctx context.Context) {
	c.log.Warn("this process has stood still, syncing", "elapsed", time.Since(c.since)-time.Duration(c.tick.Load())*time.Millisecond)
	c.metrics.standstills.Inc()
	c.reg.Restarted()
	c.forgiveSilence()
	if c.resync.Add(1) > 1 {
		return // the sync under way begins anew
	}
	c.workers.Go(func() {
		for begun := time.Now(); ; {
			standstills := c.resync.Load()
			late := time.NewTimer(lateComers)
			c.askWhoIsThere()
			up, err := c.catchUp(ctx)
			paused := time.Now()
			select {
			case <-ctx.Done():
				late.Stop()
				return
			case <-late.C:
			}
			if wasStopped(err, paused) {
				begun = time.Now()
			}
			enough := err == nil || time.Since(begun) >= syncPatience
			if enough && c.resync.CompareAndSwap(standstills, 0) {
				if err != nil {
					c.notAllTold()
				}
				c.evictOutlived(c.reg.Outlived(), up)
				break
			}
			if c.resync.Load() != standstills {
				begun = time.Now()
			}
		}
		c.announce(c.state())
	})
}

// forgiveSilence has the silence of peers count from now: it was ours.
func (c *Cluster) forgiveSilence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, p := range c.peers {
		if p.status == Reachable {
			p.last = now
		}
	}
}

// HandlePresence takes a node's presence, of the node named in the subject that
// it came on. It is called by the transport's goroutine, and does not block.
func (c *Cluster) HandlePresence(from string, body []byte) {
	p, err := c.decodePresence(body)
	if err != nil || p.Node != from {
		c.metrics.foreignPresence.Inc()
		c.log.Debug("presence not understood", "peer", from, "err", err)
		return
	}
	if from == c.opts.Node {
		if p.Incarnation != c.incarnation && p.State != Leaving {
			c.heardTwin(p)
		}
		return
	}
	c.heard(p)
	select {
	case c.heardPeer <- struct{}{}:
	default:
	}
}

// heardTwin takes the presence of another node of our name. A node that is only
// starting gives way to one that is ready, which hears nothing new by it; of two
// that are starting the later gives way. Else both would.
func (c *Cluster) heardTwin(p presence) {
	older := bytes.Compare(p.Incarnation[:], c.incarnation[:]) < 0
	if p.State == Syncing && (!older || isClosed(c.ready)) && !isClosed(c.started) {
		return
	}
	if older && (p.State != Syncing || !isClosed(c.ready)) {
		c.superseded.Store(max(1, time.Since(c.since).Milliseconds()))
	}
	select {
	case c.nameTaken <- p:
	default: // told already
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// heard brings the member list up to date after a peer's presence.
func (c *Cluster) heard(said presence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[said.Node]
	switch {
	case c.stopping && p != nil && said.State == Leaving:
		p.abandon()
		return
	case c.stopping || p == nil && said.State == Leaving:
		return
	case p == nil:
		p = c.add(said)
		if p == nil {
			return
		}
		c.log.Info("peer joined", "peer", p.name, "url", said.URL, "incarnation", said.Incarnation)
		p.force() // what either has and the other lacks
	case p.said.Incarnation != said.Incarnation:
		c.log.Info("peer started anew", "peer", p.name, "url", said.URL, "incarnation", said.Incarnation)
		p.forgive()
		p.force() // it may have forgotten everything
		p.pipeline.Wake()
	case said.State == Leaving:
		c.log.Info("peer is leaving", "peer", p.name)
	case p.status == Unreachable || p.status == Left:
		c.log.Info("peer is back", "peer", p.name, "elapsed", time.Since(p.last))
		p.force()
		p.pipeline.Wake()
	}
	p.said, p.last, p.status = said, time.Now(), Reachable
	p.measure(p.last.Sub(time.UnixMilli(said.Time)), p.last)
	p.digest.Store(uint64(said.Digest))
	if uint64(said.Digest) != c.reg.Digest() || p.divergent.Load() > 0 {
		p.signalRepair()
	}
	if said.State == Leaving {
		p.status = Left
	}
}

// watch marks peers that have fallen silent, and closes the pipelines of those
// that are gone. Where this process has stood still it was not they.
func (c *Cluster) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.stood() {
		return
	}
	for name, p := range c.peers {
		silent := now.Sub(p.last)
		switch {
		case silent > gone:
			c.log.Warn("peer is gone, its pipeline is closed", "peer", name, "elapsed", silent)
			delete(c.peers, name)
			c.publish()
			p.gone()
			c.metrics.forget(name)
		case silent > silence && p.status == Reachable:
			c.log.Warn("peer is unreachable", "peer", name, "elapsed", silent)
			p.status = Unreachable
		}
	}
}

// publish makes the peers known to Changed. mu is held.
func (c *Cluster) publish() {
	all := make([]*peer, 0, len(c.peers))
	for _, p := range c.peers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *peer) int { return strings.Compare(a.name, b.name) })
	c.fanOut.Store(&all)
}

// stop drains all pipelines and waits for them.
func (c *Cluster) stop() {
	c.mu.Lock()
	c.stopping = true
	for _, p := range c.peers {
		if p.status == Left {
			p.abandon()
		}
		p.shutdown()
	}
	c.mu.Unlock()
	c.pipelines.Wait()
}
