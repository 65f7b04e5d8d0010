package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/api"
)

// stuck is a client that takes the headers, and reads on once it is let.
type stuck struct {
	*httptest.ResponseRecorder
	reached chan<- struct{}
	let     <-chan struct{}
}

func (s stuck) Write(b []byte) (int, error) {
	s.reached <- struct{}{}
	<-s.let
	return s.ResponseRecorder.Write(b)
}

// TestSlowReaders: readers of one state hold its bytes once, however many they
// are; lists beyond the bound are refused until the others are sent.
func TestSlowReaders(t *testing.T) {
	metrics := prometheus.NewRegistry()
	n := newNode(t, api.Options{MaxListBytes: 2500, Metrics: metrics})
	n.put(t, "ORDERS", "orders-1", `"metadata":{"a":"`+strings.Repeat("x", 300)+`"}`)
	size := n.want(t, 200, "GET", "/eureka/apps", "", "Accept", jsonType).Body.Len()
	if size < 2500/3 || size > 2500/2 {
		t.Fatalf("a list of %d bytes: two are to fit into the bound, and three not", size)
	}
	sending := func() int {
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "registryd_api_list_sending_bytes" {
				return int(f.GetMetric()[0].GetGauge().GetValue())
			}
		}
		t.Fatal("no gauge")
		return 0
	}
	reached, let := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	read := func() {
		done.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/eureka/apps", nil)
			r.Header.Set("Accept", jsonType)
			w := stuck{httptest.NewRecorder(), reached, let}
			n.ServeHTTP(w, r)
			if w.Code != http.StatusOK || w.Body.Len() < size/2 {
				t.Errorf("status %d with %d bytes", w.Code, w.Body.Len())
			}
		})
		<-reached
	}
	for range 20 {
		read()
	}
	if got := sending(); got != size {
		t.Errorf("%d bytes held by 20 readers of one state, want %d", got, size)
	}
	n.want(t, 200, "PUT", orders1+"/metadata?a="+strings.Repeat("y", 300), "")
	read() // the next state
	n.want(t, 200, "PUT", orders1+"/metadata?a="+strings.Repeat("z", 300), "")
	for _, path := range []string{"/eureka/apps", "/eureka/apps/ORDERS", "/eureka/vips/orders"} {
		if w := n.want(t, 503, "GET", path, "", "Accept", jsonType); w.Body.Len() > 0 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%s: body %q, Retry-After %q, want none and 1", path, w.Body, w.Header().Get("Retry-After"))
		}
	}
	n.want(t, 200, "PUT", orders1, "") // only lists are refused
	n.want(t, 200, "GET", orders1, "")
	close(let)
	done.Wait()
	if got := sending(); got != 0 {
		t.Errorf("%d bytes held by nobody", got)
	}
	for _, path := range []string{"/eureka/apps", "/eureka/apps/ORDERS", "/eureka/vips/orders"} {
		n.want(t, 200, "GET", path, "", "Accept", jsonType)
	}
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP registryd_api_refused_lists_total Lists refused because too many bytes of lists were being sent.
# TYPE registryd_api_refused_lists_total counter
registryd_api_refused_lists_total 3
`), "registryd_api_refused_lists_total"); err != nil {
		t.Error(err)
	}
}

// TestListAlone: a list larger than the bound is served while no other is sent.
func TestListAlone(t *testing.T) {
	n := newNode(t, api.Options{MaxListBytes: 1})
	n.put(t, "ORDERS", "orders-1", "")
	n.want(t, 200, "GET", "/eureka/apps", "")
	n.want(t, 200, "GET", "/eureka/apps/ORDERS", "")
}
