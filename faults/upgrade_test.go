//go:build faults

package faults_test

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// TestShortRollingUpgrade replaces the nodes of the previous commit by those of
// this one, one after another, under load. Meanwhile the two versions work
// together.
func TestShortRollingUpgrade(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Previous: true})
	f := startFleet(l, fleetOptions{Size: 40})
	l.united()
	f.settle("the start with the previous version")
	for _, n := range l.nodes {
		n.setReady(false)
		f.lose(n)
		n.terminate()
		n.program = program("registryd")
		n.start()
		f.firstList(n)
		l.united()
		pause(changeEvery) // both versions receive changes, from clients and from each other
		took := f.settle("the upgrade of " + n.name)
		f.found()
		t.Logf("%s upgraded, the lists were right after %.1f s", n.name, took.Seconds())
	}
}

// TestShortUnknownVersion sends requests to a node's subject, as a peer of a
// future version would.
func TestShortUnknownVersion(t *testing.T) {
	t.Parallel()
	l := newBareLab(t)
	s := l.addBroker("s1")
	s.args = []string{"-a", s.host.addr.String(), "-p", "4222"}
	s.start()
	l.waitBrokers()
	n := l.addNode("n1", l.brokers, labOptions{})
	n.start()
	l.waitReady(n)
	const rejected = `registryd_broker_received_requests_total{outcome="malformed"}`
	for _, endpoint := range []string{"batch", "sync"} {
		before := l.mustMetric(n, rejected)
		status := request(t, s, fmt.Sprintf("registry.default.peer.n1.%s.newer", endpoint), "Registry-Version: 2", `{"replicationList":[]}`)
		if code, text := status.Get("Nats-Service-Error-Code"), status.Get("Nats-Service-Error"); code != "400" || !strings.Contains(text, `Registry-Version is "2", want 1`) {
			t.Errorf("%s of version 2: answered %q %q, want 400 and both versions", endpoint, code, text)
		}
		if got := status.Get("Registry-Version"); got != "1" {
			t.Errorf("%s of version 2: the answer is of version %q, want 1", endpoint, got)
		}
		if got := l.mustMetric(n, rejected); got != before+1 {
			t.Errorf("%s of version 2: %s went from %v to %v, want one more", endpoint, rejected, before, got)
		}
	}
}

// request sends a request with one header as the NATS protocol has it, and
// returns the headers of the reply.
func request(t *testing.T, s *natsServer, subject, header, body string) textproto.MIMEHeader {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(s.host.addr.String(), "4222"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // all is read
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	headers := "NATS/1.0\r\n" + header + "\r\n\r\n"
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}\r\nSUB registry.default.reply.newer.x 1\r\n"+
		"HPUB %s registry.default.reply.newer.x %d %d\r\n%s%s\r\n", subject, len(headers), len(headers)+len(body), headers, body)
	in := textproto.NewReader(bufio.NewReader(conn))
	for {
		line, err := in.ReadLine()
		if err != nil {
			t.Fatalf("request on %s: %v", subject, err)
		}
		if !strings.HasPrefix(line, "HMSG ") {
			continue
		}
		if _, err := in.ReadLine(); err != nil { // NATS/1.0
			t.Fatal(err)
		}
		got, err := in.ReadMIMEHeader()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}
