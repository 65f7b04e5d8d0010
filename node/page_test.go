package node_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// TestPageOfThree asks one node for the page of an instance: it says who registered it where,
// and what all nodes have of it.
func TestPageOfThree(t *testing.T) {
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: natstest.TCP(t)}})
	register(t, nodes[1], "o-1")
	allList(t, nodes, "o-1")
	wants := map[int]string{0: "through n2", 1: "client 127.0.0.1", 2: "through n2"}
	for i, n := range nodes {
		code, body, err := get(t, n, "/page/instance?app=ORDERS&id=o-1")
		if err != nil || code != http.StatusOK {
			t.Fatalf("%s: %d, %v", n.Name(), code, err)
		}
		for _, want := range []string{"all the same", ">n1<", ">n2<", ">n3<", wants[i]} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page lacks %q", n.Name(), want)
			}
		}
	}
	// What the peers answered is counted where the instance was registered.
	eventually(t, "n2 has two answers", func() error {
		for _, p := range nodes[1].Overview().Peers {
			if p.Answers["200"] == 0 {
				return fmt.Errorf("%s: %v", p.Name, p.Answers)
			}
		}
		return nil
	})
}

// TestPageEndsWithItsNode: a page that is open does not hold up the end of a node.
func TestPageEndsWithItsNode(t *testing.T) {
	n := start(t, node.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.PageURL()+"page/live", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // The node has ended it.
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() && lines.Text() != "event: list" { // until the page is up to date
	}
	began := time.Now()
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	// The server would wait five seconds for a request under way.
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the node took %v to end", took)
	}
	for lines.Scan() { // to the end
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream was cut off: %v", err)
	}
}
