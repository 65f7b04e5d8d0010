package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/await"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

// pair starts two nodes, a and b, that have met.
func pair(t *testing.T, change func(name string, o *node.Options)) (a, b *node.Node) {
	t.Helper()
	server := natstest.TCP(t)
	start := func(name string) *node.Node {
		o := node.Options{Name: name, Broker: broker.Access{URLs: []string{natstest.URL(server)}}}
		change(name, &o)
		return startNode(t, o)
	}
	a, b = start("a"), start("b")
	for _, n := range []*node.Node{a, b} {
		await.Nil(t, patience, n.Name()+" meets its peer", func() error {
			if o := n.Overview(); len(o.Peers) != 1 || o.Peers[0].Status != "reachable" || !o.Ready {
				return fmt.Errorf("%s: %+v", o.State, o.Peers)
			}
			return nil
		})
	}
	return a, b
}

func clientOf(t *testing.T, n *node.Node) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{URLs: []string{n.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// order is an instance of ORDERS with a lease of some seconds.
func order(id string, lease int) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID: &id, HostName: "h", App: "ORDERS", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
		Port: eureka.Port{Number: 80, Enabled: true}, DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo: eureka.LeaseInfo{RenewalIntervalInSecs: 1, DurationInSecs: lease}, LastDirtyTimestamp: time.Now().UnixMilli(),
	}
}

func register(t *testing.T, n *node.Node, id string, lease int) {
	t.Helper()
	if err := clientOf(t, n).Register(t.Context(), order(id, lease)); err != nil {
		t.Fatal(err)
	}
}

// whyUntil asks why until the answer has a reason and its text matches.
func whyUntil(t *testing.T, n *node.Node, name, reason, text string, flags ...string) *whyAnswer {
	t.Helper()
	re := regexp.MustCompile(text)
	var out *whyAnswer
	await.Nil(t, patience, "why "+name, func() error {
		var stdout, stderr strings.Builder
		args := append([]string{"why", name, "--json", "--url", n.URL()}, flags...)
		if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
			return fmt.Errorf("exit code %d: %s", code, stderr.String())
		}
		out = new(whyAnswer)
		if err := json.Unmarshal([]byte(stdout.String()), out); err != nil {
			return err
		}
		if out.Reason != reason || !re.MatchString(out.Text) {
			return fmt.Errorf("got %s: %q, want %s: %s", out.Reason, out.Text, reason, text)
		}
		return nil
	})
	return out
}

// fact fails the test unless a fact of this name matches.
func (w *whyAnswer) fact(t *testing.T, what, text string) {
	t.Helper()
	for _, f := range w.Facts {
		if f.What == what && regexp.MustCompile(text).MatchString(f.Text) {
			return
		}
	}
	t.Errorf("no fact %s: %s in %+v", what, text, w.Facts)
}

func TestWhyListed(t *testing.T) {
	t.Parallel()
	a, b := pair(t, func(string, *node.Options) {})
	register(t, a, "o-1", 90)
	got := whyUntil(t, b, "orders/o-1", api.WhyListed, `^listed as UP on all 2 nodes$`)
	got.fact(t, "registered", `^[0-9:]{8} by client 127\.0\.0\.1(:\d+)? through a$`)
	got.fact(t, "renewed", `^[0-9.]+m?s ago, lease 1m30s$`)
	got = whyUntil(t, a, "ORDERS/o-1", api.WhyListed, `^listed as UP on all 2 nodes$`)
	got.fact(t, "answered", `^b to a at [0-9:]{8}: 200 ok$`)

	if err := clientOf(t, b).SetStatus(t.Context(), "ORDERS", "o-1", eureka.StatusOutOfService); err != nil {
		t.Fatal(err)
	}
	got = whyUntil(t, a, "ORDERS/o-1", api.WhyListed, `^listed as OUT_OF_SERVICE by an override; its client says UP on all 2 nodes$`)
	got.fact(t, "override", `^OUT_OF_SERVICE, set [0-9:]{8} by client 127\.0\.0\.1(:\d+)? through b; registryd apps up ORDERS/o-1 removes it$`)
	if err := clientOf(t, a).DeleteStatus(t.Context(), "ORDERS", "o-1", eureka.StatusUp); err != nil {
		t.Fatal(err)
	}
	got = whyUntil(t, b, "ORDERS/o-1", api.WhyListed, `^listed as UP on all 2 nodes$`)
	got.fact(t, "override", `^none; the last one was removed [0-9:]{8} by client \S+ through a$`)
}

func TestWhyNeverRegistered(t *testing.T) {
	t.Parallel()
	a, b := pair(t, func(string, *node.Options) {})
	register(t, a, "o-1", 90)
	whyUntil(t, b, "ORDERS/o-1", api.WhyListed, "all 2 nodes")
	got := whyUntil(t, b, "ORDERS/o-2", api.WhyUnknown, `^not listed: it was never registered; no node has heard of it since its start$`)
	if len(got.Near) != 1 || got.Near[0] != "ORDERS/o-1" {
		t.Errorf("near: %q", got.Near)
	}
	if got = whyUntil(t, a, "ORDER/x", api.WhyUnknown, "never"); len(got.Near) != 1 || got.Near[0] != "ORDERS" {
		t.Errorf("near: %q", got.Near)
	}
	if got = whyUntil(t, a, "USERS/o-1", api.WhyUnknown, "never"); len(got.Near) != 1 || got.Near[0] != "ORDERS/o-1" {
		t.Errorf("near: %q", got.Near)
	}
	out := runOK(t, "why", "ORDERS/o-2", "--url", a.URL())
	if !strings.HasPrefix(out, "ORDERS/o-2 is not listed: it was never registered; ") || !strings.Contains(out, "\ndid you mean ORDERS/o-1?\n") {
		t.Errorf("for people: %s", out)
	}
}

func TestWhyCancelled(t *testing.T) {
	t.Parallel()
	a, b := pair(t, func(string, *node.Options) {})
	register(t, a, "o-1", 90)
	whyUntil(t, a, "ORDERS/o-1", api.WhyListed, "all 2 nodes")
	if err := clientOf(t, b).Cancel(t.Context(), "ORDERS", "o-1"); err != nil {
		t.Fatal(err)
	}
	await.Nil(t, patience, "a has the cancel", func() error {
		if got := listed(t, a); len(got) > 0 {
			return fmt.Errorf("%d listed", len(got))
		}
		return nil
	})
	got := whyUntil(t, a, "ORDERS/o-1", api.WhyCancelled, `^not listed: it was cancelled at [0-9:]{8} by client 127\.0\.0\.1(:\d+)? through b$`)
	got.fact(t, "registered", `through a$`)
	if out := runOK(t, "why", "ORDERS/o-1", "--verbose", "--url", b.URL()); !regexp.MustCompile(`(?m)^[0-9:]{8} +b +cancelled +client 127`).MatchString(out) {
		t.Errorf("for people: %s", out)
	}
}

func TestWhyEvicted(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{
		Name: "n", LeaseCompat: registry.Netflix, NoSelfPreservation: true, EvictionInterval: 100 * time.Millisecond,
	})
	register(t, n, "o-1", 1)
	got := whyUntil(t, n, "ORDERS/o-1", api.WhyEvicted, `^not listed: n evicted it at [0-9:]{8}, when it had not renewed for 1(\.\d)?s of its lease of 1s$`)
	got.fact(t, "registered", `through n$`)
}

func TestWhyHeld(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n", LeaseCompat: registry.Netflix, EvictionInterval: 100 * time.Millisecond})
	for i := range 12 {
		register(t, n, fmt.Sprint("o-", i), 1)
	}
	whyUntil(t, n, "ORDERS/o-1", api.WhyHeld,
		`^listed as UP, though its lease of 1s is over: it renewed [0-9.]+s ago; self-preservation holds it, because 12 of 12 leases are missing on n$`)
}

// TestWhyRefused has a node without room for a second instance.
func TestWhyRefused(t *testing.T) {
	t.Parallel()
	a, b := pair(t, func(name string, o *node.Options) {
		if name == "b" {
			o.MaxInstances = 1
		}
	})
	register(t, a, "o-1", 90)
	whyUntil(t, a, "ORDERS/o-1", api.WhyListed, "all 2 nodes")
	register(t, a, "o-2", 90)
	for _, n := range []*node.Node{a, b} {
		whyUntil(t, n, "ORDERS/o-2", whyDiffers,
			`^listed as UP on a, but not on all nodes: b refused it when a sent it: 400 refused, dropped \([0-9:]{8}\)$`)
	}
}

// TestWhyOnItsWay has a change that waits for its batch.
func TestWhyOnItsWay(t *testing.T) {
	t.Parallel()
	a, b := pair(t, func(_ string, o *node.Options) { o.BatchDelay = time.Hour })
	register(t, a, "o-1", 90)
	for _, n := range []*node.Node{a, b} {
		whyUntil(t, n, "ORDERS/o-1", whyDiffers, `^listed as UP on a, but not on all nodes: b lacks it: a has changes for it that wait$`)
	}
}

func TestWhySyncing(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n", Broker: broker.Access{URLs: []string{"nats://" + natstest.FreeAddress(t)}}})
	register(t, n, "o-1", 90)
	whyUntil(t, n, "ORDERS/o-1", api.WhySyncing, `^not listed, because no node lists anything yet: n is syncing`)
}

// TestWhyDegraded has a node that serves what it has, since it never met its peer.
func TestWhyDegraded(t *testing.T) {
	t.Parallel()
	a := startNode(t, node.Options{Name: "a"})
	b := startNode(t, node.Options{Name: "b", Expect: 1, StartWait: 100 * time.Millisecond})
	await.Nil(t, patience, "b is degraded", func() error {
		if o := b.Overview(); !strings.HasPrefix(o.State, "degraded") {
			return fmt.Errorf("state %s", o.State)
		}
		return nil
	})
	register(t, a, "o-1", 90)
	whyUntil(t, a, "ORDERS/o-1", whyDiffers, `^listed as UP on a, but not on all nodes: b lacks it, and is degraded: 0 of 1 peers`, "--url", a.URL()+","+b.URL())
}

func TestWhyInJavaAlone(t *testing.T) {
	t.Parallel()
	java := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodGet && r.URL.Path == "/eureka/apps/ORDERS/o-1":
			w.Write(eureka.JSON.AppendInstanceDocument(nil, order("o-1", 90))) //nolint:errcheck // The client may have gone.
		case r.Method == http.MethodGet && r.URL.Path == "/eureka/apps/ORDERS/o-2":
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodGet: // its list has not come to it yet
			w.Write(eureka.Form{}.AppendApplications(nil, eureka.Applications{Version: "1"})) //nolint:errcheck // as above
		}
	}))
	t.Cleanup(java.Close)
	n := startNode(t, node.Options{Name: "n", EurekaPeers: []string{java.URL + "/eureka/"}})
	whyUntil(t, n, "ORDERS/o-1", whyJava, `^listed as UP by the Java server java-127-0-0-1-\d+ alone, and by no node$`)
	whyUntil(t, n, "ORDERS/o-2", api.WhyUnknown, "it was never registered").fact(t, "java", `^java-127-0-0-1-\d+ does not list it$`)
}

func TestWhyInARegionAlone(t *testing.T) {
	t.Parallel()
	east := startNode(t, node.Options{Name: "east-1"})
	register(t, east, "o-1", 90)
	n := startNode(t, node.Options{Name: "n", RemoteRegions: []regions.Region{{Name: "east", URL: east.URL()}}})
	whyUntil(t, n, "ORDERS/o-1", api.WhyRegion, `^listed as UP, but of another region alone: east on n$`)
}

// TestWhyOfNobody asks nodes that give no answer.
func TestWhyOfNobody(t *testing.T) {
	t.Parallel()
	n := startNode(t, node.Options{Name: "n"})
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"why", "A/b", "--url", "127.0.0.1:1," + n.URL()}, &stdout, &stderr)
	if code != 3 || !strings.Contains(stderr.String(), "node http://127.0.0.1:1: unreachable (") || !strings.Contains(stdout.String(), "never registered") {
		t.Errorf("code %d, %q, %q", code, stdout.String(), stderr.String())
	}
	stdout.Reset()
	if code := run(t.Context(), []string{"why", "A/b", "--url", "127.0.0.1:1"}, &stdout, &stderr); code != 3 || stdout.Len() > 0 {
		t.Errorf("of nobody: code %d, %q", code, stdout.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ctx, []string{"why", "A/b", "--url", n.URL()}, &stdout, &stderr); code != 1 {
		t.Errorf("stopped: code %d, want 1", code)
	}
}

// TestLack names the reason that weighs most where a node lacks what others have.
func TestLack(t *testing.T) {
	t.Parallel()
	at := time.Now()
	peer := func(status, waiting string, pending int) []api.WhyPeer {
		return []api.WhyPeer{{Name: "b", Status: status, Waiting: waiting, Pending: pending}}
	}
	refused := []api.HistoryEvent{{From: "c", Detail: "400 refused, dropped"}, {From: "b", Detail: "dropped: overflowed", Time: at}}
	for _, test := range []struct {
		name string
		b, a api.Why
		want string
	}{
		{"syncing", api.Why{Reason: api.WhySyncing, State: "syncing"}, api.Why{Answers: refused}, "b lists nothing yet: it is syncing"},
		{
			"too large",
			api.Why{State: "ready"},
			api.Why{TooLarge: &api.WhySize{Bytes: 9, Bound: 8}, Answers: refused},
			"it is too large to be sent to b: 9 bytes, where a message may have 8",
		},
		{"dropped", api.Why{State: "ready"}, api.Why{Answers: refused}, "b refused it when a sent it: dropped: overflowed (" + clock(at) + ")"},
		{"cancelled", api.Why{State: "ready", Reason: api.WhyCancelled, Text: "cancelled by x"}, api.Why{}, "b has it as cancelled by x"},
		{
			"cancelled just now",
			api.Why{State: "ready", Reason: api.WhyCancelled, Text: "cancelled by x", Peers: []api.WhyPeer{{Name: "a", Pending: 1}}},
			api.Why{},
			"b has it as cancelled by x, which is on its way to the others",
		},
		{"degraded", api.Why{State: "degraded: alone"}, api.Why{Peers: peer("unreachable", "", 0)}, "b lacks it, and is degraded: alone"},
		{"unreachable", api.Why{State: "ready"}, api.Why{Peers: peer("unreachable", "timeout", 1)}, "b lacks it: it is unreachable for a"},
		{"waiting", api.Why{State: "ready"}, api.Why{Peers: peer("reachable", "busy", 1)}, "b lacks it: a sends it nothing at present: busy"},
		{"pending", api.Why{State: "ready"}, api.Why{Peers: peer("reachable", "", 1)}, "b lacks it: a has changes for it that wait"},
		{"of a region", api.Why{State: "ready"}, api.Why{Reason: api.WhyRegion, Peers: peer("reachable", "", 0)}, "b shows no such region"},
		{"else", api.Why{State: "ready", Text: "never heard of"}, api.Why{Peers: peer("reachable", "", 0)}, "b lacks it: it was never heard of"},
	} {
		test.a.Node, test.b.Node = "a", "b"
		if got := new(whyAnswer).lack(&test.b, []*api.Why{&test.a}); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
