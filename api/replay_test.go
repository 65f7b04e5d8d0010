package api_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
)

// recordings holds recorded exchanges; see the INDEX.md there. In server a Spring
// Cloud Eureka server answered, in order.
const recordings = "../testdata/eureka/wire"

// exchange is one recorded request and its answer.
type exchange struct {
	name           string
	method, target string
	header         http.Header
	body           []byte
	code           int
	answerHeader   http.Header
	answer         []byte
}

// load reads the recorded exchanges of a folder in order.
func load(t testing.TB, folder string) []exchange {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordings, folder, "*.req.http"))
	if err != nil || len(files) == 0 {
		t.Fatalf("recordings of %s: %d files, %v", folder, len(files), err)
	}
	slices.Sort(files)
	all := make([]exchange, 0, len(files))
	for _, file := range files {
		e := exchange{name: strings.TrimSuffix(filepath.Base(file), ".req.http")}
		first, header, body := loadMessage(t, file)
		fields := strings.Fields(first)
		e.method, e.target, e.header, e.body = fields[0], fields[1], header, body
		first, e.answerHeader, e.answer = loadMessage(t, strings.TrimSuffix(file, ".req.http")+".resp.http")
		if e.code, err = strconv.Atoi(strings.Fields(first)[1]); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		if e.header.Get("Content-Encoding") == "gzip" {
			e.body = zip(t, e.body) // stored as it was before
		}
		all = append(all, e)
	}
	return all
}

func loadMessage(t testing.TB, file string) (first string, header http.Header, body []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(data, []byte("\n\n"))
	lines := bufio.NewScanner(bytes.NewReader(head))
	lines.Scan()
	first, header = lines.Text(), http.Header{}
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		header.Add(key, strings.TrimSpace(value))
	}
	return first, header, body
}

func (e exchange) send(t testing.TB, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), e.method, e.target, bytes.NewReader(e.body))
	r.Header = e.header.Clone()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// difference is where this server answers otherwise on purpose.
type difference struct {
	reason string
	code   int // what is answered instead; 0: the same
	// edits say how the body differs, as pairs of texts of parse: the first is
	// taken out of the recorded one and the second put in its place, once.
	edits []string
	// apart plays the exchange on a server of its own, by this name, so that
	// what Eureka refused and this server takes is in no later answer.
	apart string
}

const overrideAtOnce = "an override that a peer's heartbeat brought is visible at once and in the delta; Eureka shows it after the next renewal, and never in the delta"

// differences are all that are known, by the number of the exchange.
var differences = map[string]difference{
	"082": {reason: "a single instance in XML tells its true status; Eureka writes DOWN for OUT_OF_SERVICE", edits: []string{"<status>DOWN", "<status>OUT_OF_SERVICE"}},
	"094": {reason: "Netflix's serverinfo is served; Spring's server hides it", code: 200},
	"096": {reason: "the status page has a JSON form; Eureka fails on it", code: 200},
	"112": {reason: "a data centre needs no @class", code: 204, apart: "112"},
	"113": {reason: "an unknown @class of a data centre is taken", code: 204, apart: "113"},
	"117": {reason: "the name of a data centre is taken in any case", code: 204, apart: "117"},
	"119": {reason: "an unknown member of a data centre is ignored", code: 204, apart: "119"},
	"134": {reason: "a compressed body is taken", code: 204, apart: "134"},
	"139": {reason: "see 140", apart: "139"},
	"140": {apart: "139", reason: "members of an unknown object are not taken for the instance's own", edits: []string{`"status": "DOWN"`, `"status": "UP"`, `"serviceUpTimestamp": 0`, `"serviceUpTimestamp": (some time)`}},
	"141": {reason: "an unknown array is ignored", code: 204, apart: "141"},
	"154": {reason: "a port may be a plain number", code: 204, apart: "154"},
	"161": {reason: "an unknown member of a port is ignored", code: 204, apart: "161"},
	"200": {reason: overrideAtOnce, edits: []string{`"status": "UP"`, `"status": "OUT_OF_SERVICE"`, `"actionType": "ADDED"`, `"actionType": "MODIFIED"`}},
	"202": {reason: overrideAtOnce, edits: []string{`"actionType": "ADDED"`, `"actionType": "MODIFIED"`}},
	"248": {reason: "an override belongs to an application and an id, not to the id alone", edits: []string{`"status": "OUT_OF_SERVICE"`, `"status": "UP"`}},
	"253": {reason: "see 248", edits: []string{
		`"status": "OUT_OF_SERVICE"` + "\n" + `"statusPageUrl": "http://twin`, `"status": "UP"` + "\n" + `"statusPageUrl": "http://twin`,
	}},
	"254": {reason: "see 248", edits: []string{"<status>OUT_OF_SERVICE\n<statusPageUrl>http://twin", "<status>UP\n<statusPageUrl>http://twin"}},
	"255": {reason: "see 248", edits: []string{
		`"secureVipAddress": "twin"` + "\n" + `"status": "OUT_OF_SERVICE"`, `"secureVipAddress": "twin"` + "\n" + `"status": "UP"`,
	}},
	"270": {reason: overrideAtOnce, edits: []string{`"status": "UP"`, `"status": "OUT_OF_SERVICE"`, `"actionType": "ADDED"`, `"actionType": "MODIFIED"`}},
	"284": {reason: "a peer's register that is not newer than what a cancel ended has not heard of the cancel, and is not stored: a heartbeat and a cancel that follow find nothing", edits: []string{
		"200},\n{\n\"statusCode\": 200}", "200},\n{\n\"statusCode\": 404}",
		"404},\n{\n\"statusCode\": 200},\n{\n\"statusCode\": 200}", "404},\n{\n\"statusCode\": 404},\n{\n\"statusCode\": 404}",
	}},
	"295": {reason: "a compressed body is taken", code: 200, apart: "295"},
}

// between are requests that were sent at the recording and not kept, by the
// number of the exchange before which they came.
func between(t testing.TB, n *node, all []exchange, before string) {
	t.Helper()
	remove := func(app, id string) { n.ask(t, "DELETE", "/eureka/apps/"+app+"/"+url.PathEscape(id), "") }
	switch before {
	case "141":
		// What Eureka made of exchange 139, for the deltas that follow.
		taken := all[slices.IndexFunc(all, func(e exchange) bool { return strings.HasPrefix(e.name, "139-") })]
		taken.body = bytes.Replace(taken.body, []byte(`"status":"UP"`), []byte(`"status":"DOWN"`), 1)
		if w := taken.send(t, n); w.Code != 204 {
			t.Errorf("%s, DOWN: status %d", taken.name, w.Code)
		}
	case "187":
		for _, e := range all {
			if id, ok := strings.CutSuffix(e.name[len("000-"):], "-register"); ok && strings.HasPrefix(id, "tol-") {
				remove("TOL", id)
			}
		}
		for _, id := range []string{"bad-1", "bad-1.test", "bx", "h"} {
			remove("BAD", id)
		}
	case "250":
		remove("TWIN", "orders-1")
	case "260":
		for _, e := range all {
			switch e.name {
			case "004-register-orders-1", "017-register-orders-2", "018-register-orders-3":
				if w := e.send(t, n); w.Code != 204 {
					t.Errorf("%s again: status %d", e.name, w.Code)
				}
			}
		}
	}
}

// TestReplay plays all that a real server was asked, in order, and compares the
// answers: status, media type, and the body as its readers see it.
func TestReplay(t *testing.T) {
	all := load(t, "server")
	n := newNode(t, api.Options{})
	apart := map[string]*node{}
	compared, differing := 0, 0
	for _, e := range all {
		number := e.name[:3]
		between(t, n, all, number)
		d, differs := differences[number]
		server := n
		if d.apart != "" {
			if apart[d.apart] == nil {
				apart[d.apart] = newNode(t, api.Options{})
			}
			server = apart[d.apart]
		}
		w := e.send(t, server)
		if differs {
			differing++
		} else {
			compared++
		}
		compare(t, e, d, differs, w)
	}
	if compared+differing != len(all) || differing != len(differences) {
		t.Errorf("%d exchanges compared and %d with a difference, of %d and %d", compared, differing, len(all), len(differences))
	}
}

// TestReplayV2 plays the same under Netflix's path: the answers are the same.
func TestReplayV2(t *testing.T) {
	all := load(t, "server")
	plain, v2 := newNode(t, api.Options{}), newNode(t, api.Options{})
	for _, e := range all {
		between(t, plain, all, e.name[:3])
		between(t, v2, all, e.name[:3])
		if strings.HasPrefix(e.target, "/eureka/v2/") || strings.HasPrefix(e.target, "/eureka/serverinfo") {
			continue
		}
		want := e.send(t, plain)
		e.target = "/eureka/v2" + strings.TrimPrefix(e.target, "/eureka")
		got := e.send(t, v2)
		delta := strings.Contains(e.target, "/delta")
		if got.Code != want.Code || got.Header().Get("Content-Type") != want.Header().Get("Content-Type") {
			t.Errorf("%s: status %d and type %q under v2, without %d and %q", e.name, got.Code, got.Header().Get("Content-Type"), want.Code, want.Header().Get("Content-Type"))
		}
		if strings.Contains(e.target, "/status") && e.method == "GET" || got.Header().Get("Content-Encoding") != "" {
			continue // memory in use; compressed
		}
		if g, w := parse(t, got.Body.Bytes(), delta), parse(t, want.Body.Bytes(), delta); g != w {
			t.Errorf("%s: bodies differ under v2: %s", e.name, firstDifference(g, w))
		}
	}
}

// TestClients plays what Java clients sent, whose server was a script: register,
// reads and heartbeats as they came. What the clients do next depends on the
// status alone.
func TestClients(t *testing.T) {
	for _, folder := range []string{"client-spring", "client-jersey"} {
		n := newNode(t, api.Options{})
		registration := ""
		for _, e := range load(t, folder) {
			w := e.send(t, n)
			want := map[string]int{"GET": 200, "POST": 204, "PUT": 200, "DELETE": 200}[e.method]
			if e.method == "POST" {
				registration = string(e.body)
			}
			// Not every register was kept: then the heartbeat is newer.
			if _, ts, ok := strings.Cut(e.target, "lastDirtyTimestamp="); ok && !strings.Contains(registration, ts) {
				want = 404
			}
			if w.Code != want {
				t.Errorf("%s/%s: status %d, want %d, body %.100q", folder, e.name, w.Code, want, w.Body)
			}
			if e.method == "GET" && w.Header().Get("Content-Type") != jsonType {
				t.Errorf("%s/%s: Content-Type %q", folder, e.name, w.Header().Get("Content-Type"))
			}
			if e.method == "GET" && registration != "" && w.Header().Get("Content-Encoding") == "" && !strings.Contains(w.Body.String(), "demo-1") {
				t.Errorf("%s/%s: the list lacks demo-1: %q", folder, e.name, w.Body)
			}
		}
		if registration == "" {
			t.Errorf("%s: nothing was registered", folder)
		}
	}
}

func compare(t *testing.T, e exchange, d difference, differs bool, w *httptest.ResponseRecorder) {
	t.Helper()
	code := e.code
	if d.code != 0 {
		code = d.code
	}
	body := w.Body.Bytes()
	if w.Code != code {
		t.Errorf("%s: status %d, want %d; body %.200q", e.name, w.Code, code, body)
		return
	}
	if d.code != 0 && d.code != e.code {
		return // another answer altogether
	}
	// Spring's error page: of it only the status matters.
	if e.code == 406 || e.code >= 400 && bytes.Contains(e.answer, []byte(`"timestamp":`)) && bytes.Contains(e.answer, []byte(`"path":`)) {
		for method := range strings.SplitSeq(e.answerHeader.Get("Allow"), ",") {
			if !slices.Contains(strings.Split(w.Header().Get("Allow"), ","), method) && method != "" {
				t.Errorf("%s: Allow %q, want %s in it", e.name, w.Header().Get("Allow"), method)
			}
		}
		if e.code == 404 && len(body) > 0 {
			t.Errorf("%s: a 404 with body %.100q", e.name, body)
		}
		return
	}
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if got, want := w.Header().Get(name), e.answerHeader.Get(name); got != want {
			t.Errorf("%s: %s %q, want %q", e.name, name, got, want)
		}
	}
	if w.Header().Get("Content-Encoding") == "gzip" {
		body = unzip(t, body)
	}
	if e.method == "HEAD" {
		return // a recorder keeps what net/http leaves out
	}
	if (len(body) == 0) != (len(e.answer) == 0) {
		t.Errorf("%s: body %.100q, want %.100q", e.name, body, e.answer)
		return
	}
	if len(body) == 0 {
		return
	}
	delta := strings.Contains(e.target, "/delta")
	got, want := parse(t, body, delta), parse(t, e.answer, delta)
	if differs {
		for pair := range slices.Chunk(d.edits, 2) {
			if !strings.Contains(want, pair[0]) {
				t.Errorf("%s: the recorded body lacks %q", e.name, pair[0])
			}
			want = strings.Replace(want, pair[0], pair[1], 1)
		}
	}
	if got != want {
		t.Errorf("%s: bodies differ: %s", e.name, firstDifference(got, want))
	}
}
