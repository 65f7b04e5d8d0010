package topology_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/registryd/registryd/internal/certstest"
)

// TestExternalNATS uses a stock nats-server with each way of authentication. A
// node with wrong credentials replicates nothing, and serves.
func TestExternalNATS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		setUp func(t *testing.T) (s *natsServer, right, wrong []string)
	}{
		{"open", func(t *testing.T) (*natsServer, []string, []string) {
			s := startNATS(t, "")
			return s, []string{"--nats", s.url("")}, nil
		}},
		{"user and password", func(t *testing.T) (*natsServer, []string, []string) {
			s := startNATS(t, `authorization { users: [ { user: node, password: right } ] }`)
			return s, []string{"--nats", s.url("node:right")}, []string{"--nats", s.url("node:wrong")}
		}},
		{"token", func(t *testing.T) (*natsServer, []string, []string) {
			s := startNATS(t, `authorization { token: "right" }`)
			return s, []string{"--nats", s.url("right")}, []string{"--nats", s.url("wrong")}
		}},
		{"nkey", func(t *testing.T) (*natsServer, []string, []string) {
			right, wrong := newKey(t, user), newKey(t, user)
			s := startNATS(t, `authorization { users: [ { nkey: `+right.public(t)+` } ] }`)
			return s, []string{"--nats", s.url(""), "--nats-nkey", right.seedFile(t)},
				[]string{"--nats", s.url(""), "--nats-nkey", wrong.seedFile(t)}
		}},
		{"login file", func(t *testing.T) (*natsServer, []string, []string) {
			s := startNATS(t, `authorization { users: [ { user: node, password: "right:one" } ] }`)
			right := certstest.Write(t, filepath.Join(t.TempDir(), "right"), []byte("node:right:one\n"))
			wrong := certstest.Write(t, filepath.Join(t.TempDir(), "wrong"), []byte("node:wrong"))
			return s, []string{"--nats", s.url(""), "--nats-login-file", right}, []string{"--nats", s.url(""), "--nats-login-file", wrong}
		}},
		{"credentials", func(t *testing.T) (*natsServer, []string, []string) {
			operator, account, stranger := newKey(t, operator), newKey(t, account), newKey(t, account)
			s := startNATS(t, fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload: { %s: %s }\n",
				operator.operatorJWT(t), account.public(t), operator.accountJWT(t, account, -1)))
			return s, []string{"--nats", s.url(""), "--nats-creds", account.credsFile(t)},
				[]string{"--nats", s.url(""), "--nats-creds", stranger.credsFile(t)}
		}},
		{"tls", func(t *testing.T) (*natsServer, []string, []string) {
			ours, theirs := newAuthority(t), newAuthority(t)
			server, client, stranger := ours.issue(t, "server"), ours.issue(t, "client"), theirs.issue(t, "stranger")
			s := startNATS(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }",
				server.cert, server.key, ours.file))
			url := strings.Replace(s.url(""), "nats://", "tls://", 1)
			args := func(c certificate) []string {
				return []string{"--nats", url, "--nats-tls-ca", ours.file, "--nats-tls-cert", c.cert, "--nats-tls-key", c.key}
			}
			return s, args(client), args(stranger)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, right, wrong := test.setUp(t)
			nodes := []*node{startNode(t, "n1", right...), startNode(t, "n2", right...)}
			meet(t, nodes...)
			tail := startTail(t, right...)
			listening(t, tail, nodes...)
			nodes[0].register(t, "a")
			list(t, nodes, "a")
			seen(t, tail, "a", "n1>n2")
			for _, n := range nodes {
				n.state(t, 200, "ready")
			}
			if wrong == nil {
				return
			}
			out := startNode(t, "n3", append(wrong, "--start-wait", "3s")...)
			out.state(t, 200, "degraded: not connected to a broker")
			out.register(t, "b")
			list(t, []*node{out}, "b")
			eventually(t, "the log names the reason", func() error {
				if got := out.err.with("broker unreachable"); len(got) != 1 {
					return fmt.Errorf("%d lines: %q", len(got), got)
				}
				return nil
			})
			list(t, nodes, "a")
		})
	}
}

// TestExternalCluster kills the servers of a NATS cluster one after the other.
func TestExternalCluster(t *testing.T) {
	t.Parallel()
	servers := startNATSCluster(t, 3)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.url(""))
	}
	// Each node names all servers, and another one first: nodes on different
	// servers must reach each other too.
	var nodes []*node
	for i, s := range servers {
		nodes = append(nodes, startNode(t, fmt.Sprintf("n%d", i+1), "--nats", s.url("")+","+strings.Join(urls, ",")))
	}
	meet(t, nodes...)
	want := numbered("all-", 3)
	for i, n := range nodes {
		n.register(t, want[i])
	}
	list(t, nodes, want...)
	for i, s := range servers[:2] {
		s.kill(t)
		for j, n := range nodes {
			id := fmt.Sprintf("killed-%d-%d", i+1, j+1)
			n.register(t, id)
			want = append(want, id)
		}
		list(t, nodes, want...)
		for _, n := range nodes {
			n.state(t, 200, "ready")
		}
	}
	servers[2].kill(t)
	for i, n := range nodes {
		n.state(t, 200, "degraded: not connected to a broker")
		id := fmt.Sprintf("none-%d", i+1)
		n.register(t, id)
		want = append(want, id)
	}
	servers[0].start(t)
	list(t, nodes, want...)
}

// TestDiscoveredServers names one server of a cluster to the nodes. They learn
// the others from it, and use them, with their login, once it is gone.
func TestDiscoveredServers(t *testing.T) {
	t.Parallel()
	servers := startNATSCluster(t, 3, "--user", "node", "--pass", "right")
	args := []string{"--nats", servers[0].url("node:right")}
	nodes := []*node{startNode(t, "n1", args...), startNode(t, "n2", args...)}
	tail := startTail(t, args...)
	meet(t, nodes...)
	nodes[0].register(t, "a")
	list(t, nodes, "a")
	servers[0].kill(t)
	for i, n := range nodes {
		n.register(t, fmt.Sprintf("killed-%d", i))
	}
	list(t, nodes, "a", "killed-0", "killed-1")
	listening(t, tail, nodes...)
	for _, n := range nodes {
		n.state(t, 200, "ready")
	}
}
