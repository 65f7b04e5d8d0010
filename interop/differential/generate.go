package differential

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
)

// generator draws sequences. The same seed gives the same ones, whatever the answers are.
type generator struct {
	rand *rand.Rand

	// Of the sequence that is being drawn:
	apps []string    // as in paths; with the token's mark
	ids  [2][]string // of each of the apps
	vips []string
}

func newGenerator(seed uint64) *generator {
	return &generator{rand: rand.New(rand.NewPCG(seed, 0x6a617661))} //nolint:gosec // Not a secret.
}

// chance reports true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.rand.IntN(100) < percent }

func pick[T any](g *generator, from ...T) T { return from[g.rand.IntN(len(from))] }

const (
	shortest, longest = 5, 18 // requests of a sequence, before the reads at its end
)

// sequence draws a sequence.
func (g *generator) sequence() []*request {
	g.apps = []string{"APP-" + tokenMark, pick(g, "Two_"+tokenMark, "a.b-"+tokenMark, "straße-"+tokenMark, "x y "+tokenMark)}
	for i := range g.ids {
		g.ids[i] = nil
		for n := range 3 {
			g.ids[i] = append(g.ids[i], fmt.Sprintf(pick(g, "h%d-%d.%s", "Host%d:app%d:%s", "i %d/%d%s", "ü%d-%d-%s", "h%d%%%d+%s", "i-%d%d%s"), i, n, tokenMark))
		}
	}
	for i := range g.ids {
		for n, id := range g.ids[i] {
			if strings.Contains(id, "/") && !g.chance(10) {
				g.ids[i][n] = strings.ReplaceAll(id, "/", "-")
			}
		}
	}
	if g.chance(6) {
		g.ids[1][0] = g.ids[0][0] // twins
	}
	if g.chance(3) {
		g.ids[0][1] = pick(g, "h;x=1-"+tokenMark, "h;"+tokenMark, strings.Repeat("long", 300)+tokenMark)
	}
	g.vips = []string{"vip-" + tokenMark, "Other.VIP." + tokenMark, "vip " + tokenMark}
	var all []*request
	for range shortest + g.rand.IntN(longest-shortest+1) {
		all = append(all, g.request())
	}
	return append(all,
		g.read("/eureka/apps", "application/json"),
		g.read("/eureka/apps/delta", "application/json"))
}

func (g *generator) read(target, accept string) *request {
	return &request{method: http.MethodGet, target: target, header: []field{{"Accept", accept}}}
}

// target is an instance: an app as in paths, and an id.
type target struct{ app, id string }

func (g *generator) instance() target {
	n := g.rand.IntN(len(g.apps))
	return target{g.apps[n], pick(g, g.ids[n]...)}
}

// upper is a name as Java's toUpperCase has it.
func upper(app string) string { return strings.ToUpper(strings.ReplaceAll(app, "ß", "SS")) }

func (t target) about(k kind) act { return act{kind: k, app: upper(t.app), id: t.id} }

// request draws a request.
func (g *generator) request() *request {
	n := g.rand.IntN(100)
	for _, draw := range []struct {
		percent int
		request func() *request
	}{
		{28, g.register},
		{14, g.heartbeat},
		{6, g.cancel},
		{8, g.setStatus},
		{6, g.deleteStatus},
		{6, g.metadata},
		{9, g.readInstance},
		{10, g.readList},
		{5, g.readVIP},
		{6, g.batch},
	} {
		if n -= draw.percent; n < 0 {
			return draw.request()
		}
	}
	return g.odd()
}

// at puts a request together.
func (g *generator) at(method string, segments ...string) *request {
	path := []string{pick(g, "/eureka", "/eureka", "/eureka", "/eureka/v2")}
	for _, s := range segments {
		path = append(path, g.escape(s))
	}
	if g.chance(8) {
		path = append(path, "")
	}
	r := &request{method: method, target: strings.Join(path, "/")}
	if g.chance(70) {
		r.header = append(r.header, field{"Accept", g.accept()})
	}
	return r
}

// escape writes a segment of a path, in one of the ways that clients do. The token's mark stays.
func (g *generator) escape(s string) string {
	escaped := strings.ReplaceAll(url.PathEscape(s), url.PathEscape(tokenMark), tokenMark)
	if g.chance(30) {
		escaped = strings.ReplaceAll(escaped, ":", "%3A")
	}
	return escaped
}

func (g *generator) accept() string {
	if g.chance(75) {
		return pick(g, "application/json", "application/json", "application/xml",
			"application/json, application/xml, text/xml, application/*+json, application/*+xml")
	}
	return pick(g, "*/*", "application/*", "text/html", "text/plain", "text/xml", "application/vnd.x+json", "APPLICATION/JSON",
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
		"application/xml,application/json", "application/json;q=0.5, application/xml;q=0.9", "application/json;q=0.9,application/xml;q=0.5",
		"application/json;charset=utf-8", "application/*;q=0.2, application/json", "", "application/json;q=0", "xml", "*")
}

// replicated marks a request as a peer's, now and then.
func (g *generator) replicated(r *request) (replica bool) {
	if !g.chance(30) {
		return false
	}
	value := pick(g, "true", "true", "true", "TRUE", "false", "1")
	r.header = append(r.header, field{"x-netflix-discovery-replication", value})
	return value == "true"
}

// firstDirty is the first of the few timestamps that requests hold, so that they meet.
const firstDirty = 1_700_000_000_000

// farFuture is a timestamp that a client with a wrong clock might send: of the year 2100.
const farFuture = 4_102_444_800_000

func (g *generator) dirty() int64 {
	if g.rand.IntN(200) == 0 {
		return farFuture
	}
	return firstDirty + int64(g.rand.IntN(4))
}

// query writes parameters, some of which are left out.
func (g *generator) query(r *request, parameters ...string) {
	separator := "?"
	for i := 0; i < len(parameters); i += 2 {
		r.target += separator + url.QueryEscape(parameters[i]) + "=" + url.QueryEscape(parameters[i+1])
		separator = "&"
	}
}

// dirtyParameter draws a lastDirtyTimestamp for a query. ok is false for none.
func (g *generator) dirtyParameter() (text string, value int64, ok bool) {
	switch {
	case g.chance(60):
		value = g.dirty()
		return fmt.Sprint(value), value, true
	case g.chance(75):
		return "", 0, false
	}
	return pick(g, "", "x", "12x", "1.5", "99999999999999999999", " 1700000000000", "+1700000000001", "1_700", "0", "-1"), 0, true
}

func (g *generator) heartbeat() *request {
	t := g.instance()
	r := g.at(http.MethodPut, "apps", t.app, t.id)
	a := t.about(renews)
	a.replica = g.replicated(r)
	var q []string
	if g.chance(60) {
		q = append(q, "status", g.status())
	}
	if text, value, ok := g.dirtyParameter(); ok {
		q, a.dirty = append(q, "lastDirtyTimestamp", text), value
	}
	if g.chance(12) {
		a.status = g.status()
		q = append(q, "overriddenstatus", a.status)
	}
	g.query(r, q...)
	if g.chance(20) {
		r.body = pick(g, "{}", "x", "<a/>")
		r.header = append(r.header, field{"Content-Type", pick(g, "application/json", "text/plain", "application/xml")})
	}
	r.about = []act{a}
	return r
}

func (g *generator) cancel() *request {
	t := g.instance()
	r := g.at(http.MethodDelete, "apps", t.app, t.id)
	a := t.about(cancels)
	a.replica = g.replicated(r)
	r.about = []act{a}
	return r
}

var statuses = []string{"UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN"}

// status draws a status, for the most part a real one.
func (g *generator) status() string {
	if g.chance(88) {
		return pick(g, "UP", "UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "OUT_OF_SERVICE", "UNKNOWN")
	}
	return pick(g, "up", "Out_Of_Service", "WEIRD", "", " UP", "null")
}

func (g *generator) setStatus() *request { return g.override(http.MethodPut, setsStatus) }

func (g *generator) deleteStatus() *request { return g.override(http.MethodDelete, deletesStatus) }

func (g *generator) override(method string, k kind) *request {
	t := g.instance()
	r := g.at(method, "apps", t.app, t.id, "status")
	a := t.about(k)
	a.replica = g.replicated(r)
	var q []string
	if g.chance(85) {
		a.status = g.status()
		q = append(q, "value", a.status)
	}
	if g.chance(50) {
		if text, value, ok := g.dirtyParameter(); ok {
			q, a.dirty = append(q, "lastDirtyTimestamp", text), value
		}
	}
	if g.chance(10) {
		q = append(q, "overriddenstatus", g.status())
	}
	g.query(r, q...)
	r.about = []act{a}
	return r
}

func (g *generator) metadata() *request {
	t := g.instance()
	r := g.at(http.MethodPut, "apps", t.app, t.id, "metadata")
	a := t.about(setsMetadata)
	a.replica = g.replicated(r)
	var q []string
	for range g.rand.IntN(4) {
		q = append(q, g.metadataKey(), g.metadataValue())
	}
	g.query(r, q...)
	if g.chance(10) {
		if strings.Contains(r.target, "?") {
			r.target += "&"
		} else {
			r.target += "?"
		}
		r.target += pick(g, "a", "a=", "=b", "a=1&a=2", "a=%zz", "a=%", "a+b=c+d", "a=b=c", "&&", "a;b=c")
	}
	r.about = []act{a}
	return r
}

func (g *generator) metadataKey() string {
	if g.chance(70) {
		return pick(g, "zone", "version", "k.1")
	}
	return pick(g, "a b", "1x", "a/b", "_", "$", "__", "ü", "-", "x:y", "a<b", "instanceId", "lastDirtyTimestamp")
}

func (g *generator) metadataValue() string {
	if g.chance(70) {
		return pick(g, "a", "b", "1")
	}
	return pick(g, "", " ", "<&>\"'", "ü€", "true", "a\nb", "null")
}

func (g *generator) readInstance() *request {
	t := g.instance()
	var r *request
	if g.chance(65) {
		r = g.at(http.MethodGet, "apps", t.app, t.id)
	} else {
		r = g.at(http.MethodGet, "instances", t.id)
	}
	g.form(r)
	r.about = []act{t.about(reads)}
	return r
}

// form asks for a form of the answer.
func (g *generator) form(r *request) {
	if g.chance(40) {
		r.header = append(r.header, field{"X-Eureka-Accept", pick(g, "compact", "compact", "full", "COMPACT", "[compact]", "", "x")})
	}
	if g.chance(40) {
		r.header = append(r.header, field{"Accept-Encoding", pick(g, "gzip", "gzip", "gzip, x-gzip, deflate", "deflate", "identity", "gzip;q=0", "x-gzip", "GZIP", "*")})
	}
	if g.chance(5) {
		r.method = http.MethodHead
	}
}

func (g *generator) readList() *request {
	t := g.instance()
	var r *request
	switch g.rand.IntN(3) {
	case 0:
		r = g.at(http.MethodGet, "apps")
	case 1:
		r = g.at(http.MethodGet, "apps", "delta")
	default:
		r = g.at(http.MethodGet, "apps", pick(g, t.app, strings.ToLower(t.app), "NOBODY-"+tokenMark))
	}
	if g.chance(10) {
		r.target += pick(g, "?regions=", "?regions=a,b", "?regions", "?x=y")
	}
	g.form(r)
	return r
}

func (g *generator) readVIP() *request {
	r := g.at(http.MethodGet, pick(g, "vips", "svips"), g.vip())
	g.form(r)
	return r
}

// vip draws the vip that a reader asks for.
func (g *generator) vip() string {
	if g.chance(85) {
		return pick(g, g.vips...)
	}
	return pick(g, "nobody-"+tokenMark, g.vips[0]+","+g.vips[1], strings.ToUpper(g.vips[0]), " "+g.vips[1])
}

// odd draws a request that no client should send.
func (g *generator) odd() *request {
	t := g.instance()
	app, id := g.escape(t.app), g.escape(t.id)
	r := &request{
		method: pick(g, http.MethodGet, http.MethodGet, http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodHead, http.MethodOptions, http.MethodPatch),
		target: pick(g,
			"/eureka", "/eureka/", "/eureka/v2", "/eureka/v1/apps", "/eureka/apps//", "//eureka/apps", "/eureka//apps", "/eureka/apps//"+app,
			"/eureka/apps/"+app+"//"+id, "/eureka/apps/"+app+"/"+id+"/x", "/eureka/apps/"+app+"/"+id+"/status/x", "/eureka/Apps",
			"/eureka/instances", "/eureka/instances/", "/eureka/vips", "/eureka/vips/", "/eureka/svips", "/eureka/peerreplication", "/eureka/peerreplication/x",
			"/eureka/asg/x/status?value=ENABLED", "/eureka/asg/x/status", "/eureka/asg/x", "/eureka/status", "/eureka/status/", "/eureka/serverinfo/statusoverrides",
			"/eureka/serverinfo", "/eureka/apps/../apps", "/eureka/./apps", "/eureka/%61pps", "/eureka/apps%2F"+app, "/eureka/apps/"+app+"%00", "/eureka/apps/%zz",
			"/eureka/apps/"+app+"/"+id+"/metadata/", "/eureka/v2/v2/apps", "/eureka/x/apps", "/eureka/apps/delta/", "/eureka/apps/delta/x", "/eureka/apps/DELTA", "/eureka/apps/"+app+"/.",
		),
	}
	if r.method == http.MethodGet || r.method == http.MethodHead {
		if g.chance(60) {
			r.header = append(r.header, field{"Accept", g.accept()})
		}
	}
	return r
}
