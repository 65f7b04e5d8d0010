package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

// asked is what the rules of docs/security.md ask for each path and method, written down
// apart from the program's own table. A new route needs a row here.
var asked = map[string]string{
	"GET ":                                  "read", // the page
	"GET healthz":                           "open",
	"GET readyz":                            "open",
	"GET metrics":                           "read",
	"GET lastn":                             "read",
	"GET versions":                          "read",
	"GET prometheus/sd":                     "read",
	"GET status":                            "read",
	"POST repair":                           "admin",
	"GET debug/pprof":                       "admin",
	"PUT debug/log-level":                   "admin",
	"GET debug/log-level":                   "admin",
	"GET debug/pprof/{name}":                "admin",
	"GET page/{name}":                       "read",
	"GET page/live":                         "read",
	"POST page/act":                         "admin",
	"GET v1/history":                        "read",
	"GET v1/watch":                          "read",
	"GET v1/why":                            "read",
	"GET v1/apps/{name}/{id}/drain":         "read",
	"POST v1/apps/{name}/{id}/drain":        "override",
	"GET eureka/serverinfo/statusoverrides": "read",

	"GET eureka":                            "read",
	"GET eureka/apps":                       "read",
	"GET eureka/apps/delta":                 "read",
	"GET eureka/apps/{name}":                "read",
	"POST eureka/apps/{name}":               "client body",
	"GET eureka/apps/{name}/{id}":           "read",
	"PUT eureka/apps/{name}/{id}":           "client",
	"DELETE eureka/apps/{name}/{id}":        "client",
	"PUT eureka/apps/{name}/{id}/status":    "override",
	"DELETE eureka/apps/{name}/{id}/status": "override",
	"PUT eureka/apps/{name}/{id}/metadata":  "client",
	"GET eureka/instances/{id}":             "read",
	"GET eureka/vips/{name}":                "read",
	"GET eureka/svips/{name}":               "read",
	"POST eureka/peerreplication/batch":     "admin",
	"PUT eureka/asg/{name}/status":          "admin",
	"GET eureka/status":                     "read",
}

// quietNode is a Node that knows nothing and does nothing.
type quietNode struct{ repairs, batches int }

func (n *quietNode) Readiness() Readiness { return Readiness{State: "ready", Ready: true, Reads: true} }

func (n *quietNode) Overview() Overview                                   { return Overview{Node: "node-1"} }
func (n *quietNode) Name() string                                         { return "node-1" }
func (n *quietNode) Repair()                                              { n.repairs++ }
func (n *quietNode) MaxTask() int                                         { return math.MaxInt }
func (n *quietNode) DrainPeers(context.Context, registry.Key) []DrainNode { return nil }
func (n *quietNode) Apply(context.Context, string, eureka.ReplicationList) eureka.ReplicationListResponse {
	n.batches++
	return eureka.ReplicationListResponse{}
}

// guarded is a handler with logins.
type guarded struct {
	*Handler
	node  *quietNode
	reg   *registry.Registry
	level *slog.LevelVar
	log   *bytes.Buffer
}

const password = "correct horse"

func newGuarded(t testing.TB, ownOnly bool, change func(*Options)) *guarded {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "logins")
	text := fmt.Sprintf("reader read %[1]s\nanyone client %[1]s\nmine client %[1]s,cert:mine.example MINE\nboss admin %[1]s\n", hash)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &guarded{node: &quietNode{}, level: new(slog.LevelVar), log: &bytes.Buffer{}}
	guard, err := access.New(access.Options{File: file, OwnAppsOnly: ownOnly, Logger: slog.New(slog.NewTextHandler(g.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if g.reg, err = registry.New(registry.Options{}); err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	opts := Options{
		Node: g.node, Access: guard, LogLevel: g.level, Metrics: metrics, Gatherer: metrics,
		Logger: slog.New(slog.NewTextHandler(g.log, nil)),
	}
	if change != nil {
		change(&opts)
	}
	if g.Handler, err = New(g.reg, opts); err != nil {
		t.Fatal(err)
	}
	return g
}

// caller is who asks.
type caller struct {
	name  string
	login string // of basic authentication, with the right password
	basic string // as it is
	cert  string // common name of a client certificate that a CA of the node signed
	role  access.Role
	owns  bool // MINE
}

var callers = []caller{
	{name: "stranger"},
	{name: "stranger with a certificate of the CA", cert: "nobody"},
	{name: "wrong password", basic: "boss:" + password + "!"},
	{name: "no password", basic: "boss:"},
	{name: "unknown name", basic: "nobody:" + password},
	{name: "read", login: "reader", role: access.Read},
	{name: "client", login: "anyone", role: access.Client},
	{name: "client of one application", login: "mine", role: access.Client, owns: true},
	{name: "client of one application by certificate", cert: "mine.example", role: access.Client, owns: true},
	{name: "admin", login: "boss", role: access.Admin},
}

// place puts an application and an id into a pattern.
func place(path, app, id string) string {
	return "/" + strings.ReplaceAll(strings.ReplaceAll(path, anyName, app), anyID, id)
}

// request is what a caller asks.
func (c caller) request(t testing.TB, method, path, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = "192.0.2." + fmt.Sprint(1+slices.IndexFunc(callers, func(o caller) bool { return o.name == c.name })) + ":4711"
	if c.login != "" {
		r.SetBasicAuth(c.login, password)
	}
	if c.basic != "" {
		name, secret, _ := strings.Cut(c.basic, ":")
		r.SetBasicAuth(name, secret)
	}
	if c.cert != "" {
		leaf := &x509.Certificate{Subject: pkix.Name{CommonName: c.cert}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	}
	return r
}

func instanceOf(app, id string) string {
	return `{"instance":{"instanceId":"` + id + `","hostName":"h","app":"` + app + `","ipAddr":"192.0.2.1",` +
		`"status":"UP","lastDirtyTimestamp":"1700000000000","vipAddress":"` + strings.ToLower(app) + `",` +
		`"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}}}`
}

// routes are all paths with the methods that they have, from the table of the program.
func routes() (out []struct{ method, path string }) {
	add := func(prefix string, all []resource) {
		for i := range all {
			words := slices.DeleteFunc(append([]string{prefix}, all[i].pattern[:]...), func(w string) bool { return w == "" })
			for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
				if op := all[i].operation(method); op != wrongMethod {
					out = append(out, struct{ method, path string }{method, strings.Join(words, "/")})
				}
			}
		}
	}
	add("", rootResources[:])
	add("eureka", eurekaResources[:])
	return out
}

// TestRolesOfAllRoutes asks for every path with every method, as everybody, of one's own
// application and of another's, with and without --own-apps-only.
func TestRolesOfAllRoutes(t *testing.T) {
	for _, route := range routes() {
		if asked[route.method+" "+route.path] == "" {
			t.Errorf("%s %s: docs/security.md and the table of this test do not say who may", route.method, route.path)
		}
	}
	for key := range asked {
		if !slices.ContainsFunc(routes(), func(r struct{ method, path string }) bool { return r.method+" "+r.path == key }) {
			t.Errorf("%s: there is no such route", key)
		}
	}
	for _, ownOnly := range []bool{false, true} {
		g := newGuarded(t, ownOnly, func(o *Options) { o.MaxListBytes = 1 << 30 })
		for _, app := range []string{"MINE", "THEIRS"} {
			if out := g.reg.Register(decoded(t, instanceOf(app, "kept")), registry.Origin{}); out != registry.OK {
				t.Fatal(out)
			}
		}
		for _, c := range callers {
			t.Run(fmt.Sprintf("%s, own only %v", c.name, ownOnly), func(t *testing.T) {
				for _, route := range routes() {
					for _, v2 := range []bool{false, true} {
						for _, app := range []string{"MINE", "THEIRS"} {
							g.check(t, c, ownOnly, route.method, route.path, app, v2)
						}
					}
				}
				// What is no route tells a stranger nothing either.
				for _, path := range []string{"/nothing", "/apps/MINE", "/v2/apps", "/eureka/v2/nothing"} {
					for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"} {
						w := httptest.NewRecorder()
						g.ServeHTTP(w, c.request(t, method, path, ""))
						if c.role == access.NoRole && w.Code != 401 && w.Code != 429 {
							t.Errorf("%s %s: %d, want 401", method, path, w.Code)
						}
					}
				}
			})
		}
		if strings.Contains(g.log.String(), password) {
			t.Errorf("the log shows a password: %s", g.log)
		}
	}
}

// check asks one thing, and compares the answer and what is registered with the rules.
func (g *guarded) check(t *testing.T, c caller, ownOnly bool, method, path, app string, v2 bool) {
	t.Helper()
	rule := asked[method+" "+path]
	if v2 && (!strings.HasPrefix(path, "eureka") || strings.Contains(path, "serverinfo")) {
		return
	}
	at := place(path, app, "kept")
	if v2 {
		at = strings.Replace(at, "/eureka", "/eureka/v2", 1)
	}
	if strings.Contains(path, "pprof/") {
		at = "/debug/pprof/goroutine"
	}
	own := c.owns && app == "MINE"
	allowed := false
	switch rule {
	case "open":
		allowed = true
	case "read":
		allowed = c.role >= access.Read
	case "client", "client body":
		allowed = c.role == access.Admin || c.role == access.Client && (!ownOnly || own)
	case "override":
		allowed = c.role == access.Admin || own
	case "admin":
		allowed = c.role == access.Admin
	}
	body := ""
	switch {
	case rule == "client body":
		body = instanceOf(app, "kept")
	case strings.HasSuffix(path, "batch"):
		body = `{"replicationList":[]}`
	}
	if strings.HasSuffix(path, "status") || strings.HasSuffix(path, "log-level") {
		at += map[bool]string{true: "?value=UP", false: "?value=info"}[strings.HasSuffix(path, "status")]
	}
	before, repairs, batches := g.reg.Digest(), g.node.repairs, g.node.batches
	w := httptest.NewRecorder()
	g.ServeHTTP(w, c.request(t, method, at, body))
	where := fmt.Sprintf("%s %s", method, at)
	if allowed {
		if w.Code == 401 || w.Code == 403 || w.Code == 429 {
			t.Errorf("%s: %d %q, want an answer", where, w.Code, w.Body)
		}
		if method == "DELETE" && rule == "client" { // for those who come after
			g.reg.Register(decoded(t, instanceOf(app, "kept")), registry.Origin{})
		}
		return
	}
	want := []int{403}
	if c.role == access.NoRole {
		want = []int{401, 429} // 429 where it has failed so often in this test
	}
	if !slices.Contains(want, w.Code) {
		t.Errorf("%s: %d %q, want %v", where, w.Code, w.Body, want)
	}
	if w.Header().Get("WWW-Authenticate") == "" && w.Code != 429 || w.Code == 429 && w.Header().Get("Retry-After") == "" {
		t.Errorf("%s: headers %v", where, w.Header())
	}
	if method == "PUT" && strings.HasSuffix(path, anyID) && w.Body.Len() > 0 {
		t.Errorf("%s: a refused heartbeat has a body, which Netflix's client takes for an instance: %q", where, w.Body)
	}
	for _, secret := range []string{"kept", "THEIRS", password} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: the answer shows %q: %q", where, secret, w.Body)
		}
	}
	if g.reg.Digest() != before || g.node.repairs != repairs || g.node.batches != batches {
		t.Errorf("%s: refused, and something changed", where)
	}
}

func decoded(t testing.TB, body string) *eureka.InstanceInfo {
	t.Helper()
	i, err := eureka.DecodeInstance(eureka.JSON, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestEveryOperationHasARole fails where a new operation has none.
func TestEveryOperationHasARole(t *testing.T) {
	for op := range operations {
		if rights[op].role == access.NoRole {
			t.Errorf("operation %d (%s) has no role", op, op)
		}
		if op.writes() && rights[op].of == scopeNone {
			t.Errorf("%s changes an instance: say of which", op)
		}
	}
}

// TestClientOfOneApplication tries every way by which a client could reach another's
// application.
func TestClientOfOneApplication(t *testing.T) {
	mine := callers[slices.IndexFunc(callers, func(c caller) bool { return c.login == "mine" })]
	with := func(app, field string) string {
		return strings.Replace(instanceOf(app, "kept"), `{"instance":{`, `{"instance":{`+field+`,`, 1)
	}
	vip := func(app, vips string) string {
		return strings.Replace(instanceOf(app, "new"), `"vipAddress":"`+strings.ToLower(app)+`"`, vips, 1)
	}
	for _, tt := range []struct {
		name, method, path, body, header string
		ownOnly                          bool
		want                             int
	}{
		{"its own", "POST", "/eureka/apps/MINE", instanceOf("MINE", "kept"), "", true, 204},
		{"its own in lower case", "POST", "/eureka/apps/mine", instanceOf("mine", "kept"), "", true, 204},
		{"another in the body", "POST", "/eureka/apps/MINE", instanceOf("THEIRS", "kept"), "", true, 400},
		{"another in body and path", "POST", "/eureka/apps/THEIRS", instanceOf("THEIRS", "kept"), "", true, 403},
		{"another without a vip", "POST", "/eureka/apps/THEIRS", strings.Replace(vip("THEIRS", `"vipAddress":""`), "new", "kept", 1), "", true, 403},
		{"another in the path alone", "POST", "/eureka/apps/THEIRS", instanceOf("MINE", "kept"), "", true, 400},
		{"another's heartbeat", "PUT", "/eureka/apps/theirs/kept", "", "", true, 403},
		{"another's heartbeat, escaped", "PUT", "/eureka/apps/%54HEIRS/kept", "", "", true, 403},
		{"its own heartbeat as a peer", "PUT", "/eureka/apps/MINE/kept?overriddenstatus=DOWN", "", "true", false, 403},
		{"another's override as a peer", "PUT", "/eureka/apps/THEIRS/kept?overriddenstatus=DOWN", "", "true", false, 403},
		{"another's override by register", "POST", "/eureka/apps/THEIRS", with("THEIRS", `"overriddenstatus":"DOWN"`), "", false, 403},
		{"another's override by register, old name", "POST", "/eureka/apps/THEIRS", with("THEIRS", `"overriddenStatus":"DOWN"`), "", false, 403},
		{"its own override by register", "POST", "/eureka/apps/MINE", with("MINE", `"overriddenstatus":"DOWN"`), "", false, 204},
		{"another's register, allowed", "POST", "/eureka/apps/THEIRS", instanceOf("THEIRS", "kept"), "", false, 204},
		{"another's vip", "POST", "/eureka/apps/MINE", vip("MINE", `"vipAddress":"mine, theirs"`), "", true, 403},
		{"another's secure vip", "POST", "/eureka/apps/MINE", vip("MINE", `"secureVipAddress":"theirs"`), "", true, 403},
		{"no vip", "POST", "/eureka/apps/MINE", vip("MINE", `"port":{"$":80,"@enabled":"true"}`), "", true, 204},
		{"another's metadata", "PUT", "/eureka/apps/THEIRS/kept/metadata?a=b", "", "", true, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(t, tt.ownOnly, nil)
			for _, app := range []string{"MINE", "THEIRS"} {
				g.reg.Register(decoded(t, instanceOf(app, "kept")), registry.Origin{})
			}
			theirs := func() string {
				i, ok := g.reg.Instance(registry.NewKey("THEIRS", "kept"))
				return fmt.Sprint(ok, i.Status, i.OverriddenStatus, i.Metadata, len(g.reg.VIP("theirs").Applications))
			}
			before := theirs()
			r := mine.request(t, tt.method, tt.path, tt.body)
			if tt.header != "" {
				r.Header.Set("X-Netflix-Discovery-Replication", tt.header)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("status %d %q, want %d", w.Code, w.Body, tt.want)
			}
			if after := theirs(); after != before {
				t.Errorf("THEIRS was %s, is %s", before, after)
			}
		})
	}
}

// TestOpenMetrics shows metrics, and nothing else, to who has no login.
func TestOpenMetrics(t *testing.T) {
	g := newGuarded(t, false, func(o *Options) { o.OpenMetrics = true })
	for path, want := range map[string]int{"/metrics": 200, "/status": 401, "/": 401} {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, callers[0].request(t, "GET", path, ""))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

// TestDebugPaths are not there without logins, unless they are asked for.
func TestDebugPaths(t *testing.T) {
	for _, debug := range []bool{false, true} {
		g := newGuarded(t, false, func(o *Options) { o.Access, o.Debug = nil, debug })
		for _, tt := range []struct{ method, path string }{
			{"GET", "/debug/pprof/"}, {"GET", "/debug/pprof/heap"}, {"GET", "/debug/log-level"}, {"PUT", "/debug/log-level?value=debug"},
		} {
			w := httptest.NewRecorder()
			g.ServeHTTP(w, callers[0].request(t, tt.method, tt.path, ""))
			if want := map[bool]int{false: 404, true: 200}[debug]; w.Code != want {
				t.Errorf("debug %v, %s %s: %d, want %d", debug, tt.method, tt.path, w.Code, want)
			}
		}
		if got, want := g.level.Level() == slog.LevelDebug, debug; got != want {
			t.Errorf("debug %v: level %v", debug, g.level.Level())
		}
	}
	g := newGuarded(t, false, nil)
	boss := callers[len(callers)-1]
	w := httptest.NewRecorder()
	g.ServeHTTP(w, boss.request(t, "PUT", "/debug/log-level?value=loud", ""))
	if w.Code != 400 {
		t.Errorf("a level that is none: %d", w.Code)
	}
	w = httptest.NewRecorder()
	g.ServeHTTP(w, boss.request(t, "GET", "/debug/pprof/cmdline", ""))
	if w.Code != 404 {
		t.Errorf("the command line: %d", w.Code)
	}
}

// TestGuardedHeartbeatAllocs holds a heartbeat with a login to the price of one without.
func TestGuardedHeartbeatAllocs(t *testing.T) {
	g := newGuarded(t, true, nil)
	g.reg.Register(decoded(t, instanceOf("MINE", "kept")), registry.Origin{})
	for _, c := range callers {
		if !c.owns {
			continue
		}
		r := c.request(t, "PUT", "/eureka/apps/MINE/kept?status=UP", "")
		w := &discard{header: http.Header{}}
		if got := testing.AllocsPerRun(1000, func() { g.ServeHTTP(w, r) }); got > 0 {
			t.Errorf("%s: %v allocations", c.name, got)
		}
		if w.code != 200 {
			t.Errorf("%s: status %d", c.name, w.code)
		}
	}
}

type discard struct {
	header http.Header
	code   int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(code int)        { d.code = code }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// TestHistoryNamesLogin: what a login has done is told with its name.
func TestHistoryNamesLogin(t *testing.T) {
	var opts Options
	newGuarded(t, false, func(o *Options) { opts = *o })
	events, err := history.New(history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.New(registry.Options{Recorder: events})
	if err != nil {
		t.Fatal(err)
	}
	opts.History, opts.Metrics = events, nil
	h, err := New(reg, opts)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/eureka/apps/MINE", strings.NewReader(instanceOf("MINE", "new")))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("mine", password)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	told, _ := events.Query(history.Filter{}, 0, 2)
	if w.Code != 204 || len(told) != 1 || told[0].By.Login != "mine" {
		t.Errorf("%d, told %+v, want the login", w.Code, told)
	}
}
