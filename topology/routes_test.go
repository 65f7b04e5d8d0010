package topology_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const secret = "open-sesame"

// routed is a node whose embedded broker is joined to others' by routes.
type routed struct {
	*node
	broker string // where clients of its broker connect
}

// startRouted starts nodes n1, n2, … whose embedded brokers all know each other,
// with the secret in a file.
func startRouted(tb testing.TB, size int, secretFile string) []routed {
	tb.Helper()
	routes := make([]string, size)
	for i := range routes {
		routes[i] = freeAddress(tb)
	}
	nodes := make([]routed, size)
	for i := range nodes {
		nodes[i] = spawnRouted(tb, fmt.Sprintf("n%d", i+1), routes[i], routes, secretFile)
	}
	for _, n := range nodes {
		n.serves(tb)
	}
	return nodes
}

func spawnRouted(tb testing.TB, id, route string, routes []string, secretFile string, more ...string) routed {
	tb.Helper()
	broker := freeAddress(tb)
	return routed{spawnNode(tb, id, append([]string{
		"--embedded-listen", broker, "--embedded-route-listen", route,
		"--embedded-routes", strings.Join(routes, ","), "--cluster-secret-file", secretFile,
	}, more...)...), broker}
}

func plain(nodes ...routed) []*node {
	var out []*node
	for _, n := range nodes {
		out = append(out, n.node)
	}
	return out
}

// within calls do, and wants it to end within a bound.
func within(tb testing.TB, bound time.Duration, what string, do func() error) {
	tb.Helper()
	began := time.Now()
	if err := do(); err != nil {
		tb.Errorf("%s: %v", what, err)
	}
	if elapsed := time.Since(began); elapsed > bound {
		tb.Errorf("%s took %v, want at most %v", what, elapsed, bound)
	}
}

// prompt is how long a client's request may take at most, on a busy machine: far
// below the time-outs of whatever a request must not wait for.
const prompt = 1500 * time.Millisecond

// TestRoutes joins three nodes by routes and kills two of them.
func TestRoutes(t *testing.T) {
	t.Parallel()
	secretFile := file(t, "secret", secret+"\n")
	nodes := startRouted(t, 3, secretFile)
	meet(t, plain(nodes...)...)
	for _, n := range nodes {
		n.state(t, 200, "ready")
	}
	// From one broker all messages are seen, of every node to every other.
	tail := startTail(t, "--nats", "nats://registryd:"+secret+"@"+nodes[0].broker)
	listening(t, tail, plain(nodes...)...)
	want := []string{"at-1", "at-2", "at-3"}
	for i, n := range nodes {
		n.register(t, want[i])
	}
	list(t, plain(nodes...), want...)
	seen(t, tail, "at-1", "n1>n2", "n1>n3")
	seen(t, tail, "at-2", "n2>n1", "n2>n3")

	// A node with another secret gets no route, and serves what it has.
	theirs := spawnRouted(t, "stranger", freeAddress(t), []string{nodesRoute(nodes[0])}, file(t, "other", "guessed"), "--start-wait", "3s")
	theirs.serves(t)
	theirs.state(t, 200, "degraded: no route to another broker")
	theirs.register(t, "theirs")
	list(t, []*node{theirs.node}, "theirs")

	last := nodes[2]
	nodes[0].kill(t)
	nodes[1].kill(t)
	want = append(want, numbered("alone-", 20)...)
	for _, id := range want[3:] {
		within(t, prompt, "register at the last node", func() error {
			return last.Register(t.Context(), instance(id, "1", 0))
		})
	}
	beat := func() {
		for _, id := range []string{"at-1", "at-3", "alone-7"} {
			within(t, prompt, "heartbeat at the last node", func() error {
				return last.Heartbeat(t.Context(), "ORDERS", id, "UP", -1)
			})
		}
	}
	beat()
	last.metric(t, 2, "registryd_cluster_peers", "status", "unreachable")
	beat()
	last.state(t, 200, "degraded: no route to another broker")
	list(t, []*node{last.node}, want...)
	if got := last.err.with("no route to another broker, retrying"); len(got) != 1 {
		t.Errorf("the log reports %d times that there is no route, want once: %q", len(got), got)
	}

	nodes[0].restart(t)
	nodes[1].restart(t)
	nodes[0].register(t, "back")
	list(t, plain(nodes...), append(want, "back")...)
	meet(t, plain(nodes...)...)
	for _, n := range nodes {
		n.state(t, 200, "ready")
	}
	if got := theirs.now(t, "registryd_cluster_peers"); got != 0 {
		t.Errorf("the stranger knows %v peers", got)
	}
}

// nodesRoute returns where others join a node's broker.
func nodesRoute(n routed) string {
	for i, arg := range n.args {
		if arg == "--embedded-route-listen" {
			return n.args[i+1]
		}
	}
	return ""
}

// TestFirstOfRoutes starts nodes one after the other, each with the list of all.
func TestFirstOfRoutes(t *testing.T) {
	t.Parallel()
	secretFile := file(t, "secret", secret)
	routes := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	var nodes []*node
	var want []string
	for i, route := range routes {
		n := spawnRouted(t, fmt.Sprintf("n%d", i+1), route, routes, secretFile, "--start-wait", "3s")
		n.serves(t)
		state := "ready"
		if i == 0 {
			state = "degraded: no route to another broker"
		}
		n.state(t, 200, state)
		nodes = append(nodes, n.node)
		want = append(want, fmt.Sprintf("at-%d", i+1))
		n.register(t, want[i])
		// It has synced the instances that were registered before it started.
		list(t, nodes, want...)
	}
	for _, n := range nodes {
		n.state(t, 200, "ready")
	}
}

// TestRoutesTLS joins two nodes by routes over TLS. A third that knows the secret
// and has no certificate of their CA stays outside. tail has a secret of its own.
func TestRoutesTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	secretFile, tailFile := file(t, "secret", secret), file(t, "tail", "look")
	routes := []string{freeAddress(t), freeAddress(t)}
	start := func(id, route string, ca authority) routed {
		own := ca.issue(t, id)
		n := spawnRouted(t, id, route, routes, secretFile, "--start-wait", "3s", "--tail-secret-file", tailFile,
			"--embedded-tls-ca", ca.file, "--embedded-tls-cert", own.cert, "--embedded-tls-key", own.key)
		n.serves(t)
		return n
	}
	nodes := []routed{start("n1", routes[0], ours), start("n2", routes[1], ours)}
	meet(t, plain(nodes...)...)
	client := ours.issue(t, "tail")
	tail := startTail(t, "--nats", "tls://any:look@"+nodes[0].broker,
		"--nats-tls-ca", ours.file, "--nats-tls-cert", client.cert, "--nats-tls-key", client.key)
	listening(t, tail, plain(nodes...)...)
	stranger := start("stranger", freeAddress(t), theirs)
	stranger.state(t, 200, "degraded: no route to another broker")
	stranger.register(t, "theirs")
	nodes[1].register(t, "ours")
	list(t, plain(nodes...), "ours")
	list(t, []*node{stranger.node}, "theirs")
	seen(t, tail, "ours", "n2>n1")
	if got := stranger.now(t, "registryd_cluster_peers"); got != 0 {
		t.Errorf("the stranger knows %v peers", got)
	}
}
