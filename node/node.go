package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/bridge"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/page"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

// ErrOptions is wrapped in the errors of Start that are faults of its options.
var ErrOptions = errors.New("options")

// Node is a running node. Its methods may be called from any goroutine.
type Node struct {
	opts    Options
	log     *slog.Logger
	started time.Time

	metrics  *prometheus.Registry
	history  *history.History
	registry *registry.Registry
	broker   *broker.Broker
	cluster  *cluster.Cluster
	consumer *consumer.Consumer
	regions  *regions.Set  // nil: there are none
	guard    *access.Guard // nil: there are no logins
	evictor  *registry.Evictor
	url      string
	link     *transport
	handler  atomic.Pointer[api.Handler] // nil: not served yet

	// steps undo what Start has done, last first.
	steps []step

	ending    chan struct{} // closed when the node can't go on, or Close was called
	endOnce   sync.Once
	cause     error // why it can't go on; set before ending is closed
	closeOnce sync.Once
	closeErr  error
}

// step is one part to stop. It must return when its context ends.
type step struct {
	name string
	stop func(context.Context) error
}

// Start starts a node: broker, HTTP server, cluster. It returns once the node is
// ready: it has what its peers know, or was connected for 250 ms and heard no peer.
// Without a connection it returns after 250 ms, and in any case after five seconds.
// The node is then still syncing, and continues. ctx bounds the start only: Close
// stops the node.
//
// Errors: ErrOptions, wrapped with each fault, also for a data directory that can't
// be used; snapshot.ErrInUse; cluster.ErrNameTaken; an address that can't be
// listened on. After an error nothing is left running.
func Start(ctx context.Context, opts Options) (*Node, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	n := &Node{opts: opts, started: time.Now(), ending: make(chan struct{}), metrics: prometheus.NewRegistry()}
	if err = n.openData(); err == nil {
		err = n.start(ctx)
	}
	if err != nil {
		n.end(err)
		return nil, n.Close()
	}
	return n, nil
}

// start builds the parts from the innermost outwards, and serves clients last.
func (n *Node) start(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", n.opts.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	n.onStop("listener", func(context.Context) error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	n.opts.addressed(listener.Addr())
	n.url = n.opts.Advertise
	n.log = n.opts.Logger.With("node", n.opts.Name)

	n.metrics.MustRegister(
		buildInfo(n.opts.Version),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for _, c := range n.opts.Collectors {
		if err := n.metrics.Register(c); err != nil {
			return fmt.Errorf("%w: collector: %w", ErrOptions, err)
		}
	}
	if err := n.startAccess(); err != nil {
		return err
	}
	server, err := n.startHTTP(listener)
	if err != nil {
		return err
	}
	if err := n.startRegions(); err != nil {
		return err
	}
	if err := n.startBroker(ctx); err != nil {
		return err
	}
	if err := n.build(); err != nil {
		return err
	}
	n.startTimers()
	if err := n.startConsumer(); err != nil {
		return err
	}
	n.startCluster()
	if err := n.openHTTP(ctx, server); err != nil {
		return err
	}
	select {
	case <-n.cluster.Started():
		return nil
	case <-n.ending:
		return n.cause
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *Node) startBroker(ctx context.Context) error {
	opts := broker.Options{
		Cluster: n.opts.Cluster, Node: n.opts.Name, Version: n.opts.Version, Access: n.opts.Broker,
		Metrics: n.metrics, Logger: n.log,
	}
	if n.opts.Broker.Server == nil && len(n.opts.Broker.URLs) == 0 {
		embedded := n.opts.Embedded
		embedded.Logger = n.log
		opts.Embedded = &embedded
	}
	var err error
	n.broker, err = broker.Start(ctx, opts)
	switch {
	case errors.Is(err, broker.ErrExposed) || errors.Is(err, broker.ErrOptions) || errors.Is(err, broker.ErrName):
		return fmt.Errorf("%w: broker: %w", ErrOptions, err)
	case err != nil:
		return fmt.Errorf("broker: %w", err)
	}
	n.onStop("broker", n.broker.Close)
	return nil
}

// build makes the parts that know the cluster. The registry comes first: with a
// snapshot in it a starting node waits less for its peers.
func (n *Node) build() error {
	var err error
	if n.history, err = history.New(history.Options{Bytes: n.opts.HistoryBytes, Metrics: n.metrics}); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if n.registry, err = registry.New(registry.Options{
		Sink: sink{n}, Recorder: n.history, DeltaRetention: n.opts.DeltaRetention, LeaseCompat: n.opts.LeaseCompat,
		FutureTimestamps: len(n.opts.EurekaPeers) > 0,
		MaxLease:         n.opts.MaxLease, MaxInstances: n.opts.MaxInstances, Logger: n.log, Metrics: n.metrics,
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if n.evictor, err = registry.NewEvictor(n.registry, registry.EvictorOptions{
		Interval: n.opts.EvictionInterval, SelfPreservation: n.opts.selfPreservation(),
		Logger: n.log, Metrics: n.metrics,
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	snapshots, err := n.loadSnapshot()
	if err != nil {
		return err
	}
	restored := n.registry.Leases().Present > 0
	if n.link, err = newTransport(n.broker, len(n.opts.Broker.URLs) > 0, restored, n.metrics); err != nil {
		return err
	}
	foreign, err := n.eurekaPeers()
	if err != nil {
		return err
	}
	if n.cluster, err = cluster.New(n.registry, n.link, cluster.Options{
		Node: n.opts.Name, URL: n.url, Version: n.opts.Version,
		Members: membership.Options{
			Expect: n.opts.Expect, StartWait: n.opts.StartWait, WaitWhenEmpty: n.opts.WaitWhenEmpty,
			Restored: restored,
		},
		Foreign: foreign, Recorder: n.history,
		BatchDelay: n.opts.BatchDelay, BatchSize: n.opts.BatchSize, BatchMode: n.opts.BatchMode,
		Classify: classify, Logger: n.log, Metrics: n.metrics,
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	n.startSnapshots(snapshots)
	n.consumer, err = consumer.New(n.registry, consumer.Options{
		MaxReply: n.broker.MaxPayload, Stale: func() bool { return !n.cluster.MayWrite() },
		Logger: n.log, Metrics: n.metrics,
	})
	return err
}

// eurekaPeers makes the Java servers peers, by name.
func (n *Node) eurekaPeers() ([]cluster.Foreign, error) {
	var out []cluster.Foreign
	for _, at := range n.opts.EurekaPeers {
		peer, err := bridge.New(bridge.Options{
			URL: at, Registry: n.registry, Cluster: n.opts.Cluster, Logger: n.log, LocalOnly: n.regions != nil,
			MayCompare: func() bool { return n.cluster.MayRead() },
			Mirror: func(peer, batch string, body []byte) func(int, string, []byte) {
				return n.broker.Mirror(peer, batch, body)
			},
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOptions, err)
		}
		out = append(out, peer)
	}
	slices.SortFunc(out, func(a, b cluster.Foreign) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// sink hands the registry's changes to the cluster, which is built after it.
type sink struct{ n *Node }

// Changed implements registry.Sink.
func (s sink) Changed(ch registry.Change) { s.n.cluster.Changed(ch) }

// startTimers runs the registry's periodic work.
func (n *Node) startTimers() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	every := func(interval time.Duration, work func()) {
		running.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					work()
				}
			}
		})
	}
	every(n.opts.EvictionInterval, func() { n.evictor.Run(ctx, n.cluster, n.cluster.MayEvict) })
	if n.broker.Server() != nil {
		every(routesCheck, func() { n.link.lookAtRoutes(n.log) })
	}
	every(min(deltaSweepInterval, n.opts.EvictionInterval), func() { n.registry.SweepDelta() })
	running.Go(func() { n.history.Log(ctx, n.log.With("component", "history")) })
	n.onStop("timers", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// startConsumer begins to take batches, sync requests and presence.
func (n *Node) startConsumer() error {
	n.onStop("consumer", func(context.Context) error {
		n.consumer.Close()
		return nil
	})
	service, err := n.broker.Serve(broker.Handlers{Batch: func(r *broker.Request) {
		if n.cluster.Superseded() {
			return // the older node of this name gets the batch too, and answers
		}
		n.consumer.Deliver(consumer.Request{
			From: r.From, Batch: r.Batch, Body: r.Body, Respond: r.Respond, Fail: r.Fail,
		})
	}, Sync: func(r *broker.Request) {
		if n.cluster.Superseded() || n.answerDrained(r) {
			return
		}
		n.cluster.HandleSync(repair.Request{From: r.From, Body: r.Body, Respond: r.Respond, Fail: r.Fail})
	}})
	if err != nil {
		return fmt.Errorf("serve batches: %w", err)
	}
	n.onStop("service", service.Stop)
	presence, err := n.broker.Subscribe(n.broker.Subjects().AllPresence(), n.handlePresence)
	if err != nil {
		return fmt.Errorf("subscribe to presence: %w", err)
	}
	n.onStop("presence", func(context.Context) error {
		presence.Unsubscribe()
		return nil
	})
	return nil
}

// handlePresence takes a message on a presence subject: the presence of a node, or
// the question which nodes there are.
func (n *Node) handlePresence(m broker.Message) {
	subjects := n.broker.Subjects()
	if from, ok := subjects.ParsePresence(m.Subject); ok {
		n.link.hear(from, m.Body, n.cluster)
	} else if m.Subject == subjects.PresenceAsk() {
		n.cluster.HandleAsk()
	}
}

// httpServer is the HTTP server. stop may be called twice.
type httpServer struct {
	*api.Server
	stop func() error
}

// startHTTP accepts connections, and refuses requests until openHTTP.
func (n *Node) startHTTP(listener net.Listener) (httpServer, error) {
	secure, err := n.startTLS()
	if err != nil {
		return httpServer{}, err
	}
	server, err := api.NewServer(listener, api.ServerOptions{
		IdleTimeout: n.opts.IdleTimeout, TLS: secure,
		MaxConnections: n.opts.MaxConnections, MaxPerAddress: n.opts.MaxPerAddress, Logger: n.log, Metrics: n.metrics,
		// The rest of the time is for what the pipelines have to send.
		ShutdownTimeout: max(1, min(api.DefaultShutdownTimeout, n.opts.ShutdownTimeout/3)),
	})
	if err != nil {
		return httpServer{}, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if got := server.MaxConnections(); got < n.opts.MaxConnections {
		n.log.Warn("fewer connections than wanted, this process may open too few files", "component", "api",
			"wanted", n.opts.MaxConnections, "bound", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		err := server.Run(ctx)
		served <- err
		if err != nil {
			n.end(fmt.Errorf("http: %w", err))
		}
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-served // within the server's own bound
	})
	n.onStop("http", func(context.Context) error { return stop() })
	return httpServer{Server: server, stop: stop}, nil
}

// openHTTP serves clients. No request from before is applied.
func (n *Node) openHTTP(ctx context.Context, server httpServer) error {
	hosts := slices.Clone(n.opts.Hosts)
	if u, err := url.Parse(n.url); err == nil {
		hosts = append(hosts, u.Host)
	}
	pages, err := page.New(n.registry, page.Options{
		Node: status{n}, History: n.history, Actions: n.opts.PageActions, Settings: n.opts.Settings,
		Logger: n.log, Metrics: n.metrics,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	handler, err := api.New(n.registry, api.Options{
		Hosts: hosts, Cluster: n.opts.Cluster, Node: status{n}, History: n.history, Regions: n.regions,
		RateLimit: n.opts.RateLimit, MaxWatchers: n.opts.MaxWatchers, Page: pages,
		Access: n.guard, OpenMetrics: n.opts.Security.OpenMetrics,
		Debug: n.opts.Security.Debug, LogLevel: n.opts.Security.LogLevel,
		Logger: n.log, Metrics: n.metrics, Gatherer: n.metrics,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	n.awaitRegions(ctx)
	n.handler.Store(handler)
	if err := n.startEvents(handler); err != nil {
		return err
	}
	n.onStop("http", func(context.Context) error { return server.stop() }) // before what it serves
	n.startPage(pages)
	n.onStop("watchers", func(context.Context) error { // the HTTP server waits for them
		handler.EndStreams()
		return nil
	})
	return server.Open(ctx, handler)
}

// PageURL returns where the node's page is, for browsers.
func (n *Node) PageURL() string { return page.URLOf(n.url) }

// startPage keeps open pages up to date. It stops before the HTTP server, which waits for
// their streams.
func (n *Node) startPage(pages *page.Page) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { pages.Run(ctx) })
	n.onStop("page", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// startCluster announces the node.
func (n *Node) startCluster() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := n.cluster.Run(ctx)
		done <- err
		if err != nil {
			n.end(err)
		}
	}()
	n.onStop("cluster", func(ctx context.Context) error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			n.cluster.Abandon()
			return errors.Join(fmt.Errorf("pipelines not drained: %w", context.Cause(ctx)), <-done)
		}
	})
}
