package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
)

func TestBatch(t *testing.T) {
	cancel := `{"replicationList":[{"appName":"REP","id":"none","action":"Cancel"}]}`
	many := `{"replicationList":[` + strings.Repeat(`{"appName":"A","id":"i","action":"Cancel"},`, eureka.DefaultMaxItems) + `{"appName":"A","id":"i","action":"Cancel"}]}`
	for _, c := range []struct {
		name, body string
		headers    []string
		code       int
		want       string
	}{
		{"JSON", cancel, []string{"Content-Type", jsonType, "Accept", jsonType}, 200, `{"responseList":[{"statusCode":404}]}`},
		{"unknown field", strings.Replace(cancel, `"id"`, `"registryd":{},"id"`, 1), []string{"Content-Type", jsonType, "Accept", jsonType}, 400, `{"error": "cannot parse request body"}`},
		{"no list", "{}", []string{"Content-Type", jsonType}, 500, "replicationList is missing"},
		{"empty list", `{"replicationList":[]}`, []string{"Content-Type", jsonType, "Accept", jsonType}, 200, `{"responseList":[]}`},
		{"too many", many, []string{"Content-Type", jsonType}, 413, "replicationList: more than 10000 items"},
		{"XML", "<a/>", []string{"Content-Type", xmlType}, 415, "content-type"},
		{"no Content-Type", cancel, nil, 415, "content-type"},
		{"HTML wanted", cancel, []string{"Content-Type", jsonType, "Accept", "text/html"}, 406, "not acceptable"},
	} {
		n := newNode(t, api.Options{})
		w := n.want(t, c.code, "POST", "/eureka/peerreplication/batch/", c.body, c.headers...)
		if got := w.Body.String(); !strings.Contains(got, c.want) {
			t.Errorf("%s: body %q, want %q", c.name, got, c.want)
		}
	}
	n := newNode(t, api.Options{MaxBatchBody: len(cancel)})
	n.want(t, 200, "POST", "/eureka/peerreplication/batch", cancel, "Content-Type", jsonType)
	n.want(t, 413, "POST", "/eureka/peerreplication/batch", cancel+" ", "Content-Type", jsonType)
}

// TestBatchConflict asks with an old heartbeat: a peer that doesn't ask for JSON
// gets XML, with our copy inside.
func TestBatchConflict(t *testing.T) {
	n := newNode(t, api.Options{})
	n.put(t, "REP", "rep-1", "")
	old := `{"replicationList":[{"appName":"REP","id":"rep-1","action":"Heartbeat","lastDirtyTimestamp":1}]}`
	w := n.want(t, 200, "POST", "/eureka/peerreplication/batch/", old, "Content-Type", jsonType)
	got := parse(t, w.Body.Bytes(), false)
	for _, want := range []string{"<statusCode>409", "<responseEntity>", "<instanceId>rep-1"} {
		if !strings.Contains(got, want) {
			t.Errorf("XML lacks %q: %s", want, got)
		}
	}
	if strings.Contains(got, "<instance>") {
		t.Errorf("the entity is wrapped twice: %s", got)
	}
}

// TestBatchesHeld: beyond the bound a peer is asked to wait.
func TestBatchesHeld(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	n := newNode(t, api.Options{MaxBatches: 1, Node: &fakeNode{now: ready, apply: func(eureka.ReplicationList) eureka.ReplicationListResponse {
		in <- struct{}{}
		<-out
		return eureka.ReplicationListResponse{}
	}}})
	const body = `{"replicationList":[]}`
	first := make(chan *httptest.ResponseRecorder)
	go func() {
		first <- n.ask(t, "POST", "/eureka/peerreplication/batch/", body, "Content-Type", jsonType)
	}()
	<-in
	w := n.want(t, 503, "POST", "/eureka/peerreplication/batch/", body, "Content-Type", jsonType)
	if w.Body.Len() > 0 {
		t.Errorf("503 with body %q", w.Body)
	}
	close(out)
	if w := <-first; w.Code != http.StatusOK {
		t.Errorf("the batch that was held: status %d", w.Code)
	}
	go func() {
		first <- n.ask(t, "POST", "/eureka/peerreplication/batch/", body, "Content-Type", jsonType)
	}()
	<-in // there is room again
	<-first
}

// TestBatchShowsCluster tells a peer that it talks to a node, also one that takes no
// batches yet: no Java server stands there that could be waited for.
func TestBatchShowsCluster(t *testing.T) {
	for code, now := range map[int]api.Readiness{200: ready, 503: {State: "syncing"}} {
		n := newNode(t, api.Options{Cluster: "blue", Node: &fakeNode{now: now}})
		w := n.want(t, code, "POST", "/eureka/peerreplication/batch/", `{"replicationList":[]}`, "Content-Type", jsonType)
		if got := w.Header().Get("Registryd-Cluster"); got != "blue" {
			t.Errorf("status %d: header %q, want blue", code, got)
		}
	}
}
