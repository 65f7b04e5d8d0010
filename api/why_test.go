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
		"":                      "app: is missing",
		"app=A":                 "instance: is missing",
		"instance=a":            "app: is missing",
		"app=A&instance=a&id=b": `"id": not one of app, instance`,
	} {
		if got := n.want(t, http.StatusBadRequest, http.MethodGet, "/v1/why?"+query, "").Body.String(); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
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
