package api_test

import (
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
)

// TestStale: of a node that has stood still, every write of a client is refused,
// also to an instance that is here, and changes nothing.
func TestStale(t *testing.T) {
	status := &readiness{now: ready}
	n := newNode(t, api.Options{Status: status})
	n.put(t, "ORDERS", "orders-1", "")
	status.now = api.Readiness{State: "syncing: stood still", Stale: true}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/eureka/apps/ORDERS", registration("ORDERS", "orders-2", "")},
		{"PUT", orders1, ""},
		{"PUT", orders1 + "/status?value=DOWN", ""},
		{"DELETE", orders1 + "/status?value=DOWN", ""},
		{"PUT", orders1 + "/metadata?a=b", ""},
		{"DELETE", orders1, ""},
	} {
		got := n.ask(t, c.method, c.path, c.body, "Content-Type", jsonType)
		if got.Code != 503 || got.Body.Len() != 0 {
			t.Errorf("%s %s: got %d with %d bytes, want 503 without a body", c.method, c.path, got.Code, got.Body.Len())
		}
	}
	n.want(t, 200, "GET", orders1, "")
	if got := n.reg.Len(); got != 1 {
		t.Errorf("%d entries, want 1", got)
	}
	if got := n.status(t, "ORDERS", "orders-1"); got != eureka.StatusUp {
		t.Errorf("status: got %s, want UP", got)
	}
	status.now = ready
	n.want(t, 200, "DELETE", orders1, "")
}
