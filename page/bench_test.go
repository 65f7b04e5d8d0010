package page_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/page"
	"github.com/registryd/registryd/registry"
)

// sink takes an answer and counts it.
type sink struct {
	header http.Header
	bytes  int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(b []byte) (int, error) { s.bytes += len(b); return len(b), nil }
func (s *sink) Flush()                      {}

func filled(b *testing.B, n int) *site {
	s := newSite(b, page.Options{}, nil)
	for i := range n {
		s.put(fmt.Sprint("SVC-", i%(n/100)), fmt.Sprint("host-", i, ":svc:8080"), func(in *eureka.InstanceInfo) {
			in.Metadata = map[string]string{"zone": fmt.Sprint("eu-", i%3)}
		})
	}
	return s
}

func (s *site) ask(b *testing.B, path string) {
	s.ServeHTTP(&sink{header: http.Header{}}, httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, http.NoBody))
}

// BenchmarkList is what a page asks for after a change: the list as it is, after the change
// of one instance, and with a search.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		s := filled(b, n)
		key := registry.NewKey("SVC-1", "host-1:svc:8080")
		change := func(i int) {
			status := []eureka.Status{eureka.StatusDown, eureka.StatusOutOfService}[i%2]
			s.reg.SetStatus(key, status, eureka.NoTimestamp, registry.Origin{})
		}
		for name, path := range map[string]string{"all": "/page/list", "search": "/page/list?q=host-99"} {
			b.Run(fmt.Sprintf("%s/unchanged/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					s.ask(b, path)
				}
			})
			b.Run(fmt.Sprintf("%s/changed/%d", name, n), func(b *testing.B) {
				i := 0
				for b.Loop() {
					i++
					change(i)
					s.ask(b, path)
				}
			})
		}
	}
}

// BenchmarkRenewWithPage is a heartbeat, with no page open and with eight.
func BenchmarkRenewWithPage(b *testing.B) {
	for _, pages := range []int{0, 8} {
		b.Run(fmt.Sprintf("pages=%d", pages), func(b *testing.B) {
			s := filled(b, 10_000)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			go s.Run(ctx)
			for range pages {
				go s.ServeHTTP(&sink{header: http.Header{}}, httptest.NewRequestWithContext(ctx, http.MethodGet, "/page/live", http.NoBody))
			}
			key := registry.NewKey("SVC-1", "host-1:svc:8080")
			for b.Loop() {
				s.reg.Renew(key, 1, "", registry.Origin{})
			}
		})
	}
}
