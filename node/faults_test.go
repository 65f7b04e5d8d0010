package node_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/internal/race"
	"github.com/registryd/registryd/node"
)

// TestQueuesShowOnMetrics stops a peer, lets work pile up for it, and brings it
// back. The series of its three queues show this.
func TestQueuesShowOnMetrics(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}, BatchDelay: 50 * time.Millisecond})
	n := nodes[0]
	m := scrape(t, n)
	for _, peer := range others(0) {
		for _, queue := range []string{
			"registryd_acceptor_queue_actions", "registryd_acceptor_processing_order_slots", "registryd_batcher_queue_batches",
		} {
			if got := m.value(queue, "peer", peer); got != 0 {
				t.Errorf("before: %s{peer=%q} is %v, want 0", queue, peer, got)
			}
		}
		if waiting, classes := m.find("registryd_batcher_waiting", "peer", peer); waiting != 0 || classes == 0 {
			t.Errorf("before: registryd_batcher_waiting{peer=%q} is %v in %d classes, want 0 in some", peer, waiting, classes)
		}
	}

	if err := nodes[2].stop(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range 20 {
		ids = append(ids, fmt.Sprintf("i-%d", i))
	}
	register(t, n, ids...)
	allList(t, nodes[:2], ids...)
	eventually(t, "the slots of the stopped peer wait", func() error {
		m := scrape(t, n)
		slots := m.value("registryd_acceptor_processing_order_slots", "peer", "n3")
		waiting := m.value("registryd_batcher_waiting", "peer", "n3", "class", "absent")
		failures := m.value("registryd_batcher_sends_total", "peer", "n3", "outcome", "absent")
		left := m.value("registryd_cluster_peers", "status", "left")
		if slots != 20 || waiting != 1 || failures < 1 || left != 1 {
			return fmt.Errorf("%v slots, waiting %v, %v failures, %v peers left", slots, waiting, failures, left)
		}
		return nil
	})
	m = scrape(t, n)
	if got := m.value("registryd_acceptor_oldest_age_seconds", "peer", "n3"); got <= 0 {
		t.Errorf("age of the oldest action for n3: got %v s, want more than 0", got)
	}
	if failures := m.failures("n2"); failures != 0 {
		t.Errorf("batches to n2 that failed: got %v, want none", failures)
	}
	checkLaw(t, n, others(0)...)

	back := start(t, node.Options{Name: "n3", Broker: broker.Access{Server: server}})
	allList(t, []testNode{n, nodes[1], back}, ids...)
	eventually(t, "the queues of the peer are empty", func() error {
		m := scrape(t, n)
		slots := m.value("registryd_acceptor_processing_order_slots", "peer", "n3")
		inFlight := m.value("registryd_acceptor_in_flight_slots", "peer", "n3")
		batches := m.value("registryd_batcher_in_flight_batches", "peer", "n3")
		waiting, _ := m.find("registryd_batcher_waiting", "peer", "n3")
		if slots != 0 || inFlight != 0 || batches != 0 || waiting != 0 {
			return fmt.Errorf("%v slots, %v in flight, %v batches, waiting %v", slots, inFlight, batches, waiting)
		}
		return nil
	})
	if lost, _ := scrape(t, n).find("registryd_acceptor_dropped_actions_total", "peer", "n3"); lost != 0 {
		t.Errorf("dropped for n3: got %v actions, want none", lost)
	}
	checkLaw(t, n, others(0)...)
}

// TestAbsentPeerCostsTheOthersNothing announces a node that serves nothing. With
// a tailer attached, batches to it time out instead of failing at once.
func TestAbsentPeerCostsTheOthersNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		tailed bool
		class  string
	}{
		{"alone", false, "absent"},
		{"with a tailer", true, "timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := natstest.TCP(t)
			nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}, BatchDelay: 50 * time.Millisecond})
			var tail *tailer
			if test.tailed {
				tail = startTailer(t, server)
			}
			announce := haunt(t, server, "ghost")
			announce("ready")
			for _, n := range nodes {
				eventually(t, n.Name()+" takes the ghost for a peer", func() error {
					if got := scrape(t, n).value("registryd_cluster_peers", "status", "reachable"); got != 3 {
						return fmt.Errorf("it reaches %v peers", got)
					}
					return nil
				})
			}
			register(t, nodes[0], "first")
			eventually(t, "batches to the ghost fail", func() error {
				if got := scrape(t, nodes[0]).value("registryd_batcher_sends_total", "peer", "ghost", "outcome", test.class); got < 1 {
					return fmt.Errorf("%v failures of class %s", got, test.class)
				}
				return nil
			})
			began := time.Now()
			register(t, nodes[0], "second")
			allList(t, nodes, "first", "second")
			t.Logf("listed everywhere after %v", time.Since(began))

			m := scrape(t, nodes[0])
			for _, peer := range []string{"n2", "n3"} {
				if failures := m.failures(peer); failures != 0 {
					t.Errorf("batches to %s that failed: got %v, want none", peer, failures)
				}
				eventually(t, "nothing waits for "+peer, func() error {
					m := scrape(t, nodes[0])
					if got := m.value("registryd_acceptor_done_actions_total", "outcome", "acknowledged", "peer", peer); got != 2 {
						return fmt.Errorf("it has acknowledged %v of 2", got)
					}
					return nil
				})
			}
			checkLaw(t, nodes[0], "n2", "n3", "ghost")
			// Otherwise each node would spend its whole drain on the ghost.
			announce("leaving")
			for _, n := range nodes {
				eventually(t, n.Name()+" knows that the ghost has left", func() error {
					if got := scrape(t, n).value("registryd_cluster_peers", "status", "left"); got != 1 {
						return fmt.Errorf("%v peers have left", got)
					}
					return nil
				})
			}
			if tail != nil {
				for _, peer := range []string{"n2", "n3", "ghost"} {
					tail.waitFor(t, "second", "n1>"+peer)
				}
				for _, task := range tail.all() {
					if task.from != "n1" {
						t.Errorf("%s of %s was sent on: %s", task.item.Action, task.item.ID, task.route())
					}
				}
			}
		})
	}
}

// haunt returns a function that announces a node that does not exist, in a
// state.
func haunt(tb testing.TB, server *broker.Server, name string) func(state string) {
	tb.Helper()
	b := natstest.Node(tb, server, name)
	incarnation, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return func(state string) {
		tb.Helper()
		body, err := json.Marshal(map[string]any{
			"node": name, "incarnation": incarnation, "url": "http://192.0.2.9:8761/eureka/",
			"version": "dev", "time": time.Now().UnixMilli(), "state": state,
		})
		if err != nil {
			tb.Fatal(err)
		}
		if err := b.Publish(b.Subjects().Presence(name), body); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestStartWithoutBroker starts nodes before their broker is there.
func TestStartWithoutBroker(t *testing.T) {
	t.Parallel()
	address := natstest.FreeAddress(t)
	bound := 2 * time.Second
	if race.Enabled {
		bound = patience
	}
	nodes := make([]testNode, 2)
	for i := range nodes {
		began := time.Now()
		nodes[i] = start(t, node.Options{
			Name: fmt.Sprintf("n%d", i+1), Broker: broker.Access{URLs: []string{"nats://" + address}},
			BatchDelay: 50 * time.Millisecond,
		})
		if elapsed := time.Since(began); elapsed > bound {
			t.Errorf("start took %v, want at most %v", elapsed, bound)
		}
	}
	for i, n := range nodes {
		syncing(t, n, "syncing: not connected to a broker", fmt.Sprintf("i-%d", i+1))
	}
	natstest.At(t, address)
	allList(t, nodes, "i-1", "i-2")
	for _, n := range nodes {
		ready(t, n, "ready")
	}
}

// TestStartWithSilentBroker starts a node whose broker accepts connections and
// is silent, as a suspended process is.
func TestStartWithSilentBroker(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	silent, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // The test is over.
	began := time.Now()
	n := start(t, node.Options{Name: "n1", Broker: broker.Access{URLs: []string{"nats://" + silent.Addr().String()}}})
	t.Logf("start took %v", time.Since(began))
	syncing(t, n, "syncing: not connected to a broker", "a")
}

// syncing checks a node that may know less than its peers. It takes registers
// and the heartbeats of those instances, gives no lists, and does not ask an
// unknown instance to register again.
func syncing(t *testing.T, n testNode, state, id string) {
	t.Helper()
	eventually(t, n.Name()+" is "+state, func() error {
		code, body, err := get(t, n, "/readyz")
		if err == nil && (code != http.StatusServiceUnavailable || body != state) {
			err = fmt.Errorf("/readyz: got %d %q", code, body)
		}
		return err
	})
	register(t, n, id)
	if err := n.Heartbeat(t.Context(), "ORDERS", id, eureka.StatusUp, eureka.NoTimestamp); err != nil {
		t.Errorf("heartbeat of %s: %v", id, err)
	}
	if err := n.Heartbeat(t.Context(), "ORDERS", "unknown", eureka.StatusUp, eureka.NoTimestamp); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("heartbeat of an unknown instance: got %v, want 503", err)
	}
	if code, _, err := get(t, n, "/eureka/apps"); err != nil || code != http.StatusForbidden {
		t.Errorf("lists: got %d, %v, want 403", code, err)
	}
}

// TestBrokerRestart stops the broker and starts it again. What clients sent
// meanwhile arrives.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	address := server.Address()
	nodes := startCluster(t, 3, node.Options{
		Broker: broker.Access{URLs: []string{natstest.URL(server)}}, BatchDelay: 50 * time.Millisecond,
	})
	register(t, nodes[0], "old", "stays")
	allList(t, nodes, "old", "stays")

	server.Shutdown()
	for _, n := range nodes {
		ready(t, n, "degraded: not connected to a broker")
	}
	want := []string{"stays"}
	for i, n := range nodes {
		for j := range 10 {
			id := fmt.Sprintf("i-%d-%d", i+1, j)
			want = append(want, id)
			register(t, n, id)
		}
	}
	if err := nodes[1].Cancel(t.Context(), "ORDERS", "old"); err != nil {
		t.Errorf("cancel at another node than the one that registered: %v", err)
	}

	natstest.At(t, address)
	allList(t, nodes, want...)
	for i, n := range nodes {
		ready(t, n, "ready")
		checkLaw(t, n, others(i)...)
		for _, peer := range others(i) {
			if dropped, _ := scrape(t, n).find("registryd_acceptor_dropped_actions_total", "peer", peer); dropped != 0 {
				t.Errorf("%s to %s: dropped %v actions, want none", n.Name(), peer, dropped)
			}
		}
	}
}
