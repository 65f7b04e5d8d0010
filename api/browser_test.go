package api_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
)

// TestBrowsers: a page of another site, and one whose name was bound to this
// node's address, change and read nothing. Clients of Eureka ask by any name.
func TestBrowsers(t *testing.T) {
	const mozilla = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
	repaired := 0
	var lines bytes.Buffer
	n := newNode(t, api.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil)), Hosts: []string{"Registry.Example:443"}, Node: &fakeNode{now: ready, repair: func() { repaired++ }}})
	n.put(t, "ORDERS", "orders-1", "")
	for _, c := range []struct {
		name, method, path, host string
		headers                  []string
		want                     int
	}{
		{"form of another site", "POST", "/repair", "127.0.0.1:8761", []string{"Origin", "http://evil.example", "Content-Type", "text/plain"}, 403},
		{"form without an origin", "POST", "/repair", "127.0.0.1:8761", []string{"Origin", "null"}, 403},
		{"script of another site", "DELETE", orders1, "localhost:8761", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"same site, another origin", "PUT", orders1 + "/status?value=DOWN", "localhost:8761", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"link from another site", "GET", "/", "localhost:8761", []string{"Sec-Fetch-Site", "cross-site"}, 200},
		{"script of a name bound anew", "GET", "/versions", "evil.example:8761", []string{"User-Agent", mozilla}, 421},
		{"its write", "DELETE", orders1, "evil.example:8761", []string{"Origin", "http://evil.example:8761"}, 421},
		{"its list", "GET", "/eureka/apps", "evil.example:8761", []string{"Accept-Language", "de"}, 421},
		{"probe that calls itself a browser", "GET", "/readyz", "lb.example", []string{"User-Agent", "Mozilla/5.0+(compatible; UptimeRobot/2.0)"}, 200},
		{"page by address", "GET", "/", "192.0.2.1:8761", []string{"User-Agent", mozilla}, 200},
		{"page by address of version 6", "GET", "/", "[2001:db8::1]:8761", []string{"User-Agent", mozilla}, 200},
		{"page by a short name", "GET", "/", "registry-1:8761", []string{"User-Agent", mozilla}, 200},
		{"page by localhost", "GET", "/", "a.localhost", []string{"User-Agent", mozilla}, 200},
		{"page by the advertised name", "GET", "/", "registry.EXAMPLE.:8761", []string{"User-Agent", mozilla}, 200},
		{"page without a host", "GET", "/", "", []string{"User-Agent", mozilla}, 200},
		{"page's own action", "POST", "/repair", "registry.example", []string{"Origin", "https://registry.example"}, 202},
		{"Java by a load balancer", "GET", "/eureka/apps", "lb.example", []string{"User-Agent", "Java-EurekaClient/v2.0.4"}, 200},
		{"Node's fetch", "PUT", orders1, "lb.example", []string{"User-Agent", "node", "Accept-Language", "*", "Sec-Fetch-Mode", "cors"}, 200},
		{"repair by hand", "POST", "/repair", "lb.example", nil, 202},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil)
		r.Host = c.host
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: status %d, want %d; body %q", c.name, w.Code, c.want, w.Body)
		}
	}
	if got := lines.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "origin=http://evil.example") {
		t.Errorf("logged: %q, want one line", got)
	}
	if repaired != 2 {
		t.Errorf("repaired %d times, want 2", repaired)
	}
	if got := n.status(t, "ORDERS", "orders-1"); got != "UP" {
		t.Errorf("status %s, want UP", got)
	}
	all := api.Options{Hosts: []string{"*"}}
	newNode(t, all).want(t, 200, "GET", "http://evil.example/versions", "", "User-Agent", mozilla)
}
