package node_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// checkFree fails if a server listens at an address.
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

func TestZeroOptions(t *testing.T) {
	t.Parallel()
	n := start(t, node.Options{})
	_, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(n.URL(), "http://"), "/eureka/"))
	if err != nil {
		t.Fatalf("URL %q: %v", n.URL(), err)
	}
	if want := "node-" + port; n.Name() != want {
		t.Errorf("name: got %q, want %q", n.Name(), want)
	}
	if want := "http://127.0.0.1:" + port + "/eureka/"; n.URL() != want {
		t.Errorf("URL: got %q, want %q", n.URL(), want)
	}
	if got := n.BrokerAddress(); got != "" {
		t.Errorf("broker address: got %q, want none, it is only for the node", got)
	}
	ready(t, n, "ready")
	if code, body, err := get(t, n, "/healthz"); err != nil || code != http.StatusOK || body != "ok" {
		t.Errorf("/healthz: got %d %q, %v", code, body, err)
	}
	register(t, n, "a")
	if err := lists(t.Context(), n, "a"); err != nil {
		t.Error(err)
	}
}

// TestEmbeddedBrokerIsShared lets other nodes join the broker of the first.
func TestEmbeddedBrokerIsShared(t *testing.T) {
	t.Parallel()
	first := start(t, node.Options{Name: "n1", Embedded: broker.ServerOptions{Listen: "127.0.0.1:0"}})
	nodes := []testNode{first}
	for _, name := range []string{"n2", "n3"} {
		n := start(t, node.Options{Name: name, Broker: broker.Access{URLs: []string{"nats://" + first.BrokerAddress()}}})
		if got := n.BrokerAddress(); got != "" {
			t.Errorf("%s: broker address is %q, want none", name, got)
		}
		nodes = append(nodes, n)
	}
	meet(t, nodes...)
	register(t, nodes[1], "a")
	allList(t, nodes, "a")

	// The broker dies with its node; the others continue to serve their clients.
	address := first.BrokerAddress()
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	checkFree(t, address)
	for _, n := range nodes[1:] {
		ready(t, n, "degraded: not connected to a broker")
		if err := lists(t.Context(), n, "a"); err != nil {
			t.Error(err)
		}
	}
}

// TestLateJoiner starts a node after all changes were made.
func TestLateJoiner(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	n1 := start(t, node.Options{Name: "n1", Broker: broker.Access{Server: server}})
	register(t, n1, "a", "b", "c")
	if err := n1.Cancel(t.Context(), "ORDERS", "b"); err != nil {
		t.Fatal(err)
	}
	n2 := start(t, node.Options{Name: "n2", Broker: broker.Access{Server: server}})
	allList(t, []testNode{n1, n2}, "a", "c")
}

func TestNameTaken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		size int
	}{
		{"alone with its namesake", 1},
		{"with another peer too", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := natstest.TCP(t)
			nodes := startCluster(t, test.size, node.Options{Broker: broker.Access{Server: server}, BatchDelay: 50 * time.Millisecond})
			for range 5 {
				address := natstest.FreeAddress(t)
				second, err := node.Start(t.Context(), node.Options{
					Name: "n1", Cluster: natstest.Cluster, Listen: address, Broker: broker.Access{Server: server},
				})
				if err == nil {
					err = errors.Join(errors.New("it started"), second.Close())
					t.Fatalf("start a second n1: got %v, want %v", err, cluster.ErrNameTaken)
				}
				if !errors.Is(err, cluster.ErrNameTaken) || !strings.Contains(err.Error(), nodes[0].URL()) {
					t.Errorf("start a second n1: got %v, want %v at %s", err, cluster.ErrNameTaken, nodes[0].URL())
				}
				if second != nil {
					t.Error("start a second n1: got a node beside the error")
				}
				checkFree(t, address)
			}
			// The first continues.
			register(t, nodes[0], "a")
			allList(t, nodes, "a")
			ready(t, nodes[0], "ready")
		})
	}
}

// TestRestartUnderTheSameName restarts a node whose name no other node uses any
// more.
func TestRestartUnderTheSameName(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	for range 3 {
		n := start(t, node.Options{Name: "n1", Broker: broker.Access{Server: server}})
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartRefusesOptions(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", broker.MaxName+1)
	for _, test := range []struct {
		name string
		opts node.Options
		want []string // parts of the error
	}{
		{"reserved name", node.Options{Name: "ask"}, []string{`name "ask"`, "other than ask"}},
		{"name with a dot", node.Options{Name: "a.b"}, []string{`name "a.b"`, "1 to 64 bytes of [A-Za-z0-9_-]"}},
		{"long name", node.Options{Name: long}, []string{"name ", "1 to 64 bytes"}},
		{"cluster", node.Options{Cluster: "a b"}, []string{`cluster "a b"`, "1 to 64 bytes"}},
		{"advertise without a scheme", node.Options{Advertise: "host:8761"}, []string{`advertise "host:8761"`, "http or https"}},
		{"advertise with a login", node.Options{Advertise: "http://boss:31337@host/"}, []string{"advertise", "login"}},
		{"advertise of another scheme", node.Options{Advertise: "nats://host/"}, []string{`advertise "nats://host/"`, "http or https"}},
		{"batch delay", node.Options{BatchDelay: -1}, []string{"batch delay -1ns", "negative"}},
		{"batch size", node.Options{BatchSize: -1}, []string{"batch size -1", "negative"}},
		{"eviction interval", node.Options{EvictionInterval: -time.Second}, []string{"eviction interval -1s", "negative"}},
		{"delta retention", node.Options{DeltaRetention: -time.Second}, []string{"delta retention -1s", "less than 1s"}},
		{"short delta retention", node.Options{DeltaRetention: time.Millisecond}, []string{"delta retention 1ms", "1s"}},
		{"shutdown timeout", node.Options{ShutdownTimeout: -time.Second}, []string{"shutdown timeout -1s", "negative"}},
		{"two at once", node.Options{Name: "ask", BatchSize: -2}, []string{`name "ask"`, "batch size -2"}},
		{"open broker", node.Options{Embedded: broker.ServerOptions{Listen: "0.0.0.0:0"}}, []string{"broker", "beyond loopback", "secret"}},
		{"max payload", node.Options{Embedded: broker.ServerOptions{MaxPayload: 1 << 30}}, []string{"max payload 1073741824", "0..8388608"}},
		{"routes", node.Options{Embedded: broker.ServerOptions{Routes: []string{"127.0.0.1:1"}}}, []string{"routes need a route listen address"}},
		{"broker URL", node.Options{Broker: broker.Access{URLs: []string{"http://127.0.0.1:1"}}}, []string{`broker URL "http://127.0.0.1:1"`, "nats"}},
		{"credentials", node.Options{Broker: broker.Access{URLs: []string{"nats://127.0.0.1:1"}, CredsFile: "missing.creds"}}, []string{"credentials file", "missing.creds"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.opts.Listen = natstest.FreeAddress(t)
			n, err := node.Start(t.Context(), test.opts)
			if err == nil {
				t.Fatalf("it started; close: %v", n.Close())
			}
			if n != nil || !errors.Is(err, node.ErrOptions) {
				t.Errorf("got node %v and %v, want only %v", n, err, node.ErrOptions)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to say %q", err, want)
				}
			}
			checkFree(t, test.opts.Listen)
		})
	}
}

func TestStartRefusesTakenAddress(t *testing.T) {
	t.Parallel()
	n := start(t, node.Options{Embedded: broker.ServerOptions{Listen: "127.0.0.1:0"}})
	taken := strings.TrimSuffix(strings.TrimPrefix(n.URL(), "http://"), "/eureka/")
	free := natstest.FreeAddress(t)
	for _, test := range []struct {
		name string
		opts node.Options
		addr string
	}{
		{"of HTTP", node.Options{Listen: taken, Embedded: broker.ServerOptions{Listen: free}}, taken},
		{"of the broker", node.Options{Listen: free, Embedded: broker.ServerOptions{Listen: n.BrokerAddress()}}, n.BrokerAddress()},
	} {
		t.Run(test.name, func(t *testing.T) {
			second, err := node.Start(t.Context(), test.opts)
			if err == nil {
				t.Fatalf("it started; close: %v", second.Close())
			}
			if !errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, node.ErrOptions) || !strings.Contains(err.Error(), test.addr) {
				t.Errorf("got %v, want that %s is in use", err, test.addr)
			}
			checkFree(t, free)
		})
	}
}

// TestStartIsBounded cancels the context of a start.
func TestStartIsBounded(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	address := natstest.FreeAddress(t)
	n, err := node.Start(ctx, node.Options{Listen: address})
	if err == nil {
		t.Fatalf("it started; close: %v", n.Close())
	}
	checkFree(t, address)
}

func TestClose(t *testing.T) {
	t.Parallel()
	n := start(t, node.Options{Embedded: broker.ServerOptions{Listen: "127.0.0.1:0"}})
	brokerAddress := n.BrokerAddress()
	select {
	case <-n.Done():
		t.Error("done before Close")
	default:
	}
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() { errs <- n.stop() }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Errorf("close: %v", err)
		}
	}
	select {
	case <-n.Done():
	default:
		t.Error("not done after Close")
	}
	checkFree(t, strings.TrimSuffix(strings.TrimPrefix(n.URL(), "http://"), "/eureka/"))
	checkFree(t, brokerAddress)
}

// TestCloseDrains closes a node right after a register. Its peers have the
// instance nevertheless, long before a batch would have been due.
func TestCloseDrains(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}, BatchDelay: time.Hour})
	var ids []string
	for i := range 10 {
		ids = append(ids, fmt.Sprintf("i-%d", i))
	}
	register(t, nodes[0], ids...)
	if err := nodes[0].stop(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes[1:] {
		if err := lists(t.Context(), n, ids...); err != nil {
			t.Error(err)
		}
		eventually(t, n.Name()+" knows that n1 has left", func() error {
			if got := scrape(t, n).value("registryd_cluster_peers", "status", "left"); got != 1 {
				return fmt.Errorf("%v peers have left", got)
			}
			return nil
		})
	}
}
