package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/node"
)

// Bounds of Options.
const (
	MaxNodes     = 32
	MaxInstances = 10_000
)

// Options of a [Cluster].
type Options struct {
	// Nodes is how many nodes run, 1 to MaxNodes.
	Nodes int
	// Listen is the host:port of the first node; the others follow on the
	// next ports. With port 0 each takes a free one.
	Listen string
	// Instances is how many demo instances there are, 0 to MaxInstances.
	Instances int
	// Embedded is the broker of all nodes.
	Embedded broker.ServerOptions
	// Node holds the common options of all nodes; name, address and broker are set
	// for each.
	Node   node.Options
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var errs []error
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		errs = append(errs, fmt.Errorf("%w: nodes %d: not in 1..%d", node.ErrOptions, o.Nodes, MaxNodes))
	}
	if o.Instances < 0 || o.Instances > MaxInstances {
		errs = append(errs, fmt.Errorf("%w: instances %d: not in 0..%d", node.ErrOptions, o.Instances, MaxInstances))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(errs...)
}

// Cluster is a running dev cluster.
type Cluster struct {
	nodes  []*node.Node
	broker *broker.Server
	demo   *demo
	ending chan struct{} // closed when a node can't go on
	once   sync.Once
	stop   context.CancelFunc // ends the goroutines that watch the nodes
	watch  sync.WaitGroup
}

// Start starts the broker, the nodes, and, once all are ready, the demo
// instances. ctx bounds the start. Nothing is left running after an error.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(context.Background())
	c := &Cluster{ending: make(chan struct{}), stop: stop}
	if err := c.start(ctx, watching, opts); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx, watching context.Context, opts Options) error {
	addrs, err := addresses(opts.Listen, opts.Nodes)
	if err != nil {
		return fmt.Errorf("%w: %w", node.ErrOptions, err)
	}
	embedded := opts.Embedded
	embedded.Logger = opts.Logger
	if c.broker, err = broker.StartServer(ctx, embedded); err != nil {
		if errors.Is(err, broker.ErrExposed) || errors.Is(err, broker.ErrOptions) {
			return fmt.Errorf("%w: broker: %w", node.ErrOptions, err)
		}
		return fmt.Errorf("broker: %w", err)
	}
	for i, addr := range addrs {
		o := opts.Node
		o.Name = "node-" + strconv.Itoa(i+1)
		o.Listen = addr
		o.Broker = broker.Access{Server: c.broker}
		o.Logger = opts.Logger
		n, err := node.Start(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
		c.nodes = append(c.nodes, n)
		c.watch.Go(func() {
			select {
			case <-n.Done():
				c.once.Do(func() { close(c.ending) })
			case <-watching.Done():
			}
		})
	}
	c.demo, err = startDemo(c.urls(), opts.Instances, opts.Logger)
	return err
}

// addresses returns the addresses of n nodes.
func addresses(listen string, n int) ([]string, error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("listen %.80q: not host:port", listen)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port+n-1 > 65535 {
		return nil, fmt.Errorf("listen %.80q: no room for %d ports up to 65535", listen, n)
	}
	out := make([]string, n)
	for i := range out {
		p := port
		if port != 0 {
			p += i
		}
		out[i] = net.JoinHostPort(host, strconv.Itoa(p))
	}
	return out, nil
}

// Nodes returns the nodes, in order.
func (c *Cluster) Nodes() []*node.Node { return c.nodes }

func (c *Cluster) urls() []string {
	out := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		out[i] = n.URL()
	}
	return out
}

// BrokerAddress returns the host:port where tools join the broker. It is "" if the
// broker doesn't listen.
func (c *Cluster) BrokerAddress() string { return c.broker.Address() }

// Done is closed when a node can't go on; Close then returns why.
func (c *Cluster) Done() <-chan struct{} { return c.ending }

// Close ends the demo instances, which deregister, then the nodes, one after the
// other, then the broker. It is called once.
func (c *Cluster) Close() error {
	c.stop()
	c.watch.Wait()
	var errs []error
	if c.demo != nil {
		c.demo.close()
	}
	for _, n := range c.nodes {
		errs = append(errs, n.Close())
	}
	if c.broker != nil {
		c.broker.Shutdown()
	}
	return errors.Join(errs...)
}
