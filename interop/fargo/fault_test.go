package interop_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hudl/fargo"
)

// killNode kills the node that eureka-js-client prefers and that fargo picks for
// every third request.
func (m *mixed) killNode(ctx context.Context, t *testing.T) {
	left := []*node{m.a, m.b}
	m.watch = m.watchFor(ctx, left, staying()...)
	before := map[*node]map[string]listed{}
	for _, n := range left {
		all, _, err := m.list(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		before[n] = all
	}
	if err := m.c.proc.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.beats(ctx, t, 4)
	v, err := m.js.look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(v.Complaints, func(line string) bool { return strings.Contains(line, m.c.registry()) }) {
		t.Errorf("%s did not notice that c is gone; it says %q", m.js.id, v.Complaints)
	}
	for _, n := range left {
		all, _, err := m.list(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		for id, was := range before[n] {
			if got, want := all[id].state(), was.state(); got != want {
				t.Errorf("node %s, %s after the kill of c:\n got %s\nwant %s", n.name, id, got, want)
			}
		}
	}
	// Changes go on between those that are left.
	m.setMetadata(t, m.inXML, "colour", "white")
	m.hasMetadata(ctx, t, idXML, left...)
}

// evict lets two clients die and waits for the ends of their leases.
func (m *mixed) evict(ctx context.Context, t *testing.T) {
	left := []*node{m.a, m.b}
	evicted := map[*node]int{}
	for _, n := range left {
		count, err := m.counter(ctx, n, evictions)
		if err != nil {
			t.Fatal(err)
		}
		evicted[n] = count
	}
	m.mortal.abandon()
	if err := m.mortalJS.proc.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	renewed := map[string]int64{} // ms; last seen, by node and id
	for _, id := range []string{idMortalXML, idMortalJS} {
		for _, n := range left {
			all, _, err := m.list(ctx, n)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := all[id]; !ok {
				t.Fatalf("node %s: %s went before its lease ended", n.name, id)
			}
		}
	}
	gone := map[string]bool{}
	until(ctx, t, "a and b have evicted both, and nobody else", func() error {
		var still []string
		for _, n := range left {
			all, _, err := m.list(ctx, n)
			if err != nil {
				return err
			}
			for _, id := range []string{idMortalXML, idMortalJS} {
				key := n.name + " " + id
				instance, there := all[id]
				switch {
				case there && gone[key]:
					t.Fatalf("node %s lists %s again", n.name, id)
				case there:
					renewed[key] = instance.Lease.Renewed
					still = append(still, key)
				case !gone[key]:
					gone[key] = true
					ends := time.UnixMilli(renewed[key]).Add(shortLease * time.Second)
					if now := time.Now(); now.Before(ends) {
						t.Fatalf("node %s: %s is gone at %s, want not before its lease ended at %s", n.name, id, now, ends)
					}
				}
			}
		}
		if len(still) > 0 {
			return fmt.Errorf("still there: %v", still)
		}
		return nil
	})
	m.lists(ctx, t, left, staying()...)
	m.beats(ctx, t, passes*int(evictionInterval/renewal))
	m.lists(ctx, t, left, staying()...)
	for _, n := range left {
		count, err := m.counter(ctx, n, evictions)
		if got := count - evicted[n]; err != nil || got != 2 {
			t.Errorf("node %s evicted %d (%v), want the 2 that died", n.name, got, err)
		}
	}
	until(ctx, t, m.js.id+" has those that stay in its cache", func() error {
		want := staying()
		slices.Sort(want)
		v, err := m.js.look(ctx)
		if got := v.ids(); err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%v", got)
		}
		return err
	})
	// Fargo picks at random, so it is only by now that this is about certain.
	until(ctx, t, "each fargo client asked c in vain, and went on", func() error {
		var err error
		for _, c := range m.fargos() {
			if failed := c.count().failed; !slices.ContainsFunc(slices.Collect(maps.Keys(failed)), func(what string) bool {
				return strings.Contains(what, m.c.base())
			}) {
				err = errors.Join(err, fmt.Errorf("%s: failed: %v", c.name, failed))
			}
		}
		return err
	})
}

// evictions is the metric that counts what a node's passes evicted.
const evictions = "registryd_registry_evictions_total"

// restartNode starts c again, empty, at its old port.
func (m *mixed) restartNode(ctx context.Context, t *testing.T) {
	if !m.start(ctx, t, m.c, keep) {
		t.Fatalf("another program took port %d of c", m.c.port)
	}
	all, _, err := m.list(ctx, m.c)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range staying() {
		if _, ok := all[id]; !ok {
			t.Errorf("c is ready and does not list %s", id)
		}
	}
	if len(all) != len(staying()) {
		t.Errorf("c is ready and lists %d instances, want the %d that stay: what its peers have evicted is dead", len(all), len(staying()))
	}
	m.lists(ctx, t, m.nodes(), staying()...)
	want, wantHash, err := m.list(ctx, m.a)
	if err != nil {
		t.Fatal(err)
	}
	got, gotHash, err := m.list(ctx, m.c)
	if err != nil {
		t.Fatal(err)
	}
	if gotHash != wantHash {
		t.Errorf("apps__hashcode of c: got %q, want %q as of a", gotHash, wantHash)
	}
	for id := range want {
		if got, want := got[id].shared(), want[id].shared(); got != want {
			t.Errorf("%s at c again:\n got %s\nwant %s as at a", id, got, want)
		}
	}
	// Fargo uses c again, with changes too; nobody is told to register again.
	until(ctx, t, "c answers heartbeats again", func() error {
		answered, err := m.counter(ctx, m.c, `registryd_api_requests_total{code="200",operation="heartbeat"}`)
		if err == nil && answered == 0 {
			err = errors.New("none yet")
		}
		return err
	})
	m.beats(ctx, t, 4)
	if err := m.inXML.at(m.c.registry()).AddMetadataString(m.inXML.instance, "colour", "black"); err != nil {
		t.Fatal(err)
	}
	m.metadata[idXML]["colour"] = "black"
	m.hasMetadata(ctx, t, idXML, m.nodes()...)
}

// deregister ends all that are left, with a word.
func (m *mixed) deregister(ctx context.Context, t *testing.T) {
	m.watch.end(t)
	for _, c := range m.fargos() {
		c.deregister(t)
		now := c.count()
		t.Logf("%s: %d heartbeats answered with 200, %d with 404, else %v", c.name, now.beats, now.reregistered, now.failed)
	}
	if err := m.js.tell(ctx, "stop", nil); err != nil {
		t.Fatal(err)
	}
	v, err := m.js.look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if v.Registered != 1 || v.Deregistered != 1 {
		t.Errorf("%s registered %d and deregistered %d times, want once each", m.js.id, v.Registered, v.Deregistered)
	}
	t.Logf("eureka-js-client: %d heartbeats answered with 200", v.Heartbeats)
	m.js.close(t)
	m.lists(ctx, t, m.nodes())
	for _, c := range m.fargos() {
		for _, n := range m.nodes() {
			if all, err := c.read(n); err != nil || len(all) > 0 {
				t.Errorf("%s reads from %s: got %v, error %v, want an empty list", c.name, n.name, all, err)
			}
			var missing fargo.AppNotFoundError
			if _, err := c.at(n.registry()).GetApp(c.instance.App); !errors.As(err, &missing) {
				t.Errorf("%s: GetApp of its own at %s: error %v, want not found", c.name, n.name, err)
			}
		}
	}
}

// stop ends the nodes, that with the broker at last.
func (m *mixed) stop(_ context.Context, t *testing.T) {
	for _, n := range []*node{m.c, m.b, m.a} {
		n.stop(t)
	}
}
