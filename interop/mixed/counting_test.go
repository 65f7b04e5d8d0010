package mixed_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// counting is a proxy before a server that counts what clients ask for, by kind. Once
// closed it refuses connections, as a server does that is gone.
type counting struct {
	server http.Server
	addr   string

	mu     sync.Mutex
	counts map[string]int // guarded by mu
}

// newCounting listens before the server at to.
func newCounting(t *testing.T, to string) *counting {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{addr: l.Addr().String(), counts: make(map[string]int)}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: to}) },
		Transport:      &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
		ModifyResponse: func(r *http.Response) error { c.count(r); return nil },
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // a server is killed
	}
	c.server.Handler = proxy
	var serving sync.WaitGroup
	serving.Go(func() { _ = c.server.Serve(l) }) //nolint:errcheck // until it is closed
	t.Cleanup(func() {
		c.close()
		serving.Wait()
	})
	return c
}

func (c *counting) base() string { return "http://" + c.addr + "/eureka/" }

func (c *counting) close() { _ = c.server.Close() } //nolint:errcheck // its connections end

// Kinds of requests.
const (
	fullFetch  = "full fetch"
	deltaFetch = "delta"
	renewal    = "heartbeat"
)

// count counts an answer.
func (c *counting) count(r *http.Response) {
	kind, path := r.Request.Method, strings.TrimSuffix(r.Request.URL.Path, "/")
	switch {
	case kind == http.MethodGet && strings.HasSuffix(path, "/apps"):
		kind = fullFetch
	case kind == http.MethodGet && strings.HasSuffix(path, "/apps/delta"):
		kind = deltaFetch
	case kind == http.MethodPut && strings.Count(path, "/") == 4:
		kind = renewal
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[fmt.Sprintf("%s %d", kind, r.StatusCode)]++
	if kind == fullFetch || kind == deltaFetch {
		c.counts[kind]++
		c.counts[kind+" as "+r.Header.Get("Content-Type")]++
	}
}

// total adds up what proxies have counted.
func total(proxies ...*counting) map[string]int {
	out := make(map[string]int)
	for _, c := range proxies {
		c.mu.Lock()
		for kind, n := range c.counts {
			out[kind] += n
		}
		c.mu.Unlock()
	}
	return out
}

// since returns what came since a total.
func since(before map[string]int, proxies ...*counting) map[string]int {
	out := total(proxies...)
	maps.DeleteFunc(out, func(kind string, n int) bool {
		out[kind] = n - before[kind]
		return n == before[kind]
	})
	return out
}
