package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// Eureka's numbers, which are the defaults.
const (
	delay     = 500 * time.Millisecond
	batchSize = 250
)

// TestRegisterReachesAllNodes is the product in one test: a register at one
// node is one task to each other node, which does not send it on.
func TestRegisterReachesAllNodes(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	tail := startTailer(t, server)
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}})

	answered := time.Now()
	register(t, nodes[0], "a")
	allList(t, nodes, "a")
	t.Logf("listed everywhere after %v", time.Since(answered))

	// A node would send changes on in order. So once n2 and n3 have sent
	// something younger, they have sent everything that they would have sent of
	// "a".
	register(t, nodes[1], "b")
	register(t, nodes[2], "c")
	tail.waitFor(t, "b", "n2>n1", "n2>n3")
	tail.waitFor(t, "c", "n3>n1", "n3>n2")
	allList(t, nodes, "a", "b", "c")

	for id, want := range map[string][]string{"a": {"n1>n2", "n1>n3"}, "b": {"n2>n1", "n2>n3"}, "c": {"n3>n1", "n3>n2"}} {
		var got []string
		for _, task := range tail.of(id) {
			got = append(got, task.route())
			if task.item.Action != eureka.ActionRegister || task.position != 1 || task.of != 1 {
				t.Errorf("%s on %s: got %s, task %d of %d, want the only Register", id, task.route(), task.item.Action, task.position, task.of)
			}
			if task.item.State.Wait < delay.Milliseconds() {
				t.Errorf("%s on %s: got a wait of %d ms, want at least %v", id, task.route(), task.item.State.Wait, delay)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("tasks of %s: got %v, want %v", id, got, want)
		}
	}
	for i, n := range nodes {
		checkLaw(t, n, others(i)...)
	}
}

// others returns the names of the nodes of a cluster of three without one.
func others(i int) []string {
	all := []string{"n1", "n2", "n3"}
	return slices.Delete(all, i, i+1)
}

// TestActionsReplicate performs the actions of clients at one node, and checks
// another.
func TestActionsReplicate(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	nodes := startCluster(t, 2, node.Options{Broker: broker.Access{Server: server}, BatchDelay: 50 * time.Millisecond})
	here, there := nodes[0], nodes[1]
	sees := func(what string, want func(*eureka.InstanceInfo) bool) {
		t.Helper()
		eventually(t, what, func() error {
			i, err := there.Instance(t.Context(), "ORDERS", "a")
			switch {
			case errors.Is(err, client.ErrNotFound):
				i = nil
			case err != nil:
				return err
			}
			if !want(i) {
				return fmt.Errorf("%s has %+v", there.Name(), i)
			}
			return nil
		})
	}
	register(t, here, "a")
	sees("registered", func(i *eureka.InstanceInfo) bool { return i != nil && i.Status == eureka.StatusUp })
	if err := here.SetStatus(t.Context(), "ORDERS", "a", eureka.StatusOutOfService); err != nil {
		t.Fatal(err)
	}
	sees("overridden", func(i *eureka.InstanceInfo) bool {
		return i != nil && i.Status == eureka.StatusOutOfService && i.OverriddenStatus == eureka.StatusOutOfService
	})
	if err := there.DeleteStatus(t.Context(), "ORDERS", "a", eureka.StatusUp); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the override is removed at the first node", func() error {
		i, err := here.Instance(t.Context(), "ORDERS", "a")
		if err == nil && i.OverriddenStatus != eureka.StatusUnknown {
			err = fmt.Errorf("overriddenstatus is %s", i.OverriddenStatus)
		}
		return err
	})
	if err := here.SetMetadata(t.Context(), "ORDERS", "a", map[string]string{"zone": "b"}); err != nil {
		t.Fatal(err)
	}
	sees("new metadata", func(i *eureka.InstanceInfo) bool {
		return i != nil && i.Metadata["zone"] == "b" && i.Metadata["generation"] == "1"
	})
	if err := there.Cancel(t.Context(), "ORDERS", "a"); err != nil {
		t.Fatal(err)
	}
	allList(t, nodes)
}

// TestBurstLeavesInFullBatches registers 1,000 instances within one delay.
func TestBurstLeavesInFullBatches(t *testing.T) {
	t.Parallel()
	const burst = 1000
	server := natstest.TCP(t)
	tail := startTailer(t, server)
	// A longer delay, so that a slow machine registers all within it.
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}, BatchDelay: 2 * time.Second})

	var posting sync.WaitGroup
	var ids []string
	for worker := range 4 {
		var own []string
		for i := range burst / 4 {
			own = append(own, fmt.Sprintf("i-%d-%d", worker, i))
		}
		ids = append(ids, own...)
		posting.Go(func() {
			for _, id := range own {
				if err := nodes[0].Register(t.Context(), instance(id, "1")); err != nil {
					t.Errorf("register %s: %v", id, err)
					return
				}
			}
		})
	}
	posting.Wait()
	allList(t, nodes, ids...)

	for _, to := range []string{"n2", "n3"} {
		times, sizes := map[string]int{}, map[string]int{}
		for _, task := range tail.all() {
			if task.to == to {
				times[task.item.ID]++
				sizes[task.batch] = task.of
			}
		}
		if len(times) != burst {
			t.Errorf("to %s: got %d instances, want %d", to, len(times), burst)
		}
		again := resent(t, nodes[0], to) // on a busy machine requests time out
		for id, n := range times {
			if float64(n) > 1+again {
				t.Errorf("to %s: got %d tasks of %s, want 1, and at most %v more that were sent again", to, n, id, again)
			}
		}
		largest := 0
		for _, size := range sizes {
			largest = max(largest, size)
		}
		if largest != batchSize {
			t.Errorf("to %s: the largest batch of %v has %d tasks, want %d", to, sizes, largest, batchSize)
		}
		t.Logf("to %s: %d batches", to, len(sizes))
	}
}

// resent returns how many batches a node has sent to a peer again, and how many
// entries repair has pushed to it.
func resent(t *testing.T, n testNode, to string) float64 {
	t.Helper()
	m := scrape(t, n)
	sends, _ := m.find("registryd_batcher_sends_total", "peer", to)
	answered, _ := m.find("registryd_batcher_sends_total", "peer", to, "outcome", "answered")
	pushed, _ := m.find("registryd_repair_entries_total", "peer", to, "direction", "pushed")
	return sends - answered + pushed
}

// TestRegisterCancelRegister does so within one window. Eureka's own pipeline
// ends cancelled on the peer.
func TestRegisterCancelRegister(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	tail := startTailer(t, server)
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}, BatchDelay: time.Second})

	n, ctx := nodes[0], t.Context()
	for _, err := range []error{
		n.Register(ctx, instance("stays", "1")),
		n.Cancel(ctx, "ORDERS", "stays"),
		n.Register(ctx, instance("stays", "2")),
		n.Register(ctx, instance("leaves", "1")),
		n.Cancel(ctx, "ORDERS", "leaves"),
		n.Register(ctx, instance("last", "1")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The slot of "last" is behind theirs.
	tail.waitFor(t, "last", "n1>n2", "n1>n3")
	allList(t, nodes, "stays", "last")
	for _, n := range nodes {
		i, err := n.Instance(ctx, "ORDERS", "stays")
		if err != nil || i.Metadata["generation"] != "2" {
			t.Errorf("%s: got %+v, %v, want generation 2", n.Name(), i, err)
		}
	}
	for _, to := range []string{"n2", "n3"} {
		for _, want := range []struct {
			id     string
			action eureka.Action
		}{{"stays", eureka.ActionRegister}, {"leaves", eureka.ActionCancel}} {
			var actions []eureka.Action
			for _, task := range tail.of(want.id) {
				if task.to == to {
					actions = append(actions, task.item.Action)
				}
			}
			if len(actions) == 0 || actions[len(actions)-1] != want.action {
				t.Errorf("%s to %s: got %v, want %s at last", want.id, to, actions, want.action)
			}
		}
	}
}

// TestFastRenewalHoldsNobodyBack runs a client that renews five times per
// delay. In Eureka it keeps resetting the clock of the whole queue
// (Netflix/eureka#1509).
func TestFastRenewalHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	tail := startTailer(t, server)
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}})

	ctx, stop := context.WithCancel(t.Context())
	lease, err := client.NewLease(nodes[0].Client, instance("eager", "1"), client.LeaseOptions{RenewalInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := lease.Run(ctx); err != nil {
			t.Errorf("lease: %v", err)
		}
	})
	defer running.Wait()
	defer stop()

	allList(t, nodes, "eager")
	eventually(t, "the client renews", func() error {
		if n := lease.Stats().Heartbeats; n < 5 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	register(t, nodes[0], "other")
	before := lease.Stats().Heartbeats
	allList(t, nodes, "eager", "other")
	// The renewals continued meanwhile, and are on their way themselves.
	eventually(t, "two heartbeats of the client reach each peer", func() error {
		beats := map[string]int{}
		for _, task := range tail.of("eager") {
			if task.item.Action == eureka.ActionHeartbeat {
				beats[task.to]++
			}
		}
		if beats["n2"] < 2 || beats["n3"] < 2 {
			return fmt.Errorf("got %v", beats)
		}
		return nil
	})
	if got := lease.Stats(); got.Heartbeats == before || got.Failures > 0 {
		t.Errorf("lease: got %+v, want more than %d heartbeats and no failure", got, before)
	}
	for _, task := range tail.of("eager") {
		if task.position == 1 && task.item.State.Wait < delay.Milliseconds() {
			t.Errorf("%s on %s waited %d ms at the head of its batch, want at least %v",
				task.item.Action, task.route(), task.item.State.Wait, delay)
		}
	}
	stop()
	allList(t, nodes, "other")
}
