package api_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
)

// FuzzHandler sends anything to a node with some instances. It never panics, and
// answers as documented: 5xx only where Eureka does, a 404 without a body, a
// type for every body.
func FuzzHandler(f *testing.F) {
	for _, e := range load(f, "server") {
		f.Add(e.method, e.target, e.header.Get("Accept"), e.header.Get("Content-Type"), e.header.Get("Content-Encoding"),
			e.header.Get("X-Eureka-Accept"), e.header.Get(replicationHeader), e.body)
	}
	f.Add("GET", "/", "", "", "", "", "", []byte{})
	f.Add("PUT", "/eureka/apps/ORDERS/a%2Fb/status?value=UP&lastDirtyTimestamp=-1", "*/*;q=0", "", "", "", "true", []byte{})
	f.Add("PUT", "/eureka/apps/ORDERS/orders-1/metadata?%zz=1&=&a", "", "", "gzip", "", "", []byte("{}"))
	f.Add("OPTIONS", "/eureka/apps/delta/", ",;q=,", ";", "x-gzip", "compact", "", []byte{0x1f, 0x8b})
	// What Eureka answers with 500, as recorded.
	theirs := []string{
		"value: not one of UP, DOWN, STARTING, OUT_OF_SERVICE, UNKNOWN", "lastDirtyTimestamp: not a number",
		eureka.ErrNoReplicationList.Error(),
	}
	f.Fuzz(func(t *testing.T, method, target, accept, contentType, coding, compact, replication string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		n := newNode(t, api.Options{MaxBody: 4 << 10, MaxBatchBody: 16 << 10})
		n.put(t, "ORDERS", "orders-1", `"metadata":{"zone":"a"}`)
		n.put(t, "GATEWAY", "gw-1:gateway:8080", "")
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", bytes.NewReader(body))
		r.Method, r.URL = method, u
		r.Header = http.Header{
			"Accept": {accept}, "Content-Type": {contentType}, "Content-Encoding": {coding},
			"X-Eureka-Accept": {compact}, replicationHeader: {replication},
		}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)

		codes := []int{200, 204, 400, 404, 405, 406, 409, 413, 415, 500}
		if !slices.Contains(codes, w.Code) {
			t.Errorf("%s %s: status %d", method, target, w.Code)
		}
		if w.Code == 500 && !slices.Contains(theirs, w.Body.String()) {
			t.Errorf("%s %s: status 500, body %q", method, target, w.Body)
		}
		if w.Code == 404 && w.Body.Len() > 0 && (method != "GET" || strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "eureka")) {
			t.Errorf("%s %s: a 404 with body %q", method, target, w.Body)
		}
		if (w.Body.Len() > 0) != (w.Header().Get("Content-Type") != "") {
			t.Errorf("%s %s: %d bytes of type %q", method, target, w.Body.Len(), w.Header().Get("Content-Type"))
		}
		switch w.Header().Get("Content-Type") {
		case jsonType, xmlType:
			if w.Code == 200 {
				parse(t, w.Body.Bytes(), false)
			}
		}
	})
}
