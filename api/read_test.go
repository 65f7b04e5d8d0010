package api_test

import (
	"encoding/json"
	"fmt"
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
				t.Errorf("%s: leases shown: %v", name, compact)
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

// TestEntityTags answers 304 to a client that has the list already, until it changes.
func TestEntityTags(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	tags := make(map[string]bool)
	for _, headers := range [][]string{
		{"Accept", jsonType},
		{"Accept", jsonType, "Accept-Encoding", "gzip"},
		{"Accept", "application/xml"},
		{"Accept", jsonType, "X-Eureka-Accept", "compact"},
	} {
		for _, path := range []string{"/eureka/apps", "/eureka/apps/delta"} {
			tag := n.want(t, 200, "GET", path, "", headers...).Header().Get("ETag")
			if !strings.HasPrefix(tag, `W/"`) {
				t.Fatalf("%s %v: ETag %q", path, headers, tag)
			}
			tags[tag] = true
			for _, given := range []string{tag, `"other", ` + tag, "*"} {
				w := n.want(t, 304, "GET", path, "", append([]string{"If-None-Match", given}, headers...)...)
				if w.Body.Len() > 0 || w.Header().Get("ETag") != tag {
					t.Errorf("%s: body of %d bytes, ETag %q, want none and %s", path, w.Body.Len(), w.Header().Get("ETag"), tag)
				}
			}
			n.want(t, 200, "GET", path, "", append([]string{"If-None-Match", `"other"`}, headers...)...)
			n.want(t, 200, "PUT", "/eureka/apps/ORDERS/orders-1", "") // a renewal changes no list
			n.want(t, 304, "GET", path, "", append([]string{"If-None-Match", tag}, headers...)...)
			n.put(t, "ORDERS", "orders-1", "")
			n.want(t, 200, "GET", path, "", append([]string{"If-None-Match", tag}, headers...)...)
		}
	}
	if len(tags) != 8 {
		t.Errorf("%d different tags of 8 answers", len(tags))
	}
	// Another process has other tags: its generations begin anew.
	other := newNode(t, api.Options{})
	other.put(t, "ORDERS", "orders-1", "")
	if tag := other.want(t, 200, "GET", "/eureka/apps", "", "Accept", jsonType).Header().Get("ETag"); tags[tag] {
		t.Errorf("two nodes have the tag %s", tag)
	}
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
	// One metric, which is bounded, names applications: those that are registered.
	const instances = `registryd_instances{application="ORDERS",status="UP"} 1` + "\n"
	if !strings.Contains(body, instances) {
		t.Errorf("metrics lack %s", instances)
	}
	body = strings.Replace(body, instances, "", 1)
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
		{"GET", "/eureka/", "text/html", 302, one},
		{"GET", "/eureka/v2", jsonType, 404, one},
		{"GET", "/healthz", jsonType, 200, ""},
		{"PUT", orders1, jsonType, 200, ""},
	} {
		w := n.want(t, c.code, c.method, c.path, `{"replicationList":[]}`, "Accept", c.accept, "Content-Type", jsonType)
		if got := w.Header().Get("Vary"); got != c.want {
			t.Errorf("%s %s: Vary %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

// TestScrapesAreBounded: scrapes that hang do not pile up.
func TestScrapesAreBounded(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "slow"}, func() float64 {
		in <- struct{}{}
		<-out
		return 1
	}))
	n := newNode(t, api.Options{Gatherer: metrics})
	var done sync.WaitGroup
	for range 16 {
		done.Go(func() { n.ask(t, "GET", "/metrics", "") })
		<-in
	}
	n.want(t, 503, "GET", "/metrics", "")
	close(out)
	done.Wait()
	go func() { <-in }()
	n.want(t, 200, "GET", "/metrics", "")
}
