package api

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func parseURL(t testing.TB, path string) target {
	t.Helper()
	u, err := url.ParseRequestURI(path)
	if err != nil {
		t.Fatalf("path %q: %v", path, err)
	}
	return parsePath(u.Path, u.RawPath)
}

// resourceOf returns the resource of a pattern.
func resourceOf(all []resource, segments ...string) *resource {
	var want pattern
	copy(want[:], segments)
	for i := range all {
		if all[i].pattern == want {
			return &all[i]
		}
	}
	panic(segments)
}

func below(segments ...string) *resource  { return resourceOf(eurekaResources[:], segments...) }
func beside(segments ...string) *resource { return resourceOf(rootResources[:], segments...) }

var (
	ofInstance = below("apps", anyName, anyID)
	ofStatus   = below("apps", anyName, anyID, "status")
	ofMetadata = below("apps", anyName, anyID, "metadata")
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		path string
		want target
	}{
		{"/", target{resource: beside()}},
		{"/healthz", target{resource: beside("healthz")}},
		{"/healthz/", target{resource: beside("healthz")}},
		{"/readyz", target{resource: beside("readyz")}},
		{"/metrics", target{resource: beside("metrics")}},
		{"/metrics/x", target{}},
		{"/nothing", target{}},
		{"//", target{resource: beside()}},
		{"//eureka/apps", target{resource: below("apps")}},
		{"///eureka/apps/ORDERS/a%2Fb", target{resource: ofInstance, name: "ORDERS", id: "a/b"}},
		{"/eureka", target{resource: below()}},
		{"/eureka/", target{resource: below()}},
		{"/eureka/v2", target{resource: below()}},
		{"/eureka/v2/", target{resource: below()}},
		{"/eureka/v2//", target{}},
		{"/apps/ORDERS", target{resource: &strayResource}},
		{"/apps", target{resource: &strayResource}},
		{"/status", target{resource: beside("status")}},
		{"/eureka/v1/apps", target{}},
		{"/eureka/v2/v2/apps", target{}},
		{"/Eureka/apps", target{}},
		{"/v2/apps", target{resource: &strayResource}},
		{"/v2", target{}},
		{"/eureka/apps/ORDERS/a;b=c", target{resource: ofInstance, name: "ORDERS", id: "a;b=c"}},
		{"/eureka/apps", target{resource: below("apps")}},
		{"/eureka/apps/", target{resource: below("apps")}},
		{"/eureka/apps//", target{}},
		{"/eureka//apps", target{}},
		{"/eureka/v2/apps/", target{resource: below("apps")}},
		{"/eureka/apps/delta", target{resource: below("apps", "delta")}},
		{"/eureka/apps/delta/", target{resource: below("apps", "delta")}},
		{"/eureka/apps/DELTA", target{resource: below("apps", anyName), name: "DELTA"}},
		{"/eureka/apps/delta/id", target{resource: ofInstance, name: "delta", id: "id"}},
		{"/eureka/apps/orders", target{resource: below("apps", anyName), name: "orders"}},
		{"/eureka/apps/a%20b", target{resource: below("apps", anyName), name: "a b"}},
		{"/eureka/apps/ORDERS/host:orders:8080", target{resource: ofInstance, name: "ORDERS", id: "host:orders:8080"}},
		{"/eureka/apps/ORDERS/host%3Aorders%3A8080", target{resource: ofInstance, name: "ORDERS", id: "host:orders:8080"}},
		{"/eureka/apps/ORDERS/a%2Fb", target{resource: ofInstance, name: "ORDERS", id: "a/b"}},
		{"/eureka/apps/ORDERS/a%2Fstatus", target{resource: ofInstance, name: "ORDERS", id: "a/status"}},
		{"/eureka/apps/ORDERS/a%2F/status", target{resource: ofStatus, name: "ORDERS", id: "a/"}},
		{"/eureka/apps/ORDERS/%2F", target{resource: ofInstance, name: "ORDERS", id: "/"}},
		{"/eureka/apps/ORDERS/a%252Fb", target{resource: ofInstance, name: "ORDERS", id: "a%2Fb"}},
		{"/eureka/apps/ORDERS/a+b", target{resource: ofInstance, name: "ORDERS", id: "a+b"}},
		{"/eureka/apps/ORDERS/a+b%2Fc", target{resource: ofInstance, name: "ORDERS", id: "a+b/c"}},
		{"/eureka/apps/ORDERS/..", target{resource: ofInstance, name: "ORDERS", id: ".."}},
		{"/eureka/apps/ORDERS/%00", target{resource: ofInstance, name: "ORDERS", id: "\x00"}},
		{"/eureka/apps/ORDERS/%FF", target{resource: ofInstance, name: "ORDERS", id: "\xff"}},
		{"/eureka/apps/ORDERS/id/", target{resource: ofInstance, name: "ORDERS", id: "id"}},
		{"/eureka/apps/ORDERS/id/status", target{resource: ofStatus, name: "ORDERS", id: "id"}},
		{"/eureka/v2/apps/ORDERS/id/status/", target{resource: ofStatus, name: "ORDERS", id: "id"}},
		{"/eureka/apps/ORDERS/id/metadata", target{resource: ofMetadata, name: "ORDERS", id: "id"}},
		{"/eureka/apps/ORDERS/id/other", target{}},
		{"/eureka/apps/ORDERS/id/status/more", target{}},
		{"/eureka/v2/apps/ORDERS/id/status/more", target{}},
		{"/eureka/instances/i-1", target{resource: below("instances", anyID), id: "i-1"}},
		{"/eureka/instances", target{}},
		{"/eureka/vips/orders", target{resource: below("vips", anyName), name: "orders"}},
		{"/eureka/svips/orders%3A443", target{resource: below("svips", anyName), name: "orders:443"}},
		{"/eureka/peerreplication/batch/", target{resource: below("peerreplication", "batch")}},
		{"/eureka/peerreplication/batch", target{resource: below("peerreplication", "batch")}},
		{"/eureka/peerreplication", target{}},
		{"/eureka/asg/group-1/status", target{resource: below("asg", anyName, "status"), name: "group-1"}},
		{"/eureka/asg/group-1", target{}},
		{"/eureka/status", target{resource: below("status")}},
		{"/eureka/status/x", target{}},
		{"/eureka/serverinfo/statusoverrides", target{resource: beside("eureka", "serverinfo", "statusoverrides")}},
		{"/eureka/v2/serverinfo/statusoverrides", target{}},
	} {
		got := parseURL(t, c.path)
		if got != c.want {
			t.Errorf("%s: %+v of %v, want %+v of %v", c.path, got, got.resource, c.want, c.want.resource)
		}
	}
}

func TestOperations(t *testing.T) {
	for _, c := range []struct {
		path  string
		allow string
	}{
		{"/eureka/apps", "GET,HEAD,OPTIONS"},
		{"/eureka/apps/delta", "GET,HEAD,OPTIONS"},
		{"/eureka/apps/ORDERS", "POST,GET,HEAD,OPTIONS"},
		{"/eureka/apps/ORDERS/id", "PUT,DELETE,GET,HEAD,OPTIONS"},
		{"/eureka/apps/ORDERS/id/status", "PUT,DELETE,OPTIONS"},
		{"/eureka/apps/ORDERS/id/metadata", "PUT,OPTIONS"},
		{"/eureka/instances/id", "GET,HEAD,OPTIONS"},
		{"/eureka/vips/v", "GET,HEAD,OPTIONS"},
		{"/eureka/svips/v", "GET,HEAD,OPTIONS"},
		{"/eureka/peerreplication/batch", "POST,OPTIONS"},
		{"/eureka/asg/a/status", "PUT,OPTIONS"},
		{"/eureka/status", "GET,HEAD,OPTIONS"},
		{"/eureka/serverinfo/statusoverrides", "GET,HEAD,OPTIONS"},
		{"/healthz", "GET,HEAD,OPTIONS"},
		{"/readyz", "GET,HEAD,OPTIONS"},
		{"/metrics", "GET,HEAD,OPTIONS"},
		{"/", "GET,HEAD,OPTIONS"},
	} {
		r := parseURL(t, c.path).resource
		if got := r.allow(); got != c.allow {
			t.Errorf("%s: Allow %q, want %q", c.path, got, c.allow)
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", ""} {
			got := r.operation(method)
			allowed := method != "" && strings.Contains(","+c.allow+",", ","+method+",")
			if (got != wrongMethod) != allowed || got == notFound {
				t.Errorf("%s %s: operation %s, allowed %v", method, c.path, got, allowed)
			}
			if method == http.MethodHead && got != r.operation(http.MethodGet) {
				t.Errorf("HEAD %s: operation %s, GET's is another", c.path, got)
			}
		}
	}
	if got := (*resource)(nil).operation(http.MethodGet); got != notFound {
		t.Errorf("no resource: operation %s", got)
	}
	seen := map[string]bool{}
	for op := range operations {
		if s := op.String(); s == "" || seen[s] {
			t.Errorf("operation %d: label %q is empty or taken", op, s)
		}
		seen[op.String()] = true
	}
}

func TestParameter(t *testing.T) {
	for _, c := range []struct {
		query, name, want string
		given             bool
	}{
		{"", "value", "", false},
		{"value=UP", "value", "UP", true},
		{"value=", "value", "", true},
		{"value", "value", "", true},
		{"=x&value=UP", "value", "UP", true},
		{"&&value=UP&", "value", "UP", true},
		{"VALUE=UP", "value", "", false},
		{"value=UP&value=DOWN", "value", "UP", true},
		{"values=DOWN&value=UP", "value", "UP", true},
		{"val%75e=U%50", "value", "UP", true},
		{"value=a+b%2Bc", "value", "a b+c", true},
		{"value=%zz", "value", "%zz", true},
		{"value=50%", "value", "50%", true},
		{"value=%4", "value", "%4", true},
		{"value=%%41%4g+", "value", "%A%4g ", true},
		{"%=1&value=2", "value", "2", true},
		{"value=a=b", "value", "a=b", true},
		{"status=UP&lastDirtyTimestamp=17", "lastDirtyTimestamp", "17", true},
		{"lastDirtyTimestamp=17;value=UP", "value", "", false},
	} {
		if got, given := parameter(c.query, c.name); got != c.want || given != c.given {
			t.Errorf("parameter %q of %q: %q, %v, want %q, %v", c.name, c.query, got, given, c.want, c.given)
		}
	}
}

// FuzzParsePath holds that any application and id survive a path, however they
// are escaped, and that no path is parsed to something that it doesn't say.
func FuzzParsePath(f *testing.F) {
	for _, seed := range [][2]string{
		{"ORDERS", "orders-1"},
		{"GATEWAY", "gw-1:gateway:8080"},
		{"a b", "a/b"},
		{"delta", "status"},
		{"v2", "metadata"},
		{"é", "%2F"},
		{"A", "\x00\xff"},
		{"..", "."},
		{"a+b/c", "d+e"},
		{"/eureka/apps//", "?x#y"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, app, id string) {
		parsePath(app, id) // whatever it is
		if app == "" || id == "" {
			return
		}
		for suffix, want := range map[string]*resource{"": ofInstance, "/": ofInstance, "/status": ofStatus, "/metadata/": ofMetadata} {
			for _, base := range []string{"/eureka/apps/", "/eureka/v2/apps/"} {
				path := base + url.PathEscape(app) + "/" + url.PathEscape(id) + suffix
				if got := parseURL(t, path); got != (target{resource: want, name: app, id: id}) {
					t.Errorf("%s: %+v, want %v, %q, %q", path, got, want, app, id)
				}
			}
		}
	})
}
