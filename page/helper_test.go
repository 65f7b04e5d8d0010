package page_test

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/page"
	"github.com/registryd/registryd/registry"
)

// fakeNode is a page.Node that says what it is given.
type fakeNode struct {
	mu       sync.Mutex
	overview api.Overview
	looked   int // how often Overview was called
	held     []page.Held
	differ   []page.Difference
	repaired int
	drain    []api.DrainNode
	drained  int // how often Drain was called
	reg      *registry.Registry
}

func (n *fakeNode) Readiness() api.Readiness {
	return api.Readiness{State: "ready", Ready: true, Reads: true}
}

func (n *fakeNode) Look(context.Context, registry.Key) []page.Held {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held
}

func (n *fakeNode) Differences() []page.Difference {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.differ
}

// Drain does to the registry what a node does.
func (n *fakeNode) Drain(key registry.Key, by registry.Origin) registry.Outcome {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drained++
	return n.reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, by)
}

func (n *fakeNode) DrainState(context.Context, registry.Key) api.Drain {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := api.Drain{Drained: true, Nodes: n.drain}
	for i := range n.drain {
		out.Drained = out.Drained && n.drain[i].Drained()
	}
	return out
}

func (n *fakeNode) Repair() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.repaired++
}

func (n *fakeNode) Overview() api.Overview {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looked++
	o := n.overview
	o.Node, o.State = cmp.Or(o.Node, "node-1"), cmp.Or(o.State, "ready")
	o.Ready = !strings.HasPrefix(o.State, "syncing")
	return o
}

func (n *fakeNode) set(change func(*api.Overview)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.overview)
}

func (n *fakeNode) looks() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.looked
}

// site is the pages of a node with a registry of its own.
type site struct {
	*page.Page
	reg     *registry.Registry
	node    *fakeNode
	history *history.History // of a site that has one
}

func newSite(t testing.TB, opts page.Options, now func() time.Time) *site {
	t.Helper()
	reg, err := registry.New(registry.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	node := &fakeNode{reg: reg, overview: api.Overview{
		Broker: api.BrokerOverview{Connected: true}, Cluster: "default", Version: "1.2.3", URL: "http://node-1:8761/eureka/",
		Pipeline: api.PipelineOverview{Delay: .5, Batch: 250, Queue: 10_000, InFlight: 4},
	}}
	opts.Node = node
	p, err := page.New(reg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return &site{Page: p, reg: reg, node: node}
}

// get returns the body at a path, and fails the test at another status code.
func (s *site) get(t testing.TB, code int, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if w.Code != code {
		t.Fatalf("GET %s: status %d, want %d; body %q", path, w.Code, code, w.Body.String())
	}
	return w.Body.String()
}

// put registers an instance; with changes it more.
func (s *site) put(app, id string, with func(*eureka.InstanceInfo)) {
	i := &eureka.InstanceInfo{
		InstanceID: &id, HostName: "h", App: app, IPAddr: "192.0.2.1", Status: eureka.StatusUp,
		OverriddenStatus: eureka.StatusUnknown, DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: 1,
	}
	if with != nil {
		with(i)
	}
	s.reg.Register(i, registry.Origin{})
}

// lacks fails the test for each text that a body does not have.
func lacks(t *testing.T, body string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(body, w) {
			t.Errorf("the page lacks %q", w)
		}
	}
}

// has fails the test for each text that a body has.
func has(t *testing.T, body string, bad ...string) {
	t.Helper()
	for _, b := range bad {
		if strings.Contains(body, b) {
			t.Errorf("the page has %q", b)
		}
	}
}

// inOrder fails the test unless the texts come one after the other.
func inOrder(t *testing.T, body string, want ...string) {
	t.Helper()
	at := 0
	for _, w := range want {
		n := strings.Index(body[at:], w)
		if n < 0 {
			t.Errorf("%q is not there, or not behind the one before", w)
			return
		}
		at += n + len(w)
	}
}
