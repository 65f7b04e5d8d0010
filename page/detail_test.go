package page_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/page"
	"github.com/registryd/registryd/registry"
)

// newHistoric is newSite with a history.
func newHistoric(t *testing.T, opts page.Options) *site {
	t.Helper()
	h, err := history.New(history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opts.History = h
	reg, err := registry.New(registry.Options{Recorder: h})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, opts, nil)
	p, err := page.New(reg, page.Options{Node: s.node, History: h, Actions: opts.Actions, Settings: opts.Settings})
	if err != nil {
		t.Fatal(err)
	}
	s.Page, s.reg, s.history, s.node.reg = p, reg, h, reg
	return s
}

func client(address string) registry.Origin { return registry.Origin{From: address} }

// TestInstance: the page of an instance says what it is, who did what to it, and what each
// node has of it.
func TestInstance(t *testing.T) {
	s := newHistoric(t, page.Options{})
	key := registry.NewKey("ORDERS", "o/1 &")
	id, home, status := key.ID, "javascript:alert(1)", "https://h:8080/info"
	s.reg.Register(&eureka.InstanceInfo{
		InstanceID: &id, HostName: "host-1", App: "ORDERS", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
		Port: eureka.Port{Number: 8080, Enabled: true}, OverriddenStatus: eureka.StatusUnknown, HomePageURL: &home, StatusPageURL: &status,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 1,
		Metadata: map[string]string{"zone": "eu-1", "commit": "<cafe>"},
	}, client("192.0.2.7:50001"))
	s.reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, client("192.0.2.8:50002"))
	same, _, _ := s.reg.Entry(key)
	older := same
	older.Override = registry.Override{}
	s.node.held = []page.Held{
		{Node: "node-2", Known: true, Entry: same},
		{Node: "node-3", Known: true, Entry: older},
		{Node: "node-4"},
		{Node: "node-5", Trouble: "no answer in time"},
	}
	address := "/page/instance?" + url.Values{"app": {"orders"}, "id": {id}}.Encode()
	body := s.get(t, 200, address)
	lacks(t, body, "o/1 &amp;", "out of service", "set by client 192.0.2.8", "Registered by client 192.0.2.7",
		"192.0.2.1:8080", "host-1", "eu-1", "&lt;cafe&gt;", `href="https://h:8080/info"`, "they differ",
		"override: out of service", "registered, up", "ORDERS/o%2F1%20&amp;/status")
	inOrder(t, body, ">node-1<", ">node-2<", ">node-3<", "differs", ">node-4<", "does not know it", ">node-5<", "no answer: no answer in time")
	inOrder(t, body, "History", "override: out of service", "registered, up") // the newest first
	has(t, body, "javascript:", "<cafe>")

	s.node.held = s.node.held[:1]
	lacks(t, s.get(t, 200, address), "all the same")
	s.reg.Cancel(key, client("192.0.2.9:50003"))
	lacks(t, s.get(t, 200, address), "not listed", "It was cancelled", "by client 192.0.2.9")
	s.node.held = nil
	lacks(t, s.get(t, 404, "/page/instance?app=ORDERS&id=none"), "never heard of it")
	lacks(t, s.get(t, 200, "/"), "cancelled", "Recent changes", "client 192.0.2.9")
}

// TestDrain: the page of an instance that is out of service says which clients know it.
func TestDrain(t *testing.T) {
	s := newHistoric(t, page.Options{})
	s.put("ORDERS", "o-1", nil)
	const address = "/page/instance?app=ORDERS&id=o-1"
	s.node.drain = []api.DrainNode{
		{Node: "node-1", Out: true, Served: 3},
		{Node: "node-2", Out: true, Served: 2, Waiting: 1, Clients: []api.DrainClient{{Address: "192.0.2.50", Name: "<billing>", Silent: 12_000}}},
		{Node: "node-3", Error: "no answer in time"},
		{Node: "java", Foreign: true},
	}
	has(t, s.get(t, 200, address), "Who knows")
	s.reg.SetStatus(registry.NewKey("ORDERS", "o-1"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
	inOrder(t, s.get(t, 200, address), "Who knows", "not everybody yet",
		"Not drained yet: 1 client has not been served without it, and 1 node does not know.", "all 3 clients that fetch know it", "1 client has not fetched it yet, 2 have",
		"192.0.2.50 &lt;billing&gt;, 12 s ago", "no answer: no answer in time", "a Java server")
	s.node.drain = []api.DrainNode{s.node.drain[0], s.node.drain[3]}
	lacks(t, s.get(t, 200, address), ">everybody<", "Drained: 3 clients have been served without it. It may be stopped.")
	s.node.drain[0] = api.DrainNode{Node: "node-1", Out: true, Waiting: 1030, Clients: make([]api.DrainClient, 100)}
	lacks(t, s.get(t, 200, address), "1,030 clients have not been served without it.", "and 1,010 more")
}

// TestRecent: what peers answer does not hide what happened.
func TestRecent(t *testing.T) {
	s := newHistoric(t, page.Options{})
	s.put("ORDERS", "o-1", nil)
	answers := make([]registry.Event, 1000)
	for i := range answers {
		answers[i] = registry.Event{
			Kind: registry.EventAnswered, Key: registry.NewKey("ORDERS", "o-1"), By: registry.Origin{Way: registry.ByAnswer, From: "node-2"},
		}
	}
	s.history.Record(answers)
	body := s.get(t, 200, "/")
	lacks(t, body, "registered, up")
	has(t, body, "answered")
}

// TestChanges: all that is remembered, a page at a time, by application, instance and kind.
func TestChanges(t *testing.T) {
	s := newHistoric(t, page.Options{})
	for i := range 130 {
		s.put("ORDERS", "o-"+string(rune('a'+i%26))+strings.Repeat("x", i/26), nil)
	}
	s.reg.Cancel(registry.NewKey("ORDERS", "o-a"), registry.Origin{})
	body := s.get(t, 200, "/page/changes")
	if got := strings.Count(body, `class="event`); got != 100+1 { // and the list around them
		t.Errorf("%d events, want 100", got-1)
	}
	inOrder(t, body, "cancelled", "registered, up")
	lacks(t, body, "changes?before=32")
	older := s.get(t, 200, "/page/changes?before=32")
	if got := strings.Count(older, `class="event`); got != 31+1 {
		t.Errorf("%d older events, want 31", got-1)
	}
	one := s.get(t, 200, "/page/changes?app=orders&id=o-a")
	if got := strings.Count(one, `class="event`); got != 2+1 {
		t.Errorf("%d events of o-a, want 2", got-1)
	}
	kind := s.get(t, 200, "/page/changes?kind=cancelled")
	if got := strings.Count(kind, `class="event`); got != 1+1 {
		t.Errorf("%d cancels, want 1", got-1)
	}
	lacks(t, newSite(t, page.Options{}, nil).get(t, 200, "/page/changes"), "keeps no history")
}

// TestDifferences: what differs from each peer, in words.
func TestDifferences(t *testing.T) {
	s := newSite(t, page.Options{}, nil)
	key := registry.NewKey("ORDERS", "o-1")
	s.node.set(func(o *api.Overview) {
		o.Peers = []api.PeerOverview{
			{Name: "node-2", Status: "reachable", Divergent: 3}, {Name: "node-3", Status: "reachable", InFlight: 1}, {Name: "node-4", Status: "unreachable"},
		}
		s.node.differ = []page.Difference{{
			Peer: "node-2", Key: key, Ours: registry.Versions{Key: key, Record: 1_700_000_000_123, Live: true},
		}}
	})
	body := s.get(t, 200, "/page/differences")
	inOrder(t, body, "node-2", "3 instances differ", "ORDERS/o-1", "registered at 22:13:20.123Z", "nothing", "2 more are not listed",
		"node-3", "has the same, but for 1 change on the way", "node-4", "it is not reached")
}

// TestConfiguration: the settings as they are in force.
func TestConfiguration(t *testing.T) {
	s := newSite(t, page.Options{Settings: []page.Setting{{Name: "peers", Value: "2"}, {Name: "batch-delay", Value: "500ms"}}}, nil)
	inOrder(t, s.get(t, 200, "/page/configuration"), "1.2.3", "http://node-1:8761/eureka/", "--batch-delay", "500ms", "--peers", ">2<")
}

// act posts an action as a browser does.
func (s *site) act(t *testing.T, who *access.Login, headers map[string]string, values url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/page/act", strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	if who != nil {
		r = r.WithContext(api.WithLogin(r.Context(), who))
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// TestActions: an action asks first, does what it says and leads back; nothing is changed
// where actions are off, by another site, by nobody's browser, or without the role.
func TestActions(t *testing.T) {
	own := map[string]string{"Sec-Fetch-Site": "same-origin"}
	key := registry.NewKey("ORDERS", "o-1")
	of := func(action string) url.Values {
		return url.Values{"action": {action}, "app": {"ORDERS"}, "id": {"o-1"}}
	}
	s := newHistoric(t, page.Options{Actions: true})
	s.put("ORDERS", "o-1", nil)
	const address = "/page/instance?app=ORDERS&id=o-1"
	status := func() string {
		i, ok := s.reg.Instance(key)
		if !ok {
			return "gone"
		}
		return string(i.Status)
	}

	for name, c := range map[string]struct {
		headers map[string]string
		who     *access.Login
	}{
		"another site":                {headers: map[string]string{"Sec-Fetch-Site": "cross-site"}},
		"another site of the domain":  {headers: map[string]string{"Sec-Fetch-Site": "same-site"}},
		"another host of this name":   {headers: map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://example.com"}},
		"an old browser, elsewhere":   {headers: map[string]string{"Origin": "https://evil.example"}},
		"a browser that hides itself": {headers: map[string]string{"Origin": "null"}},
		"no browser":                  {},
		"a login that may read":       {headers: own, who: &access.Login{Role: access.Read}},
		"a login of a client":         {headers: own, who: &access.Login{Role: access.Client}},
	} {
		if w := s.act(t, c.who, c.headers, of("cancel")); w.Code != http.StatusForbidden || status() != "UP" {
			t.Errorf("%s: %d, the instance is %s", name, w.Code, status())
		}
		if w := s.act(t, c.who, c.headers, of("drain")); w.Code != http.StatusForbidden || s.node.drained != 0 {
			t.Errorf("%s: drain is %d, the node was asked %d times", name, w.Code, s.node.drained)
		}
	}

	body := s.get(t, 200, address)
	lacks(t, body, "Take out of service", "confirm?action=drain&amp;app=ORDERS&amp;id=o-1", "Cancel", "confirm?action=cancel&amp;app=ORDERS&amp;id=o-1")
	has(t, body, "Put back into service")
	body = s.get(t, 200, "/page/confirm?action=out-of-service&app=ORDERS&id=o-1")
	lacks(t, body, "Take this instance out of service?", `method="post"`, "Undo it with")
	if status() != "UP" {
		t.Fatal("the question changed the instance")
	}
	for _, step := range []struct {
		action, want string
		headers      map[string]string
	}{
		{"out-of-service", "OUT_OF_SERVICE", own},
		{"up", "UP", map[string]string{"Origin": "http://example.com"}}, // the host of the request
		{"drain", "OUT_OF_SERVICE", own},
		{"up", "UP", own},
		{"cancel", "gone", own},
	} {
		w := s.act(t, &access.Login{Role: access.Admin}, step.headers, of(step.action))
		if w.Code != http.StatusSeeOther || status() != step.want {
			t.Fatalf("%s: %d, the instance is %s; body %q", step.action, w.Code, status(), w.Body)
		}
		if to := w.Header().Get("Location"); !strings.HasPrefix(to, "instance?app=ORDERS") || !strings.Contains(to, "done="+step.action) {
			t.Errorf("%s: to %q", step.action, to)
		}
		s.get(t, 200, "/page/"+w.Header().Get("Location"))
	}
	if s.node.drained != 1 {
		t.Errorf("drained %d times, want once", s.node.drained)
	}
	if w := s.act(t, nil, own, of("drain")); w.Code != http.StatusNotFound {
		t.Errorf("drain of what is gone: %d, want 404", w.Code)
	}
	if w := s.act(t, nil, own, of("cancel")); w.Code != http.StatusNotFound {
		t.Errorf("cancel again: %d, want 404", w.Code)
	}
	if w := s.act(t, nil, own, of("explode")); w.Code != http.StatusNotFound {
		t.Errorf("unknown action: %d, want 404", w.Code)
	}
	if w := s.act(t, nil, own, url.Values{"action": {"repair"}}); w.Code != http.StatusSeeOther || s.node.repaired != 1 {
		t.Errorf("repair: %d, %d times", w.Code, s.node.repaired)
	}
	if w := s.act(t, nil, own, url.Values{"action": {strings.Repeat("x", 1<<20)}}); w.Code != http.StatusBadRequest {
		t.Errorf("a form of 1 MB: %d, want 400", w.Code)
	}

	off := newHistoric(t, page.Options{})
	off.put("ORDERS", "o-1", nil)
	if w := off.act(t, nil, own, of("cancel")); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "--page-actions") {
		t.Errorf("where actions are off: %d %q", w.Code, w.Body)
	}
	body = off.get(t, 200, address)
	has(t, body, "confirm?")
	lacks(t, body, "curl -X PUT", "/status?value=OUT_OF_SERVICE")
}
