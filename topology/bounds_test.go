package topology_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// maxPayload is NATS's default, in bytes. A batch holds three quarters of it.
const maxPayload = 1 << 20

// settled waits until a node has nothing to send.
func (n *node) settled(tb testing.TB) {
	tb.Helper()
	eventually(tb, n.id+" has nothing left to send", func() error {
		for _, name := range []string{"acceptor_queue_actions", "acceptor_processing_order_slots", "acceptor_retrying_slots", "acceptor_in_flight_slots"} {
			got, err := n.value(tb.Context(), "registryd_"+name)
			if err != nil || got != 0 {
				return fmt.Errorf("%s: %v, %w", name, got, err)
			}
		}
		return nil
	})
}

// TestLargeInstances replicates 250 instances of 60 KB, which no message holds,
// by batches and by sync.
func TestLargeInstances(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	nodes := []*node{startNode(t, "n1", "--nats", s.url("")), startNode(t, "n2", "--nats", s.url(""))}
	meet(t, nodes...)
	tail := startTail(t, "--nats", s.url(""))
	ids := numbered("large-", 250)
	for _, id := range ids {
		if err := nodes[0].Register(t.Context(), instance(id, "1", 60_000)); err != nil {
			t.Fatal(err)
		}
	}
	nodes[1].metric(t, 250, "registryd_registry_instances")
	nodes[0].settled(t)
	if lost := nodes[0].now(t, "registryd_acceptor_dropped_actions_total"); lost != 0 {
		t.Errorf("%v actions dropped, want none", lost)
	}
	late := startNode(t, "n3", "--nats", s.url(""))
	late.state(t, 200, "ready")
	list(t, []*node{nodes[1], late}, ids...)
	for _, task := range tasks(t, tail) {
		if task.Bytes > maxPayload*3/4+64 {
			t.Errorf("batch %s from %s to %s has %d bytes, bound %d", task.Batch, task.From, task.To, task.Bytes, maxPayload*3/4)
		}
	}
}

// TestGrownSlots lets instances grow while their slots wait: a batch holds the
// instances as they are when it is cut.
func TestGrownSlots(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	nodes := []*node{
		startNode(t, "n1", "--nats", s.url(""), "--batch-delay", "1s"),
		startNode(t, "n2", "--nats", s.url("")),
	}
	meet(t, nodes...)
	ids := numbered("grown-", 20)
	for generation, size := range []int{0, 200_000} {
		for _, id := range ids {
			if err := nodes[0].Register(t.Context(), instance(id, fmt.Sprint(generation), size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "n2 has all instances in their final size", func() error {
		got, err := nodes[1].listed(t.Context())
		if err != nil {
			return err
		}
		for _, id := range ids {
			if got[id] != "1" {
				return fmt.Errorf("%s is of generation %q", id, got[id])
			}
		}
		return nil
	})
	nodes[0].settled(t)
	if lost := nodes[0].now(t, "registryd_acceptor_dropped_actions_total"); lost != 0 {
		t.Errorf("%v actions dropped, want none", lost)
	}
}

// TestTooLarge refuses an instance that no batch could hold, by the bound of
// the present broker.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "max_payload: 65536\n")
	nodes := []*node{startNode(t, "n1", "--nats", s.url("")), startNode(t, "n2", "--nats", s.url(""))}
	meet(t, nodes...)
	const want = "instance: larger than 49152 bytes as a task"
	if code, text := nodes[0].refusedWith(t, instance("large", "1", 60_000)); code != http.StatusRequestEntityTooLarge || !strings.Contains(text, want) {
		t.Errorf("60 KB: got %d %s, want 413 and %q", code, text, want)
	}
	if code, text := nodes[0].refusedWith(t, instance("fits", "1", 40_000)); code != http.StatusNoContent {
		t.Errorf("40 KB: got %d %s, want 204", code, text)
	}
	err := nodes[0].SetMetadata(t.Context(), "ORDERS", "fits", map[string]string{"more": strings.Repeat("x", 15_000)})
	if err == nil || !strings.Contains(err.Error(), "413") || !strings.Contains(err.Error(), want) {
		t.Errorf("15 KB more: got %v, want 413 and %q", err, want)
	}
	if err := nodes[0].SetMetadata(t.Context(), "ORDERS", "fits", map[string]string{"more": "x"}); err != nil {
		t.Errorf("a byte more: %v", err)
	}
	list(t, nodes, "fits")
	eventually(t, "n2 has the metadata", func() error {
		i, err := nodes[1].Instance(t.Context(), "ORDERS", "fits")
		if err != nil || i.Metadata["more"] != "x" || len(i.Metadata["ballast"]) != 40_000 {
			return fmt.Errorf("it has not: %w", err)
		}
		return nil
	})

	// The bound of registrations holds for every broker.
	if code, text := nodes[0].refusedWith(t, instance("larger", "1", 300_000)); code != http.StatusRequestEntityTooLarge || !strings.Contains(text, "body: larger than 262144 bytes") {
		t.Errorf("300 KB: got %d %s, want 413 and the bound", code, text)
	}
}

// TestShrunkMessages registers an instance while there is no broker, and then
// starts a broker with a smaller bound. The other instances are not affected,
// and the large one is not tried again and again.
func TestShrunkMessages(t *testing.T) {
	t.Parallel()
	small := startNATS(t, "max_payload: 65536\n")
	small.kill(t)
	nodes := []*node{startNode(t, "n1", "--nats", small.url("")), startNode(t, "n2", "--nats", small.url(""))}
	if code, text := nodes[0].refusedWith(t, instance("large", "1", 200_000)); code != http.StatusNoContent {
		t.Fatalf("register without a broker: %d %s", code, text)
	}
	ids := numbered("small-", 30)
	nodes[0].register(t, ids...)
	small.start(t)
	list(t, nodes[1:], ids...)
	dropped := []string{"registryd_acceptor_dropped_actions_total", "peer", "n2", "reason", "malformed"}
	nodes[0].atLeast(t, 1, dropped[0], dropped[1:]...)
	nodes[0].settled(t)
	nodes[0].metric(t, 1, "registryd_repair_divergent_entries", "peer", "n2")
	before := nodes[0].now(t, dropped[0], dropped[1:]...)
	rounds := nodes[0].now(t, "registryd_repair_rounds_total")
	nodes[0].atLeast(t, rounds+3, "registryd_repair_rounds_total")
	if after := nodes[0].now(t, dropped[0], dropped[1:]...); after != before {
		t.Errorf("dropped as malformed: %v, and %v after three rounds of repair, want no more", before, after)
	}
	if got := nodes[0].err.with("max payload", "large"); len(got) == 0 {
		t.Error("the log of n1 does not name the instance and the bound")
	}
	late := startNode(t, "n3", "--nats", small.url(""))
	late.state(t, 200, "ready")
	list(t, []*node{late}, ids...)
	if got := late.err.with("sync interrupted"); len(got) > 0 {
		t.Errorf("the start-up sync of n3 was cut short: %q", got)
	}

	// With a larger bound the instance arrives without anybody's help.
	small.kill(t)
	small.args = small.args[:4] // Without the configuration file.
	small.start(t)
	list(t, append(nodes, late), append(ids, "large")...)
}

// TestConflictsOverTheBound answers 250 tasks with newer copies that no reply
// can hold together.
func TestConflictsOverTheBound(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	// n1 sends once both have all registrations. n2 only answers.
	nodes := []*node{
		startNode(t, "n1", "--nats", s.url(""), "--batch-delay", "12s"),
		startNode(t, "n2", "--nats", s.url(""), "--batch-delay", "1m"),
	}
	meet(t, nodes...)
	for _, n := range nodes {
		n.state(t, 200, "ready") // else it pulls at its start what is registered here
	}
	ids := numbered("both-", 250)
	for i, n := range nodes { // The later ones at n2, and larger.
		for _, id := range ids {
			if err := n.Register(t.Context(), instance(id, n.id, i*5000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "n1 has n2's copies", func() error {
		got, err := nodes[0].listed(t.Context())
		if err != nil {
			return err
		}
		for _, id := range ids {
			if got[id] != "n2" {
				return fmt.Errorf("%s is of generation %q", id, got[id])
			}
		}
		return nil
	})
	nodes[0].settled(t)
	if got := nodes[1].now(t, "registryd_consumer_bare_conflicts_total"); got < 1 {
		t.Errorf("n2 has answered %v conflicts without its copy, want some: else the test shows nothing", got)
	}
	if got := nodes[0].now(t, "registryd_batcher_sends_total"); got > 10 {
		t.Errorf("n1 has sent %v batches for 250 tasks", got)
	}
}
