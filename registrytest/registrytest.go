// Package registrytest starts registries for the tests of programs that use one.
//
//	func TestOrders(t *testing.T) {
//		registry := registrytest.Start(t, 2)
//		app := orders.New(registry.URLs()...) // registers, or discovers
//		…
//	}
//
// The nodes are real, in this process, on free ports of this machine, and end with the test. What
// takes minutes elsewhere is fast: a change is at the other nodes within 20 ms, and nothing is held
// back by self-preservation. A lease lasts for its duration, and for twice that once it was renewed, as
// in Eureka: an instance with a duration of 1 s has left the lists 2 s after its last heartbeat.
package registrytest

import (
	"fmt"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/registry"
)

// Times of a test's nodes.
const (
	batchDelay       = 20 * time.Millisecond
	evictionInterval = 100 * time.Millisecond
	meetTime         = 30 * time.Second // only a failing test takes that long
)

// Registry is some nodes that replicate to each other.
type Registry struct {
	tb    testing.TB
	nodes []*node.Node
}

// Start starts n nodes, waits until they have met, and closes them when the test ends. It fails the
// test if that is not possible. Call it from the test's goroutine.
func Start(tb testing.TB, n int) *Registry {
	tb.Helper()
	r := &Registry{tb: tb}
	for i := range n {
		opts := node.Options{
			Name: fmt.Sprintf("node-%d", i+1), Listen: "127.0.0.1:0", BatchDelay: batchDelay,
			EvictionInterval: evictionInterval, NoSelfPreservation: true, LeaseCompat: registry.Netflix,
		}
		if i == 0 {
			opts.Embedded = broker.ServerOptions{Listen: "127.0.0.1:0"}
		} else {
			opts.Broker = broker.Access{URLs: []string{"nats://" + r.nodes[0].BrokerAddress()}}
		}
		one, err := node.Start(tb.Context(), opts)
		if err != nil {
			tb.Fatalf("registrytest: %v", err)
		}
		tb.Cleanup(func() { // the node with the broker last
			if err := one.Close(); err != nil {
				tb.Errorf("registrytest: close %s: %v", one.Name(), err)
			}
		})
		r.nodes = append(r.nodes, one)
	}
	r.meet()
	return r
}

// meet waits until every node reaches all others.
func (r *Registry) meet() {
	r.tb.Helper()
	deadline, tick := time.NewTimer(meetTime), time.NewTicker(5*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !r.met() {
		select {
		case <-tick.C:
		case <-deadline.C:
			r.tb.Fatalf("registrytest: the nodes have not met within %v", meetTime)
		}
	}
}

func (r *Registry) met() bool {
	for _, n := range r.nodes {
		o := n.Overview()
		reached := 0
		for i := range o.Peers {
			if o.Peers[i].Available() {
				reached++
			}
		}
		if !o.Ready || reached != len(r.nodes)-1 {
			return false
		}
	}
	return true
}

// URLs returns the service URLs of the nodes, which clients take: http://127.0.0.1:PORT/eureka/.
func (r *Registry) URLs() []string {
	out := make([]string, len(r.nodes))
	for i, n := range r.nodes {
		out[i] = n.URL()
	}
	return out
}

// Nodes returns the nodes, to close one, say. Their order is that of URLs.
func (r *Registry) Nodes() []*node.Node { return r.nodes }

// Client returns a client of all nodes, which is closed when the test ends.
func (r *Registry) Client() *client.Client {
	r.tb.Helper()
	c, err := client.New(client.Options{URLs: r.URLs()})
	if err != nil {
		r.tb.Fatalf("registrytest: %v", err)
	}
	r.tb.Cleanup(c.Close)
	return c
}
