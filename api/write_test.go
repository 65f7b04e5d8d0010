package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

const (
	replicationHeader = "X-Netflix-Discovery-Replication"
	orders1           = "/eureka/apps/ORDERS/orders-1"
)

func TestHeartbeat(t *testing.T) {
	for _, c := range []struct {
		name, query string
		headers     []string
		code        int
		body        string // a part; "": no body
		status      eureka.Status
	}{
		{"plain", "", nil, 200, "", eureka.StatusUp},
		{"same timestamp", "?status=UP&lastDirtyTimestamp=1700000000000", nil, 200, "", eureka.StatusUp},
		{"client newer", "?lastDirtyTimestamp=1700000000001", nil, 404, "", eureka.StatusUp},
		{"client older", "?lastDirtyTimestamp=1699999999999", nil, 200, "", eureka.StatusUp},
		{"peer newer", "?lastDirtyTimestamp=1700000000001", []string{replicationHeader, "true"}, 404, "", eureka.StatusUp},
		{"peer older, JSON", "?lastDirtyTimestamp=1699999999999", []string{replicationHeader, "true", "Accept", jsonType}, 409, `{"instance":{"instanceId":"orders-1"`, eureka.StatusUp},
		{"peer older, XML", "?lastDirtyTimestamp=1699999999999", []string{replicationHeader, "true"}, 409, "<instance><instanceId>orders-1<", eureka.StatusUp},
		{"peer older, header True", "?lastDirtyTimestamp=1699999999999", []string{replicationHeader, "True"}, 200, "", eureka.StatusUp},
		{"status is ignored", "?status=DOWN&lastDirtyTimestamp=1700000000000", nil, 200, "", eureka.StatusUp},
		{"override of a client is ignored", "?overriddenstatus=DOWN&lastDirtyTimestamp=1700000000001", nil, 404, "", eureka.StatusUp},
		{"override of a peer", "?overriddenstatus=OUT_OF_SERVICE&lastDirtyTimestamp=1700000000001", []string{replicationHeader, "true"}, 404, "", eureka.StatusOutOfService},
		{"timestamp no number", "?lastDirtyTimestamp=abc", nil, 500, "lastDirtyTimestamp", eureka.StatusUp},
		{"timestamp empty", "?lastDirtyTimestamp=", nil, 500, "lastDirtyTimestamp", eureka.StatusUp},
		{"timestamp badly escaped", "?lastDirtyTimestamp=%zz", nil, 500, "lastDirtyTimestamp", eureka.StatusUp},
		{"timestamp out of range", "?lastDirtyTimestamp=9223372036854775808", nil, 500, "lastDirtyTimestamp", eureka.StatusUp},
		{"first of two timestamps", "?lastDirtyTimestamp=1700000000000&lastDirtyTimestamp=x", nil, 200, "", eureka.StatusUp},
		{"any Accept", "", []string{"Accept", "text/html"}, 200, "", eureka.StatusUp},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, api.Options{})
			n.put(t, "ORDERS", "orders-1", "")
			w := n.want(t, c.code, "PUT", orders1+c.query, "{}", c.headers...)
			if body := w.Body.String(); (c.body == "") != (body == "") || !strings.Contains(body, c.body) {
				t.Errorf("body %q, want %q", body, c.body)
			}
			if got := n.status(t, "ORDERS", "orders-1"); got != c.status {
				t.Errorf("status %s, want %s", got, c.status)
			}
		})
	}
}

// TestNotFoundHasNoBody: Netflix's client takes the body of a 404 to a heartbeat
// for an instance, and never registers again.
func TestNotFoundHasNoBody(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "USERS", "users-1", `"status":"UNKNOWN"`)
	n.want(t, 200, "DELETE", "/eureka/apps/USERS/users-1/status?value=UNKNOWN", "")
	for _, c := range []struct{ method, path string }{
		{"PUT", "/eureka/apps/ORDERS/none"},
		{"PUT", "/eureka/apps/ORDERS/none?lastDirtyTimestamp=abc"},
		{"PUT", "/eureka/v2/apps/ORDERS/none/?lastDirtyTimestamp=1"},
		{"DELETE", "/eureka/apps/ORDERS/none"},
		{"PUT", "/eureka/apps/ORDERS/none/status?value=UP"},
		{"PUT", "/eureka/apps/ORDERS/none/status?value=FOO"},
		{"PUT", "/eureka/apps/ORDERS/none/status?value=UP&lastDirtyTimestamp=x"},
		{"DELETE", "/eureka/apps/ORDERS/none/status"},
		{"DELETE", "/eureka/apps/ORDERS/none/status?value=FOO"},
		{"PUT", "/eureka/apps/ORDERS/none/metadata?k=v"},
		{"GET", "/eureka/apps/ORDERS/none"},
		{"GET", "/eureka/apps/ORDERS"},
		{"GET", "/eureka/instances/none"},
		{"GET", "/eureka/nothing"},
		{"GET", "/favicon.ico"},
	} {
		w := n.want(t, 404, c.method, c.path, "{}", "Accept", jsonType)
		if w.Body.Len() > 0 {
			t.Errorf("%s %s: 404 with body %q", c.method, c.path, w.Body)
		}
	}
}

func TestHeartbeatOfUnknownStatus(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	n.want(t, 200, "PUT", orders1+"/status?value=OUT_OF_SERVICE", "")
	n.want(t, 200, "DELETE", orders1+"/status", "")
	for _, query := range []string{"", "?lastDirtyTimestamp=yesterday"} {
		if w := n.want(t, 404, "PUT", orders1+query, ""); w.Body.Len() > 0 {
			t.Errorf("404 with body %q", w.Body)
		}
	}
}

func TestRegister(t *testing.T) {
	good := registration("ORDERS", "orders-1", "")
	xml := `<instance><instanceId>orders-1</instanceId><hostName>h</hostName><app>ORDERS</app><ipAddr>192.0.2.1</ipAddr>` +
		`<dataCenterInfo><name>MyOwn</name></dataCenterInfo></instance>`
	unparsable := `{"error": "cannot parse request body"}`
	for _, c := range []struct {
		name, path, body string
		headers          []string
		code             int
		answer           string // exactly, or a part where it is no Eureka text
		content          string
	}{
		{"JSON", "/eureka/apps/ORDERS", good, []string{"Content-Type", jsonType}, 204, "", ""},
		{"XML", "/eureka/apps/ORDERS", xml, []string{"Content-Type", xmlType}, 204, "", ""},
		{"path in lower case", "/eureka/v2/apps/orders/", good, []string{"Content-Type", jsonType}, 204, "", ""},
		{"any Accept", "/eureka/apps/ORDERS", good, []string{"Content-Type", jsonType, "Accept", "text/html"}, 204, "", ""},
		{"no Content-Type", "/eureka/apps/ORDERS", good, nil, 415, "content-type", "text/plain; charset=utf-8"},
		{"text/plain", "/eureka/apps/ORDERS", good, []string{"Content-Type", "text/plain"}, 415, "content-type", "text/plain; charset=utf-8"},
		{"unknown encoding", "/eureka/apps/ORDERS", good, []string{"Content-Type", jsonType, "Content-Encoding", "br"}, 415, "content-encoding", "text/plain; charset=utf-8"},
		{"no gzip inside", "/eureka/apps/ORDERS", good, []string{"Content-Type", jsonType, "Content-Encoding", "gzip"}, 400, unparsable, jsonType},
		{"empty", "/eureka/apps/ORDERS", "", []string{"Content-Type", jsonType}, 400, unparsable, jsonType},
		{"no JSON", "/eureka/apps/ORDERS", "{nope", []string{"Content-Type", jsonType, "Accept", xmlType}, 400, unparsable, jsonType},
		{"no XML", "/eureka/apps/ORDERS", "<instance><a>", []string{"Content-Type", xmlType, "Accept", jsonType}, 400, "<error><message>cannot parse request body</message></error>", xmlType},
		{"another application", "/eureka/apps/OTHER", good, []string{"Content-Type", jsonType, "Accept", jsonType}, 400, "Mismatched appName, expecting OTHER but was ORDERS", jsonType},
		{"no host", "/eureka/apps/ORDERS", strings.Replace(good, `"h"`, `""`, 1), []string{"Content-Type", jsonType, "Accept", jsonType}, 400, "Missing hostname", jsonType},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, api.Options{})
			w := n.want(t, c.code, "POST", c.path, c.body, c.headers...)
			body := w.Body.String()
			if c.content == "text/plain; charset=utf-8" {
				if !strings.Contains(body, c.answer) {
					t.Errorf("body %q, want %q in it", body, c.answer)
				}
			} else if body != c.answer {
				t.Errorf("body %q, want %q", body, c.answer)
			}
			if got := w.Header().Get("Content-Type"); got != c.content {
				t.Errorf("Content-Type %q, want %q", got, c.content)
			}
			_, stored := n.reg.Instance(registry.NewKey("ORDERS", "orders-1"))
			if stored != (c.code == 204) {
				t.Errorf("stored: %v", stored)
			}
		})
	}
}

// What is beyond a bound of the registry is refused, and changes nothing.
func TestRegisterBounds(t *testing.T) {
	reg, err := registry.New(registry.Options{MaxInstances: 1})
	if err != nil {
		t.Fatal(err)
	}
	h, err := api.New(reg, api.Options{Node: &fakeNode{now: ready, apply: newReplicator(reg)}})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Handler: h, reg: reg}
	long := strings.Repeat("x", registry.MaxName+1)
	for _, c := range []struct {
		app, id string
		code    int
	}{{"ORDERS", long, 400}, {long, "i", 400}, {"ORDERS", "i-1", 204}, {"ORDERS", "i-2", 507}, {"ORDERS", "i-1", 204}} {
		w := n.want(t, c.code, "POST", "/eureka/apps/"+c.app, registration(c.app, c.id, ""), "Content-Type", jsonType)
		if c.code == 400 && w.Body.String() != "app and instanceId: at most 1024 bytes each" {
			t.Errorf("body %q", w.Body)
		}
	}
	if reg.Len() != 1 {
		t.Errorf("%d entries, want 1", reg.Len())
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name, method, query string
		before              string // a request that comes first
		code                int
		status, overridden  eureka.Status
		lastDirty           int64
	}{
		{"put", "PUT", "?value=OUT_OF_SERVICE", "", 200, "OUT_OF_SERVICE", "OUT_OF_SERVICE", 1700000000000},
		{"put with a newer timestamp", "PUT", "?value=DOWN&lastDirtyTimestamp=1700000000005", "", 200, "DOWN", "DOWN", 1700000000005},
		{"put with an older timestamp", "PUT", "?value=DOWN&lastDirtyTimestamp=5", "", 200, "DOWN", "DOWN", 1700000000000},
		{"put what it is", "PUT", "?value=UP", "", 200, "UP", "UNKNOWN", 1700000000000},
		{"put nonsense", "PUT", "?value=FOO", "", 500, "UP", "UNKNOWN", 1700000000000},
		{"put in lower case", "PUT", "?value=down", "", 500, "UP", "UNKNOWN", 1700000000000},
		{"put nothing", "PUT", "", "", 500, "UP", "UNKNOWN", 1700000000000},
		{"put with a bad timestamp", "PUT", "?value=DOWN&lastDirtyTimestamp=x", "", 500, "UP", "UNKNOWN", 1700000000000},
		{"delete none", "DELETE", "?value=DOWN", "", 200, "UP", "UNKNOWN", 1700000000000},
		{"delete with a value", "DELETE", "?value=UP", "?value=DOWN", 200, "UP", "UNKNOWN", 1700000000000},
		{"delete without a value", "DELETE", "", "?value=DOWN", 200, "UNKNOWN", "UNKNOWN", 1700000000000},
		{"delete nonsense", "DELETE", "?value=FOO", "?value=DOWN", 500, "DOWN", "DOWN", 1700000000000},
		{"delete with an empty value", "DELETE", "?value=", "?value=DOWN", 500, "DOWN", "DOWN", 1700000000000},
		{"delete with a bad timestamp", "DELETE", "?value=UP&lastDirtyTimestamp=x", "?value=DOWN", 500, "DOWN", "DOWN", 1700000000000},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, api.Options{})
			n.put(t, "ORDERS", "orders-1", "")
			if c.before != "" {
				n.want(t, 200, "PUT", orders1+"/status"+c.before, "")
			}
			w := n.want(t, c.code, c.method, orders1+"/status"+c.query, "")
			if c.code == 200 && w.Body.Len() > 0 {
				t.Errorf("body %q", w.Body)
			}
			i, _ := n.reg.Instance(registry.NewKey("ORDERS", "orders-1"))
			if i.Status != c.status || i.OverriddenStatus != c.overridden || i.LastDirtyTimestamp != c.lastDirty {
				t.Errorf("status %s, override %s, timestamp %d, want %s, %s, %d",
					i.Status, i.OverriddenStatus, i.LastDirtyTimestamp, c.status, c.overridden, c.lastDirty)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	n := newNode(t, api.Options{MaxBody: 400})
	n.put(t, "ORDERS", "orders-1", `"metadata":{"zone":"a"}`)
	n.want(t, 200, "PUT", orders1+"/metadata?color=blue&multi=1&multi=2&a%20b=x%26y&flag&=none", "")
	n.want(t, 200, "PUT", orders1+"/metadata", "")
	n.want(t, 200, "PUT", orders1+"/metadata?load=50%&k=a=b&c=1+2&empty=&%zz=%4&%e4=%2", "")
	i, _ := n.reg.Instance(registry.NewKey("ORDERS", "orders-1"))
	want := map[string]string{
		"zone": "a", "color": "blue", "multi": "1", "a b": "x&y", "flag": "",
		"load": "50%", "k": "a=b", "c": "1 2", "empty": "", "%zz": "%4", "\ufffd": "%2",
	}
	if fmt.Sprint(i.Metadata) != fmt.Sprint(want) {
		t.Errorf("metadata %v, want %v", i.Metadata, want)
	}
	// All but the value of k take 57 bytes; 400 are allowed.
	w := n.want(t, 413, "PUT", orders1+"/metadata?k="+strings.Repeat("x", 344), "")
	if got := w.Body.String(); got != "metadata: larger than 400 bytes" {
		t.Errorf("body %q", got)
	}
	n.want(t, 200, "PUT", orders1+"/metadata?k="+strings.Repeat("x", 343), "")
	n.want(t, 200, "PUT", orders1+"/metadata?k="+strings.Repeat("y", 343), "") // in its place
	n.want(t, 413, "PUT", orders1+"/metadata?l=x", "")
}

// TestASG asks for what Eureka does on AWS alone. Elsewhere it refuses that, whatever the
// value and whoever asks, and no instance of the group changes.
func TestASG(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "CATALOG", "c-1", `"asgName":"catalog-v001"`)
	before := n.reg.Generation()
	for _, query := range []string{"?value=ENABLED", "?value=DISABLED", "?value=disabled", "?value=OFF", "?value=%", ""} {
		for _, replication := range []string{"", "true"} {
			n.want(t, 400, "PUT", "/eureka/asg/catalog-v001/status"+query, "", replicationHeader, replication)
			n.want(t, 400, "PUT", "/eureka/v2/asg/catalog-v001/status/"+query, "", replicationHeader, replication)
		}
	}
	for path, want := range map[string]int{
		"GET /eureka/asg/catalog-v001/status": 405, "DELETE /eureka/asg/catalog-v001/status": 405,
		"PUT /eureka/asg/catalog-v001": 404, "GET /eureka/asg": 404,
	} {
		method, path, _ := strings.Cut(path, " ")
		n.want(t, want, method, path, "")
	}
	n.want(t, 204, "POST", "/eureka/apps/CATALOG", registration("CATALOG", "c-2", `"asgName":"catalog-v001"`), "Content-Type", jsonType)
	n.want(t, 200, "PUT", "/eureka/apps/CATALOG/c-1", "")
	for _, id := range []string{"c-1", "c-2"} {
		if got := n.status(t, "CATALOG", id); got != eureka.StatusUp {
			t.Errorf("%s is %s", id, got)
		}
	}
	if got := n.reg.Generation(); got != before+1 { // the register of c-2
		t.Errorf("%d changes, want 1", got-before)
	}
}

func TestCancel(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "GATEWAY", "gw/1:8080", "")
	n.want(t, 404, "DELETE", "/eureka/apps/GATEWAY/gw%2F1:8081", "")
	w := n.want(t, 200, "DELETE", "/eureka/apps/gateway/gw%2F1%3A8080", "")
	if w.Body.Len() > 0 {
		t.Errorf("body %q", w.Body)
	}
	n.want(t, 404, "DELETE", "/eureka/apps/GATEWAY/gw%2F1%3A8080", "")
}

// TestWrongMethods holds that every path answers 405 and Allow to what it
// doesn't take.
func TestWrongMethods(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "ORDERS", "orders-1", "")
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", "/eureka/apps", "GET"},
		{"POST", "/eureka/apps/delta", "GET"},
		{"DELETE", "/eureka/apps/ORDERS", "POST,GET"},
		{"POST", orders1, "PUT,DELETE,GET"},
		{"PATCH", orders1, "PUT,DELETE,GET"},
		{"GET", orders1 + "/status", "PUT,DELETE"},
		{"GET", orders1 + "/metadata", "PUT"},
		{"GET", "/eureka/peerreplication/batch/", "POST"},
		{"POST", "/healthz", "GET"},
		{"DELETE", "/", "GET"},
	} {
		w := n.want(t, 405, c.method, c.path, "")
		got := strings.Split(w.Header().Get("Allow"), ",")
		for method := range strings.SplitSeq(c.allow, ",") {
			if !slices.Contains(got, method) {
				t.Errorf("%s %s: Allow %v, want %s in it", c.method, c.path, got, method)
			}
		}
		if slices.Contains(got, c.method) {
			t.Errorf("%s %s: Allow %v names it", c.method, c.path, got)
		}
		w = n.want(t, 200, "OPTIONS", c.path, "")
		if w.Header().Get("Allow") == "" {
			t.Errorf("OPTIONS %s: no Allow", c.path)
		}
	}
}
