package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkServed is what a fetch costs more because drains may ask who has fetched.
func BenchmarkServed(b *testing.B) {
	f := newFetchers()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/eureka/apps/delta", nil)
	r.Header.Set("DiscoveryIdentity-Name", "DefaultClient")
	r.Header.Set("DiscoveryIdentity-Version", "1.4")
	r.Header.Set("DiscoveryIdentity-Id", "10.12.14.16")
	r.Header.Set("User-Agent", "Java-EurekaClient/v2.0.4")
	b.ReportAllocs()
	for b.Loop() {
		f.served(r, readsAll, "", 7)
	}
}
