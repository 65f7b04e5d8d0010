package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// TestDrainOfTwo: a drain waits for the clients of all nodes, and says who they are.
func TestDrainOfTwo(t *testing.T) {
	nodes := startCluster(t, 2, node.Options{Broker: broker.Access{Server: natstest.TCP(t)}})
	register(t, nodes[0], "a")
	eventually(t, "n2 has it", func() error {
		_, err := nodes[1].Instance(t.Context(), "ORDERS", "a")
		return err
	})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	send := func(method string, n testNode, path, agent string) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(n.URL(), "/eureka/")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", agent)
		req.Header.Set("DiscoveryIdentity-Name", agent)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // it is read
		var body json.RawMessage
		if resp.Header.Get("Content-Type") == "application/json" {
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
		}
		if resp.StatusCode != 200 {
			t.Fatalf("%s %s: %d", method, path, resp.StatusCode)
		}
		return body
	}
	state := func(method, query string) (d api.Drain, of map[string]api.DrainNode) {
		t.Helper()
		if err := json.Unmarshal(send(method, nodes[0], "/v1/apps/orders/a/drain"+query, "ops"), &d); err != nil {
			t.Fatal(err)
		}
		of = map[string]api.DrainNode{}
		for _, n := range d.Nodes {
			of[n.Node] = n
		}
		return d, of
	}
	for i, n := range nodes {
		send("GET", n, "/eureka/apps", fmt.Sprint("client-", i+1))
	}
	if d, of := state("POST", ""); d.Drained || of["n1"].Waiting == 0 {
		t.Errorf("at once: %+v", d)
	}
	waitsFor := func(n api.DrainNode, name string) bool {
		for _, c := range n.Clients {
			if c.Name == name && c.Address == "127.0.0.1" && c.Reads == "all" {
				return true
			}
		}
		return false
	}
	eventually(t, "the other node has heard of it", func() error {
		if d, of := state("GET", ""); !of["n2"].Out || !waitsFor(of["n2"], "client-2") || !waitsFor(of["n1"], "client-1") {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	send("GET", nodes[0], "/eureka/apps/delta", "client-1")
	if d, of := state("GET", ""); d.Drained || waitsFor(of["n1"], "client-1") || !waitsFor(of["n2"], "client-2") {
		t.Errorf("after the first client has fetched: %+v", d)
	}
	send("GET", nodes[1], "/eureka/apps/delta", "client-2")
	for _, n := range nodes { // the test's own clients have read the instance
		for _, path := range []string{"/eureka/apps/ORDERS/a"} {
			send("GET", n, path, "client-1")
		}
		if i, err := n.Instance(t.Context(), "ORDERS", "a"); err != nil || i.Status != eureka.StatusOutOfService {
			t.Errorf("%s: %v, %v", n.Name(), i, err)
		}
	}
	if d, _ := state("GET", "?wait=5s"); !d.Drained {
		t.Errorf("all have fetched: %+v", d)
	}
}
