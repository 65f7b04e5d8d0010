package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/registry"
)

// defaultEmbedded is where the embedded broker listens by default: NATS's port,
// this machine only.
const defaultEmbedded = "127.0.0.1:4222"

// lookInterval is the time between two looks at the peers' addresses.
const lookInterval = 5 * time.Second

// maxShutdownDelay bounds --shutdown-delay.
const maxShutdownDelay = 10 * time.Minute

// eurekaPort is the port that Eureka clients expect.
const eurekaPort = "8761"

func (p *program) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "serve", Short: "one node of the registry", Args: noArgs,
		Example: `  registryd --listen :8761
  registryd --node a --nats nats://nats-1:4222,nats://nats-2:4222 --peers 2
  registryd --config /etc/registryd.yaml`,
		Annotations: map[string]string{settles: ""},
	}
	f := addServeFlags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error { return p.serve(c.Context(), f) }
	return c
}

// serve runs a node until ctx is done.
func (p *program) serve(ctx context.Context, f *serveFlags) error {
	// A log or an output that nobody reads any more must not end the node.
	signal.Ignore(syscall.SIGPIPE)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	s, err := f.read(p)
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, s.Options)
	switch {
	case errors.Is(err, node.ErrOptions):
		return usagef("%w", err)
	case err != nil:
		return err
	}
	out := logqueue.New(p.out, nil) // Signals don't wait for its reader.
	defer out.Close()
	addr := n.BrokerAddress()
	if *f.logs.format == "json" { // whoever reads the log reads all of it as JSON
		s.Logger.Info("serving", "node", n.Name(), "component", "node", "version", s.Version, "cluster", s.Cluster,
			"url", n.URL(), "page", n.PageURL(), "broker", addr)
	} else {
		fmt.Fprintf(out, "registryd %s: node %s of cluster %s serves %s\n", s.Version, n.Name(), s.Cluster, n.URL())
		fmt.Fprintf(out, "page:    %s\n", n.PageURL())
		fmt.Fprintf(out, "clients: eureka.client.serviceUrl.defaultZone=%s\n", n.URL())
		if addr != "" {
			fmt.Fprintf(out, "embedded broker: nats://%s\n", addr)
		}
	}
	s.log(n, addr)
	s.warnOpen(n)
	s.warnSecrets(n)
	for name, meant := range p.misspelt(os.Environ()) {
		s.Logger.Warn("a variable is not known and was ignored", "node", n.Name(), "component", "node",
			"variable", name, "meant", strings.Join(meant, " "))
	}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	manager := newManager(s.Logger.With("node", n.Name(), "component", "node"))
	defer manager.stop()
	manager.ready(n)
	for {
		select {
		case <-manager.beats:
			manager.beat(n)
		case <-look.C:
			if s.isHidden(n) {
				look.Stop()
			}
		case <-hangups:
			manager.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
			s.reload(n, p.args)
			manager.ready(n)
		case <-ctx.Done():
			return leave(n, manager, s.shutdownDelay)
		case <-n.Done():
			return n.Close()
		}
	}
}

// log writes how the node found its cluster: in a cluster of its own by mistake
// it looks as well as in the right one.
func (s *settings) log(n *node.Node, brokerAddress string) {
	log := s.Logger.With("node", n.Name(), "component", "node")
	if s.external {
		overview := n.Overview()
		if !overview.Ready {
			log.Warn("cluster not joined yet", "cluster", s.Cluster, "state", overview.State)
			return
		}
		var met []string
		for _, p := range overview.Peers {
			if p.Kind == api.KindNode {
				met = append(met, p.Name)
			}
		}
		log.Info("joined cluster", "cluster", s.Cluster, "peers", len(met), "met", strings.Join(met, " "))
		return
	}
	if s.Embedded.ListenFallback && brokerAddress != defaultEmbedded && len(s.Embedded.Routes) == 0 {
		log.Warn("default broker port is taken, this node is a cluster of its own",
			"taken", defaultEmbedded, "address", brokerAddress, "to_join_that_broker", "--nats nats://"+defaultEmbedded)
	}
}

// isHidden reports whether this node advertises an address that means another
// machine to one of its peers, and logs it. Peers' tools and pages would ask
// themselves.
func (s *settings) isHidden(n *node.Node) bool {
	if !isLoopback(n.URL()) {
		return false
	}
	for _, p := range n.Overview().Peers {
		if p.Kind == api.KindNode && !isLoopback(p.URL) {
			s.Logger.Warn("peers on other machines can't reach the advertised address, set --advertise",
				"node", n.Name(), "component", "node", "url", n.URL(), "peer", p.Name, "peer_url", p.URL)
			return true
		}
	}
	return false
}

// isLoopback reports whether a service URL means the machine of whoever reads it.
func isLoopback(service string) bool {
	u, err := url.Parse(service)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// settings are what flags, environment and file say about a node.
type settings struct {
	node.Options
	external      bool // NATS is somebody else's
	shutdownDelay time.Duration
	level         *slog.LevelVar    // of the log
	values        map[string]string // of the flags
}

// readSettings reads flags, environment and file. It reports all faults.
func readSettings(args []string, stderr io.Writer) (*settings, error) {
	fs := pflag.NewFlagSet("registryd serve", pflag.ContinueOnError)
	fs.String("config", "", "")
	f := addServeFlags(fs)
	fs.VisitAll(inDecimals)
	if err := fs.Parse(args); err != nil {
		return nil, usagef("%w", err)
	}
	return f.read(&program{out: io.Discard, err: stderr})
}

// aboveZero are the flags whose numbers and durations must be above 0.
func aboveZero() []string {
	return []string{
		"batch-delay", "batch-size", "eviction-interval", "start-wait", "delta-retention", "idle-timeout",
		"renewal-threshold", "self-preservation-min", "max-lease", "remote-region-interval", "max-instances",
		"history-bytes", "max-instances-per-login", "max-connections",
	}
}

// isZero reports whether a flag's number or duration is 0.
func isZero(value pflag.Value) bool { return strings.Trim(value.String(), "0.hms") == "" }

// serveFlags are the flags of serve. Those of a plain option are in the options.
type serveFlags struct {
	options *settings
	fs      *pflag.FlagSet

	hosts, data, compat, eurekaPeers *string
	preserve                         *bool

	remote   regionFlags
	limits   rateFlags
	security securityFlags
	nats     natsFlags
	embedded embeddedFlags
	logs     logFlags
}

func addServeFlags(fs *pflag.FlagSet) *serveFlags {
	o := &settings{values: map[string]string{}}
	f := &serveFlags{options: o, fs: fs}
	fs.StringVar(&o.Listen, "listen", ":"+eurekaPort, "`HOST:PORT` of the HTTP server")
	fs.StringVar(&o.Name, "node", "",
		"`NAME` of this node (default: the host name's first label, with the port unless it is 8761)")
	fs.StringVar(&o.Cluster, "cluster", node.DefaultCluster, "`NAME` of the cluster")
	fs.StringVar(&o.Advertise, "advertise", "",
		"service `URL` for peers and readers, below /eureka/ unless it has a path "+
			"(default: made of --listen, or of this machine's address for a wildcard)")
	f.hosts = fs.String("http-hosts", "",
		"`NAMES`, beside that of --advertise, under which browsers may ask this node, "+
			"separated by commas; * allows all")
	fs.BoolVar(&o.PageActions, "page-actions", false,
		"let the page at / change statuses, cancel instances and compare nodes, with --logins for those of role admin")
	fs.DurationVar(&o.shutdownDelay, "shutdown-delay", 0,
		"how long a stopping node serves on while /readyz is 503, so that load balancers notice, at most "+
			maxShutdownDelay.String())
	fs.DurationVar(&o.IdleTimeout, "idle-timeout", api.DefaultIdleTimeout,
		"how long a client's connection is kept without a request")
	fs.DurationVar(&o.BatchDelay, "batch-delay", node.DefaultBatchDelay,
		"how long a change waits for others before its batch is sent")
	fs.IntVar(&o.BatchSize, "batch-size", node.DefaultBatchSize, "`TASKS` per batch, at most")
	fs.TextVar(&o.BatchMode, "batch-mode", o.BatchMode,
		"`MODE`, fixed or adaptive: a batch is sent after --batch-delay, or at once while none is in flight")
	fs.DurationVar(&o.EvictionInterval, "eviction-interval", node.DefaultEvictionInterval,
		"time between two eviction passes")
	fs.IntVar(&o.Expect, "peers", 0, "`COUNT` of peers that there should be: with fewer the node is degraded")
	fs.DurationVar(&o.StartWait, "start-wait", node.DefaultStartWait,
		"how long a node that reaches no broker and no peer waits before it serves what it has")
	fs.DurationVar(&o.DeltaRetention, "delta-retention", registry.DefaultDeltaRetention,
		"how long a change stays in the delta")
	f.data = fs.String("data", "", "`DIR` of the snapshot that a restart begins with, or "+noData+
		" (default: $STATE_DIRECTORY, else registryd/CLUSTER/NODE in $XDG_STATE_HOME or ~/.local/state)")
	fs.DurationVar(&o.WaitWhenEmpty, "wait-when-empty", 0,
		"how long lists are refused with 403 after a start with nothing to serve, so that clients keep what they have")
	f.preserve = fs.Bool("self-preservation", true,
		"evict nothing while fewer leases are renewed than --renewal-threshold asks for")
	fs.Float64Var(&o.RenewalThreshold, "renewal-threshold", registry.DefaultRenewalThreshold,
		"`SHARE` of the expected renewals below which nothing is evicted")
	fs.IntVar(&o.SelfPreservationMin, "self-preservation-min", registry.DefaultSelfPreservationMin,
		"`COUNT` of missing leases below which eviction goes on")
	fs.DurationVar(&o.MaxLease, "max-lease", registry.DefaultMaxLease,
		"longest lease, from a minute to a year, the same on all nodes")
	fs.IntVar(&o.MaxInstances, "max-instances", registry.DefaultMaxInstances,
		"`COUNT` of instances, with those that are remembered as cancelled, beyond which a new one is refused with 507")
	fs.IntVar(&o.HistoryBytes, "history-bytes", history.DefaultBytes,
		"`BYTES` for what happened to instances, from 1 MiB to 1 GiB, taken as it fills")
	fs.IntVar(&o.MaxWatchers, "max-watchers", api.DefaultMaxWatchers,
		"`COUNT` of requests that may wait for changes at a time, beyond which one is refused with 503")
	f.compat = fs.String("lease-compat", "",
		"`RULE` of how long a lease lives, exact or netflix: its duration, or twice that once renewed "+
			"(default exact; with --eureka-peers netflix)")
	f.eurekaPeers = fs.String("eureka-peers", "",
		"`URLS` of Java Eureka servers that are peers too, such as http://host:8761/eureka/, separated by commas; "+
			"a user and a password in one are not shown again")
	f.remote = addRegionFlags(fs, &o.Options)
	f.limits = addRateFlags(fs)
	f.security = addSecurityFlags(fs)
	f.nats = addNATSFlags(fs, "an existing NATS to use instead of the embedded broker")
	f.embedded = addEmbeddedFlags(fs)
	f.logs = addLogFlags(fs, "info")
	group(fs, "HTTP", "listen", "advertise", "http-hosts", "page-actions", "shutdown-delay", "idle-timeout")
	group(fs, "Node and cluster", "node", "cluster", "peers", "start-wait", "data", "wait-when-empty")
	group(fs, "Replication", "batch-delay", "batch-size", "batch-mode")
	group(fs, "Leases and lists", "eviction-interval", "self-preservation", "renewal-threshold",
		"self-preservation-min", "max-lease", "lease-compat", "max-instances", "history-bytes", "max-watchers",
		"delta-retention")
	group(fs, "Java Eureka servers", "eureka-peers")
	bounded(fs, "above 0", aboveZero()...)
	bounded(fs, "0 to 256", "peers")
	bounded(fs, "0 or more", "rate-limit-burst", "rate-limit-fetches", "rate-limit-full-fetches",
		"wait-when-empty", "max-connections-per-address")
	bounded(fs, "0s to "+maxShutdownDelay.String(), "shutdown-delay")
	bounded(fs, "above 0, at most 1", "renewal-threshold")
	bounded(fs, "1m to 8760h", "max-lease")
	bounded(fs, "1s or more", "delta-retention", "remote-region-interval")
	bounded(fs, fmt.Sprintf("%d to %d", history.MinBytes, history.MaxBytes), "history-bytes")
	bounded(fs, "1 to 64 bytes of [A-Za-z0-9_-]", "node", "cluster")
	return f
}

// settings returns what the flags say. It reports all faults.
func (f *serveFlags) settings(stderr io.Writer) (*settings, error) {
	o := f.options
	f.fs.VisitAll(func(f *pflag.Flag) { o.values[f.Name] = f.Value.String() })
	o.Settings = shown(o.values)

	var wrong faults
	var err error
	o.Logger, o.level, err = f.logs.logger(stderr)
	wrong.add(err)
	o.Collectors = logMetrics(stderr)
	for _, name := range aboveZero() {
		if number := f.fs.Lookup(name).Value; strings.HasPrefix(number.String(), "-") || isZero(number) {
			wrong.addf("--%s %s: must be above 0", name, number)
		}
	}
	if o.shutdownDelay < 0 || o.shutdownDelay > maxShutdownDelay {
		wrong.addf("--shutdown-delay %v: not in 0s..%v", o.shutdownDelay, maxShutdownDelay)
	}
	o.EurekaPeers = list(*f.eurekaPeers)
	f.remote.apply(&o.Options, &wrong)
	o.RateLimit = f.limits.options(&wrong)
	f.security.apply(o, &wrong)
	if *f.compat == "" {
		*f.compat = "exact"
		if len(o.EurekaPeers) > 0 {
			*f.compat = "netflix"
		}
	}
	switch *f.compat {
	case "exact":
		o.LeaseCompat = registry.Exact
	case "netflix":
		o.LeaseCompat = registry.Netflix
	default:
		wrong.addf("--lease-compat %q: not exact or netflix", *f.compat)
	}
	o.NoSelfPreservation = !*f.preserve
	o.Version = version()
	switch {
	case o.Name == "":
		o.Name, err = defaultName(o.Listen)
		wrong.add(err)
	case !broker.ValidNode(o.Name):
		wrong.addf("--node %.80q: %w", o.Name, broker.ErrName)
	}
	if !broker.ValidName(o.Cluster) {
		wrong.addf("--cluster %.80q: %w", o.Cluster, broker.ErrName)
	}
	if o.Hosts = list(*f.hosts); *f.hosts != "" && len(o.Hosts) == 0 {
		wrong.addf("--http-hosts %q: no name", *f.hosts)
	}
	for i, host := range o.Hosts {
		if host != "*" && strings.ContainsAny(host, "/@* \t?#") { // no browser would ever name it
			wrong.addf("--http-hosts, number %d: not a name, as in registry.example; * alone allows all", i+1)
		}
	}
	o.Broker, err = f.nats.access()
	wrong.add(err)
	o.external = len(o.Broker.URLs) > 0
	o.Embedded, err = f.embedded.options(set(f.fs), o.Cluster, o.external)
	wrong.add(err)
	if len(wrong) == 0 {
		o.DataDir, err = dataDir(*f.data, o.Cluster, o.Name)
		wrong.add(err)
	}
	return o, wrong.err()
}

// embeddedFlags are the flags of the embedded broker.
type embeddedFlags struct{ listen, routeListen, routes, secretFile, tailSecretFile, ca, cert, key *string }

func addEmbeddedFlags(fs *pflag.FlagSet) embeddedFlags {
	e := embeddedFlags{
		listen: fs.String("embedded-listen", defaultEmbedded,
			"`HOST:PORT` where the embedded broker listens; the default gives way to a free port when it is taken"),
		routeListen: fs.String("embedded-route-listen", "",
			"`HOST:PORT` where embedded brokers of other nodes join this one"),
		routes: fs.String("embedded-routes", "",
			"`ADDRESSES` of other nodes' --embedded-route-listen, separated by commas"),
		secretFile: fs.String("cluster-secret-file", "",
			"`FILE` with the secret that the embedded broker asks of clients and routes, reread when it "+
				"changes; of two lines the first is shown to others, and both are taken"),
		tailSecretFile: fs.String("tail-secret-file", "",
			"`FILE` with another secret, with which clients may only look on, as tail does; as --cluster-secret-file"),
		ca: fs.String("embedded-tls-ca", "",
			"`FILE` with the CA whose certificates clients and routes of the embedded broker have to show"),
		cert: fs.String("embedded-tls-cert", "",
			"`FILE` with the certificate of the embedded broker, for clients and routes"),
		key: fs.String("embedded-tls-key", "", "`FILE` with the key of --embedded-tls-cert"),
	}
	group(fs, "Embedded broker", "embedded-listen", "embedded-route-listen", "embedded-routes", "cluster-secret-file",
		"tail-secret-file", "embedded-tls-ca", "embedded-tls-cert", "embedded-tls-key")
	return e
}

// options returns the embedded broker's options, empty ones with a NATS of
// somebody else.
func (e embeddedFlags) options(given map[string]bool, cluster string, external bool) (broker.ServerOptions, error) {
	var wrong faults
	if external {
		for _, name := range []string{
			"embedded-listen", "embedded-route-listen", "embedded-routes", "embedded-tls-ca", "embedded-tls-cert",
			"embedded-tls-key", "cluster-secret-file", "tail-secret-file",
		} {
			if given[name] {
				wrong.addf("--nats and --%s exclude each other: with --nats there is no embedded broker", name)
			}
		}
		return broker.ServerOptions{}, wrong.err()
	}
	o := broker.ServerOptions{
		Listen: *e.listen, ListenFallback: !given["embedded-listen"],
		RouteListen: *e.routeListen, RouteCluster: cluster, Routes: list(*e.routes),
		SecretFile: *e.secretFile, TailSecretFile: *e.tailSecretFile,
		TLS: broker.TLSFiles{CA: *e.ca, Cert: *e.cert, Key: *e.key},
	}
	if *e.routes != "" && len(o.Routes) == 0 {
		wrong.addf("--embedded-routes %q: no address", *e.routes)
	}
	for name, file := range map[string]string{
		"cluster-secret-file": o.SecretFile, "tail-secret-file": o.TailSecretFile,
	} {
		if file != "" {
			wrong.add(checkSecrets(name, file))
		}
	}
	return o, wrong.err()
}

// defaultName makes a node's name of the host's and the port.
func defaultName(listen string) (string, error) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", usagef("--listen %.80q: not host:port with a port of 0..65535", listen)
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("host name: %w; give --node", err)
	}
	label, _, _ := strings.Cut(host, ".")
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, label)
	if port != eurekaPort {
		name += "-" + port
	}
	if len(name) > broker.MaxName {
		name = name[len(name)-broker.MaxName:]
	}
	return name, nil
}
