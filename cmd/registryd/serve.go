package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/registry"
)

// defaultEmbedded is where the embedded broker listens unless told otherwise:
// NATS's port, this machine only.
const defaultEmbedded = "127.0.0.1:4222"

// eurekaPort is the port that Eureka clients expect.
const eurekaPort = "8761"

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := serveOptions(args, stdout, stderr)
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, opts)
	switch {
	case errors.Is(err, node.ErrOptions):
		return usagef("%v", err)
	case err != nil:
		return err
	}
	fmt.Fprintf(stdout, "registryd %s: node %s of cluster %s serves %s\n", opts.Version, n.Name(), opts.Cluster, n.URL())
	if addr := n.BrokerAddress(); addr != "" {
		fmt.Fprintf(stdout, "embedded broker: nats://%s\n", addr)
	}
	return waitFor(ctx, n)
}

// waitFor waits for the signal, or for the node's own end.
func waitFor(ctx context.Context, n *node.Node) error {
	select {
	case <-ctx.Done():
	case <-n.Done():
	}
	return n.Close()
}

// serveOptions turns flags, environment and file into the options of a node.
func serveOptions(args []string, stdout, stderr io.Writer) (node.Options, error) {
	fs := newFlagSet("serve", "one node of the registry", stdout)
	var o node.Options
	fs.StringVar(&o.Listen, "listen", ":"+eurekaPort, "`HOST:PORT` of the HTTP server")
	fs.StringVar(&o.Name, "node", "", "`NAME` of this node (default: the host name's first label, with the port unless it is 8761)")
	fs.StringVar(&o.Cluster, "cluster", node.DefaultCluster, "`NAME` of the cluster")
	fs.StringVar(&o.Advertise, "advertise", "", "service `URL` told to peers and readers (default: made of --listen)")
	fs.DurationVar(&o.BatchDelay, "batch-delay", node.DefaultBatchDelay, "how long a change waits for others before its batch is sent")
	fs.IntVar(&o.BatchSize, "batch-size", node.DefaultBatchSize, "`TASKS` per batch, at most")
	fs.TextVar(&o.BatchMode, "batch-mode", o.BatchMode, "when a batch is sent, `fixed` or adaptive: after --batch-delay, or at once while none is in flight")
	fs.DurationVar(&o.EvictionInterval, "eviction-interval", node.DefaultEvictionInterval, "time between two eviction passes")
	fs.DurationVar(&o.DeltaRetention, "delta-retention", registry.DefaultDeltaRetention, "how long a change stays in the delta")
	fs.StringVar(&o.DataDir, "data", "", "`DIR` of the snapshot that a restart begins with; empty: none")
	preserve := fs.Bool("self-preservation", true, "evict nothing while fewer leases are renewed than --renewal-threshold asks for")
	fs.Float64Var(&o.RenewalThreshold, "renewal-threshold", registry.DefaultRenewalThreshold, "`SHARE` of the expected renewals below which nothing is evicted")
	compat := fs.String("lease-compat", "exact", "how long a lease lives, `exact` or netflix: its duration, or twice that once renewed")
	nats := addNATSFlags(fs, "an existing NATS to use instead of the embedded broker")
	fs.StringVar(&o.Embedded.Listen, "embedded-listen", defaultEmbedded, "`HOST:PORT` where the embedded broker listens; the default gives way to a free port when it is taken")
	routeListen := fs.String("embedded-route-listen", "", "`HOST:PORT` where embedded brokers of other nodes join this one")
	routes := fs.String("embedded-routes", "", "`ADDRESSES` of other nodes' --embedded-route-listen, separated by commas")
	secretFile := fs.String("cluster-secret-file", "", "`FILE` with the secret that the embedded broker asks of clients and routes")
	logs := addLogFlags(fs, "info")
	if err := parse(fs, args); err != nil {
		return o, err
	}
	var err error
	if o.Logger, err = logs.logger(stderr); err != nil {
		return o, err
	}
	o.Collectors = logMetrics(stderr)
	for name, d := range map[string]bool{"batch-delay": o.BatchDelay > 0, "batch-size": o.BatchSize > 0, "eviction-interval": o.EvictionInterval > 0, "delta-retention": o.DeltaRetention > 0} {
		if !d {
			return o, usagef("--%s %s: must be above 0", name, fs.Lookup(name).Value)
		}
	}
	if !(o.RenewalThreshold > 0 && o.RenewalThreshold <= 1) { // also NaN
		return o, usagef("--renewal-threshold %v: must be above 0 and at most 1", o.RenewalThreshold)
	}
	switch *compat {
	case "exact":
		o.LeaseCompat = registry.Exact
	case "netflix":
		o.LeaseCompat = registry.Netflix
	default:
		return o, usagef("--lease-compat %q: not exact or netflix", *compat)
	}
	o.NoSelfPreservation = !*preserve
	o.Version = version()
	if o.Name != "" && !broker.ValidNode(o.Name) {
		return o, usagef("--node %.80q: %v", o.Name, broker.ErrName)
	}
	if o.Name == "" {
		if o.Name, err = defaultName(o.Listen); err != nil {
			return o, err
		}
	}
	access, external, err := nats.access()
	if err != nil {
		return o, err
	}
	if external {
		for _, name := range []string{"embedded-listen", "embedded-route-listen", "embedded-routes", "cluster-secret-file"} {
			if isSet(fs, name) {
				return o, usagef("--nats and --%s exclude each other: with --nats there is no embedded broker", name)
			}
		}
		o.Broker, o.Embedded = access, broker.ServerOptions{}
		return o, nil
	}
	o.Embedded.ListenFallback = !isSet(fs, "embedded-listen")
	o.Embedded.RouteListen = *routeListen
	o.Embedded.RouteCluster = o.Cluster
	for r := range strings.SplitSeq(*routes, ",") {
		if r = strings.TrimSpace(r); r != "" {
			o.Embedded.Routes = append(o.Embedded.Routes, r)
		}
	}
	if *secretFile != "" {
		secret, err := os.ReadFile(*secretFile)
		if err != nil {
			return o, usagef("--cluster-secret-file: %v", err)
		}
		if o.Embedded.Secret = strings.TrimSpace(string(secret)); o.Embedded.Secret == "" {
			return o, usagef("--cluster-secret-file %s: is empty", *secretFile)
		}
	}
	return o, nil
}

// defaultName makes a node's name of the host's and the port.
func defaultName(listen string) (string, error) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", usagef("--listen %q: not HOST:PORT", listen)
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
