package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/registry"
)

func TestOverview(t *testing.T) {
	want := api.Overview{
		Node: "n1", Cluster: "c", Version: "v1", URL: "http://n1:8761/eureka/", Started: time.Unix(1000, 0).UTC(), State: "ready", Ready: true,
		Instances: 2, Entries: 3, Leases: api.LeasesOverview{Expected: 4, Missing: 1},
		Peers: []api.PeerOverview{{
			Name: "n2", Status: "reachable", ProcessingOrder: 12, Lag: 1.5, Waiting: "busy", WaitLeft: 0.25,
			Dropped: map[string]uint64{"expired": 1}, Failed: map[string]uint64{"busy": 2},
		}},
		Overdue: []api.OverdueInstance{},
	}
	h := newNode(t, api.Options{Node: &fakeNode{now: ready, overview: want}})
	for _, test := range []struct {
		method, path string
		code         int
	}{
		{http.MethodGet, "/status", http.StatusOK},
		{http.MethodHead, "/status", http.StatusOK},
		{http.MethodOptions, "/status", http.StatusOK},
		{http.MethodPost, "/status", http.StatusMethodNotAllowed},
		{http.MethodGet, "/status/", http.StatusOK},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil))
			if w.Code != test.code {
				t.Fatalf("answered %d, want %d", w.Code, test.code)
			}
			if test.code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
				t.Error("no Allow with a 405")
			}
			if test.method != http.MethodGet || test.code != http.StatusOK {
				return
			}
			var got api.Overview
			dec := json.NewDecoder(strings.NewReader(w.Body.String()))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
	w := newNode(t, api.Options{}).want(t, http.StatusOK, http.MethodGet, "/status", "")
	if !strings.Contains(w.Body.String(), `"peers": []`) {
		t.Errorf("without peers: %s, want an empty list", w.Body)
	}
}

// TestOverdue: who looks at /status sees which instances have gone
// silent, and why they are still listed.
func TestOverdue(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	reg, err := registry.New(registry.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	status := &fakeNode{now: ready, overview: api.Overview{Leases: api.LeasesOverview{Expected: 12, Missing: 7}}}
	h, err := api.New(reg, api.Options{Node: status})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Handler: h, reg: reg}
	n.put(t, "BILLING", "more-silent", `"leaseInfo":{"durationInSecs":200}`)
	n.put(t, "BILLING", "seldom", `"leaseInfo":{"durationInSecs":90,"renewalIntervalInSecs":600}`)
	now = now.Add(time.Minute)
	n.put(t, "ORDERS", "silent", `"leaseInfo":{"durationInSecs":90}`)
	now = now.Add(170 * time.Second)
	n.put(t, "ORDERS", "alive", "")
	now = now.Add(10 * time.Second)

	var got api.Overview
	if err := json.Unmarshal(n.want(t, 200, "GET", "/status", "").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []api.OverdueInstance{
		{App: "BILLING", ID: "more-silent", Silent: 240, Lease: 200},
		{App: "ORDERS", ID: "silent", Silent: 180, Lease: 90},
	}
	if !slices.Equal(got.Overdue, want) {
		t.Errorf("overdue: %+v, want %+v", got.Overdue, want)
	}
}
