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

// mixed is the scenario's cast, and what must be true of it.
type mixed struct {
	*cluster
	inJSON, inXML, mortal *fargoClient
	js, mortalJS          *jsClient
	metadata              map[string]map[string]string // of all instances, by id
	watch                 *watch
}

func newMixed(t *testing.T) *mixed {
	t.Helper()
	m := &mixed{
		cluster: newCluster(t),
		metadata: map[string]map[string]string{
			idJSON: {"format": "json", "weight": "7"}, idXML: {"format": "xml"}, idJS: {"format": "js"},
			idMortalXML: {"format": "xml"}, idMortalJS: {"format": "js"},
		},
		inJSON: &fargoClient{name: "fargo with JSON", json: true, instance: &fargo.Instance{
			InstanceId: idJSON, App: "FARGO-JSON", HostName: "host-json.example", IPAddr: "192.0.2.1",
			Port: 8081, PortEnabled: true, SecurePort: 8444, SecurePortEnabled: true,
			HomePageUrl: "http://host-json.example:8081/", StatusPageUrl: "http://host-json.example:8081/info",
			HealthCheckUrl: "http://host-json.example:8081/health",
			DataCenterInfo: fargo.DataCenterInfo{Name: fargo.MyOwn},
		}},
		inXML: &fargoClient{name: "fargo with XML", instance: &fargo.Instance{
			InstanceId: idXML, App: "FARGO-XML", HostName: "host-xml.example", IPAddr: "192.0.2.2",
			Port: 8082, PortEnabled: true, SecurePort: 8445,
			HomePageUrl: "http://host-xml.example:8082/?a=1&b=<2>", StatusPageUrl: "http://host-xml.example:8082/info",
			HealthCheckUrl: "http://host-xml.example:8082/health",
			DataCenterInfo: fargo.DataCenterInfo{Name: fargo.Amazon, Metadata: fargo.AmazonMetadataType{
				InstanceID: idXML, AvailabilityZone: zone, AmiID: "ami-1", InstanceType: "m5.large",
				PublicIpv4: "198.51.100.2", LocalIpv4: "192.0.2.2", HostName: "host-xml.example",
			}},
		}},
		mortal: &fargoClient{name: "fargo with XML, mortal", instance: &fargo.Instance{
			InstanceId: idMortalXML, App: "FARGO-MORTAL", HostName: "host-mortal.example", IPAddr: "192.0.2.4",
			Port: 8084, PortEnabled: true, SecurePort: 8446,
			HomePageUrl:    "http://host-mortal.example:8084/",
			DataCenterInfo: fargo.DataCenterInfo{Name: fargo.MyOwn},
		}},
	}
	for _, c := range []*fargoClient{m.inJSON, m.inXML, m.mortal} {
		i := c.instance
		i.VipAddress, i.SecureVipAddress, i.Status, i.CountryId = vip, secureVIP, fargo.UP, 1
		i.LeaseInfo = fargo.LeaseInfo{RenewalIntervalInSecs: int32(renewal.Seconds()), DurationInSecs: lease}
		for key, value := range m.metadata[i.InstanceId] {
			i.SetMetadataString(key, value)
		}
		t.Cleanup(c.abandon)
	}
	m.mortal.instance.LeaseInfo.DurationInSecs = shortLease
	return m
}

// jsInstance is what eureka-js-client is configured with.
func (m *mixed) jsInstance(id, app, host, ip string, port, duration int) map[string]any {
	return map[string]any{
		"app": app, "instanceId": id, "hostName": host, "ipAddr": ip,
		"port":       map[string]any{"$": port, "@enabled": true},
		"vipAddress": vip, "homePageUrl": "http://" + host + "/",
		"dataCenterInfo": map[string]any{
			"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn",
		},
		"leaseInfo": map[string]any{"renewalIntervalInSecs": int(renewal.Seconds()), "durationInSecs": duration},
		"metadata":  m.metadata[id],
	}
}

func (m *mixed) fargos() []*fargoClient { return []*fargoClient{m.inJSON, m.inXML} }

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

// updateStatus takes one client out of service, and back.
func (m *mixed) updateStatus(ctx context.Context, t *testing.T) {
	out := &fargo.Instance{}
	set := func(status fargo.StatusType) {
		m.inJSON.call(t, "UpdateInstanceStatus", func(conn *fargo.EurekaConnection, instance *fargo.Instance) error {
			*out = *instance
			return conn.UpdateInstanceStatus(instance, status)
		})
	}
	seen := func(status fargo.StatusType) {
		t.Helper()
		for _, c := range m.fargos() {
			for _, n := range m.nodes() {
				until(ctx, t, fmt.Sprintf("%s reads %s of %s at %s", c.name, status, out.Id(), n.name), func() error {
					all, err := c.read(n)
					if err != nil {
						return err
					}
					if got := all[out.Id()]; got == nil || got.Status != status || got.Overriddenstatus != status {
						return fmt.Errorf("%+v", got)
					}
					up, err := c.at(n.registry()).GetInstancesByVIPAddress(vip, false, fargo.ThatAreUp)
					if err == nil && slices.Contains(ids(up), out.Id()) != (status == fargo.UP) {
						err = fmt.Errorf("up under %s: %v", vip, ids(up))
					}
					return err
				})
			}
		}
		// Of full lists eureka-js-client keeps only what is UP; by a delta it also
		// learns of another status.
		until(ctx, t, fmt.Sprintf("%s keeps %s while it is UP: now %s", m.js.id, out.Id(), status), func() error {
			v, err := m.js.look(ctx)
			if kept := slices.Contains(v.ids(), out.Id()); err == nil && kept != (status == fargo.UP) {
				err = fmt.Errorf("%v", v.ids())
			}
			return err
		})
		until(ctx, t, fmt.Sprintf("%s has %s of %s", m.mortalJS.id, status, out.Id()), func() error {
			v, err := m.mortalJS.look(ctx)
			if got := v.instance(out.Id()).Status; err == nil && got != string(status) {
				err = fmt.Errorf("status %q", got)
			}
			return err
		})
	}
	set(fargo.OUTOFSERVICE)
	seen(fargo.OUTOFSERVICE)
	m.beats(ctx, t, 2)
	seen(fargo.OUTOFSERVICE)
	set(fargo.UP)
	seen(fargo.UP)
}

// hasMetadata waits until all clients read an instance's metadata as they must
// be now, at the nodes.
func (m *mixed) hasMetadata(ctx context.Context, t *testing.T, id string, nodes ...*node) {
	t.Helper()
	want := m.metadata[id]
	for _, n := range nodes {
		for _, c := range m.fargos() {
			until(ctx, t, fmt.Sprintf("%s reads metadata %v of %s at %s", c.name, want, id, n.name), func() error {
				all, err := c.read(n)
				if err != nil {
					return err
				}
				if all[id] == nil {
					return errors.New("no such instance")
				}
				got := map[string]string{}
				for key, value := range all[id].Metadata.GetMap() {
					got[key] = fmt.Sprint(value)
				}
				if !maps.Equal(got, want) {
					err = fmt.Errorf("%v", got)
				}
				return err
			})
		}
	}
	until(ctx, t, fmt.Sprintf("%s has metadata %v of %s", m.js.id, want, id), func() error {
		v, err := m.js.look(ctx)
		if got := v.instance(id).Metadata; err == nil && !maps.Equal(got, want) {
			err = fmt.Errorf("%v", got)
		}
		return err
	})
}

// setMetadata sets one key of a client's metadata through any of these nodes.
func (m *mixed) setMetadata(t *testing.T, c *fargoClient, key, value string) {
	t.Helper()
	c.call(t, "AddMetadataString", func(conn *fargo.EurekaConnection, instance *fargo.Instance) error {
		return conn.AddMetadataString(instance, key, value)
	})
	m.metadata[c.instance.Id()][key] = value
}

func (m *mixed) addMetadata(ctx context.Context, t *testing.T) {
	m.setMetadata(t, m.inXML, "colour", "blue & <green>")
	m.setMetadata(t, m.inJSON, "colour", "red")
	m.hasMetadata(ctx, t, idXML, m.nodes()...)
	m.hasMetadata(ctx, t, idJSON, m.nodes()...)
}

// reregister registers changed instances over those that are there.
func (m *mixed) reregister(ctx context.Context, t *testing.T) {
	homes := map[*fargoClient]string{}
	for _, c := range m.fargos() {
		homes[c] = "http://moved.example/" + c.instance.App
		c.call(t, "ReregisterInstance", func(conn *fargo.EurekaConnection, instance *fargo.Instance) error {
			instance.HomePageUrl, instance.Port = homes[c], 9090
			return conn.ReregisterInstance(instance)
		})
	}
	for moved, home := range homes {
		for _, n := range m.nodes() {
			for _, c := range m.fargos() {
				until(ctx, t, fmt.Sprintf("%s reads the new %s at %s", c.name, moved.instance.App, n.name), func() error {
					all, err := c.read(n)
					if got := all[moved.instance.Id()]; err == nil && (got == nil || got.HomePageUrl != home || got.Port != 9090) {
						err = fmt.Errorf("%+v", got)
					}
					return err
				})
			}
		}
		m.hasMetadata(ctx, t, moved.instance.Id(), m.nodes()...)
	}
}

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
	if err := m.c.proc.signal(syscall.SIGKILL); err != nil {
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
	if err := m.mortalJS.proc.signal(syscall.SIGKILL); err != nil {
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
	ready := time.Now()
	all, _, err := m.list(ctx, m.c)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range staying() {
		if _, ok := all[id]; !ok {
			t.Errorf("c is ready and does not list %s", id)
		}
	}
	// A node that has just started gives ended leases one more term, so c may list
	// the dead until its own passes evict them. That must not last.
	m.lists(ctx, t, m.nodes(), staying()...)
	t.Logf("c listed %d instances when it was ready, and only those that stay %s later",
		len(all), time.Since(ready).Round(time.Millisecond))
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
		answered, err := m.counter(ctx, m.c, `registryd_api_requests_total{code="200",route="heartbeat"}`)
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
