package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// TestForms asks every list in every form and reads it back.
func TestForms(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", `"secureVipAddress":"safe"`)
	n.put(t, "ORDERS", "orders-2", "")
	n.put(t, "USERS", "users-1", "")
	for _, c := range []struct {
		path, version string
		ids           []string
	}{
		{"/eureka/apps", "1", []string{"orders-1", "orders-2", "users-1"}},
		{"/eureka/apps/delta", "", []string{"orders-1", "orders-2", "users-1"}},
		{"/eureka/apps/?regions=us-east-1", "1", []string{"orders-1", "orders-2", "users-1"}},
		{"/eureka/vips/orders", "-1", []string{"orders-1", "orders-2"}},
		{"/eureka/vips/ORDERS", "-1", nil},
		{"/eureka/svips/safe", "-1", []string{"orders-1"}},
		{"/eureka/svips/none", "-1", nil},
	} {
		for _, form := range []eureka.Form{{}, {Compact: true}, {Format: eureka.XML}, {Format: eureka.XML, Compact: true}} {
			headers := []string{"Accept", form.ContentType()}
			if form.Compact {
				headers = append(headers, "X-Eureka-Accept", "compact")
			}
			w := n.want(t, 200, "GET", c.path, "", headers...)
			name := fmt.Sprintf("%s as %+v", c.path, form)
			if got := w.Header().Get("Content-Type"); got != form.ContentType() {
				t.Errorf("%s: Content-Type %q", name, got)
			}
			if got := w.Header().Get("Content-Length"); got != strconv.Itoa(w.Body.Len()) {
				t.Errorf("%s: Content-Length %s of %d bytes", name, got, w.Body.Len())
			}
			list, err := eureka.DecodeApplications(form.Format, w.Body.Bytes())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if c.version != "" && list.Version != c.version {
				t.Errorf("%s: version %q, want %q", name, list.Version, c.version)
			}
			var ids []string
			for _, a := range list.Applications {
				for _, i := range a.Instances {
					ids = append(ids, i.ID())
				}
			}
			if !slices.Equal(ids, c.ids) {
				t.Errorf("%s: instances %v, want %v", name, ids, c.ids)
			}
			want := ""
			if len(c.ids) > 0 {
				want = fmt.Sprintf("UP_%d_", len(c.ids))
			}
			if list.HashCode != want {
				t.Errorf("%s: hash code %q, want %q", name, list.HashCode, want)
			}
			compact := strings.Contains(w.Body.String(), "leaseInfo")
			if compact == form.Compact && len(ids) > 0 {
				t.Errorf("%s: leases told: %v", name, compact)
			}
		}
	}
}

// TestReadsAreNotStale writes and reads at once, as a client that reads its
// registration back does.
func TestReadsAreNotStale(t *testing.T) {
	n := newNode(t, api.Options{MaxAge: time.Hour})
	read := func(path string) string {
		return n.want(t, 200, "GET", path, "", "Accept", jsonType, "X-Eureka-Accept", "compact").Body.String()
	}
	for i := range 50 {
		id := "orders-" + strconv.Itoa(i)
		n.put(t, "ORDERS", id, "")
		for _, path := range []string{"/eureka/apps", "/eureka/apps/delta", "/eureka/apps/ORDERS", "/eureka/vips/orders"} {
			if !strings.Contains(read(path), `"`+id+`"`) {
				t.Fatalf("%s lacks %s just after its register", path, id)
			}
		}
		n.want(t, 200, "PUT", "/eureka/apps/ORDERS/"+id+"/status?value=DOWN", "")
		if !strings.Contains(read("/eureka/apps"), "DOWN_"+strconv.Itoa(i+1)+"_") {
			t.Fatalf("apps has not %d instances DOWN", i+1)
		}
	}
	n.want(t, 200, "DELETE", "/eureka/apps/ORDERS/orders-0", "")
	if strings.Contains(read("/eureka/apps"), `"orders-0"`) {
		t.Error("apps has an instance that was cancelled")
	}
	if !strings.Contains(read("/eureka/apps/delta"), "DELETED") {
		t.Error("the delta lacks the cancel")
	}
}

// TestReadersAndWriters holds the same with many at once: who has been answered
// sees its write in the next read, whoever renders it.
func TestReadersAndWriters(t *testing.T) {
	n := newNode(t, api.Options{MaxAge: time.Hour})
	var done sync.WaitGroup
	for writer := range 8 {
		done.Go(func() {
			for i := range 30 {
				id := fmt.Sprintf("w%d-%d", writer, i)
				n.put(t, "ORDERS", id, "")
				w := n.ask(t, "GET", "/eureka/apps", "", "Accept", jsonType, "X-Eureka-Accept", "compact")
				if !strings.Contains(w.Body.String(), `"`+id+`"`) {
					t.Errorf("apps lacks %s just after its register", id)
				}
			}
		})
	}
	done.Wait()
}

func TestGzip(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	for _, path := range []string{"/eureka/apps", "/eureka/apps/delta"} {
		plain := n.want(t, 200, "GET", path, "", "Accept", jsonType)
		for range 2 {
			w := n.want(t, 200, "GET", path, "", "Accept", jsonType, "Accept-Encoding", "gzip, deflate")
			if w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("Content-Type") != jsonType {
				t.Errorf("%s: headers %v", path, w.Header())
			}
			if got := string(unzip(t, w.Body.Bytes())); got != plain.Body.String() {
				t.Errorf("%s: compressed %q, plain %q", path, got, plain.Body)
			}
		}
	}
	w := n.want(t, 200, "GET", "/eureka/apps/ORDERS", "", "Accept", jsonType, "Accept-Encoding", "gzip")
	if w.Header().Get("Content-Encoding") != "" {
		t.Error("one application is compressed")
	}
}

func TestNotAcceptable(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	for _, path := range []string{
		"/eureka/apps", "/eureka/apps/delta", "/eureka/apps/ORDERS", orders1, "/eureka/instances/orders-1",
		"/eureka/vips/orders", "/eureka/svips/orders", "/eureka/status",
	} {
		n.want(t, 406, "GET", path, "", "Accept", "text/html")
		n.want(t, 406, "GET", path, "", "Accept", "application/*+json")
	}
}

// TestInstanceIsFull: X-Eureka-Accept is for lists.
func TestInstanceIsFull(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	for _, path := range []string{orders1, "/eureka/instances/orders-1", "/eureka/v2/apps/orders/orders-1/"} {
		w := n.want(t, 200, "GET", path, "", "Accept", jsonType, "X-Eureka-Accept", "compact")
		if !strings.Contains(w.Body.String(), `"leaseInfo"`) {
			t.Errorf("%s: body %q is not full", path, w.Body)
		}
	}
}

func TestOverrides(t *testing.T) {
	n := newNode(t, api.Options{})
	if got := n.want(t, 200, "GET", "/eureka/serverinfo/statusoverrides", "").Body.String(); got != "{}" {
		t.Errorf("no overrides: %q", got)
	}
	n.put(t, "ORDERS", `orders \"1\"`, "") // JSON inside
	n.put(t, "ORDERS", "orders-2", "")
	n.put(t, "A", "twin", "")
	n.put(t, "B", "twin", "")
	n.want(t, 200, "PUT", "/eureka/apps/ORDERS/orders%20%221%22/status?value=OUT_OF_SERVICE", "")
	n.want(t, 200, "PUT", "/eureka/apps/A/twin/status?value=DOWN", "")
	n.want(t, 200, "PUT", "/eureka/apps/B/twin/status?value=STARTING", "")
	w := n.want(t, 200, "GET", "/eureka/serverinfo/statusoverrides", "")
	var got map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%q: %v", w.Body, err)
	}
	want := map[string]string{`orders "1"`: "OUT_OF_SERVICE", "twin": "DOWN"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("overrides %v, want %v", got, want)
	}
}

func twoPeers() *fakeNode {
	return &fakeNode{now: ready, overview: api.Overview{
		Node: "node-1", Cluster: "prod & <test>", Version: "1.2.3", URL: "http://node-1:8761/eureka/",
		Started: time.Now().Add(-26*time.Hour - 5*time.Minute),
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
	for _, want := range []string{"<com.netflix.eureka.util.StatusInfo>", "<string>prod & <test>", "<isHeathly>true", "<string>unavailable-replicas"} {
		if !strings.Contains(got, want) {
			t.Errorf("XML lacks %q: %s", want, got)
		}
	}
}

func TestPage(t *testing.T) {
	const evil = `<script>alert(1)</script>`
	n := newNode(t, api.Options{Node: twoPeers(), Gatherer: prometheus.NewRegistry()})
	n.put(t, "ORDERS", "orders-1", `"statusPageUrl":"http://h:8080/info"`)
	n.put(t, "ORDERS", "x"+evil[:len(evil)-len("</script>")], `"statusPageUrl":"javascript:alert(1)"`)
	n.want(t, 200, "PUT", orders1+"/status?value=OUT_OF_SERVICE", "")
	w := n.want(t, 200, "GET", "/", "")
	if got := w.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	body := w.Body.String()
	for _, want := range []string{
		"node-1", "prod &amp; &lt;test&gt;", "1.2.3", "node-2", "node-3", "unreachable", "250ms", "26h5m",
		"orders-1", `href="http://h:8080/info"`, "OUT_OF_SERVICE (override)", "OUT_OF_SERVICE_1_UP_1_", `href="/metrics"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"<script", `href="javascript:`, "src="} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestPageBound(t *testing.T) {
	n := newNode(t, api.Options{})
	for i := range 1001 {
		id := "i-" + strconv.Itoa(i)
		n.reg.Register(&eureka.InstanceInfo{
			InstanceID: &id, HostName: "h", App: "APP-" + strconv.Itoa(i/500), IPAddr: "192.0.2.1", Status: eureka.StatusUp,
			DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 1,
		}, false)
	}
	body := n.want(t, 200, "GET", "/", "").Body.String()
	if got := strings.Count(body, "192.0.2.1"); got != 1000 {
		t.Errorf("%d instances listed, want 1000", got)
	}
	for _, want := range []string{"Instances: 1001", "1 more are not listed here", "APP-2 (1)"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestHealthz(t *testing.T) {
	n := newNode(t, api.Options{})
	for _, path := range []string{"/healthz", "/healthz/"} {
		if got := n.want(t, 200, "GET", path, "").Body.String(); got != "ok" {
			t.Errorf("%s: body %q, want ok", path, got)
		}
	}
	n.want(t, 404, "GET", "/metrics", "") // no Gatherer
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	n := newNode(t, api.Options{Metrics: registry, Gatherer: registry})
	n.put(t, "ORDERS", "orders-1", "")
	n.want(t, 200, "PUT", orders1, "")
	n.want(t, 200, "PUT", orders1, "")
	n.want(t, 404, "PUT", "/eureka/apps/ORDERS/none", "")
	n.want(t, 200, "GET", "/eureka/apps", "")
	n.want(t, 200, "GET", "/eureka/apps", "")
	n.want(t, 415, "POST", "/eureka/apps/ORDERS", "")
	n.want(t, 400, "POST", "/eureka/apps/ORDERS", "{", "Content-Type", jsonType)
	n.want(t, 404, "GET", "/eureka/<nonsense>/"+strings.Repeat("x", 100), "")
	body := n.want(t, 200, "GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`registryd_api_requests_total{code="200",operation="heartbeat"} 2`,
		`registryd_api_requests_total{code="404",operation="heartbeat"} 1`,
		`registryd_api_requests_total{code="204",operation="register"} 1`,
		`registryd_api_requests_total{code="415",operation="register"} 1`,
		`registryd_api_requests_total{code="404",operation="not_found"} 1`,
		`registryd_api_request_duration_seconds_count{operation="heartbeat"} 3`,
		`registryd_api_requests_in_flight 1`,
		`registryd_api_rejected_bodies_total{reason="content_type"} 1`,
		`registryd_api_rejected_bodies_total{reason="malformed"} 1`,
		`registryd_api_list_cache_requests_total{list="apps",result="miss"} 1`,
		`registryd_api_list_cache_requests_total{list="apps",result="hit"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(body, "nonsense") || strings.Contains(body, "ORDERS") {
		t.Error("a label comes from a request")
	}
}

func TestNewRefusesOptions(t *testing.T) {
	reg, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.New(reg, api.Options{MaxBody: -1, MaxListBytes: -5, MaxBatchBody: -2, MaxBatches: -3, MaxAge: -4})
	for _, want := range []string{"max body -1", "max batch body -2", "max batches -3", "max age -4ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	metrics := prometheus.NewRegistry()
	if _, err := api.New(reg, api.Options{Node: &fakeNode{}, Metrics: metrics}); err != nil {
		t.Error(err)
	}
	if _, err := api.New(reg, api.Options{Node: &fakeNode{}, Metrics: metrics}); err == nil {
		t.Error("metrics registered twice, and no error")
	}
}

func TestBatch(t *testing.T) {
	cancel := `{"replicationList":[{"appName":"REP","id":"none","action":"Cancel"}]}`
	many := `{"replicationList":[` + strings.Repeat(`{"appName":"A","id":"i","action":"Cancel"},`, eureka.DefaultMaxItems) + `{"appName":"A","id":"i","action":"Cancel"}]}`
	for _, c := range []struct {
		name, body string
		headers    []string
		code       int
		want       string
	}{
		{"JSON", cancel, []string{"Content-Type", jsonType, "Accept", jsonType}, 200, `{"responseList":[{"statusCode":404}]}`},
		{"unknown field", strings.Replace(cancel, `"id"`, `"registryd":{},"id"`, 1), []string{"Content-Type", jsonType, "Accept", jsonType}, 400, `{"error": "cannot parse request body"}`},
		{"no list", "{}", []string{"Content-Type", jsonType}, 500, "replicationList is missing"},
		{"empty list", `{"replicationList":[]}`, []string{"Content-Type", jsonType, "Accept", jsonType}, 200, `{"responseList":[]}`},
		{"too many", many, []string{"Content-Type", jsonType}, 413, "replicationList: more than 10000 items"},
		{"XML", "<a/>", []string{"Content-Type", xmlType}, 415, "content-type"},
		{"no Content-Type", cancel, nil, 415, "content-type"},
		{"HTML wanted", cancel, []string{"Content-Type", jsonType, "Accept", "text/html"}, 406, "not acceptable"},
	} {
		n := newNode(t, api.Options{})
		w := n.want(t, c.code, "POST", "/eureka/peerreplication/batch/", c.body, c.headers...)
		if got := w.Body.String(); !strings.Contains(got, c.want) {
			t.Errorf("%s: body %q, want %q", c.name, got, c.want)
		}
	}
	n := newNode(t, api.Options{MaxBatchBody: len(cancel)})
	n.want(t, 200, "POST", "/eureka/peerreplication/batch", cancel, "Content-Type", jsonType)
	n.want(t, 413, "POST", "/eureka/peerreplication/batch", cancel+" ", "Content-Type", jsonType)
}

// TestBatchConflict asks with an old heartbeat: a peer that doesn't ask for JSON
// gets XML, with our copy inside.
func TestBatchConflict(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "REP", "rep-1", "")
	old := `{"replicationList":[{"appName":"REP","id":"rep-1","action":"Heartbeat","lastDirtyTimestamp":1}]}`
	w := n.want(t, 200, "POST", "/eureka/peerreplication/batch/", old, "Content-Type", jsonType)
	got := parse(t, w.Body.Bytes(), false)
	for _, want := range []string{"<statusCode>409", "<responseEntity class=instance>", "<instanceId>rep-1"} {
		if !strings.Contains(got, want) {
			t.Errorf("XML lacks %q: %s", want, got)
		}
	}
	if strings.Contains(got, "<instance>") {
		t.Errorf("the entity is wrapped twice: %s", got)
	}
}

// TestBatchesHeld: beyond the bound a peer is told to wait.
func TestBatchesHeld(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	n := newNode(t, api.Options{MaxBatches: 1, Node: &fakeNode{now: ready, apply: func(eureka.ReplicationList) eureka.ReplicationListResponse {
		in <- struct{}{}
		<-out
		return eureka.ReplicationListResponse{}
	}}})
	const body = `{"replicationList":[]}`
	first := make(chan *httptest.ResponseRecorder)
	go func() {
		first <- n.ask(t, "POST", "/eureka/peerreplication/batch/", body, "Content-Type", jsonType)
	}()
	<-in
	w := n.want(t, 503, "POST", "/eureka/peerreplication/batch/", body, "Content-Type", jsonType)
	if w.Body.Len() > 0 {
		t.Errorf("503 with body %q", w.Body)
	}
	close(out)
	if w := <-first; w.Code != http.StatusOK {
		t.Errorf("the batch that was held: status %d", w.Code)
	}
	go func() {
		first <- n.ask(t, "POST", "/eureka/peerreplication/batch/", body, "Content-Type", jsonType)
	}()
	<-in // there is room again
	<-first
}

// TestLastN: Spring's page of the last registrations and cancels.
func TestLastN(t *testing.T) {
	n := newNode(t, api.Options{})
	for _, id := range []string{"first", "<second>"} {
		n.reg.Register(&eureka.InstanceInfo{
			InstanceID: &id, HostName: "h", App: "LAST", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
			DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 1,
		}, false)
	}
	n.reg.Cancel(registry.NewKey("LAST", "first"), false)
	w := n.want(t, 200, "GET", "/lastn", "")
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("Content-Type %q, want HTML", got)
	}
	body := w.Body.String()
	cancelled, registered, _ := strings.Cut(body, "Registered: 2")
	if !strings.Contains(cancelled, "Cancelled or evicted: 1") || !strings.Contains(cancelled, "<td>first</td>") {
		t.Errorf("cancelled: %s", cancelled)
	}
	second, first := strings.Index(registered, "&lt;second&gt;"), strings.Index(registered, "<td>first</td>")
	if second < 0 || first < second {
		t.Errorf("registered, want the second before the first, escaped: %s", registered)
	}
}

// TestVary: an answer names the request headers that it depends on, whatever it
// is, so that a cache between keeps apart what it should.
func TestVary(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	const list, one = "Accept, Accept-Encoding, X-Eureka-Accept", "Accept"
	for _, c := range []struct {
		method, path, accept string
		code                 int
		want                 string
	}{
		{"GET", "/eureka/apps", jsonType, 200, list},
		{"GET", "/eureka/apps", "text/csv", 406, list},
		{"GET", "/eureka/apps/delta", xmlType, 200, list},
		{"GET", "/eureka/apps/NONE", xmlType, 404, list},
		{"GET", "/eureka/vips/orders", jsonType, 200, list},
		{"GET", orders1, jsonType, 200, one},
		{"GET", "/eureka/instances/none", jsonType, 404, one},
		{"GET", "/eureka/status", xmlType, 200, one},
		{"POST", "/eureka/peerreplication/batch", jsonType, 200, one},
		{"GET", "/healthz", jsonType, 200, ""},
		{"PUT", orders1, jsonType, 200, ""},
	} {
		w := n.want(t, c.code, c.method, c.path, `{"replicationList":[]}`, "Accept", c.accept, "Content-Type", jsonType)
		if got := w.Header().Get("Vary"); got != c.want {
			t.Errorf("%s %s: Vary %q, want %q", c.method, c.path, got, c.want)
		}
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
