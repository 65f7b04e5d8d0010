package api_test

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
)

// TestStale: of a node that was suspended, every write of a client is refused,
// also to an instance that is here, and changes nothing.
func TestStale(t *testing.T) {
	status := &fakeNode{now: ready}
	n := newNode(t, api.Options{Node: status})
	n.put(t, "ORDERS", "orders-1", "")
	status.now = api.Readiness{State: "syncing: process was suspended", Stale: true}
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

// slowBody is a body before which something happens: the headers are there, and
// it waits in the socket.
type slowBody struct {
	io.Reader
	before func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.before()
	return b.Reader.Read(p)
}

// TestStaleWhileTheBodyCame: what a node has begun to read when it was suspended is
// as old as what it had not.
func TestStaleWhileTheBodyCame(t *testing.T) {
	const batches = "/eureka/peerreplication/batch/"
	batch := `{"replicationList":[{"appName":"ORDERS","id":"orders-1","action":"Cancel"}]}`
	xml := `<instance><instanceId>orders-2</instanceId><hostName>h</hostName><app>ORDERS</app><ipAddr>192.0.2.1</ipAddr>` +
		`<dataCenterInfo><name>MyOwn</name></dataCenterInfo></instance>`
	stood := api.Readiness{State: "syncing: process was suspended", Stale: true}
	for _, test := range []struct {
		name, path, contentType, body string
		replication                   bool
		then                          api.Readiness
		want                          int
	}{
		{"register", "/eureka/apps/ORDERS", jsonType, registration("ORDERS", "orders-2", ""), false, stood, 503},
		{"register again", "/eureka/apps/ORDERS", jsonType, registration("ORDERS", "orders-1", `"port":{"$":9,"@enabled":"true"}`), false, stood, 503},
		{"register in XML", "/eureka/apps/ORDERS", xmlType, xml, false, stood, 503},
		{"register by a peer", "/eureka/apps/ORDERS", jsonType, registration("ORDERS", "orders-2", ""), true, stood, 503},
		{"batch", batches, jsonType, batch, false, stood, 503},
		{"batch while it syncs", batches, jsonType, batch, false, api.Readiness{State: "syncing"}, 503},
		{"batch, stale alone", batches, jsonType, batch, false, api.Readiness{State: "process was suspended", Reads: true, Stale: true}, 503},
		{"register while it runs", "/eureka/apps/ORDERS", jsonType, registration("ORDERS", "orders-2", ""), false, ready, 204},
		{"batch while it runs", batches, jsonType, batch, false, ready, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			applied := 0
			status := &fakeNode{now: ready, apply: func(list eureka.ReplicationList) eureka.ReplicationListResponse {
				applied++
				return make(eureka.ReplicationListResponse, len(list))
			}}
			n := newNode(t, api.Options{Node: status})
			n.put(t, "ORDERS", "orders-1", "")
			before := n.reg.Digest()
			r := httptest.NewRequestWithContext(t.Context(), "POST", test.path, &slowBody{strings.NewReader(test.body), func() { status.now = test.then }})
			r.Header.Set("Content-Type", test.contentType)
			r.Header.Set("Accept", jsonType)
			if test.replication {
				r.Header.Set("x-netflix-discovery-replication", "true")
			}
			w := httptest.NewRecorder()
			n.ServeHTTP(w, r)
			if w.Code != test.want || w.Code == 503 && w.Body.Len() != 0 {
				t.Errorf("got %d with %q, want %d", w.Code, w.Body.String(), test.want)
			}
			if changed := applied > 0 || n.reg.Digest() != before; changed != (test.want != 503) {
				t.Errorf("changed anything: %t (%d batches applied), want %t", changed, applied, !changed)
			}
		})
	}
}
