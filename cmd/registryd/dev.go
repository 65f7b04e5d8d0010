package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/dev"
	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/node"
)

func (p *program) devCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "dev", Short: "a cluster in one process, with demo instances", Args: noArgs,
		Example: `  registryd dev
  registryd dev --nodes 1 --instances 0`,
	}
	fs := c.Flags()
	var o dev.Options
	fs.IntVar(&o.Nodes, "nodes", 3, "`NUMBER` of nodes")
	fs.StringVar(&o.Listen, "listen", "127.0.0.1:"+eurekaPort,
		"`HOST:PORT` of the first node; the others take the next ports")
	fs.StringVar(&o.Embedded.Listen, "embedded-listen", defaultEmbedded,
		"`HOST:PORT` where the broker listens; the default gives way to a free port when it is taken")
	fs.IntVar(&o.Instances, "instances", 50, "`NUMBER` of demo instances")
	fs.StringVar(&o.Node.Cluster, "cluster", node.DefaultCluster, "`NAME` of the cluster")
	logs := addLogFlags(fs, "warn")
	c.RunE = func(c *cobra.Command, _ []string) error {
		o.Embedded.ListenFallback = !set(fs)["embedded-listen"]
		return p.dev(c.Context(), o, logs)
	}
	return c
}

// dev runs a cluster until ctx is done.
func (p *program) dev(ctx context.Context, o dev.Options, logs logFlags) error {
	signal.Ignore(syscall.SIGPIPE) // an output that nobody reads any more must not end the nodes
	logger, _, err := logs.logger(p.err)
	if err != nil {
		return err
	}
	if o.Node.Cluster != "" && !broker.ValidName(o.Node.Cluster) {
		return usagef("--cluster %.80q: %v", o.Node.Cluster, broker.ErrName)
	}
	o.Logger, o.Node.Version = logger, version()
	o.Node.Collectors = logMetrics(p.err)
	c, err := dev.Start(ctx, o)
	switch {
	case errors.Is(err, node.ErrOptions):
		return usagef("%v", err)
	case err != nil:
		return err
	}
	out := logqueue.New(p.out, nil) // Signals don't wait for its reader.
	defer out.Close()
	welcome(out, c, o)
	select {
	case <-ctx.Done():
	case <-c.Done():
	}
	return c.Close()
}

// welcome prints where everything is, and what to try.
func welcome(w io.Writer, c *dev.Cluster, o dev.Options) {
	fmt.Fprintf(w, "\nregistryd %s: cluster %q of %d nodes", o.Node.Version, o.Node.Cluster, o.Nodes)
	if o.Instances > 0 {
		fmt.Fprintf(w, ", with %d demo instances", o.Instances)
	}
	fmt.Fprintf(w, "\n\n")
	for _, n := range c.Nodes() {
		fmt.Fprintf(w, "  %-8s %s\n", n.Name(), n.URL())
	}
	brokerURL := "nats://" + c.BrokerAddress()
	fmt.Fprintf(w, "  %-8s %s\n\nTry:\n", "broker", brokerURL)
	first, last := c.Nodes()[0], c.Nodes()[len(c.Nodes())-1]
	again := ""
	if c.BrokerAddress() != defaultEmbedded {
		again = " --nats " + brokerURL
	}
	fmt.Fprintf(w, `  %s in a browser
        the page: the pipelines and the instances, live
  registryd tail%s
        replication as it happens (from the sources: go run ./cmd/registryd tail%s)
  curl -H 'Accept: application/json' %sapps
        all instances, as any Eureka client gets them
`, first.PageURL(), again, again, first.URL())
	if o.Instances > 0 {
		elsewhere := ""
		if o.Nodes > 1 {
			elsewhere = " on another"
		}
		fmt.Fprintf(w, `  curl -X PUT '%sapps/ORDERS/demo-1/status?value=OUT_OF_SERVICE'
        override a status on one node ...
  curl -H 'Accept: application/json' %sapps/ORDERS/demo-1
        ... and see it%s within a second
`, first.URL(), last.URL(), elsewhere)
	}
	fmt.Fprintf(w, `  an Eureka client with eureka.client.serviceUrl.defaultZone=%s

Stop with Ctrl-C.
`, first.URL())
}
