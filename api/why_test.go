package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
)

func whyOf(t *testing.T, n *node, query string) (out api.Why) {
	t.Helper()
	dec := json.NewDecoder(n.want(t, http.StatusOK, http.MethodGet, "/v1/why?"+query, "").Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhyRefusesQueries(t *testing.T) {
	n := newNode(t, api.Options{})
	for query, want := range map[string]string{
		"":                       "app: is missing",
		"app=A":                  "instance: is missing",
		"instance=a":             "app: is missing",
		"app=A&instance=":        "instance: empty",
		"app=A&instance=a&id=b":  `"id": not one of the parameters, app, instance`,
		"app=A&app=B&instance=a": "app: given twice",
	} {
		if got := n.want(t, http.StatusBadRequest, http.MethodGet, "/v1/why?"+query, "").Body.String(); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}

// TestOwnQueries: on paths of our own a parameter is decoded as on Eureka's, has a value, and stands once.
func TestOwnQueries(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "a;b", "")
	n.put(t, "ORDERS", "100%", "")
	n.put(t, "STRASSE", "s", "")
	for query, want := range map[string]int{
		"/v1/why?app=orders&instance=a;b":                  200, // Go's own parser drops what holds a semicolon
		"/v1/why?app=orders&instance=100%":                 200, // or a sign that begins no escape
		"/v1/history?app=A&app=B":                          400,
		"/v1/history?limit=1&limit=2":                      400,
		"/v1/history?kind=registered&kind=cancelled":       200,
		"/v1/history?app=":                                 400,
		"/v1/history?app=A&instance=":                      400,
		"/v1/watch?app=A&app=B":                            400,
		"/v1/watch?app=":                                   400,
		"/v1/apps/ORDERS/a;b/drain?wait=1s&wait=2s":        400,
		"/v1/apps/ORDERS/a;b/drain?wait=":                  400,
		"/v1/apps/ORDERS/a;b/drain?timeout=1s":             400,
		"/v1/apps/ORDERS/a;b/drain":                        200,
		"/v1/apps/ORDERS/misspelt/drain":                   404,
		"/prometheus/sd?app=ORDERS&app=orders&app=UNKNOWN": 200,
		"/prometheus/sd?app=":                              400,
		"/prometheus/sd?application=ORDERS":                400,
	} {
		w := n.want(t, want, http.MethodGet, query, "")
		if strings.HasPrefix(query, "/v1/why") && !strings.Contains(w.Body.String(), `"listed": true`) {
			t.Errorf("%s: got %s, want an instance that is listed", query, w.Body)
		}
	}
	if got := targets(t, n, "/prometheus/sd?app=stra%C3%9Fe"); len(got) != 1 {
		t.Errorf("%d targets by another spelling, want 1", len(got))
	}
	if got := targets(t, n, "/prometheus/sd?app=x;y"); len(got) != 0 {
		t.Errorf("%d targets of an application that is none, want 0", len(got))
	}
}

// TestWhyWithoutHistory tells what the registry holds, and null nowhere.
func TestWhyWithoutHistory(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "a", "")
	n.want(t, http.StatusOK, http.MethodPut, "/eureka/apps/ORDERS/a/status?value=DOWN", "")
	got := whyOf(t, n, "app=orders&instance=a")
	if got.Reason != api.WhyListed || !got.Listed || got.Status != "DOWN" || got.Record.Status != "UP" || !got.Override.Set || got.Lease.Length != 90 ||
		got.Text != "listed as DOWN by an override; its client says UP" || got.TooLarge != nil {
		t.Errorf("listed: %+v", got)
	}
	n.want(t, http.StatusOK, http.MethodDelete, "/eureka/apps/ORDERS/a", "")
	got = whyOf(t, n, "app=ORDERS&instance=a")
	if got.Reason != api.WhyCancelled || got.Listed || got.Record == nil || got.Record.Live || got.Lease != nil {
		t.Errorf("cancelled: %+v", got)
	}
	body := n.want(t, http.StatusOK, http.MethodGet, "/v1/why?app=X&instance=x", "").Body.String()
	if strings.Contains(body, "null") || !strings.Contains(body, `"reason": "unknown"`) {
		t.Errorf("unknown: %s", body)
	}
}

// TestWhyTooLarge has an instance that no longer fits into a message: the broker's bound has changed.
func TestWhyTooLarge(t *testing.T) {
	is := &fakeNode{now: ready}
	n := newNode(t, api.Options{Node: is})
	n.put(t, "ORDERS", "a", "")
	n.want(t, http.StatusOK, http.MethodPut, "/eureka/apps/ORDERS/a/metadata?x="+strings.Repeat("x", 2000), "")
	is.maxTask = 2000
	if got := whyOf(t, n, "app=ORDERS&instance=a"); got.TooLarge == nil || got.TooLarge.Bound != 2000 || got.TooLarge.Bytes <= 2000 {
		t.Errorf("got %+v", got.TooLarge)
	}
	is.maxTask = 8000
	if got := whyOf(t, n, "app=ORDERS&instance=a"); got.TooLarge != nil {
		t.Errorf("got %+v, though it fits", got.TooLarge)
	}
}

// TestWhySyncing says so of what is known, too: nobody sees it.
func TestWhySyncing(t *testing.T) {
	is := &fakeNode{now: ready}
	n := newNode(t, api.Options{Node: is})
	n.put(t, "ORDERS", "a", "")
	is.now = api.Readiness{State: "syncing"}
	got := whyOf(t, n, "app=ORDERS&instance=a")
	if got.Reason != api.WhySyncing || got.Listed || got.Record == nil || got.Text != "the node lists nothing yet: it is syncing" {
		t.Errorf("got %+v", got)
	}
}
