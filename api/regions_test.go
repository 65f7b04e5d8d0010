package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

// elsewhere answers for the servers of other regions: by host, with what a registry
// holds. A host without one is away.
type elsewhere map[string]*registry.Registry

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	reg := e[r.URL.Host]
	if reg == nil {
		return nil, io.ErrUnexpectedEOF
	}
	list := reg.Applications()
	if strings.HasSuffix(r.URL.Path, "/delta") {
		list = reg.Delta()
	}
	body := eureka.Form{}.AppendApplications(nil, list)
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

// newRegional returns a node beside the regions east, which has ORDERS and SEARCH, west,
// which has ORDERS, and away, which was never fetched.
func newRegional(t *testing.T, noFallback bool) *node {
	t.Helper()
	n, _ := newRegionalBeside(t, noFallback)
	return n
}

// newRegionalBeside is newRegional, with the servers of the regions.
func newRegionalBeside(t *testing.T, noFallback bool) (*node, elsewhere) {
	t.Helper()
	servers := elsewhere{}
	for host, instances := range map[string][]string{"east": {"ORDERS/e1", "SEARCH/e2"}, "west": {"ORDERS/w1"}} {
		n := newNode(t, api.Options{})
		for _, name := range instances {
			app, id, _ := strings.Cut(name, "/")
			n.put(t, app, id, `"secureVipAddress":"safe"`)
		}
		servers[host] = n.reg
	}
	opts := regions.Options{RoundTripper: servers, NoFallback: noFallback}
	for _, name := range []string{"east", "west", "away"} {
		opts.Regions = append(opts.Regions, regions.Region{Name: name, URL: "http://" + name + "/eureka/"})
	}
	set, err := regions.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		set.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	<-set.Tried()
	n := newNode(t, api.Options{Regions: set, MaxAge: time.Hour})
	n.put(t, "ORDERS", "l1", "")
	return n, servers
}

// TestChangesOfRegions reads lists just before and after the fetch that brings a change of
// a region: they are not taken from the cache, and have another entity tag.
func TestChangesOfRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, servers := newRegionalBeside(t, false)
		const before, after = "ORDERS/e1 ORDERS/l1 ORDERS/w1 SEARCH/e2", "ORDERS/e1 ORDERS/l1 SEARCH/e2"
		check := func(path, want string) {
			t.Helper()
			if got := answered(t, n.ask(t, "GET", "/eureka/"+path, "", "Accept", jsonType)); got != want {
				t.Errorf("GET %s: got %q, want %q", path, got, want)
			}
		}
		servers["west"].Cancel(registry.NewKey("ORDERS", "w1"), registry.Origin{})
		// A cached answer may be a second old, if nothing has changed.
		time.Sleep(regions.DefaultInterval - 100*time.Millisecond)
		check("apps", before)
		check("apps?regions=east,west", before)
		tag := n.ask(t, "GET", "/eureka/apps", "", "Accept", jsonType).Header().Get("ETag")
		n.want(t, 304, "GET", "/eureka/apps", "", "Accept", jsonType, "If-None-Match", tag)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		n.want(t, 200, "GET", "/eureka/apps", "", "Accept", jsonType, "If-None-Match", tag)
		check("apps", after)
		check("apps?regions=east,west", after)
		w := n.ask(t, "GET", "/eureka/apps/delta", "", "Accept", jsonType, "X-Eureka-Accept", "compact")
		if !strings.Contains(w.Body.String(), "DELETED") || !strings.Contains(w.Body.String(), `"apps__hashcode":"UP_3_"`) {
			t.Errorf("delta: %s", w.Body)
		}
	})
}

// TestRegions asks every list and every instance with and without ?regions=.
func TestRegions(t *testing.T) {
	const local, everything = "ORDERS/l1", "ORDERS/e1 ORDERS/l1 ORDERS/w1 SEARCH/e2"
	for _, tt := range []struct {
		path      string
		want, off string // APP/id of what is answered, with and without the fallback
	}{
		{"apps", everything, local},
		{"apps/", everything, local},
		{"apps?regions=", everything, local},
		{"apps?other=east", everything, local},
		{"apps?regions=east", "ORDERS/e1 ORDERS/l1 SEARCH/e2", "ORDERS/e1 ORDERS/l1 SEARCH/e2"},
		{"apps?regions=WEST,east", everything, everything},
		{"apps?regions=west%2Ceast", everything, everything},
		{"apps?regions=nowhere", local, local},
		{"apps?regions=nowhere,west", "ORDERS/l1 ORDERS/w1", "ORDERS/l1 ORDERS/w1"},
		{"apps?regions=away", "403", "403"},
		{"apps?regions=east,away", "403", "403"},
		{"apps/delta", "ORDERS/l1 ORDERS/e1 ORDERS/w1 SEARCH/e2", local},
		{"apps/delta?regions=west", "ORDERS/l1 ORDERS/w1", "ORDERS/l1 ORDERS/w1"},
		{"apps/delta?regions=nowhere", local, local},
		{"apps/delta?regions=away", "403", "403"},
		{"vips/orders", "ORDERS/e1 ORDERS/l1 ORDERS/w1", local},
		{"vips/orders?regions=west", "ORDERS/l1 ORDERS/w1", "ORDERS/l1 ORDERS/w1"},
		{"vips/orders?regions=nowhere", local, local},
		{"vips/orders?regions=away", "403", "403"},
		{"vips/search", "SEARCH/e2", ""},
		{"svips/safe", "ORDERS/e1 ORDERS/w1 SEARCH/e2", ""},
		{"svips/safe?regions=east", "ORDERS/e1 SEARCH/e2", "ORDERS/e1 SEARCH/e2"},
		{"apps/ORDERS", local, local},
		{"apps/search", "SEARCH/e2", "404"},
		{"apps/NONE", "404", "404"},
		{"apps/ORDERS/l1", local, local},
		{"apps/ORDERS/w1", "ORDERS/w1", "404"},
		{"apps/search/e2", "SEARCH/e2", "404"},
		{"instances/l1", local, local},
		{"instances/e2", "SEARCH/e2", "404"},
		{"instances/none", "404", "404"},
	} {
		for off, want := range map[bool]string{false: tt.want, true: tt.off} {
			n := newRegional(t, off)
			for range 2 { // the second one from the cache
				w := n.ask(t, "GET", "/eureka/"+tt.path, "", "Accept", jsonType)
				if got := answered(t, w); got != want {
					t.Errorf("GET %s, fallback off %v: got %q, want %q", tt.path, off, got, want)
				}
			}
		}
	}
}

// answered spells an answer: its instances, or its status code. It checks that a list
// has the hash code of what it holds.
func answered(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Code != 200 {
		return fmt.Sprint(w.Code)
	}
	var all []*eureka.InstanceInfo
	switch body := w.Body.Bytes(); {
	case bytes.HasPrefix(body, []byte(`{"applications"`)):
		list, err := eureka.DecodeApplications(eureka.JSON, body)
		if err != nil {
			t.Fatal(err)
		}
		for _, app := range list.Applications {
			all = append(all, app.Instances...)
		}
		want := ""
		if len(all) > 0 {
			want = fmt.Sprintf("UP_%d_", len(all))
		}
		if list.HashCode != want {
			t.Errorf("hash code %q, want %q", list.HashCode, want)
		}
	case bytes.HasPrefix(body, []byte(`{"application"`)):
		app, err := eureka.DecodeApplication(eureka.JSON, body)
		if err != nil {
			t.Fatal(err)
		}
		all = app.Instances
	default:
		i, err := eureka.DecodeInstance(eureka.JSON, body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	var out []string
	for _, i := range all {
		out = append(out, i.App+"/"+i.ID())
	}
	return strings.Join(out, " ")
}

// TestRegionsAreReadOnly writes to an instance of another region: it is not here.
func TestRegionsAreReadOnly(t *testing.T) {
	n := newRegional(t, false)
	for _, write := range []string{
		"PUT apps/SEARCH/e2", "PUT apps/SEARCH/e2?lastDirtyTimestamp=1700000000000", "DELETE apps/SEARCH/e2",
		"PUT apps/SEARCH/e2/status?value=DOWN", "DELETE apps/SEARCH/e2/status?value=UP", "PUT apps/SEARCH/e2/metadata?zone=b",
	} {
		method, path, _ := strings.Cut(write, " ")
		n.want(t, 404, method, "/eureka/"+path, "")
	}
	if got := answered(t, n.ask(t, "GET", "/eureka/instances/e2", "", "Accept", jsonType)); got != "SEARCH/e2" {
		t.Errorf("read again: %q", got)
	}
	if n.reg.Len() != 1 {
		t.Errorf("the registry has %d entries, want 1", n.reg.Len())
	}
}

// TestRegionsAreNotStale writes here and reads lists with other regions at once.
func TestRegionsAreNotStale(t *testing.T) {
	n := newRegional(t, false)
	for i := range 20 {
		id := fmt.Sprint("new-", i)
		n.put(t, "ORDERS", id, "")
		for _, path := range []string{"apps", "apps/delta", "apps?regions=east", "apps/delta?regions=east", "apps?regions=none"} {
			if got := answered(t, n.ask(t, "GET", "/eureka/"+path, "", "Accept", jsonType)); !strings.Contains(got, id) {
				t.Fatalf("%s lacks %s just after its register: %q", path, id, got)
			}
		}
	}
}

// TestNoRegionsCostNothing holds a list's price where there are no other regions,
// whatever readers name.
func TestNoRegionsCostNothing(t *testing.T) {
	n := newNode(t, api.Options{MaxAge: time.Hour})
	n.put(t, "ORDERS", "l1", "")
	price := func(path string) float64 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		w := newSink()
		return testing.AllocsPerRun(200, func() {
			w.reset()
			n.ServeHTTP(w, r)
		})
	}
	if without, with := price("/eureka/apps"), price("/eureka/apps?regions=east,west"); with > without {
		t.Errorf("%v allocations with ?regions=, %v without", with, without)
	}
}
