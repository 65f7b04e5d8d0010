package api_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

func twoPeers() *fakeNode {
	return &fakeNode{now: ready, overview: api.Overview{
		Node: "node-1", Cluster: "prod & <test>", Version: "1.2.3", URL: "http://node-1:8761/eureka/",
		Broker: api.BrokerOverview{For: 3, Trouble: "no answer"}, Started: time.Now().Add(-26*time.Hour - 5*time.Minute),
		Peers: []api.PeerOverview{
			{Name: "node-2", URL: "http://node-2:8761/eureka/", Status: "reachable", ProcessingOrder: 7, Oldest: .125, Lag: .25},
			{Name: "node-3", URL: "http://node-3:8761/eureka/", Status: "unreachable"},
		},
	}}
}

func TestStatusPage(t *testing.T) {
	n := newNode(t, api.Options{Node: twoPeers()})
	w := n.want(t, 200, "GET", "/eureka/status", "", "Accept", jsonType)
	var page struct {
		GeneralStats, ApplicationStats map[string]string
		IsHeathly                      bool
	}
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		t.Fatalf("%q: %v", w.Body, err)
	}
	for name, want := range map[string]string{
		"registered-replicas":  "http://node-2:8761/eureka/,http://node-3:8761/eureka/",
		"available-replicas":   "http://node-2:8761/eureka/",
		"unavailable-replicas": "http://node-3:8761/eureka/",
	} {
		if got := page.ApplicationStats[name]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := page.GeneralStats["server-uptime"]; got != "1 day 02:05" {
		t.Errorf("server-uptime %q", got)
	}
	if got := page.GeneralStats["environment"]; got != "prod & <test>" || !page.IsHeathly {
		t.Errorf("environment %q, healthy %v", got, page.IsHeathly)
	}
	w = n.want(t, 200, "GET", "/eureka/v2/status/", "")
	if w.Header().Get("Content-Type") != xmlType {
		t.Errorf("Content-Type %q", w.Header().Get("Content-Type"))
	}
	got := parse(t, w.Body.Bytes(), false)
	for _, want := range []string{"<com.netflix.eureka.util.StatusInfo>", "<environment>prod & <test>", "<isHeathly>true", "<unavailable-replicas>http://node-3:8761/eureka/"} {
		if !strings.Contains(got, want) {
			t.Errorf("XML lacks %q: %s", want, got)
		}
	}
}

// TestPagePlugged: what is plugged in answers at / and below /page/, with the checks for
// browsers before it; without it nothing is there.
func TestPagePlugged(t *testing.T) {
	var asked []string
	n := newNode(t, api.Options{Node: twoPeers(), Page: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	})})
	for _, path := range []string{"/", "/page/live", "/page/list", "/page/style.css"} {
		n.want(t, 200, "GET", path, "")
	}
	n.want(t, 404, "GET", "/page/a/b", "")
	n.want(t, 421, "GET", "http://stranger.example/", "", "User-Agent", "Mozilla/5.0")
	if want := []string{"GET /", "GET /page/live", "GET /page/list", "GET /page/style.css"}; !slices.Equal(asked, want) {
		t.Errorf("asked: %q, want %q", asked, want)
	}
	none, err := api.New(n.reg, api.Options{Node: twoPeers()})
	if err != nil {
		t.Fatal(err)
	}
	n.Handler = none
	n.want(t, 404, "GET", "/", "")
	n.want(t, 404, "GET", "/page/live", "")
}

// TestLastN: Spring's page of the last registrations and cancels.
func TestLastN(t *testing.T) {
	n := newNode(t, api.Options{})
	for _, id := range []string{"first", "<second>\x1b[2J"} {
		n.reg.Register(&eureka.InstanceInfo{
			InstanceID: &id, HostName: "h", App: "LAST", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
			DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 1,
		}, registry.Origin{})
	}
	n.reg.Cancel(registry.NewKey("LAST", "first"), registry.Origin{})
	w := n.want(t, 200, "GET", "/lastn", "")
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("Content-Type %q, want HTML", got)
	}
	body := w.Body.String()
	cancelled, registered, _ := strings.Cut(body, "Registered: 2")
	if !strings.Contains(cancelled, "Cancelled or evicted: 1") || !strings.Contains(cancelled, "<td>first</td>") {
		t.Errorf("cancelled: %s", cancelled)
	}
	second, first := strings.Index(registered, `&lt;second&gt;\x1b[2J`), strings.Index(registered, "<td>first</td>")
	if second < 0 || first < second {
		t.Errorf("registered, want the second before the first, escaped: %s", registered)
	}
}

// TestBase: a browser at the service URL, which the program prints, sees the page;
// a client whose service URL lacks its end is told so, once a minute.
func TestBase(t *testing.T) {
	var lines bytes.Buffer
	n := newNode(t, api.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	for path, want := range map[string]string{"/eureka": "/", "/eureka/": "/", "/eureka/v2": "/", "/eureka/v2/": "/"} {
		w := n.want(t, 302, "GET", path, "", "Accept", "text/html,*/*;q=0.8")
		at, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := at.Parse(w.Header().Get("Location")); err != nil || to.Path != want {
			t.Errorf("%s: to %v, %v, want %s", path, to, err, want)
		}
		if w := n.want(t, 404, "GET", path, "", "Accept", jsonType); w.Body.Len() > 0 {
			t.Errorf("%s: body %q", path, w.Body)
		}
	}
	for range 3 {
		if got := n.want(t, 404, "GET", "/apps/", "").Body.String(); !strings.Contains(got, "/eureka/apps") {
			t.Errorf("body %q", got)
		}
		if w := n.want(t, 404, "POST", "/apps/ORDERS", ""); w.Body.Len() > 0 {
			t.Errorf("body %q", w.Body)
		}
	}
	if got := lines.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "path=/apps/") {
		t.Errorf("logged: %q, want one line", got)
	}
}
