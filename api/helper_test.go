package api_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

const (
	jsonType = "application/json"
	xmlType  = "application/xml"
)

// node is a handler with a registry of its own.
type node struct {
	http.Handler
	reg     *registry.Registry
	history *history.History
}

func newNode(t testing.TB, opts api.Options) *node {
	t.Helper()
	events, err := history.New(history.Options{Bytes: history.MinBytes})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.New(registry.Options{Recorder: events})
	if err != nil {
		t.Fatal(err)
	}
	if opts.Node == nil {
		opts.Node = &fakeNode{now: ready}
	}
	if n, ok := opts.Node.(*fakeNode); ok && n.apply == nil {
		n.apply = newReplicator(reg)
	}
	if opts.Page == nil {
		opts.Page = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	}
	opts.History = events
	h, err := api.New(reg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return &node{Handler: h, reg: reg, history: events}
}

// ask sends one request. headers are pairs of a name and a value.
func (n *node) ask(t testing.TB, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	n.ServeHTTP(w, r)
	return w
}

// want asks, and fails the test at another status code.
func (n *node) want(t testing.TB, code int, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	w := n.ask(t, method, path, body, headers...)
	if w.Code != code {
		t.Fatalf("%s %s: status %d, want %d; body %q", method, path, w.Code, code, w.Body.String())
	}
	return w
}

// registration is what a client posts; fields are JSON members put in front.
func registration(app, id, fields string) string {
	if fields != "" {
		fields += ","
	}
	return `{"instance":{` + fields + `"instanceId":"` + id + `","hostName":"h","app":"` + app + `","ipAddr":"192.0.2.1",` +
		`"status":"UP","lastDirtyTimestamp":"1700000000000","vipAddress":"` + strings.ToLower(app) + `",` +
		`"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}}}`
}

// put registers an instance.
func (n *node) put(t testing.TB, app, id, fields string) {
	t.Helper()
	n.want(t, 204, "POST", "/eureka/apps/"+app, registration(app, id, fields), "Content-Type", jsonType)
}

// status returns the status that readers see.
func (n *node) status(t testing.TB, app, id string) eureka.Status {
	t.Helper()
	i, ok := n.reg.Instance(registry.NewKey(app, id))
	if !ok {
		t.Fatalf("no instance %s/%s", app, id)
	}
	return i.Status
}

// fakeNode is an api.Node that says what it is given.
type fakeNode struct {
	now      api.Readiness
	overview api.Overview
	apply    replicator // nil: newNode's
	repair   func()
	maxTask  int                                // 0: no bound
	peers    func(registry.Key) []api.DrainNode // nil: there are none
}

func (n *fakeNode) Readiness() api.Readiness { return n.now }
func (n *fakeNode) Name() string             { return cmp.Or(n.overview.Node, "node-1") }
func (n *fakeNode) Repair()                  { n.repair() }
func (n *fakeNode) MaxTask() int             { return cmp.Or(n.maxTask, math.MaxInt) }

func (n *fakeNode) DrainPeers(_ context.Context, key registry.Key) []api.DrainNode {
	if n.peers == nil {
		return nil
	}
	return n.peers(key)
}

func (n *fakeNode) Overview() api.Overview {
	out := n.overview
	out.Node, out.State, out.Ready = cmp.Or(out.Node, "node-1"), n.now.State, n.now.Ready
	return out
}

func (n *fakeNode) Apply(_ context.Context, _ string, list eureka.ReplicationList) eureka.ReplicationListResponse {
	return n.apply(list)
}

type replicator func(eureka.ReplicationList) eureka.ReplicationListResponse

var ready = api.Readiness{State: "ready", Ready: true, Reads: true}

// newReplicator applies a batch by Eureka's rules, as the consumer does in a node
// (PeerReplicationResource.dispatch).
func newReplicator(reg *registry.Registry) replicator {
	codes := map[registry.Outcome]int{registry.OK: 200, registry.NotFound: 404, registry.Conflict: 409}
	apply := func(it eureka.Item) (eureka.Result, error) {
		key := registry.NewKey(it.AppName, it.ID)
		switch it.Action {
		case eureka.ActionRegister:
			if it.InstanceInfo == nil {
				return eureka.Result{}, errors.New("no instance")
			}
			if it.InstanceInfo.Check(it.AppName) == nil {
				reg.Register(it.InstanceInfo, registry.Origin{Way: registry.ByReplication})
			}
			return eureka.Result{StatusCode: 200}, nil
		case eureka.ActionHeartbeat:
			outcome, ours := reg.Renew(key, it.LastDirtyTimestamp, it.OverriddenStatus, registry.Origin{Way: registry.ByReplication})
			return eureka.Result{StatusCode: codes[outcome], ResponseEntity: ours}, nil
		case eureka.ActionCancel:
			return eureka.Result{StatusCode: codes[reg.Cancel(key, registry.Origin{Way: registry.ByReplication})]}, nil
		case eureka.ActionStatusUpdate:
			if _, ok := eureka.ParseStatus(string(it.Status)); !ok {
				return eureka.Result{}, errors.New("bad status")
			}
			return eureka.Result{StatusCode: codes[reg.SetStatus(key, it.Status, it.LastDirtyTimestamp, registry.Origin{Way: registry.ByReplication})]}, nil
		case eureka.ActionDeleteStatusOverride:
			if it.LastDirtyTimestamp == eureka.NoTimestamp {
				return eureka.Result{}, errors.New("no timestamp")
			}
			status := cmp.Or(it.Status, eureka.StatusUnknown)
			return eureka.Result{StatusCode: codes[reg.DeleteStatusOverride(key, status, it.LastDirtyTimestamp, registry.Origin{Way: registry.ByReplication})]}, nil
		}
		return eureka.Result{}, errors.New("no action")
	}
	return func(list eureka.ReplicationList) eureka.ReplicationListResponse {
		out := make(eureka.ReplicationListResponse, 0, len(list))
		for _, it := range list {
			result, err := apply(it)
			if err != nil {
				result = eureka.Result{StatusCode: 500}
			}
			out = append(out, result)
		}
		return out
	}
}

func zip(t testing.TB, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unzip(t testing.TB, body []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("gzip: %v", err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("gzip: %v", err)
	}
	return out
}

// parse reads a body into a text that is the same for what means the same: keys,
// elements, instances and applications in order, and what a server sets itself
// as zero or not zero, its type kept. delta drops the version.
func parse(t testing.TB, body []byte, delta bool) string {
	t.Helper()
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '<' {
		return parseXML(t, trimmed, delta)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return string(body) // plain text
	}
	return canonical("", v, delta)
}

// serverTime reports whether a server sets the member itself.
func serverTime(key string) bool {
	switch key {
	case "lastUpdatedTimestamp", "registrationTimestamp", "lastRenewalTimestamp", "evictionTimestamp", "serviceUpTimestamp":
		return true
	}
	return false
}

// leaf spells a single value of a member or an element. What a client sent as
// its lastDirtyTimestamp lies in 2023; a later one is a server's.
func leaf(key, text string, delta bool) string {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case serverTime(key) && err == nil && n > 0:
		return "(some time)"
	case key == "lastDirtyTimestamp" && err == nil && n > 1_750_000_000_000:
		return "(time of registration)"
	case key == "versions__delta" && delta:
		return "(any)"
	}
	return text
}

func canonical(key string, v any, delta bool) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(leaf(key, v, delta))
	case json.Number:
		return leaf(key, v.String(), delta)
	case []any:
		all := make([]string, len(v))
		for i := range v {
			all[i] = canonical("", v[i], delta)
		}
		if key != "responseList" {
			slices.Sort(all)
		}
		return "[\n" + strings.Join(all, ",\n") + "]"
	case map[string]any:
		all := make([]string, 0, len(v))
		for k, member := range v {
			all = append(all, strconv.Quote(k)+": "+canonical(k, member, delta))
		}
		slices.Sort(all)
		return "{\n" + strings.Join(all, "\n") + "}"
	default:
		return fmt.Sprint(v) // true, false or nil
	}
}

func parseXML(t testing.TB, body []byte, delta bool) string {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(body))
	var read func(start xml.StartElement) string
	read = func(start xml.StartElement) string {
		name := start.Name.Local
		for _, a := range start.Attr {
			name += " " + a.Name.Local + "=" + a.Value
		}
		var text strings.Builder
		var children []string
		for {
			token, err := d.Token()
			if err != nil {
				t.Fatalf("XML %q: %v", body, err)
			}
			switch token := token.(type) {
			case xml.CharData:
				text.Write(token)
			case xml.StartElement:
				children = append(children, read(token))
			case xml.EndElement:
				if len(children) == 0 {
					return "<" + name + ">" + leaf(start.Name.Local, text.String(), delta)
				}
				if start.Name.Local != "responseList" {
					slices.Sort(children)
				}
				return "<" + name + ">{\n" + strings.Join(children, "\n") + "}"
			}
		}
	}
	for {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("XML %q: %v", body, err)
		}
		if start, ok := token.(xml.StartElement); ok {
			return read(start)
		}
	}
}

// firstDifference shows where two texts part.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got " + g[i] + ", want " + w[i]
		}
	}
	return "got " + strconv.Itoa(len(g)) + " lines, want " + strconv.Itoa(len(w))
}
