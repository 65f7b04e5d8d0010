package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/registry"
)

// asked returns what /v1/history answers.
func asked(t *testing.T, n *node, query string) api.History {
	t.Helper()
	var out api.History
	if err := json.Unmarshal(n.want(t, 200, "GET", "/v1/history"+query, "").Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHistory: who did what to an instance, the newest first, and page by page.
func TestHistory(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "a", "")
	n.put(t, "CARTS", "b", "")
	n.want(t, 200, "PUT", "/eureka/apps/ORDERS/a?lastDirtyTimestamp=1700000000000", "")
	n.want(t, 200, "PUT", "/eureka/apps/ORDERS/a/status?value=OUT_OF_SERVICE", "")
	n.want(t, 200, "DELETE", "/eureka/apps/ORDERS/a/status?value=UP", "", "x-netflix-discovery-replication", "true")
	n.want(t, 200, "DELETE", "/eureka/apps/ORDERS/a", "")
	kinds := func(h api.History) string {
		var out []string
		for _, e := range h.Events {
			out = append(out, e.Instance+" "+e.Kind)
		}
		return strings.Join(out, ", ")
	}
	for _, tt := range []struct{ query, want string }{
		{"", "a cancelled, a override-removed, a override-set, b registered, a registered"},
		{"?app=orders", "a cancelled, a override-removed, a override-set, a registered"},
		{"?app=CARTS&instance=b", "b registered"},
		{"?app=CARTS&instance=a", ""},
		{"?kind=registered&kind=override-set", "a override-set, b registered, a registered"},
		{"?limit=2", "a cancelled, a override-removed"},
		{"?before=3", "b registered, a registered"},
	} {
		if got := kinds(asked(t, n, tt.query)); got != tt.want {
			t.Errorf("%s: %s; want %s", tt.query, got, tt.want)
		}
	}
	first := asked(t, n, "?app=ORDERS&limit=3")
	if rest := asked(t, n, fmt.Sprint("?app=ORDERS&limit=3&before=", first.Before)); kinds(rest) != "a registered" || rest.Before != 0 {
		t.Errorf("the second page: %s, and more before %d", kinds(rest), rest.Before)
	}
	set := first.Events[2]
	if set.By != "client" || set.From != "192.0.2.1:1234" || set.Node != "node-1" || set.Status != "OUT_OF_SERVICE" ||
		set.Overridden != "OUT_OF_SERVICE" || strings.Join(set.Changed, "") != "override" || set.Override <= set.Record {
		t.Errorf("the override: %+v", set)
	}
	if removed := first.Events[1]; removed.By != "replication" || removed.Overridden != "" || removed.Status != "UP" {
		t.Errorf("its removal, by a Java peer: %+v", removed)
	}
	if gone := first.Events[0]; gone.Status != "" {
		t.Errorf("a cancelled instance has status %s", gone.Status)
	}
}

func TestHistoryRefuses(t *testing.T) {
	n := newNode(t, api.Options{})
	for query, want := range map[string]string{
		"?instance=a":    "instance: needs app",
		"?kind=renewed":  "kind: ",
		"?limit=0":       "limit: ",
		"?limit=1001":    "limit: ",
		"?before=-1":     "before: ",
		"?applicat=x":    "not one of",
		"?limit=1000":    "",
		"?limit=1&app=x": "",
	} {
		w := n.ask(t, "GET", "/v1/history"+query, "")
		if want == "" && w.Code != 200 || want != "" && (w.Code != 400 || !strings.Contains(w.Body.String(), want)) {
			t.Errorf("%s: %d %s; want %q", query, w.Code, w.Body, want)
		}
	}
}

// TestHistoryOfJoin: what came from a node names that node.
func TestHistoryOfJoin(t *testing.T) {
	n, other := newNode(t, api.Options{}), newNode(t, api.Options{})
	other.put(t, "ORDERS", "a", "")
	key := registry.NewKey("ORDERS", "a")
	entry, _, _ := other.reg.Entry(key)
	n.reg.Join(key, entry, registry.Registered, registry.Origin{Way: registry.BySync, From: "node-7"})
	if e := asked(t, n, "").Events; len(e) != 1 || e[0].Kind != "joined" || e[0].By != "sync" || e[0].Node != "node-7" {
		t.Errorf("%+v, want one that node-7 sent", e)
	}
}
