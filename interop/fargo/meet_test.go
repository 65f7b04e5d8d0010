package interop_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hudl/fargo"
)

// register starts all clients, each through one node.
func (m *mixed) register(ctx context.Context, t *testing.T) {
	// With deltas eureka-js-client keeps what it knows of an instance that comes as
	// ADDED, and to Eureka new metadata and new registrations are that. So the one
	// that must see them reads full lists.
	m.js = newJSClient(m.owner, t, idJS, false, m.jsInstance(idJS, "EUREKA-JS", "host-js.example", "192.0.2.3", 8083, lease), m.c, m.a, m.b)
	m.mortalJS = newJSClient(m.owner, t, idMortalJS, true,
		m.jsInstance(idMortalJS, "EUREKA-JS-MORTAL", "host-mortal.example", "192.0.2.4", 8085, shortLease), m.b, m.a)
	for _, j := range []*jsClient{m.js, m.mortalJS} {
		if err := j.tell(ctx, "start", nil); err != nil {
			t.Fatal(err)
		}
	}
	homes := map[*fargoClient]*node{m.inJSON: m.a, m.inXML: m.b, m.mortal: m.c}
	for client, home := range homes {
		client.urls = []string{m.a.registry(), m.b.registry(), m.c.registry()}
		want := factsOf(client.instance)
		want.overridden = fargo.UNKNOWN
		client.register(ctx, t, home, want)
	}
	m.lists(ctx, t, m.nodes(), everybody()...)
	// RegisterInstance asks first, and keeps a registration that is there.
	before, _, err := m.list(ctx, m.b)
	if err != nil {
		t.Fatal(err)
	}
	again := *m.inJSON.instance
	if err := m.inJSON.at(m.b.registry()).RegisterInstance(&again); err != nil {
		t.Fatal(err)
	}
	after, _, err := m.list(ctx, m.b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := after[idJSON].state(), before[idJSON].state(); got != want {
		t.Errorf("RegisterInstance once more at b:\n got %s\nwant %s", got, want)
	}
}

// seeEachOther compares what clients read of each other.
func (m *mixed) seeEachOther(ctx context.Context, t *testing.T) {
	for _, n := range m.nodes() {
		inJSON, err := m.inJSON.read(n)
		if err != nil {
			t.Fatal(err)
		}
		inXML, err := m.inXML.read(n)
		if err != nil {
			t.Fatal(err)
		}
		want := everybody()
		slices.Sort(want)
		for name, all := range map[string]map[string]*fargo.Instance{"JSON": inJSON, "XML": inXML} {
			if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
				t.Fatalf("GetApps of %s in %s: got %v, want %v", n.name, name, got, want)
			}
		}
		for id := range inJSON {
			if got, want := factsOf(inXML[id]), factsOf(inJSON[id]); got != want {
				t.Errorf("%s at %s differs by format:\n XML %+v\nJSON %+v", id, n.name, got, want)
			}
		}
		for _, client := range m.fargos() {
			m.find(t, client, n)
		}
	}
	want := everybody()
	slices.Sort(want)
	for _, j := range []*jsClient{m.js, m.mortalJS} {
		until(ctx, t, j.id+" has all in its cache, and all under their virtual address", func() error {
			v, err := j.look(ctx)
			if err != nil {
				return err
			}
			slices.Sort(v.VIP)
			if got := v.ids(); !slices.Equal(got, want) || !slices.Equal(v.VIP, want) {
				return fmt.Errorf("instances %v, under %s %v", got, vip, v.VIP)
			}
			return nil
		})
	}
}

// find looks for the others as fargo offers: by application, by virtual address
// and by a source that looks again and again.
func (m *mixed) find(t *testing.T, client *fargoClient, n *node) {
	t.Helper()
	conn := client.at(n.registry())
	for _, want := range []*fargo.Instance{m.inJSON.instance, m.inXML.instance, m.mortal.instance} {
		app, err := conn.GetApp(want.App)
		if err != nil {
			t.Errorf("%s: GetApp %s at %s: %v", client.name, want.App, n.name, err)
		} else if got := ids(app.Instances); app.Name != want.App || !slices.Equal(got, []string{want.Id()}) {
			t.Errorf("%s: GetApp %s at %s: %s with %v, want one with %s", client.name, want.App, n.name, app.Name, got, want.Id())
		}
	}
	var missing fargo.AppNotFoundError
	if app, err := conn.GetApp("NOBODY"); !errors.As(err, &missing) {
		t.Errorf("%s: GetApp NOBODY at %s: %v and error %v, want not found", client.name, n.name, app, err)
	}
	all, secure := everybody(), []string{idJSON, idXML, idMortalXML} // eureka-js-client gave no secure address
	slices.Sort(all)
	slices.Sort(secure)
	for _, by := range []struct {
		address  string
		isSecure bool
		want     []string
	}{{vip, false, all}, {secureVIP, true, secure}, {"nobody.example", false, nil}} {
		found, err := conn.GetInstancesByVIPAddress(by.address, by.isSecure, fargo.ThatAreUp)
		if got := ids(found); err != nil || !slices.Equal(got, by.want) {
			t.Errorf("%s: by VIP %s (secure: %t) at %s: got %v, error %v, want %v",
				client.name, by.address, by.isSecure, n.name, got, err, by.want)
		}
	}
	source, err := conn.NewInstanceSetSourceForVIPAddress(vip, false, true, fargo.ThatAreUp)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Stop()
	if got := ids(source.Latest()); !slices.Equal(got, all) {
		t.Errorf("%s: source for %s at %s: got %v, want %v", client.name, vip, n.name, got, all)
	}
}

func (m *mixed) readAsPrometheus(ctx context.Context, t *testing.T) {
	for _, n := range m.nodes() {
		for _, server := range []string{"/eureka", "/eureka/v2"} {
			m.checkForPrometheus(ctx, t, n.base()+server+"/apps", m.metadata)
		}
	}
}

// renew waits for heartbeats, and for what they do on every node.
func (m *mixed) renew(ctx context.Context, t *testing.T) {
	renewed := map[string]int64{}
	for range 2 {
		for _, n := range m.nodes() {
			until(ctx, t, "node "+n.name+" has renewed all leases", func() error {
				all, _, err := m.list(ctx, n)
				if err != nil {
					return err
				}
				for _, id := range everybody() {
					if at := all[id].Lease.Renewed; at <= renewed[n.name+id] {
						err = errors.Join(err, fmt.Errorf("%s at %d, want after %d", id, at, renewed[n.name+id]))
					}
				}
				if err == nil {
					for _, id := range everybody() {
						renewed[n.name+id] = all[id].Lease.Renewed
					}
				}
				return err
			})
		}
	}
	m.beats(ctx, t, 2)
}

// beats waits until each client that stays has had n more heartbeats answered
// with 200, and none ever with 404.
func (m *mixed) beats(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	before, err := m.js.look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantJS := before.Heartbeats + n
	want := map[*fargoClient]int{}
	for _, c := range m.fargos() {
		want[c] = c.count().beats + n
	}
	until(ctx, t, fmt.Sprintf("%d more heartbeats of each", n), func() error {
		v, err := m.js.look(ctx)
		if err == nil && v.Heartbeats < wantJS {
			err = fmt.Errorf("%s: %d heartbeats, want %d; it says %q", m.js.id, v.Heartbeats, wantJS, v.Complaints)
		}
		if v.Registered != 1 {
			t.Fatalf("%s registered %d times, want once; it says %q", m.js.id, v.Registered, v.Complaints)
		}
		for c, want := range want {
			now := c.count()
			if now.beats < want {
				err = errors.Join(err, fmt.Errorf("%s: %d heartbeats, want %d; failed: %v", c.name, now.beats, want, now.failed))
			}
			if now.reregistered > 0 {
				t.Fatalf("%s: %d heartbeats answered with 404, want none", c.name, now.reregistered)
			}
		}
		return err
	})
}
