// Package natstest starts brokers for tests and stops them when the test ends.
//
//	Bubble  without a socket: works inside testing/synctest
//	TCP     on a free port of 127.0.0.1: outside of bubbles only
//	Node    one node's connection to either
package natstest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/registryd/registryd/broker"
)

// stopTimeout bounds the end of a connection; in a bubble it is fake time.
const stopTimeout = 10 * time.Second

// Cluster is the cluster's name that Node uses.
const Cluster = "test"

// Bubble starts a server without a socket. Inside a testing/synctest bubble, start it and everything that connects to
// it inside.
//
// The NATS client keeps timers in a pool that all connections of the process share, and a timer of one bubble must not
// get into another. Bubble empties the pool, so tests with bubbles must not run in parallel with other tests on NATS.
func Bubble(tb testing.TB) *broker.Server {
	tb.Helper()
	emptyPools()
	tb.Cleanup(emptyPools) // Runs after the server and all connections have ended.
	return start(tb, broker.ServerOptions{})
}

// emptyPools makes every sync.Pool forget: one collection moves what it holds aside, the next one drops it.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// TCP starts a server on a free port of 127.0.0.1.
func TCP(tb testing.TB) *broker.Server {
	tb.Helper()
	return start(tb, broker.ServerOptions{Listen: "127.0.0.1:0"})
}

// JetStream is TCP with JetStream, its files in the test's own directory.
func JetStream(tb testing.TB) *broker.Server {
	tb.Helper()
	return start(tb, broker.ServerOptions{Listen: "127.0.0.1:0", StoreDir: tb.TempDir()})
}

// At starts a server on an address: to bring one back where an earlier one was.
func At(tb testing.TB, address string) *broker.Server {
	tb.Helper()
	return start(tb, broker.ServerOptions{Listen: address})
}

// URL returns the address of a server as a NATS URL.
func URL(server *broker.Server) string { return "nats://" + server.Address() }

// FreeAddress returns an address of 127.0.0.1 where nobody listens just now. Its port is none that the system gives to
// whoever asks for a free one, or to a client's own end of a connection: who starts a server there later finds it free
// still, and a dialer can't be its own counterpart.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	const first, count, tries = 20_000, 12_000, 100
	for range tries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(count)))
		listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			tb.Fatal(err)
		}
		return address
	}
	tb.Fatalf("no free port from %d on in %d tries", first, tries)
	return ""
}

// Node connects a node to server without a socket.
func Node(tb testing.TB, server *broker.Server, node string) *broker.Broker {
	tb.Helper()
	return Start(tb, broker.Options{Node: node, Access: broker.Access{Server: server}})
}

// Start starts a node's broker and closes it when the test ends. Cluster is the default of options.Cluster, and the
// test's log that of options.Logger.
func Start(tb testing.TB, options broker.Options) *broker.Broker {
	tb.Helper()
	if options.Cluster == "" {
		options.Cluster = Cluster
	}
	if options.Logger == nil {
		options.Logger = Logger(tb)
	}
	b, err := broker.Start(tb.Context(), options)
	if err != nil {
		tb.Fatalf("start the broker of node %q: %v", options.Node, err)
	}
	tb.Cleanup(func() {
		//nolint:usetesting // a clean-up outlives the test's context
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			tb.Errorf("close the broker of node %q: %v", options.Node, err)
		}
	})
	return b
}

// Logger writes to the test's log.
func Logger(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func start(tb testing.TB, options broker.ServerOptions) *broker.Server {
	tb.Helper()
	options.Name = "natstest"
	server, err := broker.StartServer(tb.Context(), options)
	if err != nil {
		tb.Fatalf("start a NATS server: %v", err)
	}
	tb.Cleanup(server.Shutdown)
	return server
}

// Listen calls handle for each message on a subject, as a stock subscriber that knows nothing of this program gets it,
// until the test ends.
func Listen(tb testing.TB, server *broker.Server, subject string, handle func(subject string, data []byte)) {
	tb.Helper()
	nc, err := nats.Connect(URL(server))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	if _, err := nc.Subscribe(subject, func(m *nats.Msg) { handle(m.Subject, m.Data) }); err != nil {
		tb.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		tb.Fatal(err)
	}
}
