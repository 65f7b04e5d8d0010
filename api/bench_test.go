package api_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// sink is a ResponseWriter that can be used again.
type sink struct {
	header http.Header
	code   int
	size   int
}

func newSink() *sink { return &sink{header: http.Header{}} }

func (s *sink) Header() http.Header  { return s.header }
func (s *sink) WriteHeader(code int) { s.code = code }
func (s *sink) Write(b []byte) (int, error) {
	s.size += len(b)
	return len(b), nil
}

func (s *sink) reset() {
	clear(s.header)
	s.code, s.size = 0, 0
}

// maxHeartbeatAllocs is what a heartbeat may allocate in the handler.
const maxHeartbeatAllocs = 0

// TestHeartbeatAllocs holds the most frequent request to its price.
func TestHeartbeatAllocs(t *testing.T) {
	n := newNode(t, api.Options{Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	n.put(t, "ORDERS", "host:orders:8080", "")
	for name, path := range map[string]string{
		"plain":      "/eureka/apps/ORDERS/host:orders:8080?status=UP&lastDirtyTimestamp=1700000000000",
		"v2, slash":  "/eureka/v2/apps/ORDERS/host:orders:8080/?status=UP&lastDirtyTimestamp=1700000000000",
		"no query":   "/eureka/apps/ORDERS/host:orders:8080",
		"unknown":    "/eureka/apps/ORDERS/other?status=UP&lastDirtyTimestamp=1700000000000",
		"as by Java": "/eureka/apps/ORDERS/host%3Aorders%3A8080?status=UP&lastDirtyTimestamp=1700000000000",
	} {
		bound := maxHeartbeatAllocs
		if name == "as by Java" {
			bound++ // the id is decoded
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, path, http.NoBody)
		r.Header.Set("Accept", "application/json")
		w := newSink()
		got := testing.AllocsPerRun(1000, func() {
			w.reset()
			n.ServeHTTP(w, r)
		})
		if int(got) > bound {
			t.Errorf("%s: %v allocations, want at most %d", name, got, bound)
		}
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	n := newNode(b, api.Options{Metrics: prometheus.NewRegistry()})
	n.put(b, "ORDERS", "host:orders:8080", "")
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPut,
		"/eureka/apps/ORDERS/host:orders:8080?status=UP&lastDirtyTimestamp=1700000000000", http.NoBody)
	w := newSink()
	b.ReportAllocs()
	for b.Loop() {
		w.reset()
		n.ServeHTTP(w, r)
	}
	if w.code != http.StatusOK {
		b.Fatalf("status %d", w.code)
	}
}

func BenchmarkRegister(b *testing.B) {
	n := newNode(b, api.Options{Metrics: prometheus.NewRegistry()})
	body := []byte(registration("ORDERS", "orders-1", `"metadata":{"zone":"a","management.port":"9090"}`))
	reader := bytes.NewReader(body)
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/eureka/apps/ORDERS", reader)
	r.Header.Set("Content-Type", "application/json")
	w := newSink()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		w.reset()
		reader.Reset(body)
		r.Body = io.NopCloser(reader)
		n.ServeHTTP(w, r)
	}
	if w.code != http.StatusNoContent {
		b.Fatalf("status %d", w.code)
	}
}

// fill registers instances, a hundred to an application.
func fill(b *testing.B, n *node, instances int) {
	b.Helper()
	for i := range instances {
		app := fmt.Sprintf("APP-%03d", i/100)
		body := registration(app, "host-"+strconv.Itoa(i)+":app:8080", `"metadata":{"zone":"a","management.port":"9090"}`)
		info, err := eureka.DecodeInstance(eureka.JSON, []byte(body))
		if err != nil {
			b.Fatal(err)
		}
		n.reg.Register(info, registry.Origin{})
	}
}

func BenchmarkApps(b *testing.B) {
	const instances = 10_000
	for _, c := range []struct {
		name            string
		accept, coding  string
		compact, change bool
	}{
		{"cached json", "application/json", "", false, false},
		{"cached json gzip", "application/json", "gzip", false, false},
		{"new json", "application/json", "", false, true},
		{"new json gzip", "application/json", "gzip", false, true},
		{"new json compact", "application/json", "", true, true},
		{"new xml", "application/xml", "", false, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := newNode(b, api.Options{})
			fill(b, n, instances)
			r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/eureka/apps/", http.NoBody)
			r.Header.Set("Accept", c.accept)
			if c.coding != "" {
				r.Header.Set("Accept-Encoding", c.coding)
			}
			if c.compact {
				r.Header.Set("X-Eureka-Accept", "compact")
			}
			w := newSink()
			b.ReportAllocs()
			for b.Loop() {
				if c.change {
					fill(b, n, 1)
				}
				w.reset()
				n.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(w.size), "body-bytes")
		})
	}
}

// BenchmarkCost shows what requests cost that return little, as the registry grows.
func BenchmarkCost(b *testing.B) {
	for _, instances := range []int{1_000, 100_000} {
		metrics := prometheus.NewRegistry()
		n := newNode(b, api.Options{Metrics: metrics, Gatherer: metrics})
		fill(b, n, instances)
		for _, path := range []string{
			"/eureka/instances/host-7:app:8080", "/eureka/apps/APP-000/host-7:app:8080", "/eureka/vips/nobody",
			"/status", "/metrics",
		} {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(strings.Trim(path, "/"), "/", "_"), instances), func(b *testing.B) {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, http.NoBody)
				r.Header.Set("Accept", "application/json")
				w := newSink()
				b.ReportAllocs()
				for b.Loop() {
					w.reset()
					n.ServeHTTP(w, r)
				}
				if w.code > http.StatusOK || w.size == 0 {
					b.Fatalf("status %d", w.code)
				}
			})
		}
	}
}
