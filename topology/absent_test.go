package topology_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// starts bounds a start without a broker, on a busy machine.
const starts = 15 * time.Second

// said waits for a text in a process's log, and wants it in exactly one line.
func said(tb testing.TB, p *process, text string) {
	tb.Helper()
	eventually(tb, p.name+" says "+text, func() error { // its line may come later than its answer over HTTP
		if len(p.err.with(text)) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if got := p.err.with(text); len(got) != 1 {
		tb.Errorf("%s says %q %d times, want once: %q", p.name, text, len(got), got)
	}
}

// TestAbsentBroker starts nodes whose broker is not there.
func TestAbsentBroker(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	s.kill(t)
	began := time.Now()
	nodes := []*node{startNode(t, "n1", "--nats", s.url("")), startNode(t, "n2", "--nats", s.url(""))}
	if elapsed := time.Since(began); elapsed > starts {
		t.Errorf("the start took %v, want at most %v", elapsed, starts)
	}
	for i, n := range nodes {
		n.state(t, 503, "syncing: not connected to a broker")
		within(t, prompt, "register without a broker", func() error {
			return n.Register(t.Context(), instance(fmt.Sprintf("at-%d", i+1), "1", 0))
		})
		within(t, prompt, "heartbeat without a broker", func() error {
			return n.Heartbeat(t.Context(), "ORDERS", fmt.Sprintf("at-%d", i+1), "UP", -1)
		})
	}
	for _, n := range nodes {
		n.atLeast(t, 8, "registryd_broker_connect_attempts_total", "outcome", "failed") // It goes on trying.
		said(t, n.process, "broker unreachable")
	}
	s.start(t)
	list(t, nodes, "at-1", "at-2")
	for _, n := range nodes {
		n.state(t, 200, "ready")
	}

	// When the broker is lost again, that is logged again, once.
	s.kill(t)
	for _, n := range nodes {
		n.state(t, 200, "degraded: not connected to a broker")
		said(t, n.process, "connection to broker lost")
	}
	// A node without a broker stops at once, and cleanly.
	within(t, starts, "stop without a broker", func() error {
		if code := nodes[1].term(t); code != 0 {
			return fmt.Errorf("exit code %d", code)
		}
		return nil
	})
}

// TestFrozenBroker suspends a broker: its sockets are open, and nothing reads
// from them.
func TestFrozenBroker(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	nodes := []*node{startNode(t, "n1", "--nats", s.url("")), startNode(t, "n2", "--nats", s.url(""))}
	meet(t, nodes...)
	s.freeze(t)
	want := numbered("frozen-", 40)
	for i, id := range want {
		within(t, prompt, "register with a frozen broker", func() error {
			return nodes[i%2].Register(t.Context(), instance(id, "1", 0))
		})
	}
	for _, n := range nodes {
		n.state(t, 200, "degraded: not connected to a broker")
	}
	// A third node starts now.
	began := time.Now()
	nodes = append(nodes, startNode(t, "n3", "--nats", s.url("")))
	if elapsed := time.Since(began); elapsed > starts {
		t.Errorf("the start took %v, want at most %v", elapsed, starts)
	}
	nodes[2].state(t, 503, "syncing: not connected to a broker")
	nodes[2].register(t, "third")
	s.thaw(t)
	list(t, nodes, append(want, "third")...)
	for _, n := range nodes {
		n.state(t, 200, "ready")
	}
	said(t, nodes[0].process, "connection to broker lost")
}

// TestBrokerOfOneNode makes the other nodes use one node's embedded broker,
// which ends with that node.
func TestBrokerOfOneNode(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	first := startNode(t, "n1", "--embedded-listen", address)
	nodes := []*node{
		first,
		startNode(t, "n2", "--nats", "nats://"+address),
		startNode(t, "n3", "--nats", "nats://"+address),
	}
	meet(t, nodes...)
	tail := startTail(t, "--nats", "nats://"+address)
	listening(t, tail, nodes...)
	first.register(t, "before")
	list(t, nodes, "before")
	seen(t, tail, "before", "n1>n2", "n1>n3")
	first.kill(t)
	for i, n := range nodes[1:] {
		n.state(t, 200, "degraded: not connected to a broker")
		n.register(t, fmt.Sprintf("meanwhile-%d", i))
		if _, err := n.Applications(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	first.restart(t)
	list(t, nodes, "before", "meanwhile-0", "meanwhile-1")
}
