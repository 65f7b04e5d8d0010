package node_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/regions"
)

// TestRegionsShowEachOther runs two regions, of which each shows the other: here one of
// two nodes and one of one. Instances cross once, and a cancelled one goes on both sides
// and stays away.
func TestRegionsShowEachOther(t *testing.T) {
	east, west := natstest.FreeAddress(t), natstest.FreeAddress(t)
	options := func(name, listen, other, at string) node.Options {
		return node.Options{
			Name: name, Listen: listen, Cluster: name, RegionInterval: time.Second,
			RemoteRegions: []regions.Region{{Name: other, URL: "http://me:secret@" + at + "/eureka/"}},
		}
	}
	e := start(t, options("east", east, "west", west))
	w := start(t, options("west", west, "east", east))
	register(t, e, "e1", "e2")
	register(t, w, "w1")
	both := func(what string, ids ...string) {
		t.Helper()
		eventually(t, what, func() error {
			return errors.Join(lists(t.Context(), e, ids...), lists(t.Context(), w, ids...))
		})
	}
	both("each side lists both", "e1", "e2", "w1")
	for _, id := range []string{"e1", "w1"} {
		at := map[string]testNode{"e1": e, "w1": w}[id]
		if err := at.Cancel(t.Context(), "ORDERS", id); err != nil {
			t.Fatal(err)
		}
	}
	both("the cancelled ones are gone", "e2")
	// They stay away for as long as a copy could travel to the other side and back.
	for range 4 {
		before := fetches(t, e) + fetches(t, w)
		eventually(t, "both are fetched again", func() error {
			if now := fetches(t, e) + fetches(t, w); now < before+2 {
				return fmt.Errorf("%v fetches after %v", now, before)
			}
			return nil
		})
		both("the cancelled ones stay away", "e2")
	}
	for _, n := range []testNode{e, w} {
		_, status, err := get(t, n, "/status")
		if err != nil || !strings.Contains(status, `"regions": [`) {
			t.Errorf("%s: /status: %v, %s", n.Name(), err, status)
		}
		_, metrics, err := get(t, n, "/metrics")
		if err != nil || strings.Contains(status+metrics, "secret") {
			t.Errorf("%s: the password is shown, or %v", n.Name(), err)
		}
	}
	// A node of the region's own has the instances of its region alone.
	if got := scrape(t, w).value("registryd_registry_entries"); got != 1 { // the tombstone of w1
		t.Errorf("the registry of west has %v entries, want 1", got)
	}
}

// fetches returns how many deltas a node has applied.
func fetches(t *testing.T, n testNode) float64 {
	t.Helper()
	return scrape(t, n).value("registryd_regions_fetches_total", "outcome", "delta")
}

// TestFirstListHasRegions reads a list as soon as the node serves: its regions are in it.
func TestFirstListHasRegions(t *testing.T) {
	e := start(t, node.Options{Name: "east", Cluster: "east"})
	register(t, e, "e1")
	w := start(t, node.Options{
		Name: "west", Cluster: "west", RemoteRegions: []regions.Region{{Name: "east", URL: e.URL()}},
	})
	if err := lists(t.Context(), w, "e1"); err != nil {
		t.Error(err)
	}
	// Of a region that is away readers get nothing, but all else.
	away := start(t, node.Options{
		Name: "third", Cluster: "third",
		RemoteRegions: []regions.Region{
			{Name: "away", URL: "http://" + natstest.FreeAddress(t) + "/eureka/"}, {Name: "east", URL: e.URL()},
		},
	})
	if err := lists(t.Context(), away, "e1"); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]int{
		"/eureka/apps?regions=away": http.StatusForbidden, "/eureka/apps?regions=east": http.StatusOK,
		"/eureka/vips/x?regions=away": http.StatusForbidden, "/eureka/apps/ORDERS": http.StatusOK,
	} {
		if code, _, err := get(t, away, path); err != nil || code != want {
			t.Errorf("GET %s: %d, %v, want %d", path, code, err, want)
		}
	}
}

// TestRegionsOptions reports what is wrong with a region, and not its URL.
func TestRegionsOptions(t *testing.T) {
	_, err := node.Start(t.Context(), node.Options{
		RemoteRegions: []regions.Region{{Name: "east", URL: "me:secret@host"}},
	})
	if !errors.Is(err, node.ErrOptions) || !strings.Contains(err.Error(), "east") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
