package broker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
)

func watch(t *testing.T, options broker.WatchOptions) *broker.Watcher {
	t.Helper()
	options.Cluster = natstest.Cluster
	options.Logger = natstest.Logger(t)
	w, err := broker.Watch(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil { //nolint:usetesting // a clean-up outlives the test's context
			t.Errorf("close the watcher: %v", err)
		}
	})
	return w
}

func next(t *testing.T, w *broker.Watcher) broker.Message {
	t.Helper()
	select {
	case m := <-w.Messages():
		return m
	case <-within(t, patience).Done():
		t.Fatal("nothing comes out of the watcher")
		return broker.Message{}
	}
}

func TestWatch(t *testing.T) {
	server := natstest.TCP(t)
	a, b, c := natstest.Node(t, server, "a"), natstest.Node(t, server, "b"), natstest.Node(t, server, "c")
	for _, node := range []*broker.Broker{a, b, c} {
		serve(t, node, echo(t))
	}
	all := watch(t, broker.WatchOptions{Access: broker.Access{URLs: []string{natstest.URL(server)}}})
	ofA := watch(t, broker.WatchOptions{Access: broker.Access{Server: server}, Node: "a"})
	for i, pair := range []struct {
		from *broker.Broker
		to   string
		ofA  bool
	}{{a, "b", true}, {b, "a", true}, {b, "c", false}} {
		mustAsk(t, pair.from, pair.to, fmt.Sprint(i))
		request := next(t, all)
		if to, from, ok := a.Subjects().ParseBatch(request.Subject); !ok || to != pair.to || from != pair.from.Node() {
			t.Errorf("batch on %q, want from %q to %q", request.Subject, pair.from.Node(), pair.to)
		}
		if request.Get(broker.HeaderBatch) != batchID || string(request.Body) != fmt.Sprint(i) || request.Received.IsZero() {
			t.Errorf("batch: %+v", request)
		}
		reply := next(t, all)
		if reply.Subject != request.Reply || string(reply.Body) != fmt.Sprintf("%s:%d", pair.from.Node(), i) {
			t.Errorf("reply on %q with %q, want on %q", reply.Subject, reply.Body, request.Reply)
		}
		if pair.ofA {
			if m := next(t, ofA); m.Subject != request.Subject {
				t.Errorf("the watch of a has %q, want %q", m.Subject, request.Subject)
			}
		}
		if m := next(t, ofA); m.Subject != reply.Subject {
			t.Errorf("the watch of a has %q, want %q", m.Subject, reply.Subject)
		}
	}
	eventually(t, "all six are counted", func() bool { return all.Stats().Received == 6 })
	if stats := all.Stats(); stats.Dropped != 0 || !stats.Connected {
		t.Errorf("stats: %+v", stats)
	}
	if err := all.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, open := <-all.Messages(); open {
		t.Error("a message after Close")
	}
}

// A reader that is behind loses messages, and nobody else notices.
func TestWatchSlow(t *testing.T) {
	server := natstest.TCP(t)
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	serve(t, b, echo(t))
	w := watch(t, broker.WatchOptions{Access: broker.Access{URLs: []string{natstest.URL(server)}}, Buffer: 4})
	const requests = 100
	for range requests {
		mustAsk(t, a, "b", "x")
	}
	// 4 in the buffer, one in the pump's hand; everything else is dropped and counted.
	eventually(t, "the rest is counted", func() bool { return w.Stats().Dropped >= 2*requests-5 })
	for range 5 {
		next(t, w)
	}
	mustAsk(t, a, "b", "y")
	if m := next(t, w); string(m.Body) != "y" {
		t.Errorf("body %q, want the newest", m.Body)
	}
	dropped := w.Stats().Dropped
	if dropped != 2*requests-5 {
		t.Errorf("dropped %d, want %d", dropped, 2*requests-5)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.Stats().Dropped; got < dropped {
		t.Errorf("dropped %d after Close, want %d still", got, dropped)
	}
}

func TestWatchBeforeServer(t *testing.T) {
	address := natstest.FreeAddress(t)
	w := watch(t, broker.WatchOptions{Access: broker.Access{URLs: []string{address}}})
	if w.Stats().Connected {
		t.Error("connected to nobody")
	}
	server := natstest.At(t, address)
	eventually(t, "connected", func() bool { return w.Stats().Connected })
	a, b := natstest.Node(t, server, "a"), natstest.Node(t, server, "b")
	serve(t, b, echo(t))
	mustAsk(t, a, "b", "x")
	if m := next(t, w); string(m.Body) != "x" {
		t.Errorf("body %q, want x", m.Body)
	}
}

func TestWatchOptions(t *testing.T) {
	urls := broker.Access{URLs: []string{"nats://127.0.0.1:1"}}
	tests := []struct {
		name    string
		options broker.WatchOptions
		want    error
	}{
		{"no URL", broker.WatchOptions{Cluster: "c"}, broker.ErrOptions},
		{"no cluster", broker.WatchOptions{Access: urls}, broker.ErrName},
		{"bad node", broker.WatchOptions{Access: urls, Cluster: "c", Node: "*"}, broker.ErrName},
		{"negative buffer", broker.WatchOptions{Access: urls, Cluster: "c", Buffer: -1}, broker.ErrOptions},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := broker.Watch(t.Context(), test.options)
			wantError(t, err, test.want)
		})
	}
}
