package api_test

import (
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/registry"
)

// TestNotReady: what a node that doesn't know what its peers know may say.
func TestNotReady(t *testing.T) {
	status := &fakeNode{now: ready}
	n := newNode(t, api.Options{Node: status})
	n.put(t, "ORDERS", "orders-1", "")
	n.put(t, "ORDERS", "gone", "")
	n.want(t, 200, "DELETE", "/eureka/apps/ORDERS/gone", "")
	status.now = api.Readiness{State: "syncing"}
	batch := `{"replicationList":[]}`
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/eureka/apps", "", 403},
		{"GET", "/eureka/apps/delta", "", 403},
		{"GET", "/eureka/apps/ORDERS", "", 403},
		{"GET", "/eureka/apps/NONE", "", 403},
		{"GET", "/eureka/vips/orders", "", 403},
		{"GET", "/eureka/svips/orders", "", 403},
		{"HEAD", "/eureka/apps", "", 403},
		{"GET", orders1, "", 200},
		{"GET", "/eureka/instances/orders-1", "", 200},
		{"PUT", orders1, "", 200},
		{"PUT", orders1 + "?lastDirtyTimestamp=1700000000001", "", 404},
		{"PUT", orders1 + "/status?value=DOWN", "", 200},
		{"DELETE", orders1 + "/status?value=UP", "", 200},
		{"PUT", orders1 + "/metadata?k=v", "", 200},
		{"PUT", "/eureka/apps/ORDERS/none", "", 503},
		{"PUT", "/eureka/apps/ORDERS/none?lastDirtyTimestamp=x", "", 503},
		{"DELETE", "/eureka/apps/ORDERS/none", "", 503},
		{"PUT", "/eureka/apps/ORDERS/none/status?value=UP", "", 503},
		{"PUT", "/eureka/apps/ORDERS/none/status?value=FOO", "", 503},
		{"DELETE", "/eureka/apps/ORDERS/none/status", "", 503},
		{"PUT", "/eureka/apps/ORDERS/none/metadata?k=v", "", 503},
		{"PUT", "/eureka/apps/ORDERS/gone", "", 503}, // a peer may know a later register
		{"POST", "/eureka/peerreplication/batch/", batch, 503},
		{"POST", "/eureka/apps/ORDERS", registration("ORDERS", "orders-2", ""), 204},
		{"DELETE", orders1, "", 200},
		{"GET", "/healthz", "", 200},
		{"GET", "/", "", 200},
	} {
		w := n.want(t, c.code, c.method, c.path, c.body, "Content-Type", jsonType, "Accept", "application/json, */*")
		if c.code > 400 && w.Body.Len() > 0 {
			t.Errorf("%s %s: %d with body %q", c.method, c.path, c.code, w.Body)
		}
	}
	w := n.want(t, 503, "GET", "/readyz", "")
	if got := w.Body.String(); got != "syncing" {
		t.Errorf("/readyz: body %q, want syncing", got)
	}
	status.now = ready
	n.want(t, 200, "GET", "/eureka/apps", "")
	n.want(t, 404, "PUT", "/eureka/apps/ORDERS/none", "")
	if w := n.want(t, 200, "GET", "/readyz", ""); w.Body.String() != "ready" {
		t.Errorf("/readyz: body %q, want ready", w.Body)
	}
	status.now = api.Readiness{State: "degraded", Ready: true, Reads: true}
	if w := n.want(t, 200, "GET", "/readyz", ""); w.Body.String() != "degraded" {
		t.Errorf("/readyz: body %q, want degraded", w.Body)
	}
}

// TestCancelNotReady: a cancel of an instance that is not seen changes nothing
// while this node doesn't know what its peers know.
func TestCancelNotReady(t *testing.T) {
	status := &fakeNode{now: api.Readiness{State: "syncing"}}
	n := newNode(t, api.Options{Node: status})
	n.want(t, 503, "DELETE", "/eureka/apps/ORDERS/none", "")
	if got := n.reg.Len(); got != 0 {
		t.Errorf("%d entries, want 0", got)
	}
}

// TestCancelOfEvictedNotReady: the same for one that was evicted here, which a
// cancel would end for the peers too.
func TestCancelOfEvictedNotReady(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	reg, err := registry.New(registry.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	status := &fakeNode{now: ready}
	h, err := api.New(reg, api.Options{Node: status})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Handler: h, reg: reg}
	n.put(t, "ORDERS", "orders-1", "")
	now = now.Add(2 * time.Minute)
	if got := reg.Evict(); got != 1 {
		t.Fatalf("%d evicted, want 1", got)
	}
	live := func() bool {
		entry, _, _ := reg.Entry(registry.NewKey("ORDERS", "orders-1"))
		return entry.Record.Live
	}
	status.now = api.Readiness{State: "syncing"}
	n.want(t, 503, "DELETE", orders1, "")
	if !live() {
		t.Error("ended while syncing")
	}
	status.now = ready
	n.want(t, 404, "DELETE", orders1, "")
	if live() {
		t.Error("not ended when ready")
	}
}

// TestReadyStrict: with strict=1 a node that is degraded is not ready. Without it, it is.
func TestReadyStrict(t *testing.T) {
	const degraded = "degraded: 1 of 2 peers"
	for _, c := range []struct {
		state string
		ready bool
		query string
		code  int
	}{
		{"ready", true, "?strict=1", 200},
		{"ready", true, "?strict=0", 200},
		{degraded, true, "", 200},
		{degraded, true, "?strict=0", 200},
		{degraded, true, "?probe=1", 200}, // others' parameters, as before
		{degraded, true, "?strict=1", 503},
		{"syncing", false, "?strict=1", 503},
		{"syncing", false, "?strict=0", 503},
		{degraded, true, "?strict", 400},
		{degraded, true, "?strict=", 400},
		{degraded, true, "?strict=true", 400},
		{degraded, true, "?strict=1&strict=0", 400},
	} {
		n := newNode(t, api.Options{Node: &fakeNode{now: api.Readiness{State: c.state, Ready: c.ready}}})
		w := n.want(t, c.code, "GET", "/readyz"+c.query, "")
		if got := w.Body.String(); c.code != 400 && got != c.state {
			t.Errorf("/readyz%s of %q: body %q", c.query, c.state, got)
		}
	}
}
