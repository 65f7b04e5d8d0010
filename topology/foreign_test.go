package topology_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// stranger is a foreign NATS client.
func stranger(tb testing.TB, s *natsServer, user string, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := nats.Connect(s.url(user), append([]nats.Option{nats.Name("stranger")}, opts...)...)
	if err != nil {
		tb.Fatalf("connect to %s: %v", s.address, err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// TestStreamOverEverything runs a JetStream stream that stores all our
// messages: it acknowledges our requests on the subjects where we wait for
// answers.
func TestStreamOverEverything(t *testing.T) {
	t.Parallel()
	s := startNATS(t, fmt.Sprintf("jetstream { store_dir: %q }\n", t.TempDir()))
	js, err := stranger(t, s, "").JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "HOARD", Subjects: []string{"registry.>"}}); err != nil {
		t.Fatal(err)
	}
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, startNode(t, fmt.Sprintf("n%d", i+1), "--nats", s.url("")))
	}
	meet(t, nodes...)
	ids := numbered("i-", 30)
	for i, id := range ids {
		nodes[i%3].register(t, id)
	}
	list(t, nodes, ids...)
	for _, n := range nodes {
		n.atLeast(t, 1, "registryd_broker_ignored_replies_total", "reason", "foreign")
		if got := n.err.with("a JetStream stream acknowledges our requests", "stream=HOARD"); len(got) != 1 {
			t.Errorf("%s names the stream %d times, want once: %q", n.id, len(got), got)
		}
		n.settled(t)
	}
	// An acknowledgement is no delivery: changes for an absent node wait.
	nodes[2].kill(t)
	nodes[0].register(t, "later")
	list(t, nodes[:2], append(ids, "later")...)
	nodes[0].atLeast(t, 1, "registryd_batcher_sends_total", "peer", "n3", "outcome", "timeout")
	nodes[2].restart(t)
	list(t, nodes, append(ids, "later")...)
}

// TestGarbage publishes all kinds of messages on our subjects.
func TestGarbage(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	nodes := []*node{startNode(t, "n1", "--nats", s.url("")), startNode(t, "n2", "--nats", s.url(""))}
	meet(t, nodes...)
	nodes[0].register(t, "a")
	list(t, nodes, "a")
	tail := startTail(t, "--nats", s.url(""))
	listening(t, tail, nodes...)
	nc := stranger(t, s, "", nats.CustomInboxPrefix("registry.test.reply.n2"))

	bodies := map[string]string{
		"nothing":           "",
		"text":              "hello",
		"bytes":             "\x00\xff\xfe\x80",
		"other JSON":        `{"replicationList":{"a":1}}`,
		"deep JSON":         strings.Repeat("[", 100_000),
		"much":              strings.Repeat("x", 900_000),
		"an item of ours":   `{"replicationList":[{"appName":"ORDERS","id":"forged","action":"Register"}]}`,
		"an unknown action": `{"replicationList":[{"appName":"ORDERS","id":"a","action":"Explode"}]}`,
	}
	for name, body := range bodies {
		for _, version := range []string{"", "1", "2", "garbage"} {
			for _, subject := range []string{
				"registry.test.peer.n1.batch.n2", "registry.test.peer.n1.batch.nobody", "registry.test.peer.n1.batch.ask",
				"registry.test.peer.n1.sync.n2",
			} {
				answerable := strings.HasSuffix(subject, ".n2") // It asks in the name of n2.
				msg := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
				if version != "" {
					msg.Header.Set("Registry-Version", version)
				}
				if err := nc.PublishMsg(msg); err != nil { // no reply is possible
					t.Fatal(err)
				}
				if !answerable {
					continue
				}
				answer, err := nc.RequestMsg(msg, patience)
				if err != nil {
					t.Errorf("%s of version %q on %s: %v", name, version, subject, err)
					continue
				}
				// A list that can be read is answered item by item.
				code := answer.Header.Get("Nats-Service-Error-Code")
				if items := strings.Contains(string(answer.Data), `"statusCode":400`); code != "400" && !items {
					t.Errorf("%s of version %q on %s: got %v %.200s, want 400", name, version, subject, answer.Header, answer.Data)
				}
			}
		}
		for _, subject := range []string{
			"registry.test.presence.n2", "registry.test.presence.n9", "registry.test.presence.ask",
			"registry.test.reply.n1.x", "registry.test.reply.n1", "registry.test.other",
		} {
			msg := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{"Registry-Version": {"1"}}}
			if err := nc.PublishMsg(msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	nodes[0].atLeast(t, float64(len(bodies)), "registryd_cluster_malformed_presence_total")
	nodes[0].atLeast(t, 1, "registryd_broker_received_requests_total", "outcome", "malformed")
	nodes[1].register(t, "b")
	nodes[0].register(t, "c")
	list(t, nodes, "a", "b", "c")
	seen(t, tail, "c", "n1>n2")
	for _, n := range nodes {
		n.state(t, 200, "ready")
		n.settled(t)
		if lines := len(n.err.with("")); lines > 300 {
			t.Errorf("%s has logged %d lines", n.id, lines)
		}
	}
}

// TestTailedAndFrozen runs a tail over everything: an absent peer then shows as
// a time-out. A suspended tail delays nobody.
func TestTailedAndFrozen(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, startNode(t, fmt.Sprintf("n%d", i+1), "--nats", s.url("")))
	}
	meet(t, nodes...)
	tail := startTail(t, "--nats", s.url(""))
	listening(t, tail, nodes...)
	nodes[2].kill(t)
	nodes[0].register(t, "a")
	list(t, nodes[:2], "a")
	seen(t, tail, "a", "n1>n2")
	nodes[0].atLeast(t, 1, "registryd_batcher_sends_total", "peer", "n3", "outcome", "timeout")

	tail.freeze(t)
	ids := numbered("frozen-", 100)
	for _, id := range ids {
		if err := nodes[0].Register(t.Context(), instance(id, "1", 30_000)); err != nil {
			t.Fatal(err)
		}
	}
	list(t, nodes[:2], append(ids, "a")...)
	sends := nodes[0].now(t, "registryd_batcher_sends_total", "peer", "n2")
	if got := nodes[0].now(t, "registryd_batcher_sends_total", "peer", "n2", "outcome", "answered"); got != sends {
		t.Errorf("%v of %v batches to n2 were answered, want all", got, sends)
	}
	tail.thaw(t)
	nodes[2].restart(t)
	list(t, nodes, append(ids, "a")...)
	if code := tail.term(t); code != 0 {
		t.Errorf("tail ended with %d", code)
	}
}

// TestTwoClusters puts two clusters with the same node names on one NATS.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	nodes := map[string][]*node{}
	for _, color := range []string{"red", "blue"} {
		for _, id := range []string{"n1", "n2"} {
			nodes[color] = append(nodes[color], startNode(t, id, "--nats", s.url(""), "--cluster", color))
		}
	}
	for color, both := range nodes {
		meet(t, both...)
		both[0].register(t, "both")
		both[1].register(t, color)
	}
	for color, both := range nodes {
		list(t, both, "both", color)
		for _, n := range both {
			n.settled(t)
			n.metric(t, 1, "registryd_cluster_peers")
		}
	}
}

// TestNameTwice starts two nodes of one name: while the first is reachable, and
// while it is not.
func TestNameTwice(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	first := startNode(t, "n1", "--nats", s.url(""))
	other := startNode(t, "n2", "--nats", s.url(""))
	meet(t, first, other)
	second := spawnNode(t, "n1", "--nats", s.url(""))
	second.gone(t)
	if code := second.cmd.ProcessState.ExitCode(); code != 1 || len(second.err.with("node name is taken", first.base)) == 0 {
		t.Errorf("a second n1: exit code %d, want 1 and where the first runs:\n%s", code, second.err)
	}

	s.kill(t)
	first.state(t, 200, "degraded")
	twin := startNode(t, "n1", "--nats", s.url(""), "--start-wait", "1s")
	twin.state(t, 200, "degraded")
	s.start(t)
	// The later one gives way, and logs that.
	twin.state(t, http.StatusServiceUnavailable, "superseded")
	first.state(t, http.StatusOK, "ready")
	const twice = "node name is used twice"
	eventually(t, "the later one logs it", func() error {
		if got := twin.err.with(twice, first.base); len(got) != 1 {
			return fmt.Errorf("%d times", len(got))
		}
		return nil
	})
	// It falls silent at once, so the first may never have received its presence.
	if got := first.err.with(twice); len(got) > 1 {
		t.Errorf("the first logs its twin %d times, want at most once: %q", len(got), got)
	}
	first.register(t, "a")
	other.register(t, "b")
	list(t, []*node{first, other}, "a", "b")
	other.settled(t)
	other.metric(t, 1, "registryd_cluster_peers")

	// When the first is gone, it takes over.
	first.kill(t)
	twin.state(t, http.StatusOK, "ready")
	other.register(t, "c")
	list(t, []*node{twin, other}, "a", "b", "c")
}

// TestMembership joins, leaves, falls silent, comes back, and is suspended.
func TestMembership(t *testing.T) {
	t.Parallel()
	s := startNATS(t, "")
	nodes := []*node{startNode(t, "n1", "--nats", s.url("")), startNode(t, "n2", "--nats", s.url(""))}
	meet(t, nodes...)
	n1, n2 := nodes[0], nodes[1]

	joined := startNode(t, "n3", "--nats", s.url(""))
	meet(t, n1, n2, joined)
	said(t, n1.process, `msg="peer joined" node=n1 component=cluster peer=n3`)
	joined.register(t, "at-3")
	if code := joined.term(t); code != 0 { // It drains its changes.
		t.Errorf("n3 ended with %d, want 0", code)
	}
	for _, n := range nodes {
		n.metric(t, 1, "registryd_cluster_peers", "status", "left")
	}
	list(t, nodes, "at-3")

	began := time.Now()
	n2.kill(t)
	n1.metric(t, 1, "registryd_cluster_peers", "status", "unreachable")
	if silent := time.Since(began); silent < 3*time.Second {
		t.Errorf("unreachable after %v, want 5 s of silence, of which a second may have passed before", silent)
	}
	n1.register(t, "meanwhile")
	n2.restart(t) // A new incarnation without any entries.
	list(t, nodes, "at-3", "meanwhile")
	n1.metric(t, 1, "registryd_cluster_peers", "status", "reachable")
	said(t, n1.process, `msg="peer restarted" node=n1 component=cluster peer=n2`)

	// A node that was suspended syncs before it is ready again.
	n2.freeze(t)
	n1.metric(t, 1, "registryd_cluster_peers", "status", "unreachable")
	if err := n1.Cancel(t.Context(), "ORDERS", "meanwhile"); err != nil {
		t.Error(err)
	}
	n2.thaw(t)
	n2.atLeast(t, 1, "registryd_cluster_pauses_total")
	n2.state(t, 200, "ready")
	list(t, nodes, "at-3")

	// A node whose clock is an hour behind.
	nc := stranger(t, s, "")
	announce := func(behind time.Duration, state string) {
		body := fmt.Sprintf(`{"node":"slow","incarnation":"01890a5d-ac96-774b-bcce-b302099a8057","url":"http://192.0.2.9:8761/eureka/",`+
			`"version":"dev","time":%d,"digest":"0000000000000000","state":%q}`, time.Now().Add(-behind).UnixMilli(), state)
		msg := &nats.Msg{Subject: "registry.test.presence.slow", Data: []byte(body), Header: nats.Header{"Registry-Version": {"1"}}}
		if err := errors.Join(nc.PublishMsg(msg), nc.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		eventually(t, n.id+" logs that the clock is off", func() error {
			announce(time.Hour, "ready")
			if got := n.err.with("peer's clock differs"); len(got) != 1 || !strings.Contains(got[0], "peer=slow skew=1h0m0") {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
		n.atLeast(t, 3590, "registryd_cluster_clock_skew_seconds", "peer", "slow")
	}
	for _, n := range nodes {
		eventually(t, n.id+" logs that the clock is right again", func() error {
			announce(0, "ready")
			if got := n.err.with("peer's clock agrees again", "peer=slow"); len(got) != 1 {
				return fmt.Errorf("%d times", len(got))
			}
			return nil
		})
	}
	announce(0, "leaving")
}
