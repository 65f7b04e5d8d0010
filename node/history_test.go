package node_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// history returns what a node tells of ORDERS, the oldest first.
func history(tb testing.TB, n testNode, query string) []api.HistoryEvent {
	tb.Helper()
	code, body, err := get(tb, n, "/v1/history?app=ORDERS"+query)
	if err != nil || code != 200 {
		tb.Fatalf("status %d, %v", code, err)
	}
	var out api.History
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		tb.Fatal(err)
	}
	var events []api.HistoryEvent
	for i := range out.Events {
		events = append(events, out.Events[len(out.Events)-1-i])
	}
	return events
}

// TestHistoryOfTwo follows an instance over two nodes: who did it, by which way it came,
// and what the peer answered.
func TestHistoryOfTwo(t *testing.T) {
	nodes := startCluster(t, 2, node.Options{Broker: broker.Access{Server: natstest.TCP(t)}})
	here, there := nodes[0], nodes[1]
	ctx := t.Context()
	if err := here.Register(ctx, instance("a", "1")); err != nil {
		t.Fatal(err)
	}
	told := func(n testNode) string {
		var out []string
		for _, e := range history(t, n, "") {
			line := fmt.Sprintf("%s by %s through %s", e.Kind, e.By, e.Node)
			if e.Detail != "" {
				line += " (" + e.Detail + ")"
			}
			out = append(out, line)
		}
		return strings.Join(out, "; ")
	}
	until := func(n testNode, want string) {
		t.Helper()
		eventually(t, "history of "+n.Name(), func() error {
			if got := told(n); got != want {
				return fmt.Errorf("it is %s; want %s", got, want)
			}
			return nil
		})
	}
	const answered = "; answered by answer through n2 (200 ok)"
	until(here, "registered by client through n1"+answered)
	until(there, "joined by batch through n1")
	if err := here.SetStatus(ctx, "ORDERS", "a", eureka.StatusOutOfService); err != nil {
		t.Fatal(err)
	}
	until(here, "registered by client through n1"+answered+"; override-set by client through n1"+answered)
	until(there, "joined by batch through n1; joined by batch through n1")
	events := history(t, there, "")
	if last := events[1]; strings.Join(last.Changed, ",") != "override" || last.Status != eureka.StatusOutOfService {
		t.Errorf("the second that was joined: %+v", last)
	}
	if from := history(t, here, "&kind=registered")[0].From; !strings.HasPrefix(from, "127.0.0.1:") {
		t.Errorf("registered from %q, want the client's address", from)
	}
	for range 3 {
		if err := here.Heartbeat(ctx, "ORDERS", "a", eureka.StatusUp, 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(history(t, here, "")); n != 4 {
		t.Errorf("%d events after heartbeats, want 4 still", n)
	}
}
