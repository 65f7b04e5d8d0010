package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/await"
	"github.com/registryd/registryd/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what is polled for; only a failing test takes that long.
const patience = 30 * time.Second

// batchID is a UUIDv7, as a batch's id is.
const batchID = "0197f2a4-7c1e-7b3a-9d52-3f1c5e8a6b70"

// eventually polls until ok is true.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	await.Nil(tb, patience, what, func() error {
		if !ok() {
			return errors.New("it is not so")
		}
		return nil
	})
}

// within is a context with a deadline.
func within(tb testing.TB, d time.Duration) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
}

// serve starts a service of node's batches.
func serve(tb testing.TB, node *broker.Broker, handler broker.Handler) *broker.Service {
	tb.Helper()
	service, err := node.Serve(broker.Handlers{Batch: handler})
	if err != nil {
		tb.Fatalf("serve as %q: %v", node.Node(), err)
	}
	return service
}

// echo answers what it got, with the sender's name before it.
func echo(tb testing.TB) broker.Handler {
	return func(r *broker.Request) {
		if err := r.Respond(append([]byte(r.From+":"), r.Body...)); err != nil {
			tb.Errorf("respond: %v", err)
		}
	}
}

// ask sends a batch from one node to another.
func ask(ctx context.Context, from *broker.Broker, to, body string) (string, error) {
	reply, err := from.Request(ctx, from.Subjects().Batch(to, from.Node()), broker.Header{Batch: batchID}, []byte(body))
	return string(reply), err
}

// mustAsk is ask for a request that has to be answered.
func mustAsk(tb testing.TB, from *broker.Broker, to, body string) string {
	tb.Helper()
	reply, err := ask(within(tb, patience), from, to, body)
	if err != nil {
		tb.Fatalf("request to %q: %v", to, err)
	}
	return reply
}

// wantError checks an error by its sentinel.
func wantError(tb testing.TB, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Errorf("got error %v, want %v", err, want)
	}
}

// stranger is a plain NATS client.
func stranger(tb testing.TB, server *broker.Server, options ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := nats.Connect(natstest.URL(server), options...)
	if err != nil {
		tb.Fatalf("connect a stranger: %v", err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// wantCounts checks how often a node connected and disconnected, and how many requests ended without a connection.
func wantCounts(tb testing.TB, node *broker.Broker, connects, disconnects, disconnected int) {
	tb.Helper()
	got := [3]int{
		node.Count("connect_attempts_total", "connected"), node.Count("disconnects_total"), node.Count("requests_total", "disconnected"),
	}
	if want := [3]int{connects, disconnects, disconnected}; got != want {
		tb.Errorf("connects, disconnects, requests disconnected: got %v, want %v", got, want)
	}
}
