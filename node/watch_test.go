package node_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/node"
)

// TestWatchEndsWithNode: a watcher does not delay the end of its node.
func TestWatchEndsWithNode(t *testing.T) {
	n := start(t, node.Options{Name: "n1"})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(n.URL(), "eureka/")+"v1/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // its end is what the test waits for
	in := bufio.NewScanner(resp.Body)
	until := func(what string) {
		t.Helper()
		for in.Scan() {
			if strings.Contains(in.Text(), what) {
				return
			}
		}
		t.Fatalf("the stream has no %q: %v", what, in.Err())
	}
	until("event: reset")
	register(t, n, "a")
	until(`"instance":"a"`)
	began := time.Now()
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the end took %v: the HTTP server waited for the watcher", took)
	}
	for in.Scan() { // what was sent before
	}
	if err := in.Err(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestWatchAfterRestart: the next life of a node knows no event of the one before, so a
// watcher that comes back begins with the list, which is that of the snapshot.
func TestWatchAfterRestart(t *testing.T) {
	opts := node.Options{Name: "n1", DataDir: t.TempDir()}
	n := start(t, opts)
	register(t, n, "a", "b")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	first := func(n testNode, id string) (event, data, newID string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(n.URL(), "eureka/")+"v1/watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Last-Event-ID", id)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // it is given up
		in := bufio.NewScanner(resp.Body)
		in.Buffer(nil, 1<<20)
		for in.Scan() && in.Text() != "" {
			switch field, value, _ := strings.Cut(in.Text(), ": "); field {
			case "id":
				newID = value
			case "event":
				event = value
			case "data":
				data = value
			}
		}
		return event, data, newID
	}
	_, _, id := first(n, "")
	register(t, n, "c")
	if event, data, _ := first(n, id); event != "change" || !strings.Contains(data, `"instance":"c"`) {
		t.Errorf("the same life: %s %s, want the change", event, data)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = start(t, opts)
	event, data, newID := first(n, id)
	if event != "reset" || strings.Count(data, `"instanceId"`) != 3 || strings.Split(newID, ".")[0] == strings.Split(id, ".")[0] {
		t.Errorf("the next life: %s %s %s, want a list of three", newID, event, data)
	}
	for _, e := range history(t, n, "") {
		if e.By != "snapshot" || e.Kind != "joined" {
			t.Errorf("the next life begins with %+v, want what the snapshot has", e)
		}
	}
}
