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
	"errors"
	"fmt"
	"maps"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hudl/fargo"
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

// mixed is the scenario's cast.
type mixed struct {
	*cluster
	inJSON, inXML, mortal *fargoClient
	js, mortalJS          *jsClient
	metadata              map[string]map[string]string // by id, as it must be now
	watch                 *watch
}

func (m *mixed) fargos() []*fargoClient { return []*fargoClient{m.inJSON, m.inXML} }

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
	logging.SetBackend(said)
	logging.SetLevel(logging.WARNING, "fargo")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("fargo logged last:\n%s", lines(said))
		}
	})

	m := &mixed{cluster: newCluster(ctx, t)}
	m.cast(t)
	for _, step := range []struct {
		name string
		run  func(context.Context, *testing.T)
	}{
		{"clients register through different nodes", func(ctx context.Context, t *testing.T) { m.register(ctx, t) }},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(ctx, t) }) {
			break
		}
	}
}
