package topology_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPayloadReload lowers the broker's max_payload by a reload while 300
// instances wait for a peer. The server does not announce it: the next large
// batch ends the connection, and the one after that knows the bound.
func TestPayloadReload(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "max_payload: 1048576\n")
	nodes := []*node{startNode(t, "n1", "--nats", s.url(""), "--batch-delay", "6s"), startNode(t, "n2", "--nats", s.url(""))}
	meet(t, nodes...)
	ids := numbered("waits-", 300)
	for _, id := range ids {
		if err := nodes[0].Register(t.Context(), instance(id, "1", 2000)); err != nil {
			t.Fatal(err)
		}
	}
	s.reload(t, "max_payload: 65536\n")
	lowered := time.Now()
	list(t, nodes, ids...)
	for _, n := range nodes {
		n.state(t, 200, "ready")
		n.settled(t)
	}
	if took := time.Since(lowered); took > 20*time.Second {
		t.Errorf("all there after %s, want 20s", took)
	}
	if got := s.err.with("maximum payload exceeded"); len(got) == 0 {
		t.Error("no batch was over the new bound: the test shows nothing")
	}
	if lost := nodes[0].now(t, "registryd_acceptor_dropped_actions_total"); lost != 0 {
		t.Errorf("%v actions dropped, want none", lost)
	}
	// A node that starts now pulls them all in pages that fit.
	late := startNode(t, "n3", "--nats", s.url(""))
	late.state(t, 200, "ready")
	list(t, []*node{late}, ids...)
}

// TestAccountPayload uses an account with a bound of its own, which the server
// sends after CONNECT.
func TestAccountPayload(t *testing.T) {
	t.Parallel()
	operator, account := newKey(t, operator), newKey(t, account)
	s := startNATS(t, fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload: { %s: %s }\n",
		operator.operatorJWT(t), account.public(t), operator.accountJWT(t, account, 65536)))
	args := []string{"--nats", s.url(""), "--nats-creds", account.credsFile(t)}
	nodes := []*node{startNode(t, "n1", args...), startNode(t, "n2", args...)}
	meet(t, nodes...)
	const want = "instance: larger than 49152 bytes as a task"
	if code, text := nodes[0].refusedWith(t, instance("large", "1", 100_000)); code != 413 || !strings.Contains(text, want) {
		t.Errorf("100 KB: got %d %s, want 413 and %q", code, text, want)
	}
	ids := numbered("many-", 200)
	for _, id := range ids {
		if err := nodes[0].Register(t.Context(), instance(id, "1", 2000)); err != nil {
			t.Fatal(err)
		}
	}
	list(t, nodes, ids...)
	late := startNode(t, "n3", args...)
	late.state(t, 200, "ready")
	list(t, []*node{late}, ids...)
	for _, n := range append(nodes, late) {
		if got := n.now(t, "registryd_broker_disconnects_total"); got != 0 {
			t.Errorf("%s lost its connection %v times", n.id, got)
		}
	}
}

// TestEventsDenied takes the permission to tell changes from a node, as in a configuration of
// before there were event subjects. It serves and replicates all the same.
func TestEventsDenied(t *testing.T) {
	t.Parallel()
	s := startNATS(t, `authorization { users: [
		{ user: a, password: p, permissions: { publish: { allow: ">", deny: "registry.test.event.>" }, subscribe: ">" } }
		{ user: b, password: p }
	] }`)
	a, b := startNode(t, "a", "--nats", s.url("a:p")), startNode(t, "b", "--nats", s.url("b:p"))
	nodes := []*node{a, b}
	meet(t, nodes...)
	a.register(t, "first")
	a.atLeast(t, 1, "registryd_broker_denied_subjects", "op", "publish")
	a.register(t, "second")
	a.atLeast(t, 1, "registryd_events_total", "outcome", "refused")
	a.state(t, 200, "ready")
	list(t, nodes, "first", "second")
	if got := a.err.with("broker refuses a subject"); len(got) != 1 || !strings.Contains(got[0], "subject=registry.test.event.>") {
		t.Errorf("%q, want one line that names the subject", got)
	}
}

// TestPermissionReload removes a needed permission of a node, by a reload of
// the server's configuration, and restores it.
func TestPermissionReload(t *testing.T) {
	t.Parallel()
	config := func(denied string) string {
		return `authorization { users: [
			{ user: a, password: p, permissions: { publish: { allow: ">", ` + denied + ` }, subscribe: { allow: ">", ` + denied + ` } } }
			{ user: b, password: p }
		] }`
	}
	s := startNATS(t, config(""))
	a, b := startNode(t, "a", "--nats", s.url("a:p")), startNode(t, "b", "--nats", s.url("b:p"))
	nodes := []*node{a, b}
	meet(t, nodes...)
	var want []string
	for i, test := range []struct{ denied, state string }{
		{"registry.test.peer.a.>", "degraded: broker refuses subscribe on registry.test.peer.a."},
		{"registry.test.presence.>", "degraded: broker refuses publish on registry.test.presence.a"},
		{"registry.test.reply.a.>", "degraded: broker refuses subscribe on registry.test.reply.a.>"},
	} {
		s.reload(t, config(`deny: "`+test.denied+`"`))
		a.state(t, 200, test.state)
		a.atLeast(t, 1, "registryd_broker_denied_subjects", "kind", "permission")
		for _, n := range nodes { // Clients are served meanwhile.
			id := fmt.Sprintf("denied-%d-%s", i, n.id)
			n.register(t, id)
			want = append(want, id)
		}
		s.reload(t, config(""))
		given := time.Now()
		a.state(t, 200, "ready")
		if took := time.Since(given); took > 10*time.Second {
			t.Errorf("%s: ready %s after the permission was given back, want 10s", test.denied, took)
		}
		list(t, nodes, want...)
		if got := a.now(t, "registryd_broker_denied_subjects"); got != 0 {
			t.Errorf("%s: %v subjects still denied", test.denied, got)
		}
	}
	for subject, lines := range map[string]int{"registry.test.peer.a.batch.*": 1, "registry.test.presence.a": 1, "registry.test.presence.*": 1} {
		if got := a.err.with("broker refuses a subject", "subject="+subject+" "); len(got) != lines {
			t.Errorf("%d lines on %s, want %d: %q", len(got), subject, lines, got)
		}
	}
}
