package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// from sends a request from an address.
func (n *node) from(t testing.TB, address, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.RemoteAddr = address
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	n.ServeHTTP(w, r)
	return w
}

// drainState asks how far a drain is.
func drainState(t testing.TB, n *node, method, query string) (api.Drain, int) {
	t.Helper()
	w := n.ask(t, method, "/v1/apps/orders/a/drain"+query, "")
	var out api.Drain
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return out, w.Code
}

// waitingFor names the clients that a drain waits for.
func waitingFor(d api.Drain) string {
	var out []string
	for _, n := range d.Nodes {
		for _, c := range n.Clients {
			out = append(out, c.Address+" "+c.Reads)
		}
	}
	return strings.Join(out, ", ")
}

// TestDrain: whoever reads the instance in one way or another is waited for until it has
// read that it is out, and nobody else.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, api.Options{})
		n.put(t, "ORDERS", "a", `"secureVipAddress":"safe"`)
		n.put(t, "CARTS", "b", "")
		var tags []string
		fetch := func(last int, path string, headers ...string) {
			t.Helper()
			w := n.from(t, fmt.Sprintf("10.0.0.%d:%d", last, 1000+len(tags)), "GET", path, append([]string{"Accept", jsonType}, headers...)...)
			if w.Code != 200 && w.Code != 304 {
				t.Fatalf("%s: %d", path, w.Code)
			}
			tags = append(tags, w.Header().Get("ETag"))
		}
		fetch(99, "/eureka/apps", "User-Agent", api.ToolAgent+"v1") // a command of ours, not a client
		reads := []string{
			"/eureka/apps", "/eureka/v2/apps/delta", "/eureka/apps/orders", "/eureka/vips/orders", "/eureka/svips/safe",
			"/eureka/apps/ORDERS/a", "/eureka/instances/a",
			"/eureka/apps/CARTS", "/eureka/vips/carts", "/eureka/instances/b", // of no interest
		}
		for range 2 {
			for i, path := range reads {
				fetch(i+1, path)
			}
			time.Sleep(5 * time.Second)
		}
		if d, code := drainState(t, n, "GET", ""); code != 200 || d.Drained || d.Nodes[0].Out {
			t.Errorf("before: %d %+v, want it not out", code, d)
		}
		d, code := drainState(t, n, "POST", "")
		const all = "10.0.0.1 all, 10.0.0.2 all, 10.0.0.3 application, 10.0.0.4 vip, 10.0.0.5 svip, 10.0.0.6 instance, 10.0.0.7 instance-id"
		if got := waitingFor(d); code != 200 || got != all || !d.Nodes[0].Out || d.Nodes[0].Waiting != 7 || d.Nodes[0].Served != 0 {
			t.Errorf("at once: %d, waits for %s\nwant %s; %+v", code, got, all, d)
		}
		if c := d.Nodes[0].Clients[0]; c.Every != 5000 || c.Silent != 5000 {
			t.Errorf("the first client: %+v, want it every 5 s", c)
		}
		if s := n.status(t, "ORDERS", "a"); s != eureka.StatusOutOfService {
			t.Errorf("its status is %s", s)
		}
		fetch(1, "/eureka/apps/delta") // full list or delta: it knows
		fetch(3, "/eureka/apps/ORDERS")
		fetch(5, "/eureka/svips/safe")
		d, _ = drainState(t, n, "GET", "")
		if got, want := waitingFor(d), "10.0.0.2 all, 10.0.0.4 vip, 10.0.0.6 instance, 10.0.0.7 instance-id"; got != want || d.Nodes[0].Served != 3 {
			t.Errorf("after three have come it waits for %s, want %s; %+v", got, want, d)
		}
		tag := tags[1] // of before the drain: the answer is a list
		fetch(2, "/eureka/apps/delta", "If-None-Match", tag)
		fetch(4, "/eureka/vips/orders")
		fetch(6, "/eureka/apps/ORDERS/a")
		time.Sleep(10*time.Second - time.Millisecond)
		if d, _ = drainState(t, n, "GET", ""); waitingFor(d) != "10.0.0.7 instance-id" {
			t.Errorf("just before three intervals it waits for %s", waitingFor(d))
		}
		time.Sleep(2 * time.Millisecond)
		if d, code = drainState(t, n, "GET", ""); !d.Drained || code != 200 {
			t.Errorf("after three intervals: %d %+v", code, d)
		}
		time.Sleep(2 * time.Minute) // nobody comes any more
		fetch(8, "/eureka/apps")
		n.want(t, 200, "DELETE", "/eureka/apps/ORDERS/a/status?value=UP", "")
		fetch(8, "/eureka/apps")
		if d, _ = drainState(t, n, "POST", ""); waitingFor(d) != "10.0.0.8 all" {
			t.Errorf("a second drain waits for %s: who has read it as UP since has to come again", waitingFor(d))
		}
		fetch(8, "/eureka/apps", "If-None-Match", n.from(t, "10.0.0.9:1", "GET", "/eureka/apps", "Accept", jsonType).Header().Get("ETag"))
		if d, _ = drainState(t, n, "GET", ""); !d.Drained {
			t.Errorf("a 304 for the newest list is one too: it waits for %s", waitingFor(d))
		}
	})
}

// TestDrainOfLongNames: what a client reads is told apart to the last letter of the longest names.
func TestDrainOfLongNames(t *testing.T) {
	n := newNode(t, api.Options{})
	app, id := strings.Repeat("A", registry.MaxName), strings.Repeat("i", registry.MaxName)
	n.put(t, app, id, "")
	n.put(t, app[1:]+"B", id[1:]+"j", "") // of no interest
	for i, path := range []string{
		"/eureka/apps/" + app, "/eureka/vips/" + strings.ToLower(app), "/eureka/apps/" + app + "/" + id, "/eureka/instances/" + id,
		"/eureka/apps/" + app[1:] + "B", "/eureka/instances/" + id[1:] + "j",
	} {
		if w := n.from(t, fmt.Sprintf("10.0.0.%d:80", i+1), "GET", path, "Accept", jsonType); w.Code != 200 {
			t.Fatalf("%.40s: %d", path, w.Code)
		}
	}
	w := n.want(t, http.StatusOK, http.MethodPost, "/v1/apps/"+app+"/"+id+"/drain", "")
	var d api.Drain
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if got, want := waitingFor(d), "10.0.0.1 application, 10.0.0.2 vip, 10.0.0.3 instance, 10.0.0.4 instance-id"; got != want || d.Drained {
		t.Errorf("it waits for %s, want %s", got, want)
	}
}

// TestDrainWaits: a drain with wait is answered when the last client has come; watchers and
// other nodes count.
func TestDrainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := &fakeNode{now: ready}
		n := newNode(t, api.Options{Node: now})
		n.put(t, "ORDERS", "a", "")
		list := []string{"GET", "/eureka/apps", "Accept", jsonType, "DiscoveryIdentity-Name", "DefaultClient"}
		n.from(t, "10.0.0.1:1", list[0], list[1], list[2:]...)
		watcher := piped(t, n).open(t, "/v1/watch")
		watcher.want(t, "reset")
		time.AfterFunc(7*time.Second, func() {
			n.from(t, "10.0.0.1:2", list[0], list[1], append(list[2:], "DiscoveryIdentity-Id", "other")...) // another client
		})
		time.AfterFunc(9*time.Second, func() { n.from(t, "10.0.0.1:3", list[0], list[1], list[2:]...) })
		began := time.Now()
		d, code := drainState(t, n, "POST", "?wait=5s")
		if took := time.Since(began); code != 200 || d.Drained || took != 5*time.Second || d.Nodes[0].Waiting != 2 {
			t.Errorf("%d after %v, waits for %s; want it after 5s, and the watcher and the client", code, took, waitingFor(d))
		}
		watcher.want(t, "change")
		synctest.Wait()
		if d, code = drainState(t, n, "GET", "?wait=1m"); code != 200 || !d.Drained || time.Since(began) > 9*time.Second+500*time.Millisecond {
			t.Errorf("%d after %v: %+v", code, time.Since(began), d)
		}
		other := api.DrainNode{Node: "node-2", Out: true, Waiting: 1, Clients: []api.DrainClient{{Address: "10.9.9.9", Reads: "all"}}}
		now.peers = func(registry.Key) []api.DrainNode { return []api.DrainNode{other, {Node: "java", Foreign: true}} }
		if d, _ = drainState(t, n, "GET", ""); d.Drained || waitingFor(d) != "10.9.9.9 all" {
			t.Errorf("with a client of another node: %+v", d)
		}
		other.Waiting, other.Out = 0, false
		if d, _ = drainState(t, n, "GET", ""); d.Drained {
			t.Error("drained, though it is UP on another node")
		}
		other.Out, other.Error = true, "no answer"
		if d, _ = drainState(t, n, "GET", ""); d.Drained {
			t.Error("drained, though a node does not answer")
		}
		other.Error = ""
		if d, _ = drainState(t, n, "GET", ""); !d.Drained {
			t.Errorf("%+v, want it drained", d)
		}
	})
}

func TestDrainRefuses(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "a", "")
	for _, wait := range []string{"x", "-1s", "601s"} {
		n.want(t, 400, "POST", "/v1/apps/ORDERS/a/drain?wait="+wait, "")
	}
	if s := n.status(t, "ORDERS", "a"); s != eureka.StatusUp {
		t.Errorf("after what was refused its status is %s", s)
	}
	n.want(t, 404, "POST", "/v1/apps/ORDERS/nobody/drain", "")
}

// TestFetchersBound: clients beyond the bound are forgotten, and counted.
func TestFetchersBound(t *testing.T) {
	reg := prometheus.NewRegistry()
	n := newNode(t, api.Options{Metrics: reg})
	for i := range 25_000 {
		n.from(t, fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), http.MethodGet, "/eureka/apps")
	}
	if got := value(t, reg, "registryd_api_fetchers", ""); got > 20_000 || got < 19_000 {
		t.Errorf("%v clients are remembered, want 20,000 at most", got)
	}
	if got := value(t, reg, "registryd_api_forgotten_fetchers_total", ""); got < 5000 {
		t.Errorf("%v are forgotten", got)
	}
}
