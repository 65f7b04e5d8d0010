package node_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// lines is a log that tests read, a JSON object a line.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// with returns the lines whose attributes are these, given as key and value in
// turn. "msg" and "level" are keys too.
func (l *lines) with(tb testing.TB, attributes ...string) []map[string]any {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]any
	for text := range strings.Lines(l.text.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			tb.Fatalf("%q in the log: %v", text, err)
		}
		match := true
		for i := 0; i < len(attributes); i += 2 {
			match = match && line[attributes[i]] == attributes[i+1]
		}
		if match {
			out = append(out, line)
		}
	}
	return out
}

// newer is a node that speaks another version of the protocol.
type newer struct {
	*broker.Broker
	server      *broker.Server
	incarnation uuid.UUID
}

func startNewer(tb testing.TB, server *broker.Server, name string) *newer {
	tb.Helper()
	incarnation, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return &newer{natstest.Node(tb, server, name), server, incarnation}
}

// announce publishes its presence. It may be called from any goroutine.
func (n *newer) announce(tb testing.TB, version int) {
	tb.Helper()
	body, err := json.Marshal(map[string]any{
		"node": n.Node(), "incarnation": n.incarnation, "url": "http://192.0.2.9:8761/eureka/",
		"version": "dev", "time": time.Now().UnixMilli(), "up": 60_000, "state": "ready",
	})
	if err != nil {
		tb.Error(err)
	}
	publishRaw(tb, n.server, n.Subjects().Presence(n.Node()), fmt.Sprintf("Registry-Version: %d", version), string(body))
}

// publishRaw publishes a message as any NATS client could: with the given
// header lines, or without a header.
func publishRaw(tb testing.TB, server *broker.Server, subject, header, body string) {
	tb.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(tb.Context(), "tcp", server.Address())
	if err == nil {
		defer conn.Close() //nolint:errcheck // It has done its work.
		message := fmt.Sprintf("PUB %s %d\r\n%s\r\n", subject, len(body), body)
		if header != "" {
			header = "NATS/1.0\r\n" + header + "\r\n\r\n"
			message = fmt.Sprintf("HPUB %s %d %d\r\n%s%s\r\n", subject, len(header), len(header)+len(body), header, body)
		}
		_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\n%sPING\r\n", message)
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Now().Add(patience))
	}
	if err == nil {
		in := bufio.NewScanner(conn)
		for in.Scan() {
			if in.Text() == "PONG" {
				return // so it has taken what came before
			}
		}
		err = cmp.Or(in.Err(), io.ErrUnexpectedEOF)
	}
	tb.Errorf("publish on %s: %v", subject, err)
}

// TestNodeOfAnotherVersion announces a node of an unknown version of the
// protocol. It is no peer, no node syncs from it, and its requests are refused.
func TestNodeOfAnotherVersion(t *testing.T) {
	t.Parallel()
	const metric = "registryd_broker_received_messages_total"
	server := natstest.TCP(t)
	log := &lines{}
	n := start(t, node.Options{Name: "n1", Broker: broker.Access{Server: server}, Logger: log.logger()})
	register(t, n, "a")
	if got := scrape(t, n).value(metric, "outcome", "version"); got != 0 {
		t.Errorf("before: %s{outcome=version} is %v, want 0", metric, got)
	}

	other := startNewer(t, server, "newer")
	const version = broker.ProtocolVersion + 1
	const times = 3
	for range times {
		other.announce(t, version)
	}
	eventually(t, "its presence is counted", func() error {
		if got := scrape(t, n).value(metric, "outcome", "version"); got != times {
			return fmt.Errorf("%v times, want %d", got, times)
		}
		return nil
	})
	m := scrape(t, n)
	for _, status := range []string{"reachable", "unreachable", "left"} {
		if got := m.value("registryd_cluster_peers", "status", status); got != 0 {
			t.Errorf("%v peers are %s, want none", got, status)
		}
	}
	if _, pipelines := m.find("registryd_acceptor_offered_actions_total", "peer", "newer"); pipelines != 0 {
		t.Error("it has a pipeline")
	}
	if got := m.value("registryd_cluster_malformed_presence_total"); got != 0 {
		t.Errorf("the cluster has read %v of its messages", got)
	}
	if peers := n.Overview().Peers; len(peers) != 0 {
		t.Errorf("peers: got %+v, want none", peers)
	}
	errs := log.with(t, "level", "ERROR")
	if len(errs) != 1 || errs[0]["peer"] != "newer" || errs[0]["version"] != "2" || errs[0]["want"] != "1" ||
		!strings.Contains(fmt.Sprint(errs[0]["msg"]), "run the same version on all nodes") {
		t.Errorf("errors in the log: got %v, want one that names the node, both versions, and what to do", errs)
	}

	// Its requests are refused with the reason, and counted.
	subjects := other.Subjects()
	for i, subject := range []string{subjects.Batch("n1", "newer"), subjects.Sync("n1", "newer")} {
		_, err := other.Request(t.Context(), subject, broker.Header{Version: version}, []byte(`{"ask":"page"}`))
		refusal, ok := errors.AsType[*broker.RemoteError](err)
		if !ok || refusal.Code != broker.CodeMalformed || refusal.Text != `Registry-Version is "2", want 1` {
			t.Errorf("request on %s: got %v, want %d and both versions", subject, err, broker.CodeMalformed)
		}
		if got, want := scrape(t, n).value("registryd_broker_received_requests_total", "outcome", "malformed"), float64(i+1); got != want {
			t.Errorf("after the request on %s: %v rejected, want %v", subject, got, want)
		}
	}
	if got, _ := scrape(t, n).find("registryd_sync_requests_total", "outcome", "served"); got != 0 {
		t.Errorf("%v sync requests were served, want none", got)
	}

	// A node that starts beside it does not ask it.
	asked := make(chan string, 16)
	count := func(r *broker.Request) {
		select {
		case asked <- r.From:
		default:
		}
		if err := r.Fail(broker.CodeBusy, "not here"); err != nil {
			t.Errorf("answer %s: %v", r.From, err)
		}
	}
	if _, err := other.Serve(broker.Handlers{Batch: count, Sync: count}); err != nil {
		t.Fatal(err)
	}
	answers, err := other.Subscribe(subjects.PresenceAsk(), func(broker.Message) { other.announce(t, version) })
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Unsubscribe()
	late := start(t, node.Options{Name: "n2", Broker: broker.Access{Server: server}})
	allList(t, []testNode{late}, "a")
	meet(t, n, late)
	if got := scrape(t, late).value(metric, "outcome", "version"); got < 1 {
		t.Errorf("n2: %s{outcome=version} is %v, want 1 at least", metric, got)
	}
	select {
	case from := <-asked:
		t.Errorf("%s has sent it a batch or a sync request", from)
	default:
	}

	// Apart from its version its presence is correct.
	other.announce(t, broker.ProtocolVersion)
	eventually(t, "it is a peer, now that it speaks the same version", func() error {
		if got := scrape(t, n).value("registryd_cluster_peers", "status", "reachable"); got != 2 {
			return fmt.Errorf("n1 reaches %v", got)
		}
		return nil
	})
}

// TestForeignPresence publishes on a presence subject as a client that is no
// node of any version.
func TestForeignPresence(t *testing.T) {
	t.Parallel()
	server := natstest.TCP(t)
	log := &lines{}
	n := start(t, node.Options{Name: "n1", Broker: broker.Access{Server: server}, Logger: log.logger()})
	publishRaw(t, server, "registry."+natstest.Cluster+".presence.somebody", "", `{"node":"somebody"}`)
	eventually(t, "it is counted", func() error {
		if got := scrape(t, n).value("registryd_broker_received_messages_total", "outcome", "foreign"); got != 1 {
			return fmt.Errorf("%v times", got)
		}
		return nil
	})
	m := scrape(t, n)
	if peers, _ := m.find("registryd_cluster_peers"); peers != 0 {
		t.Errorf("%v peers, want none", peers)
	}
	if got := m.value("registryd_broker_received_messages_total", "outcome", "version"); got != 0 {
		t.Errorf("counted %v times as another version", got)
	}
	if errs := log.with(t, "level", "ERROR"); len(errs) != 0 {
		t.Errorf("errors in the log: %v, want none", errs)
	}
}
