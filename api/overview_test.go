package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
)

func TestOverview(t *testing.T) {
	want := api.Overview{
		Node: "n1", Cluster: "c", Version: "v1", URL: "http://n1:8761/eureka/", Started: time.Unix(1000, 0).UTC(), State: "ready", Ready: true,
		Instances: 2, Entries: 3, Leases: api.LeasesOverview{Expected: 4, Missing: 1},
		Peers: []api.PeerOverview{{
			Name: "n2", Status: "reachable", ProcessingOrder: 12, Lag: 1.5, Waiting: "busy", WaitLeft: 0.25,
			Dropped: map[string]uint64{"expired": 1}, Failed: map[string]uint64{"busy": 2},
		}},
	}
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := api.WithOverview(next, func() api.Overview { return want })
	for _, test := range []struct {
		method, path string
		code         int
	}{
		{http.MethodGet, "/status", http.StatusOK},
		{http.MethodHead, "/status", http.StatusOK},
		{http.MethodOptions, "/status", http.StatusOK},
		{http.MethodPost, "/status", http.StatusMethodNotAllowed},
		{http.MethodGet, "/status/", http.StatusTeapot},
		{http.MethodGet, "/eureka/status", http.StatusTeapot},
		{http.MethodGet, "/", http.StatusTeapot},
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
	w := httptest.NewRecorder()
	api.WithOverview(next, func() api.Overview { return api.Overview{} }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/status", nil))
	if !strings.Contains(w.Body.String(), `"peers": []`) {
		t.Errorf("without peers: %s, want an empty list", w.Body)
	}
}
