package topology_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// passwords of the users of deploy/nats, and the environment that holds them.
func passwords() (map[string]string, []string) {
	all := map[string]string{}
	var env []string
	for _, user := range []string{"node-a", "node-b", "node-c", "tail", "ops"} {
		all[user] = "secret-of-" + user
		name := "REGISTRYD_" + strings.ToUpper(strings.ReplaceAll(user, "-", "_")) + "_PASSWORD"
		env = append(env, name+"="+strconv.Quote(all[user]))
	}
	return all, env
}

// deployed starts a nats-server with a file of deploy/nats. Flags move it to a
// free port of 127.0.0.1. Edits, text and replacement in turn, change what
// flags can't.
func deployed(tb testing.TB, config string, env []string, edits ...string) *natsServer {
	tb.Helper()
	s := &natsServer{address: freeAddress(tb), env: env}
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../deploy/nats")); err != nil {
		tb.Fatal(err)
	}
	s.config = filepath.Join(dir, config)
	text, err := os.ReadFile(s.config)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(string(text), edits[i]) {
			tb.Fatalf("%s has no %q", config, edits[i])
		}
		text = []byte(strings.ReplaceAll(string(text), edits[i], edits[i+1]))
	}
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	s.args = []string{"-c", s.config, "-a", "127.0.0.1", "-p", port}
	s.start(tb)
	return s
}

// serverEnv is the environment of cluster.conf. clients signs the certificates
// for clients, servers those for routes.
func serverEnv(tb testing.TB, clients, servers authority) []string {
	tb.Helper()
	_, env := passwords()
	server, route := clients.issue(tb, "server"), servers.issue(tb, "route")
	return append(env,
		"REGISTRYD_TLS_CERT="+server.cert, "REGISTRYD_TLS_KEY="+server.key, "REGISTRYD_TLS_CA="+clients.file,
		"REGISTRYD_ROUTE_TLS_CERT="+route.cert, "REGISTRYD_ROUTE_TLS_KEY="+route.key, "REGISTRYD_ROUTE_TLS_CA="+servers.file)
}

// deployedCluster starts three servers of cluster.conf, which have all routes.
func deployedCluster(tb testing.TB, clients authority) []*natsServer {
	tb.Helper()
	env := serverEnv(tb, clients, newAuthority(tb))
	routes := []string{freeAddress(tb), freeAddress(tb), freeAddress(tb)}
	var servers []*natsServer
	for _, own := range routes {
		servers = append(servers, deployed(tb, "cluster.conf", env, "0.0.0.0:6222", own,
			"nats-1:6222", routes[0], "nats-2:6222", routes[1], "nats-3:6222", routes[2]))
	}
	for _, s := range servers {
		eventually(tb, s.name+" has its routes", func() error {
			if got := len(s.err.with("Route connection created")); got < 2 {
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
	return servers
}

// member starts a node under its name in the deploy files.
func member(tb testing.TB, id, url string, args ...string) *node {
	tb.Helper()
	return startNode(tb, id, append([]string{"--cluster", "default", "--nats", url}, args...)...)
}

// TestPermissions starts the server of deploy/nats. Everything that the nodes
// and the tools do is allowed, and nothing that another could do in their name.
func TestPermissions(t *testing.T) {
	t.Parallel()
	_, env := passwords()
	testPermissions(t, deployed(t, "server.conf", env))
}

// TestAccounts does the same with the users in an account of their own, beside another,
// which hears nothing.
func TestAccounts(t *testing.T) {
	t.Parallel()
	_, env := passwords()
	accounts, err := os.ReadFile("../deploy/nats/accounts.conf")
	if err != nil {
		t.Fatal(err)
	}
	s := deployed(t, "server.conf", env, `include "permissions.conf"`, string(accounts),
		"accounts {", "accounts {\n  OTHERS { users: [ { user: other, password: others } ] }")
	others := stranger(t, s, "other:others")
	heard, err := others.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	testPermissions(t, s)
	if n, _, err := heard.Pending(); err != nil || n > 0 {
		t.Errorf("another account has heard %d messages, %v", n, err)
	}
}

func testPermissions(t *testing.T, s *natsServer) {
	t.Helper()
	password, _ := passwords()
	login := func(user string) string { return user + ":" + password[user] }
	var nodes []*node
	for _, id := range []string{"node-a", "node-b"} {
		nodes = append(nodes, member(t, id, s.url(login(id))))
	}
	meet(t, nodes...)
	tail := startTail(t, "--cluster", "default", "--nats", s.url(login("tail")))
	listening(t, tail, nodes...)
	nodes[0].register(t, "a")
	nodes[1].register(t, "b")
	list(t, nodes, "a", "b")
	seen(t, tail, "a", "node-a>node-b")
	seen(t, tail, "b", "node-b>node-a")
	nodes = append(nodes, member(t, "node-c", s.url(login("node-c")))) // It syncs.
	list(t, nodes, "a", "b")
	if err := nodes[2].Cancel(t.Context(), "ORDERS", "a"); err != nil {
		t.Error(err)
	}
	list(t, nodes, "b")
	for _, n := range nodes {
		n.settled(t)
	}

	// The stock tool asks the services.
	ops := stranger(t, s, login("ops"))
	inbox := ops.NewInbox()
	answers, err := ops.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := ops.PublishRequest("$SRV.PING.registryd", inbox, nil); err != nil {
		t.Fatal(err)
	}
	for range nodes {
		if _, err := answers.NextMsg(patience); err != nil {
			t.Errorf("nats micro ls: %v", err)
		}
	}

	for _, wrong := range []string{"", "node-a:guess", "nobody:" + password["node-a"], "node-a:" + password["node-b"]} {
		if nc, err := nats.Connect(s.url(wrong), nats.NoReconnect()); err == nil {
			nc.Close()
			t.Errorf("login %q is taken", wrong)
		}
	}

	// No client has tried an operation that is denied.
	if got := s.err.with("Violation"); len(got) > 0 {
		t.Errorf("the server has refused %q", got)
	}
	for _, n := range nodes {
		if got := n.now(t, "registryd_broker_errors_total"); got != 0 {
			t.Errorf("%s: %v errors of the broker, want none", n.id, got)
		}
	}

	for _, test := range []struct {
		user, verb, subject string
		allowed             bool
	}{
		{"node-a", "publish", "registry.default.peer.node-b.batch.node-a", true},
		{"node-a", "publish", "registry.default.peer.node-b.sync.node-a", true},
		{"node-a", "publish", "registry.default.presence.node-a", true},
		{"node-a", "publish", "registry.default.presence.ask", true},
		{"node-a", "subscribe", "registry.default.peer.node-a.batch.*", true},
		{"node-a", "subscribe", "registry.default.reply.node-a.>", true},

		{"node-a", "publish", "registry.default.event.ORDERS", true}, // no node acts on it
		{"node-a", "publish", "registry.default.peer.node-b.batch.node-c", false},
		{"node-a", "publish", "registry.default.peer.node-b.batch.node-b", false},
		{"node-a", "publish", "registry.default.peer.node-c.sync.node-b", false},
		{"node-a", "publish", "registry.default.peer.node-a.batch.node-b", false},
		{"node-a", "publish", "registry.other.event.ORDERS", false},
		{"node-a", "publish", "registry.default.peer.node-b.sync.node-c", false},
		{"node-a", "publish", "registry.default.presence.node-b", false},
		{"node-a", "publish", "registry.default.reply.node-b.token", false},
		{"node-a", "publish", "registry.other.peer.node-b.batch.node-a", false},
		{"node-a", "publish", "$SRV.PING", false},
		{"node-a", "publish", "elsewhere", false},
		{"node-a", "subscribe", "registry.default.peer.node-b.batch.*", false},
		{"node-a", "subscribe", "registry.default.peer.*.batch.*", false},
		{"node-a", "subscribe", "registry.default.reply.node-b.>", false},
		{"node-a", "subscribe", "registry.>", false},
		{"node-a", "subscribe", "_INBOX.>", false},

		{"tail", "subscribe", "registry.default.peer.*.batch.*", true},
		{"tail", "subscribe", "registry.default.reply.>", true},
		{"tail", "subscribe", "registry.>", true},
		{"tail", "subscribe", "$SRV.>", false},
		{"tail", "publish", "registry.default.peer.node-b.batch.node-a", false},
		{"tail", "publish", "registry.default.presence.ask", false},
		{"tail", "publish", "registry.default.event.ORDERS", false},
		{"tail", "publish", "registry.default.peer.node-b.sync.node-a", false},
		{"tail", "publish", "registry.default.reply.node-a.token", false},
		{"tail", "publish", "$SRV.PING", false},
		{"tail", "publish", "elsewhere", false},

		{"ops", "publish", "$SRV.STATS.registryd", true},
		{"ops", "publish", "registry.default.peer.node-b.batch.node-a", false},
		{"ops", "publish", "registry.default.presence.node-a", false},
		{"ops", "publish", "registry.default.event.ORDERS", false},
		{"ops", "publish", "registry.default.reply.node-a.token", false},
	} {
		t.Run(test.user+" "+test.verb+" "+test.subject, func(t *testing.T) {
			refused := make(chan error, 8)
			nc := stranger(t, s, login(test.user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
			var err error
			if test.verb == "publish" {
				err = nc.Publish(test.subject, []byte("{}"))
			} else {
				_, err = nc.SubscribeSync(test.subject)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil { // The server has answered by then.
				t.Fatal(err)
			}
			wait := time.After(patience)
			if test.allowed {
				closed := make(chan time.Time)
				close(closed)
				wait = closed
			}
			select {
			case err := <-refused:
				if test.allowed || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
					t.Errorf("got %v, want it allowed: %t", err, test.allowed)
				}
			case <-wait:
				if !test.allowed {
					t.Error("it is allowed")
				}
			}
			if err := nc.LastError(); (err == nil) != test.allowed {
				t.Errorf("last error: %v, want it allowed: %t", err, test.allowed)
			}
		})
	}

	// A node with another's credentials can't take a name that is in use, and
	// with any other name it reaches no node.
	forger := spawnNode(t, "node-b", "--cluster", "default", "--nats", s.url(login("node-a")))
	forger.gone(t)
	if code := forger.cmd.ProcessState.ExitCode(); code != 1 || len(forger.err.with("node name is taken")) == 0 {
		t.Errorf("node-b with the credentials of node-a: exit code %d, want 1:\n%s", code, forger.err)
	}
	forger = member(t, "node-d", s.url(login("node-a")))
	forger.register(t, "forged")
	forger.state(t, 503, "syncing: broker refuses publish on registry.default.")
	forger.atLeast(t, 1, "registryd_broker_errors_total")
	eventually(t, "the log of node-d names what is denied", func() error {
		if got := forger.err.with("broker refuses a subject", "op=publish", "subject=registry.default.presence.node-d"); len(got) != 1 {
			return fmt.Errorf("%d times", len(got))
		}
		return nil
	})
	nodes[0].register(t, "true")
	list(t, nodes, "b", "true")
	for _, n := range nodes {
		n.state(t, 200, "ready")
		n.metric(t, 2, "registryd_cluster_peers")
	}
}

// TestDeployedCluster starts three servers of deploy/nats/cluster.conf and kills
// one of them.
func TestDeployedCluster(t *testing.T) {
	t.Parallel()
	password, _ := passwords()
	ca := newAuthority(t)
	servers := deployedCluster(t, ca)
	client := ca.issue(t, "client")
	var nodes []*node
	for i, id := range []string{"node-a", "node-b", "node-c"} {
		var urls []string
		for _, s := range slices.Concat(servers[i:], servers[:i]) {
			urls = append(urls, "tls://"+id+":"+password[id]+"@"+s.address)
		}
		nodes = append(nodes, member(t, id, strings.Join(urls, ","),
			"--nats-tls-ca", ca.file, "--nats-tls-cert", client.cert, "--nats-tls-key", client.key))
	}
	meet(t, nodes...)
	ids := numbered("i-", 6)
	for i, id := range ids[:3] {
		nodes[i].register(t, id)
	}
	list(t, nodes, ids[:3]...)
	servers[0].kill(t)
	for i, id := range ids[3:] {
		nodes[i].register(t, id)
	}
	list(t, nodes, ids...)
	for i, n := range nodes {
		n.state(t, 200, "ready")
		n.settled(t)
		if got := n.now(t, "registryd_broker_errors_total"); got != 0 {
			t.Errorf("%s: %v errors of the broker, want none", n.id, got)
		}
		if i > 0 {
			if got := servers[i].err.with("Violation"); len(got) > 0 {
				t.Errorf("%s has refused %q", servers[i].name, got)
			}
		}
	}
}

// TestRogueRoute starts foreign servers that try to join those of deploy/nats
// as routes. One that gets in could speak as any node.
func TestRogueRoute(t *testing.T) {
	t.Parallel()
	_, env := passwords()
	clients, servers := newAuthority(t), newAuthority(t)
	route, east := freeAddress(t), freeAddress(t)
	cluster := deployed(t, "cluster.conf", serverEnv(t, clients, servers),
		"0.0.0.0:6222", route, `"nats://nats-1:6222", "nats://nats-2:6222", "nats://nats-3:6222"`, "")
	own := servers.issue(t, "east-1")
	region := deployed(t, "regions/east.conf", append(env, `REGISTRYD_LEAF_PASSWORD="p"`,
		"REGISTRYD_TLS_CERT="+own.cert, "REGISTRYD_TLS_KEY="+own.key, "REGISTRYD_TLS_CA="+servers.file),
		"0.0.0.0:6222", east, "0.0.0.0:7422", freeAddress(t), `"nats://east-1:6222", "nats://east-2:6222"`, "")
	tls := func(c certificate, ca authority) string {
		return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true, timeout: 3 }\n", c.cert, c.key, ca.file)
	}
	node, server := clients.issue(t, "node-a"), servers.issue(t, "fourth")
	for _, victim := range []struct {
		name, route string
		*natsServer
	}{{"registryd", route, cluster}, {"east", east, region}} {
		for _, test := range []struct {
			name, tls string
			in        bool
		}{
			{"no TLS", "", false},
			{"a node's certificate", tls(node, clients), false},
			{"a node's certificate and the servers' CA", tls(node, servers), false},
			{"a server's certificate", tls(server, servers), true}, // So the test can tell.
		} {
			t.Run(victim.name+", "+test.name, func(t *testing.T) {
				// It is logged after TLS has verified both sides.
				created := func() int { return len(victim.err.with("Route connection created")) }
				before := created()
				rogue := startNATS(t, fmt.Sprintf("cluster {\nname: %q\nlisten: %q\nroutes: [ %q ]\n%s}",
					victim.name, freeAddress(t), "nats://"+victim.route, test.tls))
				eventually(t, "the foreign server gets in, or is refused", func() error {
					if test.in && created() == before {
						return errors.New("it has no route")
					}
					if tries := len(rogue.err.with("Router connection closed")); !test.in && tries < 3 {
						return fmt.Errorf("it has tried %d times", tries)
					}
					return nil
				})
				if got := created() - before; !test.in && got > 0 {
					t.Errorf("%d routes", got)
				}
			})
		}
	}
}
