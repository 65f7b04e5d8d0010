// Package interop_test puts unmodified clients together on three nodes, each
// node and each Node client a process of its own:
//
//	fargo, JSON ─────────▶ a ◀─ embedded broker ─┬─ b      first through the node
//	fargo, XML ──────────▶ b                     └─ c      drawn, then through
//	eureka-js-client ────▶ c   (c is killed with -9,       whichever is there
//	fargo, XML ──────────▶ c    and comes back)
//	eureka-js-client ────▶ b
//
// The first three stay to the end. The other two die without a word, and their
// leases with them at an eviction pass. The tests look at all nodes through the
// clients, and by HTTP beside them.
package interop_test

import (
	"context"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/op/go-logging"
)

const (
	renewal = time.Second // between two heartbeats, of each client

	lease      = 6 // s; of those that stay
	shortLease = 4 // s; of those that die

	// passes is how many eviction passes those that stay must live through after
	// the others' end; together longer than their lease.
	passes = 4

	vip       = "mixed.example"
	secureVIP = "mixed-secure.example"
	zone      = "eu-west-1a"
)

// The ids of the five.
const (
	idJSON = "host-json.example:fargo-json:8081"
	idXML  = "i-0a1b2c3d" // of a data centre of Amazon
	idJS   = "host-js.example:eureka-js:8083"

	idMortalXML = "host-mortal.example:fargo-mortal:8084"
	idMortalJS  = "host-mortal.example:eureka-js-mortal:8085"
)

// staying returns the ids of those that live to the end.
func staying() []string { return []string{idJSON, idXML, idJS} }

// everybody returns all ids.
func everybody() []string { return append(staying(), idMortalXML, idMortalJS) }

// TestMixedClients runs the steps in order; each goes on from what the one
// before left, so the first that fails is the last.
func TestMixedClients(t *testing.T) {
	ctx, cancel := signal.NotifyContext(t.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	said := logging.NewMemoryBackend(100) // what fargo logs
	logging.SetBackend(said).SetLevel(logging.WARNING, "")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("fargo logged last:\n%s", logged(said))
		}
	})
	m := newMixed(t)
	for _, step := range []struct {
		name string
		run  func(context.Context, *testing.T)
	}{
		{"three nodes in three processes become ready", m.launch},
		{"five clients register through three nodes", m.register},
		{"each client sees all others, whatever the node and the format", m.seeEachOther},
		{"lists without Accept are strict XML, as Prometheus reads them", m.readAsPrometheus},
		{"heartbeats renew the leases on all nodes", m.renew},
		{"a status set with UpdateInstanceStatus reaches everybody and outlives heartbeats", m.updateStatus},
		{"metadata set with AddMetadataString reaches everybody", m.addMetadata},
		{"ReregisterInstance replaces the instance everywhere", m.reregister},
		{"node c is killed: its clients go on, and a and b lose nothing", m.killNode},
		{"two clients die: they go at an eviction pass, the others stay through more", m.evict},
		{"node c comes back and knows what the others know", m.restartNode},
		{"all deregister: no node lists anything", m.deregister},
		{"the nodes end with code 0 on SIGTERM", m.stop},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(ctx, t) }) {
			break
		}
	}
}

// logged returns what a backend of fargo's logger holds.
func logged(said *logging.MemoryBackend) string {
	var out []string
	for n := said.Head(); n != nil; n = n.Next() {
		out = append(out, "  | "+n.Record.Formatted(0))
	}
	return strings.Join(out, "\n")
}
