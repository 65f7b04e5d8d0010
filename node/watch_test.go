package node_test

import (
	"bufio"
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
