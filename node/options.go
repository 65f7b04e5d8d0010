package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/bridge"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/internal/redact"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/page"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

// The defaults of Options that are this package's own.
const (
	DefaultListen           = "127.0.0.1:0"
	DefaultCluster          = "default"
	DefaultEvictionInterval = registry.DefaultEvictionInterval
	DefaultShutdownTimeout  = 15 * time.Second
	DefaultSnapshotInterval = 15 * time.Second
	DefaultBatchDelay       = acceptor.DefaultDelay
	DefaultBatchSize        = batcher.DefaultSize
	DefaultStartWait        = membership.DefaultStartWait
	// deltaSweepInterval is Eureka's deltaRetentionTimerIntervalInMs.
	deltaSweepInterval = 30 * time.Second
)

// Setting is an option as it is in force.
type Setting = page.Setting

// Options of a [Node]. The zero value is a node alone, with an embedded broker
// that only it can reach, on a free port.
type Options struct {
	// Name is the node's name in the cluster, [A-Za-z0-9_-]{1,64} but not
	// "ask". Default: "node" and the port of Listen.
	Name string
	// Cluster names the cluster; nodes of one name on one broker are peers.
	// Default DefaultCluster.
	Cluster string
	// Version is the program's, shown to peers and on /status. Default "dev".
	Version string

	// Listen is the host:port of the HTTP server; port 0 is any free one.
	// Default DefaultListen.
	Listen string
	// Hosts are further host names under which browsers may reach this node; * allows
	// all. The advertised name, addresses, localhost and names without a dot are
	// always allowed, and clients that are no browsers may use any name.
	Hosts []string
	// IdleTimeout is how long an HTTP connection is kept without a request.
	// Default api.DefaultIdleTimeout.
	IdleTimeout time.Duration
	// MaxConnections bounds the HTTP connections, within what the process may open.
	// MaxPerAddress bounds those of one address. Defaults: api.DefaultMaxConnections, and a
	// quarter of the bound.
	MaxConnections, MaxPerAddress int
	// Advertise is the service URL for peers and clients, such as
	// http://host:8761/eureka/, whose path it gets where it has none. Default: made from the address listened on; for a
	// wildcard, from the address that this machine uses to reach others.
	Advertise string

	// Expect is the expected number of peers. With fewer the node is degraded, and a
	// starting node waits for them, within StartWait. Default 0.
	Expect int
	// StartWait bounds how long a starting node that reaches no broker and no peer
	// stays syncing before it serves what it has. Default DefaultStartWait, 60 s;
	// after a snapshot was loaded, at most 5 s.
	StartWait time.Duration

	// Broker is a broker that runs already: an embedded one of this process, or
	// URLs. Without either the node starts an embedded one with the options Embedded,
	// and stops it when it closes.
	Broker   broker.Access
	Embedded broker.ServerOptions

	// EurekaPeers are Java Eureka servers that are peers of this node, as base URLs, with
	// user and password where needed. With any, future timestamps of clients are taken
	// as Java takes them.
	EurekaPeers []string

	// RemoteRegions are other regions, whose instances readers see too. They are not
	// replicated and not in the snapshot. NoRegionFallback shows them only to readers
	// that name them. RegionInterval is the time between two fetches, default
	// regions.DefaultInterval.
	RemoteRegions    []regions.Region
	NoRegionFallback bool
	RegionInterval   time.Duration

	// RateLimit bounds how often clients read lists. The zero value only counts what
	// Eureka's default bounds would refuse.
	RateLimit api.RateLimit

	// Security are the logins of the HTTP server and what it shows without one. The zero
	// value lets anybody do anything.
	Security Security

	// BatchDelay is how long a change waits for others before its batch is sent.
	// BatchSize is how many tasks one batch holds. Defaults: Eureka's 500 ms and 250.
	BatchDelay time.Duration
	BatchSize  int
	// BatchMode decides when a batch is cut: acceptor.Fixed, after BatchDelay, or
	// acceptor.Adaptive, at once while nothing is in flight. Default Fixed.
	BatchMode acceptor.Mode

	// EvictionInterval is the time between two eviction passes. Default
	// DefaultEvictionInterval.
	EvictionInterval time.Duration
	// NoSelfPreservation evicts expired leases however many are missing.
	// Without it nothing is evicted while at least SelfPreservationMin leases,
	// of at least 10, are missing and no more than the share RenewalThreshold
	// is left. Defaults: 3, and Eureka's 0.85 (above 0, at most 1).
	NoSelfPreservation  bool
	RenewalThreshold    float64
	SelfPreservationMin int
	// LeaseCompat decides how long a lease lives. Default registry.Exact.
	LeaseCompat registry.LeaseCompat
	// MaxLease bounds every lease: a minute to a year, the same on all nodes.
	// Default registry.DefaultMaxLease, a day.
	MaxLease time.Duration
	// MaxInstances bounds the instances, including those that are remembered as
	// cancelled or evicted. Beyond it a registration is answered 507. Default
	// registry.DefaultMaxInstances, a million.
	MaxInstances int
	// HistoryBytes bounds the memory of what happened to instances, from history.MinBytes
	// to history.MaxBytes. Default history.DefaultBytes, 32 MiB.
	HistoryBytes int
	// MaxWatchers bounds the requests that wait for changes. Default
	// api.DefaultMaxWatchers, 20,000.
	MaxWatchers int
	// DeltaRetention is how long a change stays in the delta. Default Eureka's
	// 180 s.
	DeltaRetention time.Duration
	// ShutdownTimeout bounds Close as a whole; HTTP requests under way have at most a
	// third of it, and 5 s. Default DefaultShutdownTimeout.
	ShutdownTimeout time.Duration

	// DataDir is the directory of the snapshot. With it a node serves at once the
	// instances that were alive when it stopped. The directory is made if it is
	// missing. It belongs to one node, so Name is required. Empty: no snapshot.
	DataDir string
	// WaitWhenEmpty is how long lists are refused with 403 after a start with
	// nothing to serve: no snapshot, and no peer that knows an instance. Clients
	// keep the list that they have, and register meanwhile. Default 0: an empty
	// list at once.
	WaitWhenEmpty time.Duration
	// SnapshotInterval is the time between two snapshots. Default
	// DefaultSnapshotInterval.
	SnapshotInterval time.Duration

	// PageActions lets the page change statuses, cancel instances and start comparisons, for
	// logins of role admin, and without logins for whoever can open it. Default: it only
	// shows.
	PageActions bool
	// Settings are shown on the page as the node's configuration. Secrets are left out by
	// who gives them.
	Settings []Setting

	// Logger takes all log lines. Its handler must not block for long, because the
	// node's goroutines write to it. Default: none.
	Logger *slog.Logger
	// Collectors are shown on /metrics beside the node's own.
	Collectors []prometheus.Collector
}

// Check returns all that is wrong with the options, joined, without starting anything. It
// reads the files that they name, and leaves the data directory alone. Whether an address
// can be listened on, a start shows.
func Check(opts Options) error {
	_, err := opts.withDefaults()
	return err
}

// withDefaults fills in the defaults that do not depend on the address listened on.
// It returns all faults, joined.
func (o Options) withDefaults() (Options, error) {
	if o.Cluster == "" {
		o.Cluster = DefaultCluster
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	if o.EvictionInterval == 0 {
		o.EvictionInterval = DefaultEvictionInterval
	}
	if o.SnapshotInterval == 0 {
		o.SnapshotInterval = DefaultSnapshotInterval
	}
	if o.ShutdownTimeout == 0 {
		o.ShutdownTimeout = DefaultShutdownTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if _, port, err := net.SplitHostPort(o.Listen); err != nil || !validPort(port) {
		errs = append(errs, fmt.Errorf("listen %.80q: not host:port with a port of 0..65535", o.Listen))
	}
	if o.Name != "" && !broker.ValidNode(o.Name) {
		errs = append(errs, fmt.Errorf("name %.80q: %w", o.Name, broker.ErrName))
	}
	if !broker.ValidName(o.Cluster) {
		errs = append(errs, fmt.Errorf("cluster %.80q: %w", o.Cluster, broker.ErrName))
	}
	if o.Advertise != "" {
		u, err := url.Parse(o.Advertise)
		switch {
		case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
			errs = append(errs, fmt.Errorf("advertise %.200q: not an http or https URL", redact.Text(o.Advertise)))
		case u.User != nil:
			errs = append(errs, errors.New("advertise: the URL holds a login, which everybody would be told"))
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"batch delay", o.BatchDelay},
		{"shutdown timeout", o.ShutdownTimeout},
		{"snapshot interval", o.SnapshotInterval},
	} {
		if d.d < 0 {
			errs = append(errs, fmt.Errorf("%s %v: negative", d.name, d.d))
		}
	}
	if o.DataDir != "" && o.Name == "" {
		errs = append(errs, errors.New("data dir: needs the node's name, which the directory belongs to"))
	}
	errs = append(errs, o.Security.check())
	errs = append(errs, bridge.Check(o.EurekaPeers))
	if o.MaxWatchers < 0 {
		errs = append(errs, fmt.Errorf("max watchers %d: negative", o.MaxWatchers))
	}
	if o.BatchSize < 0 {
		errs = append(errs, fmt.Errorf("batch size %d: negative", o.BatchSize))
	}
	if o.BatchMode > acceptor.Adaptive {
		errs = append(errs, fmt.Errorf("batch %v: not fixed or adaptive", o.BatchMode))
	}
	return o, errors.Join(append(errs, o.checkParts()...)...)
}

// checkParts checks the options of the parts, so that all faults are known before
// anything is started.
func (o *Options) checkParts() []error {
	var errs []error
	reg, err := registry.New(registry.Options{
		DeltaRetention: o.DeltaRetention, LeaseCompat: o.LeaseCompat,
		MaxLease: o.MaxLease, MaxInstances: o.MaxInstances,
	})
	if err != nil {
		errs = append(errs, err)
	} else if _, err := registry.NewEvictor(reg, registry.EvictorOptions{
		Interval: o.EvictionInterval, SelfPreservation: o.selfPreservation(),
	}); err != nil {
		errs = append(errs, err)
	}
	if _, err := membership.New(membership.Options{
		Node: cmp.Or(o.Name, "unnamed"), Incarnation: uuid.New(),
		Expect: o.Expect, StartWait: o.StartWait, WaitWhenEmpty: o.WaitWhenEmpty,
	}, membership.Moment{}); err != nil {
		errs = append(errs, err)
	}
	if err := (history.Options{Bytes: o.HistoryBytes}).Check(); err != nil {
		errs = append(errs, err)
	}
	if err := o.regionOptions().Check(); err != nil {
		errs = append(errs, err)
	}
	access := broker.Options{Cluster: o.Cluster, Node: cmp.Or(o.Name, "unnamed"), Access: o.Broker}
	if o.Broker.Server == nil && len(o.Broker.URLs) == 0 {
		access.Embedded = &o.Embedded
	}
	if broker.ValidName(access.Cluster) && broker.ValidNode(access.Node) { // else that was reported
		if err := access.Check(); err != nil {
			errs = append(errs, fmt.Errorf("broker: %w", err))
		}
	}
	return errs
}

func validPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// addressed fills in the defaults that depend on the address listened on.
func (o *Options) addressed(at net.Addr) {
	host, port, err := net.SplitHostPort(at.String())
	if err != nil {
		host, port = "127.0.0.1", "0"
	}
	if o.Name == "" {
		o.Name = "node-" + port
	}
	if o.Advertise == "" {
		scheme := "http://"
		if o.Security.secure() {
			scheme = "https://"
		}
		o.Advertise = scheme + net.JoinHostPort(advertisedHost(host), port)
	}
	o.Advertise = serviceURL(o.Advertise)
}
