package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// heard are the events that a stock subscriber of NATS gets.
type heard struct {
	mu  sync.Mutex
	all []string // subject, kind, instance, status and whether there is an instance
}

func (h *heard) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// listen subscribes with the stock client.
func listen(t *testing.T, server *broker.Server, subject string) *heard {
	t.Helper()
	h := new(heard)
	natstest.Listen(t, server, subject, func(subject string, data []byte) {
		var e struct{ Kind, Instance, Status string }
		if err := json.Unmarshal(data, &e); err != nil {
			t.Errorf("%v: %s", err, data)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all = append(h.all, fmt.Sprintf("%s %s %s %s %v", strings.TrimPrefix(subject, "registry."+natstest.Cluster+"."),
			e.Kind, e.Instance, e.Status, strings.Contains(string(data), `"value":{`)))
	})
	return h
}

// TestEventSubject: each change is told once, by the node that took it; renewals, and what
// came from peers, are not.
func TestEventSubject(t *testing.T) {
	server := natstest.TCP(t)
	nodes := startCluster(t, 2, node.Options{Broker: broker.Access{Server: server}, EvictionInterval: 100 * time.Millisecond})
	register(t, nodes[0], "unheard")
	eventually(t, "an event that nobody hears is not sent", func() error {
		if got := scrape(t, nodes[0]).value("registryd_events_total", "outcome", "unheard"); got != 1 {
			return fmt.Errorf("%v are unheard", got)
		}
		return nil
	})
	all, others := listen(t, server, "registry."+natstest.Cluster+".event.>"), listen(t, server, "registry."+natstest.Cluster+".event.CARTS")
	ctx := t.Context()
	register(t, nodes[0], "a")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the other node has it", func() error {
		_, err := nodes[1].Instance(ctx, "ORDERS", "a")
		return err
	})
	must(nodes[1].SetStatus(ctx, "ORDERS", "a", eureka.StatusOutOfService))
	must(nodes[1].Heartbeat(ctx, "ORDERS", "a", eureka.StatusUp, 0))
	must(nodes[1].SetMetadata(ctx, "ORDERS", "a", map[string]string{"k": "v"}))
	must(nodes[1].DeleteStatus(ctx, "ORDERS", "a", eureka.StatusUp))
	must(nodes[1].Cancel(ctx, "ORDERS", "a"))
	short := instance("short", "1")
	short.LeaseInfo.RenewalIntervalInSecs, short.LeaseInfo.DurationInSecs = 1, 1
	must(nodes[1].Register(ctx, short))
	want := []string{
		"event.ORDERS registered a UP true",
		"event.ORDERS override-set a OUT_OF_SERVICE ",
		"event.ORDERS metadata a OUT_OF_SERVICE ",
		"event.ORDERS override-removed a UP ",
		"event.ORDERS cancelled a  false",
		"event.ORDERS registered short UP true",
		"event.ORDERS evicted short  false", // by both nodes: an eviction is each node's own
		"event.ORDERS evicted short  false",
	}
	eventually(t, "all events", func() error {
		got := all.take()
		if len(got) < len(want) {
			return fmt.Errorf("%d of %d", len(got), len(want))
		}
		return nil
	})
	got := all.take()
	for i := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("events: %q\nwant: %q", got, want)
			break
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d events, want %d: %q", len(got), len(want), got)
	}
	if got := others.take(); len(got) != 0 {
		t.Errorf("a subscriber to another application gets %q", got)
	}
}

// TestEventsWait: what happens without a connection is told after it.
func TestEventsWait(t *testing.T) {
	address := natstest.FreeAddress(t)
	server := natstest.At(t, address)
	n := start(t, node.Options{Name: "n1", Broker: broker.Access{URLs: []string{"nats://" + address}}})
	server.Shutdown()
	eventually(t, "the node is cut off", func() error {
		if scrape(t, n).value("registryd_broker_connected") != 0 {
			return errors.New("it is connected")
		}
		return nil
	})
	register(t, n, "a", "b")
	server = natstest.At(t, address)
	all := listen(t, server, "registry."+natstest.Cluster+".event.>")
	eventually(t, "both are told", func() error {
		if got := all.take(); len(got) != 2 || !strings.Contains(got[0], " a ") || !strings.Contains(got[1], " b ") {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
}
