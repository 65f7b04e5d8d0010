package page_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/page"
	"github.com/registryd/registryd/registry"
)

// TestOverview: what a node is and has, and that nobody's text becomes markup.
func TestOverview(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	s.node.set(func(o *api.Overview) {
		o.Cluster, o.Started = "prod & <test>", time.Now().Add(-26*time.Hour-5*time.Minute-time.Second)
		o.Broker = api.BrokerOverview{For: 3, Trouble: "no answer"}
		o.Peers = []api.PeerOverview{
			{Name: "node-2", URL: "http://node-2:8761/eureka/", Status: "reachable", ProcessingOrder: 7, Oldest: .125, Lag: .25},
			{Name: "node-3", URL: "http://node-3:8761/eureka/", Status: "unreachable", Silent: 12},
			{Name: "evil", URL: "javascript:alert(1)", Status: "reachable"},
		}
	})
	const script = `<script>alert(1)`
	s.put("ORDERS", "orders-1", nil)
	s.put("ORDERS", "y\u202e\x1b[31m", nil)
	s.put("ORDERS", "x"+script, nil)
	s.reg.SetStatus(registry.NewKey("ORDERS", "orders-1"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
	body := s.get(t, 200, "/")
	lacks(t, body, "node-1", "prod &amp; &lt;test&gt;", "1.2.3", "up for 1 d 2 h",
		`href="http://node-2:8761/"`, `href="http://node-3:8761/"`, "not reached", "Nothing was heard of it for 12 s.",
		"250 ms", "No connection to the broker for 3 s", "no answer", "http://node-1:8761/eureka/",
		"orders-1", `y\u202e\x1b[31m`, "out of service", "override", "&lt;script&gt;")
	has(t, body, script, "javascript:", "<style", "style=", "onclick")
	lacks(t, body, `<noscript><meta http-equiv="refresh" content="10"></noscript>`)
	if strings.Count(body, "<script") != 1 || !strings.Contains(body, `<script src="page/script.js?v=`) {
		t.Error("want one script, of this node")
	}
}

// TestHeaders: a page may load what the node serves and nothing else, and is not kept.
// Its files may be kept, since their addresses change with them.
func TestHeaders(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/page/list": "text/html; charset=utf-8",
		"/page/style.css": "text/css; charset=utf-8", "/page/script.js": "text/javascript; charset=utf-8", "/page/icon.svg": "image/svg+xml",
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		h := w.Header()
		if w.Code != 200 || h.Get("Content-Type") != want || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %q", path, w.Code, h)
		}
		if !strings.HasPrefix(want, "text/html") {
			if !strings.Contains(h.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: Cache-Control %q", path, h.Get("Cache-Control"))
			}
			continue
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, h.Get("Cache-Control"))
		}
	}
	s.get(t, 404, "/page/nothing")
}

// TestPages: a page of the list has 100 instances, and says how many there are.
func TestPages(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	for i := range 1001 {
		s.put("APP-"+strconv.Itoa(i/500), "i-"+strconv.Itoa(i), nil)
	}
	body := s.get(t, 200, "/")
	if got := strings.Count(body, "192.0.2.1"); got != 100 {
		t.Errorf("%d instances listed, want 100", got)
	}
	lacks(t, body, "1,001", "1 to 100 of 1,001", "./?page=2", "500 instances")
	body = s.get(t, 200, "/?page=11")
	lacks(t, body, "1,001 to 1,001 of 1,001", ">i-1000<", "./?page=10")
	has(t, body, "page=12")
	lacks(t, s.get(t, 200, "/?page=4711"), "1,001 to 1,001 of 1,001")
}

// TestOrder: troubled instances come first, then natural order, also after changes.
func TestOrder(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	s := newSite(t, page.Options{}, func() time.Time { return now })
	lease := func(seconds int) func(*eureka.InstanceInfo) {
		return func(i *eureka.InstanceInfo) { i.LeaseInfo.DurationInSecs = seconds }
	}
	for _, id := range []string{"demo-28", "demo-3", "demo-10"} {
		s.put("B", id, lease(3600))
	}
	s.put("A10", "x", lease(3600))
	s.put("A9", "x", lease(3600))
	s.put("B", "silent", lease(30))
	inOrder(t, s.get(t, 200, "/page/list"), ">A9<", ">A10<", ">B<", ">demo-3<", ">demo-10<", ">demo-28<", ">silent<")

	s.put("B", "demo-9", lease(3600))
	s.reg.Cancel(registry.NewKey("B", "demo-10"), registry.Origin{})
	s.reg.SetStatus(registry.NewKey("B", "demo-28"), eureka.StatusDown, eureka.NoTimestamp, registry.Origin{})
	body := s.get(t, 200, "/page/list")
	inOrder(t, body, "1 needs a look", "B /", ">demo-28<", ">A9<", ">A10<", ">B<", ">demo-3<", ">demo-9<", ">silent<")
	has(t, body, ">demo-10<")
	if got := strings.Count(body, ">demo-28<"); got != 1 {
		t.Errorf("the one in trouble is listed %d times, want once", got)
	}

	now = now.Add(100 * time.Second)
	s.node.set(func(o *api.Overview) {
		o.Leases = api.LeasesOverview{
			Expected: 12, Missing: 7, SelfPreservation: true, Threshold: .85, Min: 3, Since: &now,
		}
	})
	body = s.get(t, 200, "/")
	inOrder(t, body, "Holding 1 expired instance of 1 application since", "only 41 % of the leases are renewed (5 of 12)",
		"more than 85 % are renewed", "2 need a look", ">demo-28<", ">silent<", "over for", "1 min 5 s", "kept by self-preservation", ">A9<")
}

// TestSearch: words, status, zone and application choose, in the address.
func TestSearch(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	zone := func(name string) func(*eureka.InstanceInfo) {
		return func(i *eureka.InstanceInfo) { i.Metadata = map[string]string{"zone": name, "commit": "Cafe" + name} }
	}
	s.put("ORDERS", "o-1", zone("eu-1"))
	s.put("ORDERS", "o-2", zone("eu-2"))
	s.put("BILLING", "b-1", zone("eu-1"))
	s.reg.SetStatus(registry.NewKey("BILLING", "b-1"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
	all := []string{">o-1<", ">o-2<", ">b-1<"}
	for query, want := range map[string][]string{
		"":                      all,
		"q=orders":              {">o-1<", ">o-2<"},
		"q=+ORD+++cafeEU-2":     {">o-2<"},
		"q=out_of_service":      {">b-1<"},
		"status=OUT_OF_SERVICE": {">b-1<"},
		"status=UP&zone=eu-1":   {">o-1<"},
		"status=trouble":        {">b-1<"},
		"status=nonsense":       all,
		"app=billing":           {">b-1<"},
		"zone=eu-3":             {},
		"page=nonsense":         all,
	} {
		body := s.get(t, 200, "/page/list?"+query)
		for _, id := range all {
			wanted := false
			for _, w := range want {
				wanted = wanted || w == id
			}
			if strings.Contains(body, id) != wanted {
				t.Errorf("%q: %s shown: %t, want %t", query, id, !wanted, wanted)
			}
		}
	}
	body := s.get(t, 200, "/?q=o-1&zone=eu-1")
	lacks(t, body, `value="o-1"`, "<option selected>eu-1</option>", `method="get"`, "status=UP&amp;zone=eu-1")
}

// TestBegin: an empty page says how to begin.
func TestBegin(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	body := s.get(t, 200, "/")
	lacks(t, body, "No services yet", "eureka.client.serviceUrl.defaultZone=http://node-1:8761/eureka/",
		"http://node-1:8761/eureka/apps/DEMO", "host: 'node-1', port: 8761", "This node is alone.")
	s.put("ORDERS", "o-1", nil)
	has(t, s.get(t, 200, "/"), "No services yet")
}

// TestLeasesInWords: inactive and switched off are two things.
func TestLeasesInWords(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	s.node.set(func(o *api.Overview) { o.Leases = api.LeasesOverview{Threshold: .85, Min: 3} })
	lacks(t, s.get(t, 200, "/"), "self-preservation <b>inactive</b>")
	s.node.set(func(o *api.Overview) { o.Leases.Off = true })
	lacks(t, s.get(t, 200, "/"), "self-preservation <b>switched off</b>")
}

// TestOptions: faults are named.
func TestOptions(t *testing.T) {
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = page.New(reg, page.Options{MaxLive: -1})
	if err == nil || !strings.Contains(err.Error(), "node is missing") || !strings.Contains(err.Error(), "max live -1") {
		t.Errorf("error %v, want one that names both faults", err)
	}
}

// TestRegions tells people of other regions, and only where there are any.
func TestRegions(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	has(t, s.get(t, 200, "/"), "Other regions")
	s.node.set(func(o *api.Overview) {
		o.Regions = []api.RegionOverview{
			{Name: "east", URL: "http://east/eureka/", Loaded: true, Age: 12, Instances: 7},
			{Name: "west", URL: "http://west/", Trouble: "connection \u202erefused <b>"},
		}
	})
	lacks(t, s.get(t, 200, "/"), "Other regions", "http://east/eureka/", "12 s ago", ">7<", "never", `connection \u202erefused &lt;b&gt;`)
}
