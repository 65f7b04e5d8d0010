package dev_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/dev"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/await"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// TestMain also fails when a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what is polled for; only a failing test takes that long.
const patience = 30 * time.Second

// eventually polls until check returns nil.
func eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	await.Nil(tb, patience, what, check)
}

// count returns how many instances a node lists.
func count(tb testing.TB, n *node.Node) (int, error) {
	tb.Helper()
	c, err := client.New(client.Options{URLs: []string{n.URL()}})
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	all, err := c.Applications(tb.Context())
	sum := 0
	for _, app := range all.Applications {
		sum += len(app.Instances)
		for _, i := range app.Instances {
			if i.Metadata["demo"] != "true" {
				tb.Errorf("%s lists %s/%s, which is no demo instance", n.Name(), i.App, i.ID())
			}
		}
	}
	return sum, err
}

// atLeast waits until a node lists this many instances.
func atLeast(tb testing.TB, n *node.Node, want int) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%s lists %d instances", n.Name(), want), func() error {
		got, err := count(tb, n)
		if err == nil && got < want {
			err = fmt.Errorf("it lists %d", got)
		}
		return err
	})
}

// TestCluster starts a cluster and a fourth node that observes it. That node
// would still list any demo instance that is left behind when the cluster is
// closed.
func TestCluster(t *testing.T) {
	t.Parallel()
	const instances = 20
	c, err := dev.Start(t.Context(), dev.Options{
		Nodes: 3, Listen: "127.0.0.1:0", Instances: instances,
		Embedded: broker.ServerOptions{Listen: "127.0.0.1:0"},
		Node:     node.Options{BatchDelay: 50 * time.Millisecond}, Logger: natstest.Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			t.Error(errors.Join(errors.New("closed early"), c.Close()))
		}
	}()
	for i, n := range c.Nodes() {
		if want := "node-" + strconv.Itoa(i+1); n.Name() != want {
			t.Errorf("node %d: got name %q, want %q", i+1, n.Name(), want)
		}
		// One or two may be away just now.
		atLeast(t, n, instances-2)
	}
	if got := len(c.Nodes()); got != 3 {
		t.Errorf("got %d nodes, want 3", got)
	}

	witness, err := node.Start(t.Context(), node.Options{
		Name: "witness", Broker: broker.Access{URLs: []string{"nats://" + c.BrokerAddress()}}, Logger: natstest.Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := witness.Close(); err != nil {
			t.Errorf("close the witness: %v", err)
		}
	}()
	atLeast(t, witness, instances-2)

	select {
	case <-c.Done():
		t.Error("done before Close")
	default:
	}
	address := c.BrokerAddress()
	closed = true
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if got, err := count(t, witness); err != nil || got != 0 {
		t.Errorf("after Close the witness lists %d instances, %v, want none", got, err)
	}
	checkFree(t, address)
	for _, n := range c.Nodes() {
		checkFree(t, strings.TrimSuffix(strings.TrimPrefix(n.URL(), "http://"), "/eureka/"))
	}
}

func checkFree(tb testing.TB, address string) {
	tb.Helper()
	var config net.ListenConfig
	l, err := config.Listen(tb.Context(), "tcp", address)
	if err != nil {
		tb.Errorf("a server still listens: %v", err)
		return
	}
	if err := l.Close(); err != nil {
		tb.Error(err)
	}
}

// TestNeighbouringPorts asks for a port: the nodes take it and the next two.
func TestNeighbouringPorts(t *testing.T) {
	t.Parallel()
	// Another process may take one of the ports first; then others are tried.
	for range 20 {
		first := natstest.FreeAddress(t)
		c, err := dev.Start(t.Context(), dev.Options{Nodes: 3, Listen: first})
		if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, node.ErrOptions) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, text, err := net.SplitHostPort(first)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range c.Nodes() {
			if want := fmt.Sprintf("http://127.0.0.1:%d/eureka/", port+i); n.URL() != want {
				t.Errorf("%s: got %s, want %s", n.Name(), n.URL(), want)
			}
			if got, err := count(t, n); got != 0 || err != nil {
				t.Errorf("%s lists %d instances, %v, want none", n.Name(), got, err)
			}
		}
		if got := c.BrokerAddress(); got != "" {
			t.Errorf("broker address: got %q, want none, it was not asked for", got)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		return
	}
	t.Fatal("found no three free ports in a row")
}

// TestTakenPort leaves nothing behind when a later node can't start.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	for range 20 {
		first := natstest.FreeAddress(t)
		_, text, err := net.SplitHostPort(first)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		second := fmt.Sprintf("127.0.0.1:%d", port+1)
		taken, err := config.Listen(t.Context(), "tcp", second)
		if err != nil {
			continue // by another process; or 65536
		}
		defer taken.Close() //nolint:errcheck // The test is over.
		c, err := dev.Start(t.Context(), dev.Options{Nodes: 3, Listen: first, Instances: 2})
		if err == nil {
			t.Fatalf("it started; close: %v", c.Close())
		}
		if strings.HasPrefix(err.Error(), "node-1: ") {
			continue // another process took the first port
		}
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "node-2: ") || !strings.Contains(err.Error(), second) {
			t.Errorf("got %v, want that %s of node-2 is in use", err, second)
		}
		checkFree(t, first)
		return
	}
	t.Fatal("found no free port beside a taken one")
}

func TestStartRefusesOptions(t *testing.T) {
	t.Parallel()
	valid := func(change func(*dev.Options)) dev.Options {
		o := dev.Options{Nodes: 1, Listen: "127.0.0.1:0"}
		change(&o)
		return o
	}
	for _, test := range []struct {
		name string
		opts dev.Options
		want []string
	}{
		{"no nodes", valid(func(o *dev.Options) { o.Nodes = 0 }), []string{"nodes 0", "1..32"}},
		{"too many nodes", valid(func(o *dev.Options) { o.Nodes = 33 }), []string{"nodes 33", "1..32"}},
		{"negative instances", valid(func(o *dev.Options) { o.Instances = -1 }), []string{"instances -1", "0..10000"}},
		{"too many instances", valid(func(o *dev.Options) { o.Instances = 10_001 }), []string{"instances 10001", "0..10000"}},
		{"both", valid(func(o *dev.Options) { o.Nodes, o.Instances = 0, -1 }), []string{"nodes 0", "instances -1"}},
		{"no port", valid(func(o *dev.Options) { o.Listen = "localhost" }), []string{`listen "localhost"`, "host:port"}},
		{"a port that is no number", valid(func(o *dev.Options) { o.Listen = "127.0.0.1:http" }), []string{`listen "127.0.0.1:http"`, "65535"}},
		{"no room", valid(func(o *dev.Options) { o.Nodes, o.Listen = 3, "127.0.0.1:65534" }), []string{`listen "127.0.0.1:65534"`, "3 ports", "65535"}},
		{"open broker", valid(func(o *dev.Options) { o.Embedded.Listen = ":0" }), []string{"beyond loopback"}},
		{"cluster", valid(func(o *dev.Options) { o.Node.Cluster = "a.b" }), []string{`cluster "a.b"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := dev.Start(t.Context(), test.opts)
			if err == nil {
				t.Fatalf("it started; close: %v", c.Close())
			}
			if c != nil || !errors.Is(err, node.ErrOptions) {
				t.Errorf("got a cluster: %v, and %v, want only %v", c != nil, err, node.ErrOptions)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to say %q", err, want)
				}
			}
		})
	}
}

// TestDone is closed when a node can't go on.
func TestDone(t *testing.T) {
	t.Parallel()
	c, err := dev.Start(t.Context(), dev.Options{Nodes: 2, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes()[1].Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-c.Done():
	case <-ctx.Done():
		t.Error("not done though a node has ended")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestClientsSeeOneCluster registers at one node and asks another.
func TestClientsSeeOneCluster(t *testing.T) {
	t.Parallel()
	c, err := dev.Start(t.Context(), dev.Options{
		Nodes: 2, Listen: "127.0.0.1:0", Node: node.Options{BatchDelay: 50 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	clients := make([]*client.Client, 2)
	for i, n := range c.Nodes() {
		if clients[i], err = client.New(client.Options{URLs: []string{n.URL()}}); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	err = clients[0].Register(t.Context(), &eureka.InstanceInfo{
		InstanceID: new("a"), HostName: "a.test", App: "ORDERS", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other node has it", func() error {
		_, err := clients[1].Instance(t.Context(), "ORDERS", "a")
		return err
	})
}
